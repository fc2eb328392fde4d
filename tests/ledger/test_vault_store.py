"""The vault's truth: states, coins, soft locks and the log of changes."""

from hashlib import sha256

import pytest

from ledger.amounts import Amount
from ledger.builder import TransactionBuilder
from ledger.errors import InsufficientBalance, StatesNotAvailable
from ledger.hashing import SecureHash
from ledger.states import StateRef, changed
from ledger.stores import vault
from ledger.stores.coins import COINS, SPENT_COINS, CoinRequest, select_coins, set_aside
from ledger.stores.identities import add_own_key
from ledger.stores.locks import (
    FLOW_LOCKS,
    LOCKS,
    holder_of,
    lock,
    lock_coins,
    locked_by,
    release,
)
from ledger.stores.recording import StatesToRecord
from ledger.stores.vault import (
    CONSUMED,
    LOG,
    STATES,
    UNCONSUMED,
    Head,
    LogEntry,
    all_rows,
    append,
    head,
    log_after,
    log_key,
    vault_row,
)
from runtime.ids import FlowId
from tests.ledger.builders import coin, keep, transaction
from tests.ledger.memory_rows import MemoryRows
from tests.ledger.parties import (
    ALICE,
    BANK,
    BOB,
    NOTARY,
    OTHER_NOTARY,
    SALT,
    Coin,
    Deal,
    Do,
    Thing,
    linear_id,
)

NOTARIES = [NOTARY.party, OTHER_NOTARY.party]
FLOW, OTHER_FLOW = FlowId("flow-1"), FlowId("flow-2")


def wanted(quantity: int, **fields: object) -> CoinRequest:
    return CoinRequest("tests.Coin", "USD", quantity, **fields)  # type: ignore[arg-type]


def test_what_we_own_or_take_part_in_is_relevant() -> None:
    rows = MemoryRows()
    one_time = ALICE.one_time(1)
    add_own_key(rows, one_time.key, b"")
    deal = Deal(linear_id=linear_id(1), parties=(BOB.party, ALICE.party))
    signed = transaction(coin(1), coin(2, one_time), coin(3, BOB.party), deal)

    kept = keep(rows, signed)

    assert [state.ref.index for state in kept] == [0, 1, 3]
    rows_of = [vault_row(rows, state.ref) for state in kept]
    assert [row.is_owned for row in rows_of if row] == [True, True, False]
    assert all(row.is_relevant for row in rows_of if row)


def test_an_observer_keeps_all_and_a_reader_of_history_nothing() -> None:
    signed = transaction(coin(1), coin(3, BOB.party))

    assert len(keep(MemoryRows(), signed, states=StatesToRecord.ALL_VISIBLE)) == 2
    assert keep(MemoryRows(), signed, states=StatesToRecord.NONE) == []


def test_a_state_that_an_observer_keeps_is_no_coin() -> None:
    rows = MemoryRows()

    keep(rows, transaction(coin(3, BOB.party)), states=StatesToRecord.ALL_VISIBLE)

    assert rows.count(STATES) == 1
    assert rows.count(COINS) == 0


def test_recording_again_changes_nothing() -> None:
    rows, signed = MemoryRows(), transaction(coin(1))
    keep(rows, signed, now_ms=1)
    before = head(rows)

    keep(rows, signed, now_ms=2)

    assert head(rows) == before
    assert len(list(all_rows(rows))) == 1


def test_a_consumed_state_stays_with_its_consumer_and_time() -> None:
    rows = MemoryRows()
    (state,) = keep(rows, transaction(coin(1)), now_ms=1)
    spend = transaction(coin(1, BOB.party), inputs=(state,))

    keep(rows, spend, now_ms=2)

    row = vault_row(rows, state.ref)
    assert row is not None
    assert (row.status, row.recorded_ms, row.consumed_ms) == (CONSUMED, 1, 2)
    assert row.consumer == spend.id
    assert rows.count(COINS) == 0


def test_a_state_whose_consumer_came_first_arrives_consumed() -> None:
    rows, made = MemoryRows(), transaction(coin(1))
    spend = transaction(coin(1, BOB.party), inputs=(made.transaction.output_ref(0),))
    keep(rows, spend)

    (state,) = keep(rows, made)

    row = vault_row(rows, state.ref)
    assert row is not None
    assert row.status == CONSUMED
    assert rows.count(COINS) == 0


def test_a_history_that_becomes_ours_later_comes_into_the_vault() -> None:
    rows, signed = MemoryRows(), transaction(coin(1))
    keep(rows, signed, states=StatesToRecord.NONE)

    (state,) = keep(rows, signed)

    row = vault_row(rows, state.ref)
    assert row is not None
    assert row.status == UNCONSUMED


def test_coins_are_chosen_until_they_suffice() -> None:
    rows = MemoryRows()
    keep(rows, transaction(coin(10), coin(10), coin(10), coin(5, product="EUR")))

    chosen = select_coins(rows, wanted(15), NOTARIES)

    assert len(chosen) == 2
    assert all(isinstance(state.data, Coin) for state in chosen)


