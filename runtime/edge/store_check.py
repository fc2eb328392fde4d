"""Read everything in a store that no process uses: log, pages, and every row of every space.

It changes nothing but the file ``store.lock``. Damage to the structure (a torn log, a wrong page)
ends it by `StoreUnusable`, because nothing that follows can be trusted; damaged rows are counted
and named.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runtime.edge.lmdb_check import check_data_file
from runtime.edge.lmdb_file import DATA_NAME, DirectoryLock, unusable_on_os_error
from runtime.edge.lmdb_recovery import read_log
from runtime.edge.lmdb_tree import Trees
from runtime.errors import StoreDamaged, StoreUnusable
from runtime.memtable import Generation

DAMAGED_NAMED_MAX: Final = 20
"""So many damaged rows of each space are named; the rest is counted."""

RowReader = Callable[[bytes, bytes], object]
"""Decodes a row, given its key and value; raises whatever it likes if that can't be done."""


@dataclass(slots=True)
class SpaceReport:
    """What a space has."""

    name: str
    is_decoded: bool
    """Whether somebody knew how to decode its rows."""
    rows: int = 0
    row_bytes: int = 0
    damaged: int = 0
    named: list[tuple[bytes, str]] = field(default_factory=list)
    """The key of a damaged row, and what is wrong with it."""

    def add(self, key: bytes, value: bytes) -> None:
        """Count a row."""
        self.rows += 1
        self.row_bytes += len(key) + len(value)

    def complain(self, key: bytes, what: str) -> None:
        """Count a damaged row."""
        self.damaged += 1
        if len(self.named) < DAMAGED_NAMED_MAX:
            self.named.append((key, what))


@dataclass(slots=True, kw_only=True)
class StoreReport:
    """What a store has."""

    batches: int
    """How many were ever written."""
    batches_in_log: int
    """How many of them are in the log only."""
    spaces: list[SpaceReport]

    @property
    def damaged(self) -> int:
        """How many rows are damaged."""
        return sum(space.damaged for space in self.spaces)


def check_store(directory: Path, owner: str, readers: Mapping[str, RowReader]) -> StoreReport:
    """Read all of the store at ``directory``; ``readers`` decode the rows of spaces they know.

    Raises:
        StoreUnusable: There is none, it is in use, not ``owner``'s, or torn.
    """
    path = directory / DATA_NAME
    if not path.exists():
        raise StoreUnusable(
            f"there is no store at {directory}. Run the node once, or check the path"
        )
    with unusable_on_os_error(directory), _locked(directory):
        check_data_file(path, leaves_max=None)
        with closing(Trees(directory, map_bytes=path.stat().st_size, sync=True)) as trees:
            recovered = read_log(trees, owner, sync=True)
            recovered.log.close()
            newest_first = [recovered.active]
            if recovered.older is not None:
                newest_first.append(recovered.older)
            names = {*trees.databases, *(name for each in newest_first for name in each.tables)}
            return StoreReport(
                batches=recovered.submitted,
                batches_in_log=recovered.submitted - recovered.merged,
                spaces=[
                    _check_space(trees, newest_first, name, readers.get(name))
                    for name in sorted(names)
                ],
            )


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    lock = DirectoryLock(directory)
    try:
        yield
    finally:
        lock.release()


def _check_space(
    trees: Trees, newest_first: list[Generation], name: str, reader: RowReader | None
) -> SpaceReport:
    report = SpaceReport(name, is_decoded=reader is not None)
    newer: dict[bytes, bytes | None] = {}
    for generation in reversed(newest_first):
        if (table := generation.tables.get(name)) is not None:
            newer.update(table.rows)
    for key, value in _tree_rows(trees, name, report):
        if key not in newer:
            _check_row(report, key, value, reader)
    for key, written in newer.items():
        if written is not None:
            _check_row(report, key, written, reader)
    return report


def _tree_rows(trees: Trees, name: str, report: SpaceReport) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows of a tree that are what was written, however many are not."""
    if name not in trees.databases:
        return
    sealed_space = trees.sealed(name)
    last = b""
    with trees.environment.begin(db=trees.databases[name]) as txn:
        for key, sealed in txn.cursor():
            try:
                value = sealed_space.open(key, sealed)
            except StoreDamaged:
                report.complain(key, "it is not what was written")
                continue
            if key <= last:
                report.complain(key, "it is not in its place")
            last = key
            yield key, value


def _check_row(report: SpaceReport, key: bytes, value: bytes, reader: RowReader | None) -> None:
    report.add(key, value)
    if reader is not None:
        try:
            reader(key, value)
        except Exception as error:  # whatever a decoder has against it
            report.complain(key, f"it can't be decoded ({type(error).__name__}: {error})")
