"""Ways to break the ledger on purpose, one at a time, for those who should notice."""

from collections.abc import Callable, Iterator, Sequence

import pytest

from ledger import transactions, vault, vault_index
from ledger.amounts import Amount
from ledger.builder import TransactionBuilder
from ledger.components import ABSENT_ROOT, Group, group_roots
from ledger.flows import finality, history, keys, notary_service, receive_finality, resolve, storing
from ledger.flows.notarise import NotarisationRequest, Notarised, NotaryAnswer, claim_of
from ledger.flows.resolve import HistoryDone
from ledger.flows.storing import record_own_unnotarised, record_transaction
from ledger.hashing import SecureHash
from ledger.signatures import TransactionSignature
from ledger.states import StateRef
from ledger.stores import locks, notary, recording
from ledger.stores.notary import CONSUMED, GRANTS, REQUESTS, Grant, consumer_of
from ledger.stores.recording import StatesToRecord
from ledger.stores.rows import ReadRows, Rows
from ledger.stores.transactions import add_verified
from ledger.stores.vault import LOG, Head, LogEntry, VaultRow, append, head, log_key, put_produced
from ledger.time_window import TimeWindow
from ledger.transactions import SignedTransaction
from ledger.uniqueness import Decision, Granted, UniquenessClaim, consumer_hash, decide
from runtime.atomic import StoreTxn, atomic
from runtime.codec import decode, encode
from runtime.context import durable
from runtime.engine.client_ids import ClientIds
from runtime.ids import FlowId
from runtime.party import AbstractParty, Party
from runtime.ports import Space
from runtime.session import Session
from samples.finance import cash
from samples.finance.cash import CashContract
from tests.simulation import floor

Patch = pytest.MonkeyPatch


