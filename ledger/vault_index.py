"""The vault's index: a projection in SQL that finds states by what they contain.

LMDB holds the truth. The index follows the vault's log, knows up to which entry it has followed,
and is made anew whenever that entry is not one of this vault's log: after a crash that took commits
away, after a restore, or when the file is damaged or of another version. What it is asked for, it
answers as of everything written so far.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, create_engine, delete, event, func, insert, select, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import StaticPool

from ledger.amounts import Issued
from ledger.errors import QueryInvalid
from ledger.query import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, Paging, Query, value_columns
from ledger.states import (
    FungibleState,
    LinearState,
    OwnableState,
    QueryableState,
    StateRef,
    owning_keys,
)
from ledger.stores.locks import holder_of
from ledger.stores.rows import ReadRows, key_text
from ledger.stores.vault import CONSUMED, Head, LogEntry, VaultRow, all_rows, head, log_after
from ledger.stores.vault import vault_row as truth_of
from ledger.vault_sql import (
    SCHEMA_VERSION,
    condition,
    custom,
    matching,
    metadata,
    order,
    participants,
    reflects,
    states,
    stored,
)

log = logging.getLogger("sennit.vault")

# Rows of one insert while the index is made anew.
CHUNK_ROWS: Final = 1_000

Listener = Callable[[Head, LogEntry], None]

Record = Mapping[str, str | int | bytes | None]


@dataclass(frozen=True, slots=True)
class Found:
    """References that a query found, how many there are in all, and as of which change."""

    refs: tuple[StateRef, ...]
    total: int
    position: int


class VaultIndex:
    """Answers queries over the vault in ``rows``. Not for use by more than one thread."""

    def __init__(self, rows: ReadRows, path: Path | None) -> None:
        self._rows = rows
        self._path = path
        self._listeners: list[Listener] = []
        self._engine = _opened(path)
        self._reflects = self._read_reflected()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` for each change that is followed from now on; returns the undoing."""
        self.catch_up()
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def catch_up(self) -> int:
        """Follow the log to its end and return the position reached."""
        if self._reflects == head(self._rows):
            return self._reflects.position
        entries = log_after(self._rows, self._reflects)
        if entries is None:
            self.rebuild()
        else:
            self._follow(list(entries))
        return self._reflects.position

    def rebuild(self) -> None:
        """Make the index anew from the truth. Listeners are not called."""
        reached = head(self._rows)
        log.info("vault index is made anew", extra={"position": reached.position})
        with self._engine.begin() as connection:
            for table in (states, participants, custom):
                connection.execute(delete(table))
            for chunk in _chunks(self._all_truths()):
                _insert(connection, chunk)
            _write_reflected(connection, reached)
        self._reflects = reached

    def find(self, query: Query) -> Found:
        """Return what ``query`` finds; `QueryInvalid` if it is too much to come unpaged."""
        position = self.catch_up()
        paging = query.paging or Paging()
        _check_paging(paging)
        with self._engine.connect() as connection:
            where = condition(query)
            total = connection.execute(select(func.count()).select_from(states).where(where))
            count = total.scalar_one()
            if query.paging is None and count > PAGE_SIZE_DEFAULT:
                raise QueryInvalid(
                    f"the query finds {count} states, and more than {PAGE_SIZE_DEFAULT} come in "
                    "pages only: give it Paging(page=1, size=...)"
                )
            statement = select(states.c.ref).where(where).order_by(*order(query.sort))
            page = statement.limit(paging.size).offset((paging.page - 1) * paging.size)
            refs = tuple(StateRef.from_key(ref) for (ref,) in connection.execute(page))
        return Found(refs, count, position)

    def totals(self, query: Query) -> dict[str, int]:
        """Return, by product, the sum of the quantities that ``query`` finds."""
        self.catch_up()
        # Two sums, as what strangers' coins add up to may have more than 64 bits.
        quantity = states.c.quantity
        sums = (func.sum(quantity.op(">>")(32)), func.sum(quantity.op("&")(2**32 - 1)))
        statement = (
            select(states.c.product, *sums)
            .where(condition(query), quantity.is_not(None))
            .group_by(states.c.product)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(statement)
            return {product: (int(high) << 32) + int(low) for product, high, low in rows}

    def among(self, query: Query, refs: Iterable[StateRef]) -> frozenset[StateRef]:
        """Return those of ``refs`` that ``query`` is about, consumed or not; for listeners."""
        keys = [ref.key for ref in refs]
        statement = select(states.c.ref).where(matching(query), states.c.ref.in_(keys))
        with self._engine.connect() as connection:
            return frozenset(StateRef.from_key(ref) for (ref,) in connection.execute(statement))

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def _follow(self, entries: list[tuple[Head, LogEntry]]) -> None:
        touched = dict.fromkeys(ref for _, entry in entries for ref in entry.touched)
        with self._engine.begin() as connection:
            for chunk in _chunks(self._truths(touched)):
                keys = [ref.key for ref, _, _ in chunk]
                for table in (states, participants, custom):
                    connection.execute(delete(table).where(table.c.ref.in_(keys)))
                _insert(connection, chunk)
            _write_reflected(connection, entries[-1][0])
        self._reflects = entries[-1][0]
        for reached, entry in entries:
            for listener in list(self._listeners):
                listener(reached, entry)

    def _truths(self, refs: Iterable[StateRef]) -> "Iterator[_Truth]":
        for ref in refs:
            row = truth_of(self._rows, ref)
            if row is not None:
                yield ref, row, holder_of(self._rows, ref)

    def _all_truths(self) -> "Iterator[_Truth]":
        for ref, row in all_rows(self._rows):
            yield ref, row, holder_of(self._rows, ref)

    def _read_reflected(self) -> Head:
        with self._engine.connect() as connection:
            row = connection.execute(select(reflects.c.position, reflects.c.digest)).first()
        return Head() if row is None else Head(row[0], row[1])


_Truth = tuple[StateRef, VaultRow, str | None]


def _opened(path: Path | None) -> Engine:
    try:
        return _prepared(path)
    except (DatabaseError, sqlite3.DatabaseError):
        # It holds nothing that can't be made anew; without a file there is nothing to damage.
        if path is None:
            raise
        log.warning("vault index is unreadable and is made anew", extra={"path": str(path)})
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(name).unlink(missing_ok=True)
        return _prepared(path)


def _prepared(path: Path | None) -> Engine:
    engine = create_engine(
        "sqlite://" if path is None else f"sqlite:///{path}",
        poolclass=StaticPool,
        connect_args={"check_same_thread": False},
    )
    event.listen(engine, "connect", _configure)
    with engine.begin() as connection:
        version = connection.execute(text("PRAGMA user_version")).scalar_one()
        if version != SCHEMA_VERSION:
            metadata.drop_all(connection)
            connection.execute(text(f"PRAGMA user_version = {SCHEMA_VERSION}"))
        metadata.create_all(connection)
    return engine


def _configure(connection: sqlite3.Connection, _: object) -> None:
    # Written ahead, not synced: after a power cut the file is whole and perhaps behind.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA case_sensitive_like = ON")


def _write_reflected(connection: Connection, reached: Head) -> None:
    connection.execute(delete(reflects))
    connection.execute(
        insert(reflects).values(one=1, position=reached.position, digest=reached.digest)
    )


def _insert(connection: Connection, truths: list[_Truth]) -> None:
    connection.execute(insert(states), [_record(*truth) for truth in truths])
    takers = [record for ref, row, _ in truths for record in _participants(ref, row)]
    if takers:
        connection.execute(insert(participants), takers)
    values = [record for ref, row, _ in truths for record in _custom(ref, row)]
    if values:
        connection.execute(insert(custom), values)


def _record(ref: StateRef, row: VaultRow, lock: str | None) -> Record:
    record: dict[str, str | int | bytes | None] = {
        "ref": ref.key,
        "state_type": row.state.state_type,
        "contract": row.state.contract,
        "notary": row.state.notary.name,
        "is_consumed": row.status == CONSUMED,
        "is_relevant": row.is_relevant,
        "is_owned": row.is_owned,
        "recorded_ms": row.recorded_ms,
        "consumed_ms": row.consumed_ms,
        "lock": lock,
    }
    return {**dict.fromkeys(_FACTS), **record, **_facts(row)}


_FACTS: Final = ("owner", "quantity", "product", "issuer", "linear_id", "external_id")


def _facts(row: VaultRow) -> Record:
    facts: dict[str, str | int | bytes | None] = {}
    data = row.state.data_or_none
    if isinstance(data, OwnableState):
        facts["owner"] = key_text(data.owner.key)
    if isinstance(data, FungibleState):
        token = data.amount.token
        facts["quantity"] = data.amount.quantity
        facts["product"] = data.amount.product
        facts["issuer"] = str(token.issuer) if isinstance(token, Issued) else None
    if isinstance(data, LinearState):
        facts["linear_id"] = str(data.linear_id.id)
        facts["external_id"] = data.linear_id.external
    return facts


def _participants(ref: StateRef, row: VaultRow) -> list[Record]:
    data = row.state.data_or_none
    try:
        keys = owning_keys(data.participants) if data is not None else ()
        return [{"ref": ref.key, "key": key_text(key)} for key in keys]
    except Exception as error:  # whatever the author of the state's class got wrong
        _warn(ref, row, error)
        return []


def _custom(ref: StateRef, row: VaultRow) -> list[Record]:
    data: object = row.state.data_or_none
    if not isinstance(data, QueryableState):
        return []
    empty = {"text": None, "number": None}
    try:
        return [
            {"ref": ref.key, "name": name, **empty, **stored(value)}
            for name, value in value_columns(dict(data.columns()))
        ]
    except Exception as error:  # whatever the author of the state's class got wrong
        _warn(ref, row, error)
        return []


def _warn(ref: StateRef, row: VaultRow, error: Exception) -> None:
    """Say that a state can't be found by all that is in it; by the rest, it can."""
    log.warning(
        "a state of the vault can't be indexed in full",
        extra={"state": str(ref), "type": row.state.state_type, "error": str(error)[:500]},
    )


def _check_paging(paging: Paging) -> None:
    if paging.page < 1 or not 1 <= paging.size <= PAGE_SIZE_MAX:
        raise QueryInvalid(f"pages count from 1 and have 1 to {PAGE_SIZE_MAX} states, not {paging}")


def _chunks(truths: Iterator[_Truth]) -> Iterator[list[_Truth]]:
    chunk: list[_Truth] = []
    for truth in truths:
        chunk.append(truth)
        if len(chunk) == CHUNK_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
