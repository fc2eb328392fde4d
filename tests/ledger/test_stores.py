"""Stores of transactions, attachments, identities and of a notary."""

import pytest

from ledger.errors import AttachmentInvalid, AttachmentUnknown
from ledger.hashing import SecureHash
from ledger.signatures import notarise_many
from ledger.states import StateRef
from ledger.stores.attachments import (
    ATTACHMENT_BYTES_MAX,
    add_attachment,
    attachment,
    has_attachment,
)
from ledger.stores.notary import CONSUMED, Grant, claim_states, consumer_of, grant_of
from ledger.stores.rows import prefix_end, scan_prefix
from ledger.stores.transactions import (
    UNNOTARISED,
    UNVERIFIED,
    VERIFIED,
    Unnotarised,
    add_unnotarised,
    add_unverified,
    add_verified,
    double_spends,
    remove_unnotarised,
    spender_of,
    transaction_row,
    unnotarised_of,
    unnotarised_transactions,
    verified_transaction,
)
from ledger.time_window import TimeWindow
from ledger.transactions import SignedTransaction
from ledger.uniqueness import Conflict, Granted, OutsideWindow, UniquenessClaim
from runtime.ports import Space
from tests.ledger.builders import coin, transaction
from tests.ledger.memory_rows import MemoryRows
from tests.ledger.parties import ALICE, BOB, NOTARY

A, B = StateRef(SecureHash.of(b"a"), 0), StateRef(SecureHash.of(b"b"), 1)
TX, OTHER = SecureHash.of(b"tx"), SecureHash.of(b"other")


@pytest.mark.parametrize(
    ("prefix", "end"),
    [(b"", None), (b"a", b"b"), (b"a\xff", b"b"), (b"\xff\xff", None), (b"a\x00", b"a\x01")],
)
def test_the_end_of_a_prefix_is_the_first_key_behind_it(prefix: bytes, end: bytes | None) -> None:
    assert prefix_end(prefix) == end


def test_a_prefix_scan_sees_what_begins_with_it_and_nothing_else() -> None:
    rows, space = MemoryRows(), Space("test")
    for key in (b"a", b"a\xff", b"a\xff\xff", b"b", b""):
        rows.put(space, key, b"")

    assert [key for key, _ in scan_prefix(rows, space, b"a\xff")] == [b"a\xff", b"a\xff\xff"]


def test_a_transaction_goes_from_unverified_to_verified_and_never_back() -> None:
    rows, signed = MemoryRows(), transaction(coin(1))

    add_unverified(rows, signed)
    assert verified_transaction(rows, signed.id) is None
    add_verified(rows, signed)
    add_unverified(rows, signed)
    add_unnotarised(rows, signed, initiator=BOB.party, now_ms=5)

    row = transaction_row(rows, signed.id)
    assert row is not None
    assert row.status == VERIFIED
    assert verified_transaction(rows, signed.id) == signed
    assert list(unnotarised_transactions(rows)) == []


def test_a_transaction_waits_for_its_notary_and_can_be_found_for_recovery() -> None:
    rows, signed = MemoryRows(), transaction(coin(1))
    add_unverified(rows, signed)

    add_unnotarised(rows, signed, initiator=BOB.party, now_ms=5)

    row = transaction_row(rows, signed.id)
    assert row is not None
    assert row.status == UNNOTARISED
    assert list(unnotarised_transactions(rows)) == [(signed.id, Unnotarised(BOB.party, 5))]


def test_a_transaction_that_the_notary_refused_is_forgotten_but_no_other_is() -> None:
    rows, refused, kept = MemoryRows(), transaction(coin(1)), transaction(coin(2))
    add_unnotarised(rows, refused, initiator=BOB.party, now_ms=5)
    add_verified(rows, kept)

    assert remove_unnotarised(rows, refused.id)
    assert not remove_unnotarised(rows, refused.id)
    assert not remove_unnotarised(rows, kept.id)

    assert transaction_row(rows, refused.id) is None
    assert list(unnotarised_transactions(rows)) == []
    assert verified_transaction(rows, kept.id) == kept


def test_a_history_that_is_not_yet_checked_is_unverified() -> None:
    rows, signed = MemoryRows(), transaction(coin(1))

    add_unverified(rows, signed)

    row = transaction_row(rows, signed.id)
    assert row is not None
    assert row.status == UNVERIFIED


def notarised(signed: SignedTransaction) -> SignedTransaction:
    return signed.with_signatures(*notarise_many([signed.id], NOTARY.key, NOTARY.sign))


def test_a_verified_transaction_never_changes() -> None:
    rows, signed = MemoryRows(), transaction(coin(1))
    add_verified(rows, signed)

    add_verified(rows, notarised(signed))

    assert verified_transaction(rows, signed.id) == signed


