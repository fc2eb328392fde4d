r"""What the log of a store is known to have: how long its files are, how many batches it was given.

A log's records can't tell that later ones were lost: a file that ends early looks like one that was
never written any further. So this is noted aside, in the file ``log.marks`` (mode 0600), in two
slots that take turns, at bytes 0 and 2048::

    "sennit\0M" | id of the log, 8 bytes | sequence u64 | batches u64 | bytes of log.0 u64
    | bytes of log.1 u64 | crc32 u32 of these

The valid slot with the greater sequence counts. A length is on disk before any record needs it, so
a file that was cut is always noticed. The number of batches is noted after each record is on disk
and before anybody is told, but in the memory of the system only (`mmap`): that costs no sync, no
system call and no wait for the interpreter lock. It survives the death of the process, not that of
the machine: after a power cut the number may be some seconds old. It is then too low, never too
high: no store is refused that is whole.
"""

import mmap
import os
import struct
import zlib
from pathlib import Path
from typing import Final

from runtime.edge.files import sync_data, write_private_file
from runtime.edge.lmdb_format import foreign, torn

MARKS_NAME: Final = "log.marks"
MARKS_BYTES: Final = 4_096
SLOT_OFFSETS: Final = (0, 2_048)

_MAGIC: Final = b"sennit\0M"
_SLOT: Final = struct.Struct(">8s8sQQQQ")
_CHECKSUM: Final = struct.Struct(">I")
_SLOT_BYTES: Final = _SLOT.size + _CHECKSUM.size


class LogMarks:
    """The marks of one log, open for writing; used by one thread at a time."""

    def __init__(self, directory: Path, log_id: bytes, *, sync: bool) -> None:
        """Read the marks; raise `StoreUnusable` if they are missing, damaged or another log's."""
        self._log_id = log_id
        self._sync = sync
        where = str(directory)
        try:
            self._file = os.open(directory / MARKS_NAME, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise torn(where, f"{MARKS_NAME} is missing") from None
        try:
            if os.fstat(self._file).st_size < MARKS_BYTES:
                raise torn(where, f"{MARKS_NAME} has lost its end")
            content = os.pread(self._file, MARKS_BYTES, 0)
            slots = [slot for at in SLOT_OFFSETS if (slot := _decode(content, at)) is not None]
            if not slots:
                raise torn(where, f"{MARKS_NAME} is damaged")
            found_id, self._sequence, self._batches, *self._file_bytes = max(
                slots, key=lambda slot: slot[1]
            )
            if found_id != log_id:
                raise foreign(where, f"{MARKS_NAME} belongs to another store")
            self._map = mmap.mmap(self._file, MARKS_BYTES)
        except BaseException:
            os.close(self._file)
            raise

    @property
    def batches(self) -> int:
        """At least so many batches were on disk."""
        return self._batches

    def file_bytes(self, file: int) -> int:
        """Return how long log file ``file`` is at least."""
        return self._file_bytes[file]

    def note_batches(self, batches: int) -> None:
        """Note that so many batches are on disk; survives the process, not a power cut."""
        self._batches = batches
        self._write()

    def note_file_bytes(self, file: int, size: int) -> None:
        """Note durably that log file ``file`` is so long; it must be, on disk, already."""
        self._file_bytes[file] = size
        self._write()
        self.sync()

    def sync(self) -> None:
        """Have on disk what was noted."""
        if self._sync:
            self._map.flush()
            sync_data(self._file)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()
        os.close(self._file)

    def _write(self) -> None:
        self._sequence += 1
        at = SLOT_OFFSETS[self._sequence % 2]
        self._map[at : at + _SLOT_BYTES] = _encode(
            self._log_id, self._sequence, self._batches, *self._file_bytes
        )


def create_log_marks(directory: Path, log_id: bytes, file_bytes: int) -> None:
    """Make the marks of an empty log, whose files are ``file_bytes`` long, durably."""
    slot = _encode(log_id, 0, 0, file_bytes, file_bytes)
    write_private_file(directory / MARKS_NAME, slot.ljust(MARKS_BYTES, b"\0"))


def _encode(log_id: bytes, sequence: int, batches: int, first: int, second: int) -> bytes:
    slot = _SLOT.pack(_MAGIC, log_id, sequence, batches, first, second)
    return slot + _CHECKSUM.pack(zlib.crc32(slot))


def _decode(content: bytes, at: int) -> tuple[bytes, int, int, int, int] | None:
    slot = content[at : at + _SLOT.size]
    (checksum,) = _CHECKSUM.unpack_from(content, at + _SLOT.size)
    if zlib.crc32(slot) != checksum or not slot.startswith(_MAGIC):
        return None
    _, log_id, sequence, batches, first, second = _SLOT.unpack(slot)
    return log_id, sequence, batches, first, second
