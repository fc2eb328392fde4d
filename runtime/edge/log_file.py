r"""The log of a store: two files that take turns, written in place, one sync for each record.

Each file (mode 0600) begins with a block that never changes::

    "sennit\0L" | id of the log, 8 bytes | crc32 u32 of these | zeros up to byte 4096

Records follow without a gap (`runtime.edge.log_records`). Generation g is written to file g modulo
2, over what generation g - 2 has left there; its id and number in front of each record tell the two
apart. Room is taken in advance, so that a sync has to write hardly more than the record.

A record is begun when the one before it is on disk. So at most the last one can be cut off by a
crash; it was never reported, and is written over by the next one. A record that does not hold with
another one of its generation behind it was damaged later, and the store is refused. Nobody but the
store knows the id of its log (random, never sent), so nothing that a peer has sent can look like
such a record. That the last records were lost is told by `runtime.edge.log_marks`.
"""

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from runtime.edge.files import sync_data, take_room, write_private_file
from runtime.edge.lmdb_format import foreign, torn
from runtime.edge.log_marks import LogMarks, create_log_marks
from runtime.edge.log_records import (
    HEAD_BYTES,
    Body,
    decode_content,
    decode_head,
    encode_record,
    is_whole,
)
from runtime.limits import MIB

LOG_NAMES: Final = ("log.0", "log.1")
LOG_ID_BYTES: Final = 8

FIRST_RECORD: Final = 4_096
ROOM_BYTES_FIRST: Final = 256 * 1024
ROOM_BYTES_MAX: Final = 8 * MIB
"""So much more is taken at a time at most; as much as there is, before that."""

KEPT_BYTES_MAX: Final = 64 * MIB
"""A file that a burst has made longer is cut to this when its next turn begins."""

SEARCHED_BYTES: Final = MIB
"""So much is read at a time to find records where none should be."""

_FILE_HEAD: Final = struct.Struct(">8s8s")
_MAGIC: Final = b"sennit\0L"


class Log:
    """Both files. `read` and `resume` come first, then `append` and `begin`, from one thread."""

    def __init__(self, directory: Path, log_id: bytes, *, sync: bool) -> None:
        """Open the files; raise `StoreUnusable` if one is missing, another store's or cut off."""
        self._files: list[_LogFile] = []
        self._marks = LogMarks(directory, log_id, sync=sync)
        try:
            for number in range(len(LOG_NAMES)):
                self._files.append(_LogFile(directory, number, self._marks, log_id, sync=sync))
        except BaseException:
            self.close()
            raise
        self._current = self._files[0]

    @property
    def generation(self) -> int:
        """The one that is appended to."""
        return self._current.generation

    @property
    def batches(self) -> int:
        """There were at least so many batches, says a note that was made aside."""
        return self._marks.batches

    def read(self, generation: int, number: int) -> Iterator[tuple[int, Body]]:
        """Yield the batches of ``generation``, numbered from ``number`` on.

        Raises:
            StoreUnusable: Something in it is damaged or missing.
        """
        return self._files[generation % 2].read(generation, number)

    def resume(self, generation: int) -> None:
        """Append behind the records that `read` has found of ``generation``."""
        self._current = self._files[generation % 2]

    def begin(self, generation: int) -> None:
        """Append to ``generation`` from now on; what its file has is no longer needed."""
        self._current = self._files[generation % 2]
        self._current.begin(generation)

    def append(self, number: int, batches: Sequence[bytes]) -> None:
        """Write ``batches``, of which the first is batch ``number``, and have them on disk.

        Raises:
            OSError: They may be there, or not, or in part; the same call may be made again.
        """
        self._current.append(number, batches)
        self._marks.note_batches(number + len(batches))

    def accept(self, batches: int) -> None:
        """Have on disk what `read` has found, ``batches`` in all, and note the number.

        It may have been in the system's memory only.
        """
        for file in self._files:
            file.sync()
        if batches != self._marks.batches:
            self._marks.note_batches(batches)

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files:
            file.close()
        self._marks.close()