def test_too_few_coins_say_how_much_is_missing() -> None:
    rows = MemoryRows()
    keep(rows, transaction(coin(10)))

    with pytest.raises(InsufficientBalance, match="5 USD are missing") as caught:
        select_coins(rows, wanted(15), NOTARIES)

    assert (caught.value.missing, caught.value.product) == (5, "USD")


def test_coins_of_other_products_do_not_count() -> None:
    rows = MemoryRows()
    for product in ("USD", "EUR", "GBP", "CHF"):
        keep(rows, transaction(coin(1, product=product)))

    for product in ("USD", "EUR", "GBP", "CHF"):
        with pytest.raises(InsufficientBalance, match=f"1 {product}"):
            select_coins(rows, CoinRequest("tests.Coin", product, 2), NOTARIES)


def test_coins_of_one_selection_have_one_notary() -> None:
    rows = MemoryRows()
    keep(rows, transaction(coin(10), coin(1)))
    keep(rows, transaction(coin(8), coin(4), notary=OTHER_NOTARY))

    chosen = select_coins(rows, wanted(12), NOTARIES)
    named = select_coins(rows, wanted(11, notary=NOTARY.party), NOTARIES)

    assert {state.state.notary for state in chosen} == {OTHER_NOTARY.party}
    assert {state.state.notary for state in named} == {NOTARY.party}
    with pytest.raises(InsufficientBalance, match="8 USD"):
        select_coins(rows, wanted(20), NOTARIES)


def test_coins_can_be_limited_to_issuers() -> None:
    rows = MemoryRows()
    foreign = Coin(owner=ALICE.party, amount=Amount(50, "USD").issued_by(BOB.party))
    keep(rows, transaction(foreign, coin(3)))

    chosen = select_coins(rows, wanted(3, issuers=(BANK.party,)), NOTARIES)

    assert [state.data.amount.quantity for state in chosen] == [3]
    with pytest.raises(InsufficientBalance):
        select_coins(rows, wanted(4, issuers=(BANK.party,)), NOTARIES)


def test_two_flows_never_choose_the_same_coin() -> None:
    rows = MemoryRows()
    keep(rows, transaction(*[coin(1) for _ in range(10)]))

    first = lock_coins(rows, FLOW, wanted(6), NOTARIES)
    second = lock_coins(rows, OTHER_FLOW, wanted(4), NOTARIES)

    assert {c.ref for c in first}.isdisjoint({c.ref for c in second})
    with pytest.raises(InsufficientBalance):
        lock_coins(rows, OTHER_FLOW, wanted(1), NOTARIES)
    assert locked_by(rows, FLOW) == sorted(c.ref for c in first)


def test_released_coins_can_be_chosen_again() -> None:
    rows = MemoryRows()
    keep(rows, transaction(coin(1), coin(1)))
    locked = lock_coins(rows, FLOW, wanted(2), NOTARIES)

    release(rows, FLOW, [locked[0].ref])
    assert [c.ref for c in lock_coins(rows, OTHER_FLOW, wanted(1), NOTARIES)] == [locked[0].ref]
    release(rows, FLOW)

    assert holder_of(rows, locked[1].ref) is None
    assert locked_by(rows, FLOW) == []
    assert len(lock_coins(rows, FlowId("flow-3"), wanted(1), NOTARIES)) == 1


def test_a_lock_is_taken_for_all_or_for_none() -> None:
    rows = MemoryRows()
    first, second = keep(rows, transaction(coin(1), coin(1)))
    lock(rows, FLOW, [second.ref])

    with pytest.raises(StatesNotAvailable, match="locked by flow flow-1"):
        lock(rows, OTHER_FLOW, [first.ref, second.ref])

    assert holder_of(rows, first.ref) is None


def test_locking_again_by_the_same_flow_is_no_error() -> None:
    rows = MemoryRows()
    (state,) = keep(rows, transaction(coin(1)))
    lock(rows, FLOW, [state.ref, state.ref])
    before = head(rows)

    lock(rows, FLOW, [state.ref])

    assert head(rows) == before


def test_states_that_are_unknown_or_consumed_can_not_be_locked() -> None:
    rows = MemoryRows()
    (state,) = keep(rows, transaction(coin(1)))
    keep(rows, transaction(coin(1, BOB.party), inputs=(state,)))

    with pytest.raises(StatesNotAvailable, match="was consumed by"):
        lock(rows, FLOW, [state.ref])
    with pytest.raises(StatesNotAvailable, match="not in the vault"):
        lock(rows, FLOW, [StateRef(SecureHash.of(b"?"), 0)])


def test_consuming_a_state_drops_its_lock() -> None:
    rows = MemoryRows()
    (state,) = keep(rows, transaction(coin(1)))
    lock(rows, FLOW, [state.ref])

    keep(rows, transaction(coin(1, BOB.party), inputs=(state,)))
    release(rows, FLOW)

    assert rows.count(LOCKS) == 0
    assert rows.count(FLOW_LOCKS) == 0
    assert rows.count(COINS) == 0


