"""The layout of a store's LMDB environment, byte by byte, and the log in it.

All integers are unsigned and big-endian. Batches are numbered from 0 in order of submission.
Generation g holds the batches between two freezes; its log is database ``log.<g modulo 2>``.

database ``meta``
    ``header``   msgpack map: application "sennit" | format int | owner str
    ``merged``   u64: how many batches have left the logs; these are wholly in the trees
databases ``log.0`` and ``log.1``
    key          u64: number of the first batch in the record
    value        one frame for each batch, of numbers that follow on one another:
                 length u32 of the body | crc32 u32 of number (u64) and body | body
    body         msgpack array, for each space written to:
                 [name str, write_once bool, map of key bin to value bin, or nil for a deletion]
                 and, from format 2 on, if series are deleted in it, a fourth element:
                 array of [prefix bin, count int], for keys of the prefix and a number (u32) below
                 the count
databases ``rows.<space>``
    key, value   as they were put

Both logs together hold every batch from ``merged`` on, without a gap. While a generation is being
merged its rows may stand in the trees already, some or all; replaying its log over them is
harmless, because a row is written and never changed by what was there before.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Annotated, Final

import lmdb
import msgspec

from runtime.errors import StoreUnusable
from runtime.ports import Batch

APPLICATION: Final = "sennit"
FORMAT: Final = 2

META: Final = b"meta"
HEADER: Final = b"header"
MERGED: Final = b"merged"
LOGS: Final = (b"log.0", b"log.1")
ROWS_PREFIX: Final = b"rows."


_Series = tuple[bytes, Annotated[int, msgspec.Meta(ge=1, le=0xFFFF_FFFF)]]


class SpaceWrites(msgspec.Struct, array_like=True):
    """What one batch has written to one space."""

    name: str
    write_once: bool
    rows: dict[bytes, bytes | None]
    deleted_series: list[_Series] = msgspec.field(default_factory=list)


Body = list[SpaceWrites]

_FRAME: Final = struct.Struct(">II")
_NUMBER: Final = struct.Struct(">Q")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Body).decode


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The row by which a store knows its own database."""

    application: str
    format: int
    owner: str


def encode_number(number: int) -> bytes:
    """Return the key of the record that begins with batch ``number``."""
    return _NUMBER.pack(number)


def decode_number(key: bytes, where: str) -> int:
    """Return the number that ``key`` stands for, or raise `StoreUnusable`."""
    if len(key) != _NUMBER.size:
        raise torn(where, f"{key.hex()} is not a batch number")
    number: int = _NUMBER.unpack(key)[0]
    return number


def encode_frame(number: int, batch: Batch) -> bytes:
    """Return batch ``number`` as it stands in a record."""
    deleted = batch.deleted_series
    spaces: list[tuple[object, ...]] = [
        (space.name, space.write_once, rows)
        for space, rows in batch.writes.items()
        if rows and space not in deleted
    ]
    for space, series in deleted.items():
        rows = batch.writes.get(space, {})
        spaces.append((space.name, space.write_once, rows, series))
    body = _encode(spaces)
    return _FRAME.pack(len(body), _checksum(number, body)) + body


def decode_record(first: int, record: bytes, where: str) -> Iterator[Body]:
    """Yield the batches of a record whose first batch is ``first``, or raise `StoreUnusable`."""
    offset = 0
    number = first
    while offset < len(record):
        body_start = offset + _FRAME.size
        if body_start > len(record):
            raise torn(where, f"batch {number} ends inside its frame")
        length, checksum = _FRAME.unpack_from(record, offset)
        offset = body_start + length
        body = record[body_start:offset]
        if len(body) != length:
            raise torn(where, f"batch {number} has {len(body)} of {length} bytes")
        if _checksum(number, body) != checksum:
            raise torn(where, f"batch {number} has a wrong checksum")
        try:
            yield _decode(body)
        except msgspec.MsgspecError as error:
            raise torn(where, f"batch {number} can't be decoded ({error})") from error
        number += 1


def read_records(records: Iterable[tuple[bytes, bytes]], where: str) -> Iterator[tuple[int, Body]]:
    """Yield each batch of a log with its number; raise `StoreUnusable` where something is torn."""
    expected: int | None = None
    for key, record in records:
        number = decode_number(key, where)
        if expected is not None and number != expected:
            raise torn(where, f"batch {expected} is missing, batch {number} follows")
        for body in decode_record(number, record, where):
            yield number, body
            number += 1
        expected = number


def read_header(txn: "lmdb.Transaction[bytes]", meta: "lmdb._Database", where: str) -> Header:
    """Return the header, or raise `StoreUnusable` if there is none that we understand."""
    encoded = txn.get(HEADER, db=meta)
    if encoded is None:
        raise foreign(where, "it has no header of ours")
    try:
        return msgspec.msgpack.decode(encoded, type=Header)
    except msgspec.MsgspecError as error:
        raise torn(where, f"its header can't be decoded ({error})") from error


def encode_header(owner: str) -> bytes:
    """Return the header of a new store."""
    header = Header(application=APPLICATION, format=FORMAT, owner=owner)
    return msgspec.msgpack.encode(header)


def check_header(header: Header, owner: str, where: str) -> None:
    """Raise `StoreUnusable` unless the database is ours and of a format that we can read."""
    if header.application != APPLICATION:
        raise foreign(where, f"it belongs to {header.application}")
    if header.format > FORMAT:
        raise StoreUnusable(
            f"the store at {where} has format {header.format}, newer than {FORMAT}, which is the "
            "newest that this version reads. Nothing was changed. Install the newer version again"
        )
    if header.owner != owner:
        raise foreign(where, f"it belongs to {header.owner!r}, not to {owner!r}")


def torn(where: str, what: str) -> StoreUnusable:
    """Return the error for a database that has lost something or was damaged."""
    return StoreUnusable(
        f"the store at {where} is torn: {what}. Nothing was changed. "
        "Keep a copy, check the disk, and restore the newest backup"
    )


def foreign(where: str, what: str) -> StoreUnusable:
    """Return the error for a database that is not this node's."""
    return StoreUnusable(
        f"the store at {where} is foreign: {what}. Nothing was changed. "
        "Give this node the path of its own store, or an empty one"
    )


def _checksum(number: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(_NUMBER.pack(number)))