class Memory:
    """What a node remembers until it crashes, where it should write it down."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Space, bytes], bytes] = {}
        self.later: list[tuple[StateRef, VaultRow]] = []
        self.is_tidy = False


def memory_of(rows: ReadRows) -> Memory:
    """Return the memory of the node whose atomic function has ``rows``."""
    host = rows.host  # type: ignore[attr-defined]
    if Memory not in host._services:
        host.provide(Memory, Memory())
    found: Memory = host.service(Memory)
    return found


# --- the notary -----------------------------------------------------------------------------------


def let_the_notary_look_at_nothing(patch: Patch) -> None:
    patch.setattr(notary, "consumer_of", lambda rows, ref: None)
    patch.setattr(notary, "_commit", _commit)


def let_the_notary_remember_until_it_crashes(patch: Patch) -> None:
    claim_states = notary.claim_states

    def claim(rows: Rows, claim: UniquenessClaim, *, request: bytes, now_ms: int) -> Decision:
        return claim_states(_Forgetful(rows), claim, request=request, now_ms=now_ms)

    patch.setattr(notary_service, "claim_states", claim)


def let_the_notary_look_in_one_commit_and_write_in_another(patch: Patch) -> None:
    decide_at_once = notary_service._decide

    def decide_later(request: NotarisationRequest) -> NotaryAnswer:
        claim = claim_of(request.filtered)
        if _look(claim) != Granted(again=False):
            return decide_at_once(request)
        durable()
        _write(claim, encode(request))
        return Notarised(notary_service._signature(claim.tx_id))

    patch.setattr(notary_service, "_decide", decide_later)


def let_the_notary_grant_only_once(patch: Patch) -> None:
    def once(
        claim: UniquenessClaim,
        *,
        now_ms: int,
        was_granted: bool,
        consumer_of: Callable[[StateRef], SecureHash | None],
    ) -> Decision:
        return decide(claim, now_ms=now_ms, was_granted=False, consumer_of=consumer_of)

    patch.setattr(notary, "decide", once)


def let_the_notary_ignore_the_time(patch: Patch) -> None:
    patch.setattr(TimeWindow, "contains_ms", lambda self, time_ms: True)


def let_the_notary_forget_one_input(patch: Patch) -> None:
    def commit(rows: Rows, claim: UniquenessClaim, *, request: bytes, now_ms: int) -> None:
        fewer = UniquenessClaim(claim.tx_id, claim.inputs[1:])
        _commit(rows, fewer, request=request, now_ms=now_ms)

    patch.setattr(notary, "_commit", commit)


class _Forgetful:
    """Rows of a notary that are in memory only."""

    def __init__(self, rows: Rows) -> None:
        self._memory = memory_of(rows).rows

    def get(self, space: Space, key: bytes) -> bytes | None:
        return self._memory.get((space, key))

    def put(self, space: Space, key: bytes, value: bytes) -> None:
        self._memory[space, key] = value

    def delete(self, space: Space, key: bytes) -> None:
        raise AssertionError("a notary deletes nothing")

    def scan(self, space: Space, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        raise AssertionError("a notary does not look through what it has")


def _commit(rows: Rows, claim: UniquenessClaim, *, request: bytes, now_ms: int) -> None:
    for ref in claim.inputs:
        rows.put(CONSUMED, ref.key, consumer_hash(claim.tx_id).digest)
    rows.put(GRANTS, claim.tx_id.digest, encode(Grant(now_ms)))
    rows.put(REQUESTS, claim.tx_id.digest, request)


@atomic
def _look(txn: StoreTxn, claim: UniquenessClaim) -> Decision:
    return decide(
        claim,
        now_ms=txn.host.clock.now_ms(),
        was_granted=txn.get(GRANTS, claim.tx_id.digest) is not None,
        consumer_of=lambda ref: consumer_of(txn, ref),
    )


@atomic
def _write(txn: StoreTxn, claim: UniquenessClaim, request: bytes) -> None:
    _commit(txn, claim, request=request, now_ms=txn.host.clock.now_ms())


# --- finality -------------------------------------------------------------------------------------


def record_before_the_notary_has_signed(patch: Patch) -> None:
    def early(signed: SignedTransaction, initiator: Party) -> None:
        record_transaction(signed)

    patch.setattr(receive_finality, "record_unnotarised", early)


def ask_the_notary_before_all_hold_it(patch: Patch) -> None:
    hold, ask = finality._hold_everywhere, finality._notarised

    def ask_first(signed: SignedTransaction, sessions: Sequence[Session]) -> SignedTransaction:
        notarised = ask(signed, ())
        hold(signed, sessions)
        return notarised

    def hold_here(signed: SignedTransaction, sessions: Sequence[Session]) -> None:
        record_own_unnotarised(signed)

    patch.setattr(finality, "_hold_everywhere", hold_here)
    patch.setattr(finality, "_notarised", ask_first)


def let_what_is_held_go_with_its_flow(patch: Patch) -> None:
    def hold(signed: SignedTransaction, initiator: Party) -> None:
        record_own_unnotarised(signed)

    patch.setattr(receive_finality, "record_unnotarised", hold)


def recover_what_not_all_hold(patch: Patch) -> None:
    patch.setattr(receive_finality, "_fate", lambda waiting: receive_finality.Fate.HELD)


def keep_what_was_refused(patch: Patch) -> None:
    patch.setattr(receive_finality, "forget_unnotarised", lambda tx_id: False)


# --- what is believed -----------------------------------------------------------------------------


def believe_all_signatures(patch: Patch) -> None:
    patch.setattr(TransactionSignature, "verify", lambda self, tx_id: None)


def believe_all_histories(patch: Patch) -> None:
    patch.setattr(history, "verify", lambda transaction: None)


def resolve_no_histories(patch: Patch) -> None:
    def resolve_nothing(
        session: Session, offered: Sequence[SignedTransaction], ids: Sequence[SecureHash] = ()
    ) -> None:
        session.send(HistoryDone())

    patch.setattr(resolve, "resolve_history", resolve_nothing)


def leave_outputs_out_of_the_id(patch: Patch) -> None:
    def roots(groups: Sequence[Sequence[bytes]], salt: bytes) -> tuple[bytes, ...]:
        found = list(group_roots(groups, salt))
        found[Group.OUTPUTS] = ABSENT_ROOT
        return tuple(found)

    patch.setattr(transactions, "group_roots", roots)
    # The other tests have the same transactions, and this cache knows their ids.
    patch.setattr(transactions, "decoded_ones", transactions.Decoded())


def lose_the_change(patch: Patch) -> None:
    _change(patch, lambda amount: Amount.zero(amount.token))


def round_the_change_up(patch: Patch) -> None:
    _change(patch, lambda amount: Amount(amount.quantity + 1, amount.token))


def _change(patch: Patch, wrong: Callable[[Amount], Amount]) -> None:
    """Have the change be wrong, and the contract not look."""
    add_output = cash._add_output
    paid: set[int] = set()

    def add(builder: TransactionBuilder, amount: Amount, owner: AbstractParty) -> None:
        is_change = id(builder) in paid
        paid.symmetric_difference_update({id(builder)})
        add_output(builder, wrong(amount) if is_change else amount, owner)

    patch.setattr(cash, "_add_output", add)
    patch.setattr(CashContract, "verify", lambda self, tx: None)


# --- the vault ------------------------------------------------------------------------------------


def record_in_two_commits(patch: Patch) -> None:
    rest = storing._record

    def record_slowly(signed: SignedTransaction, states: StatesToRecord) -> None:
        _record_transaction_only(signed)
        durable()
        rest(signed, states)

    patch.setattr(storing, "_record", record_slowly)


@atomic
def _record_transaction_only(txn: StoreTxn, signed: SignedTransaction) -> None:
    add_verified(txn, signed)


def record_states_in_memory(patch: Patch) -> None:
    def put_later(rows: Rows, ref: StateRef, row: VaultRow) -> None:
        later = memory_of(rows).later
        for earlier in later:
            put_produced(rows, *earlier)
        later[:] = [(ref, row)]

    patch.setattr(recording, "put_produced", put_later)


def record_everything_twice(patch: Patch) -> None:
    def append_twice(rows: Rows, entry: LogEntry) -> Head:
        append(rows, entry)
        return append(rows, entry)

    patch.setattr(recording, "append", append_twice)


def follow_any_log_of_that_length(patch: Patch) -> None:
    def log_after(rows: ReadRows, start: Head) -> Iterator[tuple[Head, LogEntry]] | None:
        last = head(rows)
        if start.position > last.position:
            return None
        found = rows.scan(LOG, log_key(start.position + 1), None)
        return iter([(last, decode(body, LogEntry)) for _, body in found])

    def catch_up(self: vault_index.VaultIndex) -> int:
        last = head(self._rows)
        if self._reflects.position != last.position:
            return true_catch_up(self)
        return last.position

    true_catch_up = vault_index.VaultIndex.catch_up
    # An index in memory is gone after a crash.
    patch.setattr(floor, "FILES_RATE", 1.0)
    patch.setattr(vault_index, "log_after", log_after)
    patch.setattr(vault_index.VaultIndex, "catch_up", catch_up)


def store_no_one_time_keys(patch: Patch) -> None:
    patch.setattr(keys, "add_own_key", lambda txn, key, sealed: None)


# --- soft locks -----------------------------------------------------------------------------------


def take_no_locks(patch: Patch) -> None:
    patch.setattr(locks, "_take", lambda rows, flow_id, ref: None)


def release_no_locks(patch: Patch) -> None:
    patch.setattr(vault, "release", lambda rows, flow_id, refs=None: False)


def release_all_locks_at_a_restart(patch: Patch) -> None:
    true_lock = locks.lock

    def lock(rows: Rows, flow_id: FlowId, refs: Sequence[StateRef]) -> None:
        memory = memory_of(rows)
        if not memory.is_tidy:
            memory.is_tidy = True
            for _, holder in list(rows.scan(locks.LOCKS, b"", None)):
                locks.release(rows, FlowId(holder.decode()))
        true_lock(rows, flow_id, refs)

    patch.setattr(locks, "lock", lock)
    patch.setattr(vault, "lock", lock)


def release_locks_and_no_coins(patch: Patch) -> None:
    patch.setattr(locks, "add_coin", lambda rows, ref, row: None)


# --- clients --------------------------------------------------------------------------------------


def forget_client_ids(patch: Patch) -> None:
    patch.setattr(ClientIds, "attached", lambda *arguments: None)
