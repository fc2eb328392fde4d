"""What waits at this node for its notary's signature, for those who look after the node."""

from itertools import islice
from typing import Final

from ledger.hashing import SecureHash
from ledger.stores.transactions import transaction_row, unnotarised_transactions
from runtime.atomic import StoreTxn, atomic
from runtime.codec import message
from runtime.flow import flow
from runtime.party import Party

# One answer stays small; when these are dealt with, the next ones show.
SHOWN_MAX: Final = 1_000


@message(name="ledger.WaitingTransaction")
class WaitingTransaction:
    """A transaction without its notary's signature, of a flow that lives or one that has ended.

    ``is_collecting``: its initiator, which is this node, still brings it to others.
    """

    tx_id: SecureHash
    initiator: Party
    notary: Party | None
    is_collecting: bool


@flow(name="ledger.waiting")
def waiting() -> list[WaitingTransaction]:
    """Return the transactions that wait for their notary here, see `ledger.recover`."""
    return _waiting()


@atomic
def _waiting(txn: StoreTxn) -> list[WaitingTransaction]:
    found = []
    for tx_id, about in islice(unnotarised_transactions(txn), SHOWN_MAX):
        row = transaction_row(txn, tx_id)
        assert row is not None
        found.append(
            WaitingTransaction(
                tx_id,
                about.initiator,
                row.signed.transaction.notary,
                about.collector is not None,
            )
        )
    return found
