"""Results by name, user and status of their flows, so that a list reads only what it shows.

    space result_index    by name    n | H(name) | status | flow id              value: name (UTF-8)
                          by user    u | H(user) | H(name) | status | flow id    value: name (UTF-8)

H is BLAKE2b-128; the status is one byte. Rows that differ only in the id are a group, newest last.
There are few groups (a flow's name is in its code), so that a filter looks at one row of each, and
from then on only at what it finds. An index row is written, and goes, in the batch of its result.
"""

import contextlib
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Final, NamedTuple, Protocol

import msgspec

from runtime.engine.commits import Commits
from runtime.engine.results import RESULTS, Result, encode_row, result_decoder
from runtime.engine.status import COMPLETED, FAILED, KILLED
from runtime.ports import Space

RESULT_INDEX: Final = Space("result_index")

_CODES: Final = {COMPLETED: b"c", FAILED: b"f", KILLED: b"k"}
_STATUSES: Final = {code[0]: status for status, code in _CODES.items()}
_DIGEST_BYTES: Final = 16
_ID_BYTES: Final = 16
_AFTER_ALL_IDS: Final = b"\xff" * (_ID_BYTES + 1)

# The first page of each group is small, for there may be many groups that one row is wanted of.
_PAGE_ROWS_FIRST: Final = 4
_PAGE_ROWS_MAX: Final = 256


class Writes(Protocol):
    """Where rows are written: the open batch, or another one."""

    def put(self, space: Space, key: bytes, value: bytes) -> None:
        """Write a row."""

    def delete(self, space: Space, key: bytes) -> None:
        """Remove a row."""


class Group(NamedTuple):
    """The results of one flow (and user) with one status."""

    prefix: bytes
    name: str
    status: str


def keep_result(writes: Writes, key: bytes, result: Result) -> None:
    """Write the result of the flow with this key, and its index."""
    writes.put(RESULTS, key, encode_row(result))
    for prefix in _prefixes(result):
        writes.put(RESULT_INDEX, prefix + key, result.flow.encode(errors="replace"))


def drop_result(writes: Writes, key: bytes, row: bytes) -> None:
    """Remove the result of the flow with this key, as it was read, and its index."""
    writes.delete(RESULTS, key)
    with contextlib.suppress(msgspec.MsgspecError):
        for prefix in _prefixes(result_decoder.decode(row)):
            writes.delete(RESULT_INDEX, prefix + key)


def groups(commits: Commits, user: str | None) -> Iterator[Group]:
    """Yield all groups, or those of one user; a look at one row for each."""
    start = b"n" if user is None else b"u" + _digest(user)
    before = start + b"\xff" * (3 * _DIGEST_BYTES)
    while rows := commits.latest(RESULT_INDEX, before, 1):
        [(key, name)] = rows
        if not key.startswith(start):
            return
        before = key[:-_ID_BYTES]
        yield Group(before, name.decode(errors="replace"), _STATUSES.get(before[-1], ""))


def keys_of_group(commits: Commits, group: Group, before: bytes | None) -> Iterator[bytes]:
    """Yield the keys of a group's flows, newest first, those older than ``before``."""

    def read(last: bytes | None, rows: int) -> list[bytes]:
        end = _AFTER_ALL_IDS if last is None else last
        found = commits.latest(RESULT_INDEX, group.prefix + end, rows)
        return [key[-_ID_BYTES:] for key, _ in found if key.startswith(group.prefix)]

    return _paged(read, before)


def keys_of_all(commits: Commits, before: bytes | None) -> Iterator[bytes]:
    """Yield the keys of all flows that have left a result, newest first."""

    def read(last: bytes | None, rows: int) -> list[bytes]:
        return [key for key, _ in commits.latest(RESULTS, last, rows)]

    return _paged(read, before)


def _paged(
    read: Callable[[bytes | None, int], list[bytes]], before: bytes | None
) -> Iterator[bytes]:
    rows = _PAGE_ROWS_FIRST
    last = before
    while page := read(last, rows):
        yield from page
        last = page[-1]
        rows = min(2 * rows, _PAGE_ROWS_MAX)


def _prefixes(result: Result) -> tuple[bytes, bytes]:
    name, status = _digest(result.flow), _CODES.get(result.status, b"?")
    return b"n" + name + status, b"u" + _digest(result.user) + name + status


def _digest(text: str) -> bytes:
    return blake2b(text.encode(errors="replace"), digest_size=_DIGEST_BYTES).digest()
