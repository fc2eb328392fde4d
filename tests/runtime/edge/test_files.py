"""Private files: real modes, checked on the very file that is read."""

import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest

from runtime.edge import files
from runtime.edge.files import (
    check_private_directory,
    make_directory,
    make_private_directory,
    read_private_file,
    sync_data,
    sync_file,
    take_room,
    write_private_file,
)
from runtime.errors import ConfigurationError
from tests.runtime.edge.power_cut import recorded_syncs


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_private_file_is_readable_by_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "private" / "secret"

    before = os.umask(0)
    try:
        make_private_directory(path.parent)
        write_private_file(path, b"content")
    finally:
        os.umask(before)

    assert (mode(path.parent), mode(path)) == (0o700, 0o600)
    assert read_private_file(path, bytes_max=7) == b"content"
    check_private_directory(path.parent)


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.with_name("secret.new").write_bytes(b"left by a crash")
    write_private_file(path, b"one")

    write_private_file(path, b"two")

    assert read_private_file(path, bytes_max=100) == b"two"
    assert os.listdir(tmp_path) == ["secret"]


def test_a_file_that_was_written_is_on_disk_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Breaks when only the content is synced: a power cut may then take the name away again.
    synced: list[str] = []
    sync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    write_private_file(tmp_path / "secret", b"content")

    assert synced == [str(tmp_path / "secret.new"), str(tmp_path)]


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_a_file_open_to_others_is_refused_with_the_command_that_closes_it(
    tmp_path: Path, bits: int
) -> None:
    path = tmp_path / "secret"
    write_private_file(path, b"content")
    path.chmod(bits)

    with pytest.raises(ConfigurationError) as caught:
        read_private_file(path, bytes_max=100)

    assert caught.value.where == str(path)
    assert caught.value.what == f"is open to other users (mode {bits:04o})"
    assert caught.value.do == f"Run: chmod 600 {path}"


def test_a_directory_open_to_others_is_refused_with_the_command_that_closes_it(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o750)

    with pytest.raises(ConfigurationError, match=f"Run: chmod 700 {tmp_path}"):
        check_private_directory(tmp_path)


def test_what_is_missing_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    file, pipe = tmp_path / "file", tmp_path / "pipe"
    write_private_file(file, b"content")
    os.mkfifo(pipe, 0o600)

    for path, words in [
        (tmp_path / "none", "no such file"),
        (pipe, "is not a file"),
        (tmp_path, "is not a file"),
    ]:
        with pytest.raises(ConfigurationError, match=words):
            read_private_file(path, bytes_max=100)
    for path, words in [(tmp_path / "none", "no such file"), (file, "is not a directory")]:
        with pytest.raises(ConfigurationError, match=words):
            check_private_directory(path)


def test_a_file_larger_than_its_bound_is_refused(tmp_path: Path) -> None:
    write_private_file(tmp_path / "secret", b"content")

    with pytest.raises(ConfigurationError, match="is larger than 6 bytes"):
        read_private_file(tmp_path / "secret", bytes_max=6)


def test_a_new_directory_and_all_its_new_parents_survive_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorded_syncs(monkeypatch) as synced:
        make_directory(tmp_path / "a" / "b" / "c")
        make_private_directory(tmp_path / "a" / "d")

    assert synced.lost(tmp_path / "a") == set()


def test_a_directory_that_exists_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o750)

    make_directory(tmp_path / "a", mode=0o700)

    assert mode(tmp_path / "a") == 0o750


def test_a_sync_on_macos_goes_through_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # There, fsync leaves the data in the memory of the disk; and there is no fdatasync.
    called: list[int] = []
    monkeypatch.setattr(files, "FULL_SYNC", 51)
    monkeypatch.setattr(fcntl, "fcntl", lambda _file, command: called.append(command))
    monkeypatch.delattr(os, "fdatasync")
    with (tmp_path / "file").open("wb") as file:
        sync_file(file.fileno())
        sync_data(file.fileno())

    assert called == [51, 51]


def test_a_file_system_on_macos_that_knows_no_full_sync_is_synced_as_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []

    def refuse(_file: int, _command: int) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(files, "FULL_SYNC", 51)
    monkeypatch.setattr(fcntl, "fcntl", refuse)
    monkeypatch.setattr(os, "fsync", synced.append)
    with (tmp_path / "file").open("wb") as file:
        sync_file(file.fileno())
        sync_data(file.fileno())
        assert synced == [file.fileno()] * 2


def test_a_full_sync_that_fails_is_no_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_file: int, _command: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files, "FULL_SYNC", 51)
    monkeypatch.setattr(fcntl, "fcntl", fail)
    with (tmp_path / "file").open("wb") as file, pytest.raises(OSError, match="Input/output"):
        sync_data(file.fileno())


def test_room_is_taken_with_zeros_where_the_system_has_no_better_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_file: int, _start: int, _count: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    path = tmp_path / "file"
    path.write_bytes(b"kept")
    with path.open("r+b") as file:
        monkeypatch.setattr(os, "posix_fallocate", refuse)
        take_room(file.fileno(), 4, 2_500_000)
        monkeypatch.delattr(os, "posix_fallocate")
        take_room(file.fileno(), 2_500_004, 10)

    assert path.read_bytes() == b"kept" + bytes(2_500_010)


def test_room_that_is_not_there_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_file: int, _start: int, _count: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with (tmp_path / "file").open("wb") as file, pytest.raises(OSError, match="No space left"):
        take_room(file.fileno(), 0, 10)
