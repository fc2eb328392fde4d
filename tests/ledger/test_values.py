"""Hashes, amounts, time windows and states: values that refuse to be wrong."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.amounts import QUANTITY_MAX, Amount, Issued
from ledger.hashing import SecureHash, component_leaf, component_nonce
from ledger.states import (
    ContractState,
    StateAndRef,
    StateRef,
    TransactionState,
    as_type,
    owning_keys,
)
from ledger.time_window import TimeWindow
from runtime.codec import Packed, decode, encode, pack, unpack
from runtime.errors import BadMessage
from tests.ledger.parties import ALICE, BANK, BOB, NOTARY, Coin, Deal, Do, Thing, linear_id

HASH = SecureHash.of(b"x")


def thing_state(name: str = "lamp") -> TransactionState:
    thing = Thing(owner=ALICE.party, name=name)
    return TransactionState.of(thing, contract="tests.Things", notary=NOTARY.party)


def test_a_hash_reads_what_it_writes() -> None:
    assert SecureHash.parse(str(HASH)) == HASH
    assert decode(encode(HASH), SecureHash) == HASH


@pytest.mark.parametrize("text", ["", "zz", "ab" * 31])
def test_a_text_that_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        SecureHash.parse(text)


def test_a_hash_of_another_length_does_not_decode() -> None:
    body = encode({"$": "ledger.Hash", "digest": b"short"})

    with pytest.raises(BadMessage, match="32 bytes"):
        decode(body, SecureHash)


def test_hashes_sort_by_their_bytes() -> None:
    low, high = SecureHash(b"\x00" * 32), SecureHash(b"\x01" * 32)

    assert sorted([high, low]) == [low, high]


def test_nonces_differ_by_salt_group_and_index() -> None:
    salt = b"a" * 32
    nonces = {
        component_nonce(salt, group=0, index=0),
        component_nonce(salt, group=0, index=1),
        component_nonce(salt, group=1, index=0),
        component_nonce(b"b" * 32, group=0, index=0),
    }

    assert len(nonces) == 4
    assert component_leaf(nonces.pop(), b"x") != component_leaf(nonces.pop(), b"x")


@given(st.integers(0, 2**62), st.integers(0, 2**62 - 1))
def test_amounts_add_and_subtract(a: int, b: int) -> None:
    total = Amount(a, "USD") + Amount(b, "USD")

    assert total - Amount(b, "USD") == Amount(a, "USD")


def test_an_amount_is_never_negative() -> None:
    with pytest.raises(ValueError, match="from 0 to"):
        Amount(1, "USD") - Amount(2, "USD")


def test_an_amount_does_not_overflow() -> None:
    with pytest.raises(ValueError, match="from 0 to"):
        Amount(QUANTITY_MAX, "USD") + Amount(1, "USD")
    with pytest.raises(ValueError, match="from 0 to"):
        Amount(QUANTITY_MAX, "USD") * 2


def test_amounts_of_different_tokens_do_not_mix() -> None:
    usd, eur = Amount(1, "USD"), Amount(1, "EUR")

    for mix in (lambda: usd + eur, lambda: usd - eur, lambda: usd < eur, lambda: usd >= eur):
        with pytest.raises(ValueError, match="not of the same token"):
            mix()


def test_amounts_compare() -> None:
    one, two = Amount(1, "USD"), Amount(2, "USD")

    assert one < two <= two
    assert two > one >= one
    assert not Amount.zero("USD")
    assert one
    assert str(one * 3) == "3 USD"


@given(st.integers(0, 10**6), st.integers(1, 50))
def test_a_split_sums_up_and_is_even(quantity: int, parts: int) -> None:
    shares = Amount(quantity, "USD").split(parts)

    assert Amount.total(shares, "USD") == Amount(quantity, "USD")
    assert max(s.quantity for s in shares) - min(s.quantity for s in shares) <= 1


def test_a_split_into_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="into 0 parts"):
        Amount(1, "USD").split(0)


def test_an_issued_amount_knows_its_product_and_its_issuer() -> None:
    amount = Amount(5, "USD").issued_by(BANK.party)

    assert isinstance(amount.token, Issued)
    assert amount.token.issuer_key == BANK.key
    assert amount.product == "USD"
    assert amount.without_issuer() == Amount(5, "USD")
    assert "issued by O=Bank" in str(amount)
    assert decode(encode(amount), Amount) == amount


def test_an_endless_issuer_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 512"):
        Issued(BANK.party, b"x" * 513, "USD")


NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
NOON_MS = 1_893_499_200_000


def test_a_window_includes_its_beginning_and_excludes_its_end() -> None:
    window = TimeWindow.with_tolerance(NOON, timedelta(seconds=30))

    assert window == TimeWindow(NOON_MS - 30_000, NOON_MS + 30_000)
    assert window.contains_ms(NOON_MS - 30_000)
    assert not window.contains_ms(NOON_MS - 30_001)
    assert window.contains_ms(NOON_MS + 29_999)
    assert not window.contains_ms(NOON_MS + 30_000)


def test_a_window_may_be_open_at_one_end() -> None:
    assert TimeWindow.since(NOON).contains_ms(2**50)
    assert TimeWindow.until(NOON).contains_ms(0)
    assert not TimeWindow.until(NOON).contains_ms(NOON_MS)


def test_a_window_without_ends_or_upside_down_is_refused() -> None:
    with pytest.raises(ValueError, match="beginning or an end"):
        TimeWindow()
    with pytest.raises(ValueError, match="ends after it begins"):
        TimeWindow.between(NOON, NOON)


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        TimeWindow.until(datetime(2030, 1, 1))


def test_a_reference_reads_and_sorts_by_its_key() -> None:
    first, second = StateRef(HASH, 1), StateRef(HASH, 256)

    assert StateRef.from_key(second.key) == second
    assert sorted([second, first]) == [first, second]
    assert str(first) == f"{HASH}(1)"


@pytest.mark.parametrize("index", [-1, 2**32])
def test_a_reference_to_no_possible_output_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match="index"):
        StateRef(HASH, index)


def test_a_state_travels_with_its_reference() -> None:
    state: StateAndRef[Thing] = StateAndRef(thing_state(), StateRef(HASH, 0))

    arrived = unpack(pack(state), StateAndRef[Thing])

    assert arrived == state
    assert arrived.data.name == "lamp"
    assert arrived.data.owner == ALICE.party


def test_a_state_of_a_type_that_is_not_installed_says_so() -> None:
    state = TransactionState(Packed("acme.Unknown", b"\x80"), "acme.C", NOTARY.party)

    assert state.state_type == "acme.Unknown"
    with pytest.raises(BadMessage, match=r"acme\.Unknown"):
        _ = state.data


def test_a_message_that_is_no_state_is_no_fact() -> None:
    state = TransactionState(pack(Do()), "tests.Things", NOTARY.party)

    with pytest.raises(TypeError, match="no contract state"):
        _ = state.data


def test_a_state_is_taken_as_its_type_or_not_at_all() -> None:
    state: StateAndRef[ContractState] = StateAndRef(thing_state(), StateRef(HASH, 0))

    assert as_type(state, Thing).data.name == "lamp"
    with pytest.raises(TypeError, match=r"is a tests\.Thing, not a tests\.Coin"):
        as_type(state, Coin)


def test_handing_over_changes_nothing_but_the_owner() -> None:
    coin = Coin(owner=ALICE.party, amount=Amount(5, "USD").issued_by(BANK.party))

    moved = coin.with_owner(BOB.one_time(1))

    assert moved.participants == (BOB.one_time(1),)
    assert moved.amount == coin.amount
    assert moved.with_amount(moved.amount * 2).amount.quantity == 10


def test_a_deal_has_the_participants_that_it_names() -> None:
    deal = Deal(linear_id=linear_id(7), parties=(ALICE.party, BOB.party))

    assert owning_keys(deal.participants) == {ALICE.key, BOB.key}
    assert ContractState().participants == ()
    assert str(linear_id(7)).endswith("7")
