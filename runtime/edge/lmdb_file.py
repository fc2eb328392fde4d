"""Take hold of a store's directory: lock it, create its database, refuse one that is torn.

The directory (mode 0700) holds these files (mode 0600)::

    store.lock     held with flock(2) while a process uses the store; its text is that process's id
    data.mdb       the LMDB database; `runtime.edge.lmdb_format` says what is in it
    lock.mdb       LMDB's own
    log.0, log.1   what is not in the database yet: `runtime.edge.log_file`
    log.marks      what the log is known to have: `runtime.edge.log_marks`

A new database is made in the subdirectory ``new`` and renamed into place when it and its log are
complete, so that an empty or half-made ``data.mdb`` is always a damage. Its file is as long as its
map, with holes, so that a file that lost its end is always shorter than the pages that it counts:
LMDB would not notice, and the process would die of SIGBUS when it reads beyond the end.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import lmdb

from runtime.edge.files import DIRECTORY_MODE, FILE_MODE, make_directory, sync_directory
from runtime.edge.lmdb_check import check_data_file
from runtime.edge.lmdb_format import (
    GENERATIONS,
    HEADER,
    MERGED,
    META,
    encode_header,
    encode_number,
    torn,
)
from runtime.edge.log_file import LOG_ID_BYTES, create_log_files, has_records
from runtime.errors import StoreUnusable

DATABASES_MAX: Final = 128

DATA_NAME: Final = "data.mdb"
LOCK_NAME: Final = "store.lock"


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
    with unusable_on_os_error(directory):
        make_directory(directory, mode=DIRECTORY_MODE)
        lock = DirectoryLock(directory)
    try:
        with unusable_on_os_error(directory):
            if not (directory / DATA_NAME).exists():
                if has_records(directory):
                    raise torn(str(directory), f"its log is there, but {DATA_NAME} is missing")
                _create(directory, owner, map_bytes)
            check_data_file(directory / DATA_NAME)
    except BaseException:
        lock.release()
        raise
    return lock


def open_environment(directory: Path, *, map_bytes: int, sync: bool) -> lmdb.Environment:
    """Open the database, which must exist, with a map of at least ``map_bytes``."""
    return lmdb.open(
        os.fspath(directory),
        map_size=map_bytes,
        max_dbs=DATABASES_MAX,
        mode=FILE_MODE,
        create=False,
        sync=sync,
        metasync=sync,
    )


def stretch(directory: Path, map_bytes: int) -> None:
    """Make the data file as long as the map, without taking room on the disk."""
    path = directory / DATA_NAME
    if path.stat().st_size < map_bytes:
        os.truncate(path, map_bytes)


def _create(directory: Path, owner: str, map_bytes: int) -> None:
    new = directory / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=DIRECTORY_MODE)
    with lmdb.open(
        os.fspath(new), map_size=map_bytes, max_dbs=DATABASES_MAX, mode=FILE_MODE
    ) as environment:
        meta = environment.open_db(META)
        log_id = os.urandom(LOG_ID_BYTES)
        with environment.begin(write=True, db=meta) as txn:
            txn.put(HEADER, encode_header(owner, log_id))
            txn.put(MERGED, encode_number(MERGED, 0))
            txn.put(GENERATIONS, encode_number(GENERATIONS, 0))
        stretch(new, environment.info()["map_size"])
        environment.sync(True)
    create_log_files(directory, log_id)
    (new / DATA_NAME).rename(directory / DATA_NAME)
    shutil.rmtree(new)
    sync_directory(directory)
    # The directory may be older than we, and its parent not synced by whoever made it.
    sync_directory(directory.parent)


@contextmanager
def unusable_on_os_error(directory: Path) -> Iterator[None]:
    """Translate what the operating system or LMDB has against the directory."""
    try:
        yield
    except (OSError, lmdb.Error) as error:
        raise StoreUnusable(
            f"the store at {directory} can't be opened: {error}. "
            "Nothing was changed. Check that the disk has room and that we may write there"
        ) from error
