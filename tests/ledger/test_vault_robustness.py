"""One state that can't be indexed, decoded or added up costs itself only, never a query."""

from collections.abc import Mapping

import pytest

from ledger.amounts import QUANTITY_MAX
from ledger.contracts import belongs_to
from ledger.errors import QueryInvalid
from ledger.query import (
    IS_OWNED,
    QUANTITY,
    AnyCriterion,
    Query,
    custom,
    of_type,
    owned_by,
    with_participant,
)
from ledger.states import ColumnValue, OwnableState, StateRef, TransactionState
from ledger.stores.vault import LogEntry, VaultRow, append, put_produced
from ledger.vault_index import VaultIndex
from runtime.codec import message
from runtime.party import AbstractParty
from tests.ledger.builders import coin, keep, transaction
from tests.ledger.memory_rows import MemoryRows
from tests.ledger.parties import ALICE, NOTARY, Coin, Things


@belongs_to(Things)
@message(name="tests.Odd")
class Odd(OwnableState):
    """A state whose author has made a mistake."""

    mistake: str

    @property
    def participants(self) -> tuple[AbstractParty, ...]:
        if self.mistake == "participants":
            raise KeyError("a bug")
        return (self.owner,)

    def columns(self) -> Mapping[str, ColumnValue]:
        values: dict[str, object] = {
            "too large": 1 << 63,
            "too small": -(1 << 63) - 1,
            "no value": object(),
            "half a letter": "\ud800",
            "a fraction": 0.5,
        }
        if self.mistake == "columns":
            raise KeyError("a bug")
        if self.mistake == "name":
            return {7: 1}  # type: ignore[dict-item]
        if self.mistake == "participants":
            return {}
        return {"size": values.get(self.mistake, 1)}  # type: ignore[dict-item]


MISTAKES = (
    "participants",
    "columns",
    "name",
    "too large",
    "too small",
    "no value",
    "half a letter",
    "a fraction",
)


def put(rows: MemoryRows, data: Odd, number: int) -> StateRef:
    """Put a state into the vault, as an older version of its app may have done."""
    state = TransactionState.of(data, contract="tests.Things", notary=NOTARY.party)
    ref = StateRef(transaction(coin(1)).id, number)
    put_produced(rows, ref, VaultRow(state, True, True, 1))
    append(rows, LogEntry(produced=(ref,)))
    return ref


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("is_rebuilt", [False, True], ids=["followed", "made anew"])
def test_a_state_that_can_not_be_indexed_in_full_is_found_by_the_rest(
    mistake: str, is_rebuilt: bool, caplog: pytest.LogCaptureFixture
) -> None:
    rows = MemoryRows()
    index = VaultIndex(rows, None)
    bad = put(rows, Odd(owner=ALICE.party, mistake=mistake), 0)
    good = put(rows, Odd(owner=ALICE.party, mistake=""), 1)
    if is_rebuilt:
        index.rebuild()

    assert set(index.find(Query(owned_by(ALICE.party))).refs) == {bad, good}
    assert index.find(Query(custom("size").equals(1))).refs == (good,)
    assert good in index.find(Query(with_participant(ALICE.party))).refs
    assert "can't be indexed in full" in caplog.text


def test_amounts_beyond_64_bits_are_added_up() -> None:
    rows = MemoryRows()
    index = VaultIndex(rows, None)
    keep(rows, transaction(*[coin(QUANTITY_MAX) for _ in range(3)], coin(5, product="EUR")))

    totals = index.totals(Query(of_type(Coin) & IS_OWNED.equals(True)))

    assert totals == {"USD": 3 * QUANTITY_MAX, "EUR": 5}


@pytest.mark.parametrize(
    "criterion",
    [
        QUANTITY.equals(1 << 63),
        QUANTITY.less_than(-(1 << 63) - 1),
        QUANTITY.between(1, 1 << 64),
        QUANTITY.between(-(1 << 64), 1),
        QUANTITY.one_of(1, 1 << 64),
        custom("size").at_least(1 << 64),
        custom("name").like("\ud800"),
    ],
)
def test_a_query_for_what_no_column_can_hold_is_refused(criterion: AnyCriterion) -> None:
    index = VaultIndex(MemoryRows(), None)

    with pytest.raises(QueryInvalid, match=r"64 bits|Unicode"):
        index.find(Query(criterion))
    assert index.find(Query(QUANTITY.at_most(QUANTITY_MAX))).total == 0
