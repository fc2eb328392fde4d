"""Resolve a transaction from the store, and check all of it: signatures, notary, contracts.

What it reads is named by hashes, so the verdict is the same whenever it is asked for.
"""

from collections.abc import Iterable, Sequence

from ledger.errors import (
    AttachmentMissing,
    AttachmentUnknown,
    NotaryUnknown,
    TransactionMalformed,
    TransactionUnknown,
)
from ledger.hashing import SecureHash
from ledger.ledger_transaction import Attachment, LedgerTransaction
from ledger.states import StateRef, TransactionState
from ledger.stores.attachments import attachment
from ledger.stores.rows import ReadRows
from ledger.stores.transactions import verified_transaction
from ledger.transactions import SignedTransaction, WireTransaction
from ledger.verification import verify
from runtime.keys import PublicKey
from runtime.party import Party


def check_transaction(
    rows: ReadRows,
    signed: SignedTransaction,
    *,
    notaries: Sequence[Party],
    allowed_missing: Iterable[PublicKey] = (),
) -> LedgerTransaction:
    """Return the transaction, resolved, if everything in it is right.

    All that it refers to must have been verified before.
    """
    check_notary(signed.transaction, notaries)
    signed.verify_signatures_except(allowed_missing)
    resolved = resolve(rows, signed.transaction)
    verify(resolved)
    return resolved


def check_notary(transaction: WireTransaction, notaries: Sequence[Party]) -> None:
    """Return if the transaction's notary, and that of what it makes, is one of the network's.

    Otherwise anybody could be the notary of their own states, and spend them twice.
    """
    outputs = dict.fromkeys(state.notary for state in transaction.outputs)
    for notary in dict.fromkeys((transaction.notary, *outputs)):
        if notary is not None and notary not in notaries:
            raise NotaryUnknown(str(transaction.id), f"{notary} is not a notary of this network")


def resolve(rows: ReadRows, transaction: WireTransaction) -> LedgerTransaction:
    """Return the transaction with the states and attachments that it refers to."""
    refs = dict.fromkeys((*transaction.inputs, *transaction.references))
    states = dict(zip(refs, states_at(rows, refs), strict=True))

    def attachment_of(name: SecureHash) -> Attachment:
        try:
            return attachment(rows, name)
        except AttachmentUnknown as error:
            raise AttachmentMissing(str(transaction.id), str(error)) from error

    return transaction.resolve(states.__getitem__, attachment_of)


def states_at(rows: ReadRows, refs: Iterable[StateRef]) -> list[TransactionState]:
    """Return outputs of transactions that were verified here, each of which is read once."""
    makers: dict[SecureHash, WireTransaction] = {}
    states = []
    for ref in refs:
        if ref.txhash not in makers:
            makers[ref.txhash] = _verified_wire(rows, ref.txhash)
        states.append(_output(makers[ref.txhash], ref))
    return states


def _verified_wire(rows: ReadRows, tx_id: SecureHash) -> WireTransaction:
    signed = verified_transaction(rows, tx_id)
    if signed is None:
        raise TransactionUnknown(f"transaction {tx_id} is not in the store, or not verified")
    return signed.transaction


def _output(transaction: WireTransaction, ref: StateRef) -> TransactionState:
    outputs = transaction.outputs
    if ref.index >= len(outputs):
        raise TransactionMalformed(
            str(ref.txhash), f"it has {len(outputs)} outputs, and no output {ref.index}"
        )
    return outputs[ref.index]
