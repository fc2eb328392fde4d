"""The records of a store's log, byte by byte.

All integers are unsigned and big-endian.

record   head | content
head     id of the log, 8 bytes | number of the generation u64 | number of the first batch u64
         | length of the content u32 | crc32 u32 of the head so far and the content
content  for each batch, of numbers that follow on one another: length of the body u32 | body
body     msgpack array, for each space written to:
             [name str, write_once bool, map of key bin to value bin, or nil for a deletion]
             and, if series are deleted in it, a fourth element:
             array of [prefix bin, count int], for keys of the prefix and a number (u32) below
             the count
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Annotated, Final, NamedTuple

import msgspec

from runtime.memtable import Generation
from runtime.ports import Batch

_Series = tuple[bytes, Annotated[int, msgspec.Meta(ge=1, le=0xFFFF_FFFF)]]


class SpaceWrites(msgspec.Struct, array_like=True):
    """What one batch has written to one space."""

    name: str
    write_once: bool
    rows: dict[bytes, bytes | None]
    deleted_series: list[_Series] = msgspec.field(default_factory=list)


Body = list[SpaceWrites]

_LENGTH: Final = struct.Struct(">I")
_HEAD: Final = struct.Struct(">8sQQI")
_CHECKSUM: Final = struct.Struct(">I")
HEAD_BYTES: Final = _HEAD.size + _CHECKSUM.size

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Body).decode


class Head(NamedTuple):
    """What stands before the content of a record."""

    log_id: bytes
    generation: int
    number: int
    length: int
    checksum: int


def encode_batch(batch: Batch) -> bytes:
    """Return ``batch`` as it stands in a record."""
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
    return _LENGTH.pack(len(body)) + body


def encode_record(log_id: bytes, generation: int, number: int, batches: Sequence[bytes]) -> bytes:
    """Return the record of ``batches``, the first of which is batch ``number``."""
    content = batches[0] if len(batches) == 1 else b"".join(batches)
    head = _HEAD.pack(log_id, generation, number, len(content))
    return b"".join((head, _CHECKSUM.pack(_checksum(head, content)), content))


def decode_head(encoded: bytes) -> Head:
    """Return what the first `HEAD_BYTES` of a record say, right or wrong."""
    return Head(*_HEAD.unpack_from(encoded), *_CHECKSUM.unpack_from(encoded, _HEAD.size))


def is_whole(head: bytes, content: bytes) -> bool:
    """Tell whether a record is as it was written."""
    return _checksum(head[: _HEAD.size], content) == decode_head(head).checksum


def decode_content(content: bytes) -> Iterator[Body]:
    """Yield the batches of a record; raise ValueError if they make no sense."""
    offset = 0
    while offset < len(content):
        start = offset + _LENGTH.size
        if start > len(content):
            raise ValueError("it ends inside a length")
        offset = start + _LENGTH.unpack_from(content, offset)[0]
        if offset > len(content):
            raise ValueError("it ends inside a batch")
        yield decode_body(content[start:offset])


def decode_body(body: bytes) -> Body:
    """Return what one batch has written; raise ValueError if it makes no sense."""
    try:
        return _decode(body)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error


def replay(body: Body, number: int, generation: Generation) -> None:
    """Apply batch ``number``, as it was read, to the rows in memory."""
    for space in body:
        generation.apply(space.name, space.rows, write_once=space.write_once)
        if space.deleted_series:
            generation.delete_series(space.name, space.deleted_series)
        generation.log_bytes += sum(map(len, space.rows))
    generation.batch_last = number


def _checksum(head: bytes, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(head))
