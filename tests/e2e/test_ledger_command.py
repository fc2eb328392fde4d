"""``sennit ledger`` with real nodes: a peer that never got the notary's signature gets it back."""

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from ledger.command import ledger
from runtime.cli.main import cli
from runtime.codec import pack
from runtime.ids import FlowId
from runtime.operations import Arguments
from runtime.testing.driver import NetworkDriver, NodeProcess
from tests.e2e import trade
from tests.e2e.networks import HELLO

SECONDS = trade.SECONDS


def sennit(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def waiting(node: NodeProcess) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(
        sennit("ledger", "waiting", str(node.directory), "--json").stdout
    )
    return rows


def sell(network: NetworkDriver) -> FlowId:
    arguments = Arguments(named={"buyer": "Buyer", "price": pack(trade.PRICE)})
    return network.node("seller").rpc.options().start_text("trade.sell", arguments).id


@pytest.fixture
def market() -> Iterator[NetworkDriver]:
    """Return a network in which a buyer has cash and a seller has a paper."""
    with NetworkDriver.create(trade.SPEC) as network:
        trade.issue(network)
        yield network


def test_a_peer_that_never_heard_of_its_transaction_gets_it_back(market: NetworkDriver) -> None:
    market.start("buyer", "seller")
    buyer, seller = market.node("buyer"), market.node("seller")
    where = str(seller.directory)
    nothing = sennit("ledger", "waiting", where)
    nothing_recovered = sennit("ledger", "recover", where, "--all")
    selling = sell(market)
    seller.wait_until(lambda: bool(waiting(seller)), "held it", SECONDS)
    # The buyer now waits for the notary, which is down, and the seller for the buyer.
    seller.rpc.kill(selling)
    ((held),) = waiting(seller)
    tx_id = str(held["tx_id"])
    listed = sennit("ledger", "waiting", where)
    too_early = sennit("ledger", "recover", where, tx_id, "--timeout", "0.5")

    market.start("notary")
    buyer.wait_until(lambda: not waiting(buyer), "settled it", SECONDS)
    # Who asked too early is answered by now, or this one is.
    recovered = sennit("ledger", "recover", where, "--all")
    seller.wait_until(lambda: not waiting(seller), "recovered it", SECONDS)
    again = sennit("ledger", "recover", where, tx_id)
    unknown = sennit("ledger", "recover", where, "00" * 32, tx_id)

    assert (nothing.exit_code, nothing_recovered.exit_code) == (0, 0)
    assert nothing.stdout == nothing_recovered.stdout == "no transaction waits for its notary\n"
    assert (held["initiator"], held["is_collecting"]) == (buyer.name, False)
    assert listed.exit_code == 0
    assert tx_id in listed.stdout
    assert "held" in listed.stdout
    assert too_early.exit_code == 1
    assert f"{tx_id} is not final: it has no answer yet; see: sennit flow show" in too_early.stderr
    assert recovered.exit_code == 0, recovered.output
    assert trade.holdings(seller).cash == trade.PRICE
    assert (again.exit_code, again.stdout) == (0, f"{tx_id} is final\n")
    assert (unknown.exit_code, unknown.stdout) == (1, f"{tx_id} is final\n")
    assert f"{'00' * 32} is not final: TransactionUnknown: no transaction" in unknown.stderr


def test_a_lost_signature_is_asked_for_and_the_transaction_is_final(market: NetworkDriver) -> None:
    market.start("buyer", "seller")
    seller = market.node("seller")
    selling = sell(market)
    seller.wait_until(lambda: bool(waiting(seller)), "held it", SECONDS)
    tx_id = str(waiting(seller)[0]["tx_id"])
    seller.rpc.kill(selling)
    seller.stop()
    market.start("notary")
    buyer = market.node("buyer")
    buyer.wait_until(lambda: not waiting(buyer), "settled it", SECONDS)
    seller.start()

    recovered = sennit("ledger", "recover", str(seller.directory), tx_id, "--timeout", "40")

    assert (recovered.exit_code, recovered.stdout) == (0, f"{tx_id} is final\n"), recovered.output
    assert trade.holdings(seller).cash == trade.PRICE


def test_what_makes_no_sense_is_refused_with_2() -> None:
    with NetworkDriver.create(HELLO) as network:
        network.start("alice")
        node = str(network.node("alice").directory)
        cases = {
            ("ledger", "recover", node): "which transactions?",
            ("ledger", "recover", node, "--all", "00" * 32): "which transactions?",
            ("ledger", "recover", node, "nonsense"): "'nonsense' is not a hash",
            ("ledger", "recover", node, "00" * 32): "ledger.recover",
            ("ledger", "waiting", node): "ledger.waiting",
            ("ledger", "waiting", node, "more"): "nothing to do with 'more'",
        }
        for words, said in cases.items():
            refused = sennit(*words)

            assert refused.exit_code == 2, (words, refused.output)
            assert said in refused.stderr, words


@pytest.mark.parametrize("words", [[], ["waiting"], ["recover"]])
def test_every_command_has_help_with_an_example(words: list[str]) -> None:
    result = CliRunner().invoke(ledger, [*words, "--help"])

    assert result.exit_code == 0
    assert "Example: sennit ledger" in result.stdout
