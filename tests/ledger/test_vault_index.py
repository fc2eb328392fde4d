"""The vault's index: it finds by content, and is never wrong about what it reflects."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ledger import vault_index
from ledger.errors import QueryInvalid
from ledger.hashing import SecureHash
from ledger.query import (
    CONSUMED_MS,
    CONTRACT,
    EXTERNAL_ID,
    ISSUER,
    LINEAR_ID,
    NOTARY,
    OWNER,
    PRODUCT,
    QUANTITY,
    RECORDED_MS,
    AnyCriterion,
    Compare,
    HasParticipant,
    Operator,
    Page,
    Paging,
    Query,
    Relevancy,
    Sort,
    Status,
    custom,
    locked,
    locked_by,
    of_type,
    owned_by,
    unlocked,
    with_linear_id,
    with_participant,
)
from ledger.states import ContractState, LinearId, StateRef, TransactionState
from ledger.stores import vault
from ledger.stores.locks import lock, release
from ledger.stores.recording import StatesToRecord
from ledger.stores.vault import Head, LogEntry, VaultRow, append, head, put_produced, vault_row
from ledger.vault_index import VaultIndex
from ledger.vault_sql import NESTING_MAX, VALUES_MAX
from runtime.codec import Packed, message, pack, unpack
from runtime.ids import FlowId
from tests.ledger import parties
from tests.ledger.builders import coin, keep, transaction
from tests.ledger.memory_rows import MemoryRows
from tests.ledger.parties import ALICE, BANK, BOB, Coin, Deal, Thing, linear_id

FLOW = FlowId("flow-1")


@message(name="tests.BrightThing")
class BrightThing(Thing):
    pass


def thing(name: str) -> Thing:
    return Thing(owner=ALICE.party, name=name)


WORLD: tuple[ContractState, ...] = (
    thing("lamp"),
    BrightThing(owner=BOB.party, name="Star"),
    coin(10),
    coin(25, ALICE.one_time(1)),
    coin(7, product="EUR"),
    Deal(linear_id=linear_id(1), parties=(ALICE.party, BOB.party)),
    Deal(linear_id=LinearId(linear_id(2).id, "order_2"), parties=(BANK.party,)),
)
NAMES = ("lamp", "Star", "10 USD", "25 USD", "7 EUR", "deal 1", "deal 2")


class World:
    """All of `WORLD` recorded at times 0, 1, ...; 10 USD is locked, 7 EUR is spent at 100."""

    def __init__(self, path: Path | None = None) -> None:
        self.rows = MemoryRows()
        self.refs: dict[StateRef, str] = {}
        for number, (name, state) in enumerate(zip(NAMES, WORLD, strict=True)):
            (kept,) = keep(
                self.rows, transaction(state), now_ms=number, states=StatesToRecord.ALL_VISIBLE
            )
            self.refs[kept.ref] = name
            if name == "10 USD":
                lock(self.rows, FLOW, [kept.ref])
            if name == "7 EUR":
                keep(self.rows, transaction(inputs=(kept,)), now_ms=100)
        self.index = VaultIndex(self.rows, path)

    def names(self, query: Query) -> list[str]:
        return [self.refs[ref] for ref in self.index.find(query).refs]


def deep(levels: int) -> AnyCriterion:
    criterion: AnyCriterion = unlocked()
    for _ in range(levels):
        criterion = ~criterion
    return criterion


CRITERIA: list[tuple[AnyCriterion, list[str]]] = [
    (of_type(Coin), ["10 USD", "25 USD"]),
    (of_type(Thing), ["lamp", "Star"]),
    (of_type(BrightThing), ["Star"]),
    (of_type(Thing, Deal), ["lamp", "Star", "deal 1", "deal 2"]),
    (CONTRACT.equals("tests.Other"), []),
    (NOTARY.equals(parties.NOTARY.party.name) & of_type(Coin), ["10 USD", "25 USD"]),
    (owned_by(ALICE.party), ["lamp", "10 USD"]),
    (owned_by(ALICE.party, ALICE.one_time(1)) & of_type(Coin), ["10 USD", "25 USD"]),
    (OWNER.is_null(), ["deal 1", "deal 2"]),
    (with_participant(BOB.party), ["Star", "deal 1"]),
    (with_participant(BANK.party, BOB.party), ["Star", "deal 1", "deal 2"]),
    (with_linear_id(linear_id(2)), ["deal 2"]),
    (LINEAR_ID.is_null() & OWNER.is_null(), []),
    (EXTERNAL_ID.equals("order_2"), ["deal 2"]),
    (EXTERNAL_ID.like("ORDER%"), []),
    (EXTERNAL_ID.like("ORDER%", ignores_case=True), ["deal 2"]),
    (EXTERNAL_ID.like("order__"), ["deal 2"]),
    (PRODUCT.equals("usd"), []),
    (PRODUCT.equals("usd", ignores_case=True), ["10 USD", "25 USD"]),
    (PRODUCT.differs("USD"), []),
    (~PRODUCT.equals("USD"), ["lamp", "Star", "deal 1", "deal 2"]),
    (ISSUER.like("O=Bank,%"), ["10 USD", "25 USD"]),
    (QUANTITY.less_than(25), ["10 USD"]),
    (QUANTITY.at_most(25), ["10 USD", "25 USD"]),
    (QUANTITY.greater_than(10), ["25 USD"]),
    (QUANTITY.at_least(10), ["10 USD", "25 USD"]),
    (QUANTITY.between(11, 25), ["25 USD"]),
    (QUANTITY.one_of(10, 7), ["10 USD"]),
    (QUANTITY.one_of(), []),
    (RECORDED_MS.less_than(1), ["lamp"]),
    (CONSUMED_MS.is_null() & of_type(Coin), ["10 USD", "25 USD"]),
    (unlocked() & of_type(Coin), ["25 USD"]),
    (locked(), ["10 USD"]),
    (locked_by(FLOW), ["10 USD"]),
    (locked_by(FlowId("another")), []),
    (unlocked() & of_type(Coin) | locked_by(FLOW), ["10 USD", "25 USD"]),
    (custom("name").equals("lamp"), ["lamp"]),
    (custom("name").equals("star", ignores_case=True), ["Star"]),
    (custom("name").one_of("lamp", "Star", 3), ["lamp", "Star"]),
    (custom("length").equals(4), ["lamp", "Star"]),
    (custom("length").equals("4"), []),
    (custom("length").between(1, 3), []),
    (~custom("name").is_null(), ["lamp", "Star"]),
    (custom("name").is_null() & of_type(Thing), []),
    (Compare("custom.length", Operator.EQUAL, True), []),
]


@pytest.mark.parametrize(("criterion", "expected"), CRITERIA)
def test_states_are_found_by_what_they_contain(
    criterion: AnyCriterion, expected: list[str]
) -> None:
    assert World().names(Query(criterion)) == expected


@pytest.mark.parametrize(("criterion", "_expected"), CRITERIA)
def test_a_query_survives_the_wire(criterion: AnyCriterion, _expected: list[str]) -> None:
    query = Query(criterion, sort=(Sort("quantity"),), paging=Paging(1, 5))

    assert unpack(pack(query), Query) == query


def test_consumed_states_are_found_when_they_are_asked_for() -> None:
    world = World()

    assert world.names(Query(of_type(Coin), Status.CONSUMED)) == ["7 EUR"]
    assert world.names(Query(of_type(Coin), Status.ALL)) == ["10 USD", "25 USD", "7 EUR"]
    assert world.names(Query(CONSUMED_MS.equals(100), Status.CONSUMED)) == ["7 EUR"]


def test_observed_states_are_told_from_our_own() -> None:
    world = World()

    assert world.names(Query(relevancy=Relevancy.NOT_RELEVANT)) == ["Star", "25 USD", "deal 2"]
    assert world.names(Query(relevancy=Relevancy.RELEVANT)) == ["lamp", "10 USD", "deal 1"]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ((), ["lamp", "Star", "10 USD", "25 USD"]),
        ((Sort("recorded_ms", is_descending=True),), ["25 USD", "10 USD", "Star", "lamp"]),
        ((Sort("quantity"),), ["lamp", "Star", "10 USD", "25 USD"]),
        ((Sort("quantity", is_descending=True),), ["25 USD", "10 USD", "lamp", "Star"]),
        ((Sort("custom.name", is_descending=True),), ["lamp", "Star", "10 USD", "25 USD"]),
        (
            (Sort("custom.length"), Sort("recorded_ms", is_descending=True)),
            ["25 USD", "10 USD", "Star", "lamp"],
        ),
    ],
)
def test_results_are_sorted_the_same_way_each_time(
    sort: tuple[Sort, ...], expected: list[str]
) -> None:
    assert World().names(Query(of_type(Thing, Coin), sort=sort)) == expected


def test_pages_cover_the_result_and_tell_its_size() -> None:
    world = World()

    pages = [world.index.find(Query(paging=Paging(page, 4))) for page in (1, 2, 3)]

    assert [len(page.refs) for page in pages] == [4, 2, 0]
    assert {page.total for page in pages} == {6}
    assert len({ref for page in pages for ref in page.refs}) == 6


def test_more_than_a_page_comes_only_in_pages() -> None:
    rows = MemoryRows()
    keep(rows, transaction(*[coin(1) for _ in range(201)]))
    index = VaultIndex(rows, None)

    with pytest.raises(QueryInvalid, match="finds 201 states"):
        index.find(Query())
    assert len(index.find(Query(paging=Paging(1, 1_000))).refs) == 201
    assert index.totals(Query()) == {"USD": 201}


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (Query(paging=Paging(0, 10)), "count from 1"),
        (Query(paging=Paging(1, 0)), "count from 1"),
        (Query(paging=Paging(1, 10_001)), "count from 1"),
        (Query(Compare("colour", Operator.EQUAL, "red")), "no column 'colour'"),
        (Query(sort=(Sort("colour"),)), "no column 'colour'"),
        (Query(deep(NESTING_MAX + 1)), "nested"),
        (Query(QUANTITY.one_of(*range(VALUES_MAX + 1))), "values at most"),
        (Query(HasParticipant(("key",) * (VALUES_MAX + 1))), "values at most"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(query: Query, reason: str) -> None:
    with pytest.raises(QueryInvalid, match=reason):
        World().index.find(query)


def test_totals_are_kept_apart_by_product() -> None:
    world = World()

    assert world.index.totals(Query()) == {"USD": 35}
    assert world.index.totals(Query(status=Status.ALL)) == {"USD": 35, "EUR": 7}
    assert world.index.totals(Query(of_type(Thing))) == {}


def test_the_index_reflects_what_was_written_a_moment_ago() -> None:
    world = World()
    (made,) = keep(world.rows, transaction(thing("chair")))

    found = world.index.find(Query(custom("name").equals("chair")))
    lock(world.rows, FLOW, [made.ref])
    after_lock = world.index.find(Query(custom("name").equals("chair") & unlocked()))
    release(world.rows, FLOW)
    after_release = world.index.find(Query(custom("name").equals("chair") & unlocked()))

    assert found.refs == after_release.refs == (made.ref,)
    assert after_lock.refs == ()
    assert after_release.position == head(world.rows).position


def test_an_index_file_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "vault.sqlite"
    world = World(path)
    before = world.index.find(Query())
    world.index.close()
    keep(world.rows, transaction(thing("chair")))

    again = VaultIndex(world.rows, path)

    assert again.find(Query(custom("name").equals("chair"))).total == 1
    assert again.find(Query()).total == before.total + 1
    again.close()


def same_as_new(index: VaultIndex, rows: MemoryRows) -> bool:
    new = VaultIndex(rows, None)
    query = Query(status=Status.ALL)
    return index.find(query) == new.find(query) and index.totals(query) == new.totals(query)


def test_an_index_that_is_ahead_of_the_vault_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "vault.sqlite"
    world = World(path)
    world.index.catch_up()
    world.index.close()
    behind = World()

    index = VaultIndex(behind.rows, path)

    assert same_as_new(index, behind.rows)
    index.close()


def test_an_index_of_another_history_of_the_same_length_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "vault.sqlite"
    world = World(path)
    world.index.catch_up()
    world.index.close()
    other = MemoryRows()
    for _ in range(head(world.rows).position + 1):
        keep(other, transaction(coin(1)))

    index = VaultIndex(other, path)

    assert same_as_new(index, other)
    index.close()


def test_an_index_of_changes_that_a_crash_undid_and_that_came_again_later_is_made_anew(
    tmp_path: Path,
) -> None:
    path = tmp_path / "vault.sqlite"
    lost, again = MemoryRows(), MemoryRows()
    made = transaction(coin(1))
    keep(lost, made, now_ms=1_000)
    keep(again, made, now_ms=9_000)
    ahead = VaultIndex(lost, path)
    ahead.catch_up()
    ahead.close()

    index = VaultIndex(again, path)

    assert index.find(Query(RECORDED_MS.at_least(9_000))).total == 1
    index.close()


def test_an_index_that_is_too_far_behind_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = MemoryRows()
    index = VaultIndex(rows, None)
    monkeypatch.setattr(vault, "LOG_ENTRIES_MAX", 2)
    for _ in range(5):
        keep(rows, transaction(coin(1)))

    assert index.find(Query()).total == 5


@pytest.mark.parametrize("damage", [b"this is no database", b"SQLite format 3\x00" + b"\xff" * 99])
def test_a_damaged_index_file_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "vault.sqlite"
    path.write_bytes(damage)

    world = World(path)

    assert same_as_new(world.index, world.rows)
    world.index.close()


def test_an_index_file_of_another_version_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "vault.sqlite"
    world = World(path)
    world.index.catch_up()
    world.index.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")

    again = VaultIndex(world.rows, path)

    assert again._reflects == Head()
    assert same_as_new(again, world.rows)
    again.close()


def test_a_directory_in_the_place_of_the_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="unable to open"):
        VaultIndex(MemoryRows(), tmp_path / "missing" / "vault.sqlite")


def test_an_index_is_made_anew_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault_index, "CHUNK_ROWS", 3)
    world = World()

    world.index.rebuild()

    assert same_as_new(world.index, world.rows)


def test_listeners_hear_each_change_once_and_in_order() -> None:
    world = World()
    heard: list[tuple[int, LogEntry]] = []
    stop = world.index.listen(lambda reached, entry: heard.append((reached.position, entry)))
    start = head(world.rows).position
    (state,) = keep(world.rows, transaction(thing("chair")))
    lock(world.rows, FLOW, [state.ref])

    world.index.catch_up()
    world.index.catch_up()
    stop()
    release(world.rows, FLOW)
    world.index.catch_up()

    assert [position for position, _ in heard] == [start + 1, start + 2]
    assert heard[0][1].produced == (state.ref,)
    assert heard[1][1].locked == (state.ref,)


def test_a_change_is_matched_whether_its_states_are_consumed_or_not() -> None:
    world = World()
    world.index.catch_up()
    refs = list(world.refs)

    found = world.index.among(Query(of_type(Coin)), refs)

    assert sorted(world.refs[ref] for ref in found) == ["10 USD", "25 USD", "7 EUR"]


def test_a_state_whose_app_is_gone_is_found_by_what_is_outside_of_it() -> None:
    rows = MemoryRows()
    ref = StateRef(SecureHash.of(b"gone"), 0)
    state = TransactionState(Packed("acme.Gone", b"\x80"), "acme.C", parties.NOTARY.party)
    put_produced(rows, ref, VaultRow(state, True, False, 1))
    append(rows, LogEntry(produced=(ref,)))
    append(rows, LogEntry(produced=(StateRef(SecureHash.of(b"never"), 0),)))

    found = VaultIndex(rows, None).find(Query(CONTRACT.equals("acme.C")))

    assert found.refs == (ref,)


def test_a_page_survives_the_wire() -> None:
    world = World()
    (ref, *_) = world.index.find(Query(of_type(Thing))).refs
    row = vault_row(world.rows, ref)
    assert row is not None
    page: Page[Any] = Page((), (), 0, 1)

    assert unpack(pack(page), Page) == page
