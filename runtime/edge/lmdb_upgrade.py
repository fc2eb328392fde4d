"""Read a store of an older format, and make it one of ours, in one transaction.

Formats 1 and 2 had the log in the LMDB environment::

    databases ``log.0`` and ``log.1``
        key          u64: number of the first batch in the record
        value        one frame for each batch, of numbers that follow on one another:
                         length u32 of the body | crc32 u32 of number (u64) and body | body

The body is as in `runtime.edge.log_records`; series came with format 2. A crash before the
transaction leaves the older store as it was, with empty log files beside it that nobody reads.
"""

import struct
import sys
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

import lmdb

from runtime.edge.lmdb_file import unusable_on_os_error
from runtime.edge.lmdb_format import (
    GENERATIONS,
    HEADER,
    MERGED,
    decode_number,
    encode_header,
    encode_number,
    torn,
)
from runtime.edge.lmdb_merge import Merge
from runtime.edge.lmdb_tree import Trees
from runtime.edge.log_file import create_log_files, has_records
from runtime.edge.log_records import Body, decode_body, replay
from runtime.memtable import Generation

LOGS: Final = (b"log.0", b"log.1")

_FRAME: Final = struct.Struct(">II")


def upgrade(trees: Trees, owner: str, log_id: bytes) -> None:
    """Merge the logs of an older format into the trees, and give the store an empty log of ours.

    Raises:
        StoreUnusable: A log is torn, newer than the database, or the disk has no room. Nothing that
            counts was changed.
    """
    if has_records(trees.directory):
        raise torn(trees.where, "its log is newer than the database")
    generations = _read_logs(trees)
    with unusable_on_os_error(trees.directory):
        create_log_files(trees.directory, log_id)
        merges = [Merge(trees, generation) for generation in generations]
        for merge in merges:
            merge.prepare()
        while True:
            try:
                _write(trees, merges, encode_header(owner, log_id))
                return
            except lmdb.MapFullError:
                trees.grow()


def _write(trees: Trees, merges: Iterable[Merge], header: bytes) -> None:
    logs = [trees.environment.open_db(name, create=False) for name in LOGS]
    with trees.environment.begin(write=True) as txn:
        for merge in merges:
            merge.write(txn, sys.maxsize)
        for log in logs:
            txn.drop(log, delete=True)
        txn.put(GENERATIONS, encode_number(0), db=trees.meta)
        txn.put(HEADER, header, db=trees.meta)


def _read_logs(trees: Trees) -> list[Generation]:
    """Return what is in the logs, the older one first."""
    logs = [trees.environment.open_db(name, create=False) for name in LOGS]
    with trees.environment.begin() as txn:
        expected = decode_number(txn.get(MERGED, b"", db=trees.meta), trees.where, MERGED)
        found = [_read_log(txn.cursor(db=log), trees.where) for log in logs]
    generations: list[Generation] = []
    for first, generation in sorted(found, key=lambda log: log[0]):
        if generation.batch_last < 0:
            continue
        if first != expected:
            raise torn(trees.where, f"batches {expected} to {first - 1} are missing in the log")
        expected = generation.batch_last + 1
        generations.append(generation)
    return generations


def _read_log(records: Iterable[tuple[bytes, bytes]], where: str) -> tuple[int, Generation]:
    generation = Generation(0)
    first = -1
    for key, record in records:
        number = decode_number(key, where, b"a key of the log")
        if first < 0:
            first = number
        elif number != generation.batch_last + 1:
            missing = generation.batch_last + 1
            raise torn(where, f"batch {missing} is missing, batch {number} follows")
        for body in _decode_record(number, record, where):
            replay(body, number, generation)
            number += 1
    return first, generation


def _decode_record(first: int, record: bytes, where: str) -> Iterator[Body]:
    offset = 0
    number = first
    while offset < len(record):
        body_start = offset + _FRAME.size
        if body_start > len(record):
            raise torn(where, f"batch {number} ends inside its frame")
        length, checksum = _FRAME.unpack_from(record, offset)
        offset = body_start + length
        body = record[body_start:offset]
        if len(body) != length or _checksum(number, body) != checksum:
            raise torn(where, f"batch {number} has a wrong checksum")
        try:
            yield decode_body(body)
        except ValueError as error:
            raise torn(where, f"batch {number} can't be decoded ({error})") from error
        number += 1


def _checksum(number: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(encode_number(number)))
