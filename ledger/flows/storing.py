"""Transactions into and out of this node's store, for flows: each write joins the flow's commit."""

from collections.abc import Iterable, Sequence

from ledger.errors import TransactionUnknown
from ledger.hashing import SecureHash
from ledger.ledger_transaction import LedgerTransaction
from ledger.states import ContractState, StateRef, TransactionState
from ledger.stores.attachments import add_attachment, attachment
from ledger.stores.checking import check_transaction, states_at
from ledger.stores.checking import resolve as resolve_from
from ledger.stores.recording import StatesToRecord, record
from ledger.stores.transactions import (
    UNNOTARISED,
    Unnotarised,
    add_unnotarised,
    collected,
    remove_unnotarised,
    transaction_row,
    unnotarised_of,
    verified_transaction,
)
from ledger.transactions import SignedTransaction, WireTransaction
from ledger.vault import announce
from runtime.atomic import StoreTxn, atomic
from runtime.codec import message
from runtime.context import current_flow, me, service
from runtime.host import Host
from runtime.ids import FlowId
from runtime.keys import PublicKey
from runtime.party import Party
from runtime.step import step


def verify_transaction(
    signed: SignedTransaction, allowed_missing: Iterable[PublicKey] = ()
) -> LedgerTransaction:
    """Return the transaction, resolved, if all of it is right but for the allowed signatures.

    All that it refers to must have been resolved before.
    """
    # A set of keys has another order in another process, and a replay must ask for the same.
    _verify(signed, tuple(sorted(allowed_missing, key=lambda key: (key.scheme, key.data))))
    return resolved(signed)


def resolved(signed: SignedTransaction) -> LedgerTransaction:
    """Return a transaction that was verified, with all that it refers to."""
    return resolve_from(service(Host), signed.transaction)


def record_transaction(
    signed: SignedTransaction, states: StatesToRecord = StatesToRecord.ONLY_RELEVANT
) -> None:
    """Keep a verified transaction for good, in this flow's commit; again is no error.

    The vault reflects it when this returns.
    """
    _record(signed, states)


def stored_transaction(tx_id: SecureHash) -> SignedTransaction:
    """Return a transaction that was verified here; raises `TransactionUnknown`."""
    # Once verified, it never changes, so a replay reads the same.
    signed = verified_transaction(service(Host), tx_id)
    if signed is None:
        raise TransactionUnknown(f"transaction {tx_id} is not in the store, or not verified")
    return signed


def stored_states(refs: Sequence[StateRef]) -> list[TransactionState]:
    """Return outputs of transactions that were verified here."""
    return states_at(service(Host), refs)


def states_of(transaction: WireTransaction) -> list[ContractState]:
    """Return the facts that a transaction consumes and makes; what is behind it is verified."""
    inputs = stored_states(transaction.inputs)
    return [state.data for state in (*inputs, *transaction.outputs)]


def attachment_content(name: SecureHash) -> bytes:
    """Return the bytes of an attachment; raises `AttachmentUnknown`."""
    return attachment(service(Host), name).content


@message(name="ledger.Waiting")
class Waiting:
    """A transaction that waits for its notary, and what is known about its initiator."""

    signed: SignedTransaction
    about: Unnotarised


@atomic
def verified_or_none(txn: StoreTxn, tx_id: SecureHash) -> SignedTransaction | None:
    """Return a transaction if it is verified here by now."""
    return verified_transaction(txn, tx_id)


def record_own_unnotarised(signed: SignedTransaction) -> None:
    """Keep a transaction that this flow brings to all who take part, before the notary is asked.

    If the flow ends before `note_held_by_all`, the transaction goes with it.
    """
    _record_unnotarised(signed, me(), current_flow().id)


def record_unnotarised(signed: SignedTransaction, initiator: Party) -> None:
    """Keep a transaction that lacks nothing but the notary's signature."""
    _record_unnotarised(signed, initiator, None)


@atomic
def _record_unnotarised(
    txn: StoreTxn, signed: SignedTransaction, initiator: Party, collector: FlowId | None
) -> None:
    now_ms = txn.host.clock.now_ms()
    add_unnotarised(txn, signed, initiator=initiator, now_ms=now_ms, collector=collector)


@atomic
def note_held_by_all(txn: StoreTxn, tx_id: SecureHash) -> None:
    """Note that all who take part hold a transaction, so that it may be notarised."""
    collected(txn, tx_id)


@atomic
def forget_unnotarised(txn: StoreTxn, tx_id: SecureHash) -> bool:
    """Forget a transaction that the notary has refused; False if there was none to forget."""
    return remove_unnotarised(txn, tx_id)


@atomic
def waiting_transaction(txn: StoreTxn, tx_id: SecureHash) -> Waiting | None:
    """Return the transaction if it waits for its notary."""
    row, about = transaction_row(txn, tx_id), unnotarised_of(txn, tx_id)
    if row is None or about is None or row.status != UNNOTARISED:
        return None
    return Waiting(row.signed, about)


@atomic
def import_attachment(txn: StoreTxn, content: bytes) -> SecureHash:
    """Keep an attachment and return its name, by which transactions refer to it."""
    return add_attachment(txn, content)


@step(kind="pure", name="ledger.verify")
def _verify(signed: SignedTransaction, allowed_missing: tuple[PublicKey, ...]) -> None:
    host = service(Host)
    check_transaction(
        host,
        signed,
        notaries=host.directory.notaries(),
        allowed_missing=allowed_missing,
    )


@atomic
def _record(txn: StoreTxn, signed: SignedTransaction, states: StatesToRecord) -> None:
    record(
        txn,
        signed,
        identity=txn.host.me.key,
        now_ms=txn.host.clock.now_ms(),
        states=states,
    )
    announce(txn)
