"""The layout of a store's LMDB environment: the trees, and the rows by which it knows itself.

All integers are unsigned and big-endian. Batches are numbered from 0 in order of submission, and
so are generations: generation g holds the batches between two freezes.

database ``meta``
    ``header``       msgpack map: application "sennit" | format int | owner str
                     | log_id bin: the 8 random bytes by which its log files are known
    ``merged``       how many batches are wholly in the trees
    ``generations``  how many generations these were
    ``written``      how many batches the log is known to have had; noted now and then
                     each a u64 | crc32 u32 of the key and it
databases ``rows.<space>``
    key, value       as they were put, with a checksum at the end of the value:
                     `runtime.edge.sealed_rows`

The log, of which the first `merged` batches are no longer needed, is in files beside the database:
`runtime.edge.log_file`. While a generation is being merged its rows may stand in the
trees already, some or all; replaying its log over them is harmless, because a row is written and
never changed by what was there before.
"""

import struct
from typing import Final
from zlib import crc32

import lmdb
import msgspec

from runtime.errors import StoreUnusable

APPLICATION: Final = "sennit"
FORMAT: Final = 4

META: Final = b"meta"
HEADER: Final = b"header"
MERGED: Final = b"merged"
GENERATIONS: Final = b"generations"
WRITTEN: Final = b"written"
ROWS_PREFIX: Final = b"rows."

_NUMBER: Final = struct.Struct(">Q")


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The row by which a store knows its own database."""

    application: str
    format: int
    owner: str
    log_id: bytes = b""


def encode_number(what: bytes, number: int) -> bytes:
    """Return ``number`` as the value of the row ``what`` of ``meta``."""
    encoded = _NUMBER.pack(number)
    return encoded + _number_checksum(what, encoded)


def decode_number(encoded: bytes, where: str, what: bytes) -> int:
    """Return the number that ``encoded``, the row ``what``, stands for; raise `StoreUnusable`."""
    if encoded[_NUMBER.size :] != _number_checksum(what, encoded[: _NUMBER.size]):
        raise torn(where, f"{what.decode()} is damaged ({encoded.hex()!r})")
    number: int = _NUMBER.unpack_from(encoded)[0]
    return number


def _number_checksum(what: bytes, encoded: bytes) -> bytes:
    return crc32(encoded, crc32(what)).to_bytes(4)


def read_header(txn: "lmdb.Transaction[bytes]", meta: "lmdb._Database", where: str) -> Header:
    """Return the header, or raise `StoreUnusable` if there is none that we understand."""
    encoded = txn.get(HEADER, db=meta)
    if encoded is None:
        raise foreign(where, "it has no header of ours")
    try:
        return msgspec.msgpack.decode(encoded, type=Header)
    except msgspec.MsgspecError as error:
        raise torn(where, f"its header can't be decoded ({error})") from error


def encode_header(owner: str, log_id: bytes) -> bytes:
    """Return the header of a store of this format."""
    header = Header(application=APPLICATION, format=FORMAT, owner=owner, log_id=log_id)
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
    if header.format < FORMAT:
        raise StoreUnusable(
            f"the store at {where} has format {header.format}, of a version that was never "
            f"released; this version reads {FORMAT}. Nothing was changed. "
            "Start with an empty store"
        )
    if header.owner != owner:
        raise foreign(where, f"it belongs to {header.owner!r}, not to {owner!r}")


def torn(where: str, what: str) -> StoreUnusable:
    """Return the error for a store that has lost something or was damaged."""
    return StoreUnusable(
        f"the store at {where} is torn: {what}. Nothing was changed. "
        "Keep a copy, check the disk, and restore the newest backup"
    )


def foreign(where: str, what: str) -> StoreUnusable:
    """Return the error for a store that is not this node's."""
    return StoreUnusable(
        f"the store at {where} is foreign: {what}. Nothing was changed. "
        "Give this node the path of its own store, or an empty one"
    )
