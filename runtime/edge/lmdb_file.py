"""Take hold of a store's directory: lock it, create its database, refuse one that is torn.

The directory (mode 0700) holds three files (mode 0600)::

    store.lock   held with flock(2) while a process uses the store; its text is that process's id
    data.mdb     the LMDB database; `runtime.edge.lmdb_log` says what is in it
    lock.mdb     LMDB's own

A new database is made in the subdirectory ``new`` and renamed into place when it is complete, so
that an empty or half-made ``data.mdb`` is always a damage. Its file is as long as its map, with
holes, so that a file that lost its end is always shorter than the pages that it counts: LMDB would
not notice, and the process would die of SIGBUS when it reads beyond the end.

What is read here of LMDB's format (0.9; native byte order; page 0 and 1 are the meta pages)::

    page header  number u64 | pad u16 | flags u16 (8: meta) | lower u16 | upper u16
    meta         magic u32 0xBEEFC0DE | version u32 1 | address u64 | map bytes u64
                 | two trees of 48 bytes, the first begins with the page size u32
                 | last page u64 | txn u64
"""

import fcntl
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import lmdb

from runtime.edge.lmdb_log import HEADER, LOGS, MERGED, META, encode_header, encode_number, torn
from runtime.errors import StoreUnusable

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700
DATABASES_MAX: Final = 128

DATA_NAME: Final = "data.mdb"
LOCK_NAME: Final = "store.lock"

_META: Final = struct.Struct("=QHHHHIIQQI44x48xQQ")
_META_FLAG: Final = 8
_MAGIC: Final = 0xBEEFC0DE
_VERSION: Final = 1
_PAGE_BYTES: Final = frozenset(1 << bits for bits in range(9, 17))


class DirectoryLock:
    """The right of one process to use a store; the kernel takes it back when the process dies."""

    def __init__(self, directory: Path) -> None:
        path = directory / LOCK_NAME
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise StoreUnusable(
                f"the store at {directory} is in use by process {holder}. "
                "Stop that process first; a store serves one process at a time"
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Let another process have the store."""
        os.close(self._file)


def take_directory(directory: Path, owner: str, *, map_bytes: int) -> DirectoryLock:
    """Lock ``directory``, creating it and its database if need be; check the database file."""
    directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    lock = DirectoryLock(directory)
    try:
        with _unusable_on_os_error(directory):
            if not (directory / DATA_NAME).exists():
                _create(directory, owner, map_bytes)
            check_data_file(directory / DATA_NAME)
    except BaseException:
        lock.release()
        raise
    return lock


def open_environment(directory: Path, *, map_bytes: int, sync: bool) -> lmdb.Environment:
    """Open the database, which must exist, with a map of at least ``map_bytes``."""
    environment = lmdb.open(
        os.fspath(directory),
        map_size=map_bytes,
        max_dbs=DATABASES_MAX,
        mode=FILE_MODE,
        create=False,
        sync=sync,
        metasync=sync,
    )
    stretch(directory, environment.info()["map_size"])
    return environment


def stretch(directory: Path, map_bytes: int) -> None:
    """Make the data file as long as the map, without taking room on the disk."""
    path = directory / DATA_NAME
    if path.stat().st_size < map_bytes:
        os.truncate(path, map_bytes)


def check_data_file(path: Path) -> None:
    """Raise `StoreUnusable` if LMDB could not read ``path`` without harm."""
    where = str(path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        page_bytes, *first = _read_meta(file.read(_META.size), page_number=0, where=where)
        file.seek(page_bytes)
        _, *second = _read_meta(file.read(_META.size), page_number=1, where=where)
    page_last, _ = max(first, second, key=lambda meta: meta[1])
    needed = (page_last + 1) * page_bytes
    if size < needed:
        raise torn(where, f"the file has {size} bytes, but its pages end at byte {needed}")


def _read_meta(page: bytes, *, page_number: int, where: str) -> list[int]:
    if len(page) < _META.size:
        raise torn(where, f"the file ends inside page {page_number}")
    number, _, flags, _, _, magic, version, _, _, page_bytes, page_last, txn = _META.unpack(page)
    if magic != _MAGIC or not flags & _META_FLAG or number != page_number:
        raise torn(where, f"page {page_number} is no meta page of LMDB")
    if version != _VERSION:
        raise StoreUnusable(
            f"the store at {where} was written by another generation of LMDB (format {version}; "
            f"this one reads {_VERSION}). Nothing was changed. Install the version that wrote it"
        )
    if page_bytes not in _PAGE_BYTES:
        raise torn(where, f"page {page_number} gives an impossible page size of {page_bytes}")
    return [page_bytes, page_last, txn]


def _create(directory: Path, owner: str, map_bytes: int) -> None:
    new = directory / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=DIRECTORY_MODE)
    with lmdb.open(
        os.fspath(new), map_size=map_bytes, max_dbs=DATABASES_MAX, mode=FILE_MODE
    ) as environment:
        meta = environment.open_db(META)
        for log in LOGS:
            environment.open_db(log)
        with environment.begin(write=True, db=meta) as txn:
            txn.put(HEADER, encode_header(owner))
            txn.put(MERGED, encode_number(0))
        stretch(new, environment.info()["map_size"])
        environment.sync(True)
    (new / DATA_NAME).rename(directory / DATA_NAME)
    shutil.rmtree(new)
    _sync_directory(directory)
    _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _unusable_on_os_error(directory: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, lmdb.Error) as error:
        raise StoreUnusable(
            f"the store at {directory} can't be opened: {error}. "
            "Nothing was changed. Check that the disk has room and that we may write there"
        ) from error
