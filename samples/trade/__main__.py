"""The demonstration: four node processes trade; the buyer is killed on the way and comes back.

Run it with ``make demo`` or ``python -m samples.trade``; ``--anonymous`` uses one-time keys.
"""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click
import gevent
from rich.console import Console

from ledger.amounts import Amount
from runtime.cli.progress_view import ProgressView
from runtime.ids import FlowId
from runtime.operations import FlowDetail, FlowFilter
from runtime.testing.driver import NetworkDriver, NodeProcess
from samples.trade import PAUSE_VARIABLE
from samples.trade.flows import CHECKING, COLLECTING, PROPOSING
from samples.trade.holdings import Holdings

CASH: Final = Amount(10_000, "USD")
PRICE: Final = Amount(9_500, "USD")
PROSPECTUS: Final = b"Commercial paper of the Bank of Breakfast: 100.00 USD at maturity.\n"
WAIT_SECONDS: Final = 60.0
KILL_AT: Final = frozenset({CHECKING, PROPOSING, COLLECTING})

console = Console(highlight=False)


@click.command()
@click.option("--anonymous", is_flag=True, help="Trade under one-time keys.")
@click.option("--pause", default=0.6, show_default=True, help="Seconds at each step.")
def main(anonymous: bool, pause: float) -> None:
    """Settle cash against commercial paper between four nodes, one of which is killed."""
    os.environ[PAUSE_VARIABLE] = str(pause)
    spec = Path(__file__).with_name("network.toml").read_text()
    started = time.monotonic()
    with NetworkDriver.create(spec) as network:
        say("Starting four nodes: notary, issuing bank, buyer, seller, each a process of its own")
        network.start()
        issue(network)
        tx_id = trade(network, anonymous=anonymous)
        check(network, tx_id)
        network.stop()
    seconds = time.monotonic() - started
    say(f"[green]Done[/] in {seconds:.1f} s. Nothing was lost, nothing was done twice.")


def say(text: str) -> None:
    """Tell what happens."""
    console.print(f"[bold]»[/] {text}", soft_wrap=True)


# --- before the trade ---------------------------------------------------------------------------


def issue(network: NetworkDriver) -> None:
    """Have the bank give the buyer 100 dollars, and the seller a paper with its prospectus."""
    bank, buyer, seller = (network.node(name) for name in ("bank-of-breakfast", "buyer", "seller"))
    say("The bank issues 100.00 USD to the buyer, and a commercial paper to the seller")
    run(bank, "finance.issue_cash", amount=CASH, owner=buyer.name, notary="Notary")
    run(
        bank,
        "finance.issue_paper",
        owner=seller.name,
        face_value=CASH,
        maturity=datetime.now(UTC) + timedelta(days=30),
        notary="Notary",
        prospectus=PROSPECTUS,
    )
    wait_until(lambda: holdings(buyer).cash == CASH, "the buyer has the cash")
    wait_until(lambda: holdings(seller).papers == 1, "the seller has the paper")


# --- the trade ----------------------------------------------------------------------------------


def trade(network: NetworkDriver, *, anonymous: bool) -> object:
    """Run the trade, drawing both sides; kill the buyer in the middle and start it again."""
    buyer, seller = network.node("buyer"), network.node("seller")
    under = " under one-time keys" if anonymous else ""
    say(f"The seller offers the paper to the buyer for 95.00 USD{under}")
    starter = seller.rpc.options(client_id="demo-trade")
    handle = starter.start_flow("trade.sell", buyer=buyer.name, price=PRICE, anonymous=anonymous)
    with ProgressView(["Seller", "Buyer"], console=console) as view:
        watchers = [gevent.spawn(follow, view, "Seller", seller, handle.id)]
        buyers_flow = wait_for_flow(buyer)
        watchers.append(gevent.spawn(follow, view, "Buyer", buyer, buyers_flow))
        wait_until(lambda: current(buyer, buyers_flow) in KILL_AT, "the buyer is in the middle")
        killed_at = current(buyer, buyers_flow)
        buyer.kill()
        view.note("Buyer", "killed (SIGKILL)", is_bad=True)
        gevent.sleep(1.0)
        view.note("Buyer", "started again: recovers from its journal")
        buyer.start()
        watchers.append(gevent.spawn(follow, view, "Buyer", buyer, buyers_flow))
        sold_id = handle.result(WAIT_SECONDS)
        bought_id = buyer.rpc.handle(buyers_flow).result(WAIT_SECONDS)
        gevent.joinall(watchers[::2], timeout=WAIT_SECONDS)
    say(f'The buyer was killed with SIGKILL at "{killed_at}", and went on from its journal')
    if sold_id != bought_id:
        raise click.ClickException(f"the seller says {sold_id}, the buyer says {bought_id}")
    say(f"Both sides hold transaction [cyan]{sold_id}[/]")
    return sold_id


def follow(view: ProgressView, title: str, node: NodeProcess, flow_id: FlowId) -> None:
    """Draw a flow of a node until it has ended, or the node goes down."""
    with node.connect() as rpc:
        for detail in rpc.watch(flow_id):
            view.update(title, detail.progress, note=note_of(detail))


def note_of(detail: FlowDetail) -> str:
    """Return the line below a flow's tree."""
    if detail.row.is_ended:
        return detail.row.status
    if detail.wait is None or detail.wait.what == "sleep":
        return ""
    return f"waits for {detail.wait.whom or 'the disk'}: {detail.wait.what}"


def current(node: NodeProcess, flow_id: FlowId) -> str:
    """Return the label of the step that a flow is in."""
    rows = node.rpc.flow(flow_id).progress
    return next((row.label for row in rows if row.status == "current"), "")


def wait_for_flow(node: NodeProcess) -> FlowId:
    """Return the responder that the trade has started at the buyer."""
    wanted = FlowFilter(name="samples.trade.flows.buy")
    wait_until(lambda: bool(node.rpc.flows(wanted)), "the buyer answers")
    return FlowId(node.rpc.flows(wanted)[0].id)


# --- after the trade ----------------------------------------------------------------------------


def check(network: NetworkDriver, tx_id: object) -> None:
    """Show what everybody holds now; fail if it is not what was agreed."""
    buyer, seller = network.node("buyer"), network.node("seller")
    after = {node: holdings(node) for node in (buyer, seller)}
    for node, held in after.items():
        cash = held.cash.quantity / 100
        say(f"{node.short_name:<7} holds {cash:6.2f} USD and {held.papers} commercial paper")
    expected = {
        buyer: Holdings(Amount(500, "USD"), 1),
        seller: Holdings(PRICE, 0),
    }
    if after != expected:
        raise click.ClickException(f"transaction {tx_id}: expected {expected}")


def run(node: NodeProcess, flow: str, **named: object) -> object:
    """Run a flow of a node to its end and return its result."""
    return node.rpc.start_flow(flow, **named).result(WAIT_SECONDS)


def holdings(node: NodeProcess) -> Holdings:
    """Return what a node owns."""
    held = run(node, "trade.holdings")
    assert isinstance(held, Holdings)
    return held


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Ask until it is so."""
    until = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > until:
            raise click.ClickException(f"waited {WAIT_SECONDS:.0f} s until {what}, in vain")
        gevent.sleep(0.05)


if __name__ == "__main__":
    main()
