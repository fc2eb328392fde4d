"""What a store finds when it is opened: whose it is, and what its trees have not got yet."""

from typing import NamedTuple

import lmdb

from runtime.edge.lmdb_file import unusable_on_os_error
from runtime.edge.lmdb_format import (
    GENERATIONS,
    MERGED,
    WRITTEN,
    Header,
    check_header,
    decode_number,
    encode_number,
    read_header,
    torn,
)
from runtime.edge.lmdb_tree import Trees, unreadable
from runtime.edge.log_file import Log
from runtime.edge.log_records import replay
from runtime.memtable import Generation


class Recovered(NamedTuple):
    """A store as it was when its last process ended."""

    log: Log
    older: Generation | None
    """Its merge was cut off."""
    active: Generation
    submitted: int
    """How many batches there ever were."""
    merged: int
    """How many are wholly in the trees."""
    noted: int
    """How many the database knows of."""


class _Marks(NamedTuple):
    header: Header
    merged: int
    generations: int
    written: int


def recover(trees: Trees, owner: str, *, sync: bool) -> Recovered:
    """Check the header, replay the log, and prepare for writes.

    Raises:
        StoreUnusable: It is not ours, of another format, or torn. Nothing was changed.
    """
    recovered = read_log(trees, owner, sync=sync)
    try:
        with unusable_on_os_error(trees.directory):
            recovered.log.accept(recovered.submitted)
            trees.prepare()
    except BaseException:
        recovered.log.close()
        raise
    return recovered


def read_log(trees: Trees, owner: str, *, sync: bool) -> Recovered:
    """Check the header and replay the log; change nothing. Raises as `recover` does."""
    try:
        marks = _read_marks(trees, owner)
    except lmdb.Error as error:
        raise unreadable(trees.where, error) from error
    with unusable_on_os_error(trees.directory):
        log = Log(trees.directory, marks.header.log_id, sync=sync)
        try:
            return _replay(trees.where, log, marks)
        except BaseException:
            log.close()
            raise


def _replay(where: str, log: Log, marks: _Marks) -> Recovered:
    first = _read_generation(log, marks.generations, marks.merged)
    end = max(marks.merged, first.batch_last + 1)
    second = _read_generation(log, marks.generations + 1, end)
    if second.batch_last < 0:
        older, active = None, first
    else:
        older, active = first, second
    submitted = max(end, active.batch_last + 1)
    written = max(marks.written, log.batches)
    if submitted < written:
        raise torn(where, f"batches {submitted} to {written - 1} are missing in the log")
    log.resume(active.number)
    return Recovered(log, older, active, submitted, marks.merged, marks.written)


def _read_generation(log: Log, number: int, first: int) -> Generation:
    generation = Generation(number)
    for batch_number, body in log.read(number, first):
        replay(body, batch_number, generation)
    return generation


def _read_marks(trees: Trees, owner: str) -> _Marks:
    with trees.environment.begin(db=trees.meta) as txn:
        header = read_header(txn, trees.meta, trees.where)
        check_header(header, owner, trees.where)
        zero = encode_number(WRITTEN, 0)
        return _Marks(
            header,
            decode_number(txn.get(MERGED, b""), trees.where, MERGED),
            decode_number(txn.get(GENERATIONS, b""), trees.where, GENERATIONS),
            decode_number(txn.get(WRITTEN, zero), trees.where, WRITTEN),
        )
