"""The commands ``sennit ledger ...``: finish what waits for its notary."""

from contextlib import suppress

import click
import gevent

from ledger.flows.receive_finality import recover as recover_flow
from ledger.flows.waiting import WaitingTransaction
from ledger.flows.waiting import waiting as waiting_flow
from ledger.hashing import SecureHash
from runtime.cli.connect import NodeChoice, node_options, open_client
from runtime.cli.errors import EXIT_FAILED
from runtime.cli.flow import json_option, only_node
from runtime.cli.output import print_json, print_table
from runtime.cli.seconds import Seconds
from runtime.operations import FlowDetail


@click.group(epilog="\b\nExample: sennit ledger recover demo/nodes/seller --all\n")
def ledger() -> None:
    """Finish transactions that wait for their notary."""


@ledger.command(epilog="\b\nExample: sennit ledger waiting demo/nodes/seller\n")
@click.argument("words", nargs=-1, metavar="[NODE]")
@json_option
@node_options
def waiting(words: tuple[str, ...], as_json: bool, choice: NodeChoice) -> None:
    """List transactions that wait for their notary's signature.

    Those of flows that live are among them and need nothing. The others are for: sennit ledger
    recover.
    """
    with open_client(only_node(choice, words)) as client:
        rows = client.start_flow(waiting_flow).result()
    if as_json:
        print_json([_as_json(row) for row in rows])
    elif not rows:
        click.echo("no transaction waits for its notary")
    else:
        print_table(
            ("TRANSACTION", "INITIATOR", "NOTARY", "STATE"),
            [
                (
                    str(row.tx_id),
                    row.initiator.name,
                    row.notary.name if row.notary else "",
                    "being collected" if row.is_collecting else "held",
                )
                for row in rows
            ],
        )


@ledger.command(
    epilog=(
        "\b\n"
        "Example: sennit ledger recover demo/nodes/seller 5e88...1d8\n"
        "         sennit ledger recover demo/nodes/seller --all --timeout 60\n"
    )
)
@click.argument("words", nargs=-1, metavar="[NODE] [TRANSACTION]...")
@click.option("--all", "is_all", is_flag=True, help="All that wait: sennit ledger waiting.")
@click.option(
    "--timeout",
    "seconds",
    type=Seconds(),
    metavar="SECONDS",
    help="How long to wait for each, else for ever.",
)
@node_options
def recover(
    words: tuple[str, ...], is_all: bool, seconds: float | None, choice: NodeChoice
) -> None:
    """Get the notary's signature that never came.

    Asks the initiator of the TRANSACTION, and then the notary. What all had agreed to becomes
    final; what the initiator has given up, or the notary refuses, is forgotten. What can't be
    decided yet stays: try again later. A recovery that is not waited for goes on.

    The exit code is 0 if all are final, 1 if one of them is not.
    """
    address, rest = choice.take(words)
    if bool(rest) == is_all:
        raise click.UsageError(
            "which transactions? Give their ids (sennit ledger waiting), or else --all"
        )
    tx_ids = [_tx_id(text) for text in rest]
    are_all_final = True
    with open_client(address) as client:
        if is_all:
            tx_ids = [row.tx_id for row in client.start_flow(waiting_flow).result()]
        for tx_id in tx_ids:
            handle = client.start_flow(recover_flow, tx_id)
            detail = handle.detail()
            with suppress(gevent.Timeout), gevent.Timeout(seconds):
                # A held flow waits for an operator, who is us.
                for detail in handle.watch():
                    if detail.row.is_ended or detail.row.status == "held":
                        break
            is_final = detail.row.status == "completed"
            are_all_final = are_all_final and is_final
            click.echo(f"{tx_id} {outcome_text(detail, address.node)}", err=not is_final)
    if is_all and not tx_ids:
        click.echo("no transaction waits for its notary")
    if not are_all_final:
        click.get_current_context().exit(EXIT_FAILED)


def _tx_id(text: str) -> SecureHash:
    try:
        return SecureHash.parse(text)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def outcome_text(detail: FlowDetail, node: str) -> str:
    """Return how far the recovery of a transaction has come, for people."""
    if detail.row.status == "completed":
        return "is final"
    if detail.row.is_ended:
        return f"is not final: {detail.error}"
    why = detail.error if detail.row.status == "held" else "it has no answer yet"
    return f"is not final: {why}; see: sennit flow show {node} {detail.row.id}"


def _as_json(row: WaitingTransaction) -> dict[str, object]:
    return {
        "tx_id": str(row.tx_id),
        "initiator": row.initiator.name,
        "notary": row.notary.name if row.notary else None,
        "is_collecting": row.is_collecting,
    }