class _LogFile:
    def __init__(
        self, directory: Path, number: int, marks: LogMarks, log_id: bytes, *, sync: bool
    ) -> None:
        self._where = str(directory)
        self._name = LOG_NAMES[number]
        self._number = number
        self._marks = marks
        self._log_id = log_id
        self._sync = sync
        self.generation = 0
        self._end = FIRST_RECORD
        try:
            self._file = os.open(directory / self._name, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise torn(self._where, f"{self._name} is missing") from None
        try:
            self._check_head()
            # Behind what is noted nothing was ever written.
            self._size = marks.file_bytes(number)
            self._check_size(os.fstat(self._file).st_size)
        except BaseException:
            self.close()
            raise

    def read(self, generation: int, number: int) -> Iterator[tuple[int, Body]]:
        self.generation = generation
        self._end = FIRST_RECORD
        while True:
            head = os.pread(self._file, HEAD_BYTES, self._end)
            if len(head) < HEAD_BYTES:
                break
            log_id, found, first, length, _ = decode_head(head)
            end = self._end + HEAD_BYTES + length
            # A length is not believed, nor are so many bytes read, beyond the end of the file.
            if log_id != self._log_id or found < generation or end > self._size:
                break
            content = os.pread(self._file, length, self._end + HEAD_BYTES)
            if not is_whole(head, content):
                break
            if found > generation:
                raise self._torn(f"it is newer than the database: generation {found}")
            if first != number:
                raise self._torn(f"batch {number} is missing, batch {first} follows")
            try:
                for body in decode_content(content):
                    yield number, body
                    number += 1
            except ValueError as error:
                raise self._torn(f"batch {number} can't be decoded ({error})") from error
            self._end = end
        self._check_rest(number)

    def begin(self, generation: int) -> None:
        self.generation = generation
        self._end = FIRST_RECORD
        if self._size > KEPT_BYTES_MAX:
            self._marks.note_file_bytes(self._number, KEPT_BYTES_MAX)
            self._size = KEPT_BYTES_MAX
            os.ftruncate(self._file, KEPT_BYTES_MAX)

    def append(self, number: int, batches: Sequence[bytes]) -> None:
        record = encode_record(self._log_id, self.generation, number, batches)
        end = self._end + len(record)
        if end > self._size:
            self._take_room(end)
        written = os.pwrite(self._file, record, self._end)
        if written < len(record):
            raise OSError(f"{written} of {len(record)} bytes were written")
        self.sync()
        self._end = end

    def sync(self) -> None:
        if self._sync:
            sync_data(self._file)

    def close(self) -> None:
        os.close(self._file)

    def _take_room(self, end: int) -> None:
        more = min(max(self._size, ROOM_BYTES_FIRST), ROOM_BYTES_MAX)
        size = max(end, self._size + more)
        take_room(self._file, self._size, size - self._size)
        # A length that is noted must outlive a power cut, or a whole store would be refused.
        self.sync()
        self._marks.note_file_bytes(self._number, size)
        self._size = size

    def _check_head(self) -> None:
        head = os.pread(self._file, _FILE_HEAD.size + 4, 0)
        if len(head) < _FILE_HEAD.size + 4 or head != _encode_file_head(head[8:16]):
            raise self._torn("its head is damaged")
        if head[8:16] != self._log_id:
            raise foreign(self._where, f"{self._name} belongs to another store")

    def _check_size(self, size: int) -> None:
        if size < self._size:
            raise self._torn(f"the end is missing: it has {size} bytes, and had {self._size}")

    def _check_rest(self, number: int) -> None:
        """Look for records behind the end: the one at the end is then damaged, not cut off."""
        marker = self._log_id + self.generation.to_bytes(8)
        # Not by `mmap`: in CPython before 3.11.5 its `find` reads beyond the end (gh-105235).
        offset = self._end + 1
        while len(piece := os.pread(self._file, SEARCHED_BYTES, offset)) >= len(marker):
            if marker in piece:
                raise self._torn(f"batch {number} is damaged, and later ones are there")
            offset += len(piece) - len(marker) + 1

    def _torn(self, what: str) -> Exception:
        return torn(self._where, f"in {self._name}, {what}")


def create_log_files(directory: Path, log_id: bytes) -> None:
    """Make the files of an empty log durably, in place of those that are there.

    Raises:
        OSError: There is no room, or we may not.
    """
    for name in LOG_NAMES:
        head = _encode_file_head(log_id).ljust(FIRST_RECORD, b"\0")
        write_private_file(directory / name, head)
    create_log_marks(directory, log_id, FIRST_RECORD)


def has_records(directory: Path) -> bool:
    """Tell whether there are log files with anything in them."""
    paths = [directory / name for name in LOG_NAMES]
    return any(path.exists() and path.stat().st_size > FIRST_RECORD for path in paths)


def _encode_file_head(log_id: bytes) -> bytes:
    head = _FILE_HEAD.pack(_MAGIC, log_id)
    return head + zlib.crc32(head).to_bytes(4)
