"""Small files: written whole, read within a bound; private ones are their owner's only.

A file is written under another name, synced and renamed, so that a reader sees the old one or the
new one whole. Private files have mode 0600 and their directories 0700; reading them refuses, with
the command that repairs it, what the group or the world may read or write.
"""

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Final

from runtime.errors import ConfigurationError

FILE_MODE: Final = 0o600
PUBLIC_FILE_MODE: Final = 0o644
DIRECTORY_MODE: Final = 0o700

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

_ZEROS_BYTES: Final = 1024 * 1024

# macOS: fsync there leaves the data in the memory of the disk, which a power cut empties.
FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)


def make_private_directory(path: Path) -> None:
    """Make the directory, with its parents, durably; it is readable by its owner only."""
    make_directory(path, mode=DIRECTORY_MODE)
    # The mode of mkdir is masked by the umask, and an existing directory keeps its own.
    path.chmod(DIRECTORY_MODE)


def make_directory(path: Path, *, mode: int = 0o777) -> None:
    """Make the directory, with its parents, durably: no power cut takes back what is put in it.

    ``mode``, masked by the umask, is that of ``path`` itself. One that exists is left as it is.
    """
    if path.is_dir():
        return
    if path.parent != path:
        make_directory(path.parent)
    path.mkdir(mode=mode, exist_ok=True)
    sync_directory(path.parent)


def write_private_file(path: Path, content: bytes) -> None:
    """Write or replace the file, readable by its owner only, and make it durable."""
    _write(path, content, FILE_MODE)


def write_public_file(path: Path, content: bytes) -> None:
    """Write or replace the file, readable by everybody, and make it durable."""
    _write(path, content, PUBLIC_FILE_MODE)


def read_private_file(path: Path, *, bytes_max: int) -> bytes:
    """Return the content; raises `ConfigurationError` if others may read it, or it can't be read.

    The mode is that of the very file that is read, not of one that was put there in between.
    """
    return _read(path, bytes_max, is_private=True)


def read_public_file(path: Path, *, bytes_max: int) -> bytes:
    """Return the content; raises `ConfigurationError` if it can't be read or is larger."""
    return _read(path, bytes_max, is_private=False)


def check_private_directory(path: Path) -> None:
    """Raise `ConfigurationError` if others may look into the directory, or there is none."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISDIR(mode):
        raise ConfigurationError(str(path), "is not a directory", "Name the directory itself")
    _check_mode(path, mode, DIRECTORY_MODE)


def _write(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        sync_file(descriptor)
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Have on disk which files the directory has: those that were made, renamed or removed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)


def sync_file(descriptor: int) -> None:
    """Have on disk what was written to the file, and what the system knows about it."""
    if FULL_SYNC is None or not _full_sync(descriptor, FULL_SYNC):
        os.fsync(descriptor)


def sync_data(descriptor: int) -> None:
    """Have on disk what was written to the file, and its length."""
    if FULL_SYNC is None:
        os.fdatasync(descriptor)
    elif not _full_sync(descriptor, FULL_SYNC):
        os.fsync(descriptor)


def take_room(descriptor: int, start: int, count: int) -> None:
    """Make the file long enough for ``count`` bytes from ``start``, and take room on the disk.

    Where the system or the file system can't promise room, zeros are written. So nothing may be
    in the file from ``start`` on.

    Raises:
        OSError: There is no room; some of it may have been taken.
    """
    allocate = getattr(os, "posix_fallocate", None)
    if allocate is not None:
        try:
            allocate(descriptor, start, count)
            return
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}:
                raise
    end = start + count
    while start < end:
        start += os.pwrite(descriptor, bytes(min(end - start, _ZEROS_BYTES)), start)


def _full_sync(descriptor: int, command: int) -> bool:
    try:
        fcntl.fcntl(descriptor, command)
    except OSError as error:
        # A file system that has no such thing, like one over the network.
        if error.errno not in {errno.ENOTSUP, errno.ENOTTY, errno.EINVAL}:
            raise
        return False
    return True


def _read(path: Path, bytes_max: int, *, is_private: bool) -> bytes:
    try:
        # A named pipe must not hang us.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise ConfigurationError(str(path), "is not a file", "Name the file itself")
        if is_private:
            _check_mode(path, mode, FILE_MODE)
        content = os.read(descriptor, bytes_max + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(descriptor)
    if len(content) > bytes_max:
        what = f"is larger than {bytes_max} bytes"
        raise ConfigurationError(str(path), what, "Restore the file that was here before")
    return content


def _unreadable(path: Path, error: OSError) -> ConfigurationError:
    reason = (error.strerror or type(error).__name__).lower()
    do = "Check the path, or restore the file"
    return ConfigurationError(str(path), f"can't be read ({reason})", do)


def _check_mode(path: Path, mode: int, wanted: int) -> None:
    if mode & _OTHERS:
        what = f"is open to other users (mode {stat.S_IMODE(mode):04o})"
        raise ConfigurationError(str(path), what, f"Run: chmod {wanted:03o} {path}")