def test_states_that_are_no_coins_can_be_locked_too() -> None:
    rows = MemoryRows()
    (state,) = keep(rows, transaction(Thing(owner=ALICE.party, name="lamp")))

    lock(rows, FLOW, [state.ref])
    release(rows, FLOW)

    assert rows.count(COINS) == 0


def test_the_log_tells_what_happened_in_order() -> None:
    rows = MemoryRows()
    made = transaction(coin(1))
    (state,) = keep(rows, made)
    lock(rows, FLOW, [state.ref])
    release(rows, FLOW)
    spend = transaction(coin(1, BOB.party), inputs=(state,))
    keep(rows, spend)

    log = log_after(rows, Head())

    assert log is not None
    entries = list(log)
    assert [changed(entry, rows=b"") for _, entry in entries] == [
        LogEntry(tx_id=made.id, produced=(state.ref,)),
        LogEntry(locked=(state.ref,), flow_id=FLOW),
        LogEntry(released=(state.ref,), flow_id=FLOW),
        LogEntry(tx_id=spend.id, consumed=(state.ref,)),
    ]
    assert entries[-1][0] == head(rows)
    assert entries[0][1].touched == (state.ref,)


def test_the_log_can_be_followed_from_any_of_its_positions_only() -> None:
    rows = MemoryRows()
    keep(rows, transaction(coin(1)))
    here = head(rows)
    keep(rows, transaction(coin(2)))

    after = log_after(rows, here)

    assert after is not None
    assert len(list(after)) == 1
    assert log_after(rows, Head(1, sha256(b"another log").digest())) is None
    assert log_after(rows, Head(2, here.digest)) is None
    assert log_after(rows, Head(9, here.digest)) is None


def test_the_log_forgets_what_is_long_past(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "LOG_ENTRIES_MAX", 3)
    rows = MemoryRows()
    entry = LogEntry(produced=(StateRef(SecureHash.of(b"x"), 0),))

    for _ in range(5):
        append(rows, entry)

    assert rows.get(LOG, log_key(2)) is None
    assert rows.get(LOG, log_key(3)) is not None
    assert log_after(rows, Head()) is None
    assert append(rows, LogEntry()) == head(rows)


def test_an_encumbered_coin_is_none_to_pay_with() -> None:
    rows = MemoryRows()
    builder = TransactionBuilder(NOTARY.party)
    for number in range(2):
        builder.add_output(coin(10), encumbrance=1 - number)
    builder.add_output(coin(3))
    builder.add_command(Do(), ALICE.key)
    keep(rows, builder.sign(SALT, [ALICE.key], ALICE.sign))

    assert [c.data.amount.quantity for c in select_coins(rows, wanted(3), NOTARIES)] == [3]
    with pytest.raises(InsufficientBalance):
        select_coins(rows, wanted(4), NOTARIES)


def test_coins_of_a_notary_that_is_none_are_not_chosen() -> None:
    rows = MemoryRows()
    keep(rows, transaction(coin(10), notary=OTHER_NOTARY))

    assert select_coins(rows, wanted(10), NOTARIES)
    for request in (wanted(10), wanted(10, notary=OTHER_NOTARY.party)):
        with pytest.raises(InsufficientBalance):
            select_coins(rows, request, [NOTARY.party])


def test_coins_can_be_limited_to_one_token() -> None:
    rows = MemoryRows()
    other = Coin(owner=ALICE.party, amount=Amount(50, "USD").issued_by(BANK.party, b"other"))
    keep(rows, transaction(other, coin(3)))

    chosen = select_coins(rows, wanted(3, token=coin(1).amount.token), NOTARIES)

    assert [state.data for state in chosen] == [coin(3)]
    with pytest.raises(InsufficientBalance):
        select_coins(rows, wanted(4, token=coin(1).amount.token), NOTARIES)


def test_a_coin_that_its_notary_calls_spent_is_none_even_after_it_was_locked() -> None:
    rows = MemoryRows()
    (spent,) = keep(rows, transaction(coin(10)))
    lock(rows, FLOW, [spent.ref])
    row = vault_row(rows, spent.ref)
    assert row is not None

    set_aside(rows, spent.ref, row, SecureHash.of(b"consumer"))
    release(rows, FLOW)

    with pytest.raises(InsufficientBalance):
        select_coins(rows, wanted(1), NOTARIES)
    assert rows.get(SPENT_COINS, spent.ref.key) == SecureHash.of(b"consumer").digest


def test_releasing_some_of_many_locks_leaves_the_others() -> None:
    rows = MemoryRows()
    kept = keep(rows, transaction(*[coin(1) for _ in range(5)]))
    lock(rows, FLOW, [state.ref for state in kept])

    release(rows, FLOW, [kept[0].ref, kept[3].ref])

    assert set(locked_by(rows, FLOW)) == {kept[1].ref, kept[2].ref, kept[4].ref}