def test_a_history_brings_the_signature_that_a_waiting_transaction_lacks() -> None:
    rows, signed = MemoryRows(), transaction(coin(1))
    add_unnotarised(rows, signed, initiator=BOB.party, now_ms=5)

    add_unverified(rows, notarised(signed))

    row = transaction_row(rows, signed.id)
    assert row is not None
    assert row.status == UNNOTARISED
    assert row.signed.signing_keys == {ALICE.key, NOTARY.key}
    assert unnotarised_of(rows, signed.id) == Unnotarised(BOB.party, 5)


def test_the_store_knows_who_consumed_a_state() -> None:
    rows, first = MemoryRows(), transaction(coin(1))
    second = transaction(coin(1), inputs=(first.transaction.output_ref(0),))

    add_verified(rows, second)

    assert spender_of(rows, StateRef(first.id, 0)) == second.id
    assert spender_of(rows, StateRef(second.id, 0)) is None


def test_an_attachment_is_found_by_the_hash_of_its_content() -> None:
    rows = MemoryRows()

    name = add_attachment(rows, b"prospectus")
    again = add_attachment(rows, b"prospectus")

    assert name == again == SecureHash.of(b"prospectus")
    assert has_attachment(rows, name)
    assert attachment(rows, name).content == b"prospectus"


def test_an_attachment_that_is_too_large_or_unknown_is_refused() -> None:
    rows = MemoryRows()

    with pytest.raises(AttachmentInvalid, match="at most"):
        add_attachment(rows, bytes(ATTACHMENT_BYTES_MAX + 1))
    with pytest.raises(AttachmentUnknown, match="not in the store"):
        attachment(rows, SecureHash.of(b"nothing"))


def test_a_notary_grants_a_state_once_and_the_same_transaction_again() -> None:
    rows = MemoryRows()
    claim_of_tx = UniquenessClaim(TX, (A, B), (), TimeWindow(0, 10))

    first = claim_states(rows, claim_of_tx, request=b"request", now_ms=5)
    again = claim_states(rows, claim_of_tx, request=b"request", now_ms=50)
    other = claim_states(rows, UniquenessClaim(OTHER, (B,)), request=b"other", now_ms=6)

    assert first == Granted(again=False)
    assert again == Granted(again=True)
    assert isinstance(other, Conflict)
    assert [state.ref for state in other.consumed] == [B]
    assert consumer_of(rows, A) == SecureHash.of(TX.digest)
    assert grant_of(rows, TX) == Grant(5)
    assert grant_of(rows, OTHER) is None


def test_a_notary_commits_nothing_of_what_it_refuses() -> None:
    rows = MemoryRows()
    claim_states(rows, UniquenessClaim(TX, (A,)), request=b"", now_ms=0)

    conflict = claim_states(rows, UniquenessClaim(OTHER, (B, A)), request=b"", now_ms=0)
    late = claim_states(
        rows, UniquenessClaim(OTHER, (B,), (), TimeWindow(0, 1)), request=b"", now_ms=1
    )

    assert isinstance(conflict, Conflict)
    assert isinstance(late, OutsideWindow)
    assert rows.count(CONSUMED) == 1


def test_a_reference_is_checked_and_not_consumed() -> None:
    rows = MemoryRows()

    assert claim_states(rows, UniquenessClaim(TX, (), (A,)), request=b"", now_ms=0) == Granted(
        again=False
    )
    assert claim_states(rows, UniquenessClaim(OTHER, (A,)), request=b"", now_ms=0) == Granted(
        again=False
    )
    third = UniquenessClaim(SecureHash.of(b"third"), (), (A,))
    assert isinstance(claim_states(rows, third, request=b"", now_ms=0), Conflict)


def test_two_final_transactions_of_one_state_raise_an_alarm(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows, made = MemoryRows(), transaction(coin(1), coin(2))
    add_verified(rows, made)
    both = tuple(made.transaction.output_ref(index) for index in range(2))
    first, second = transaction(coin(3), inputs=both), transaction(coin(2), inputs=both[1:])
    add_verified(rows, first)
    assert not caplog.records

    add_verified(rows, second)

    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    assert list(double_spends(rows)) == [(both[1].ref, second.id)]
    assert spender_of(rows, both[1].ref) == first.id
    assert verified_transaction(rows, first.id) == first
    assert verified_transaction(rows, second.id) == second


def test_a_transaction_that_comes_again_is_no_double_spend() -> None:
    rows, made = MemoryRows(), transaction(coin(1))
    add_verified(rows, made)
    spending = transaction(coin(1), inputs=(made.transaction.output_ref(0),))

    for _ in range(2):
        add_verified(rows, spending)

    assert list(double_spends(rows)) == []
