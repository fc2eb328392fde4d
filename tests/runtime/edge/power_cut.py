"""What a power cut would leave: a record of what was synced, and what would be lost without it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Synced:
    """The files and the names in directories that are on disk for certain."""

    def __init__(self) -> None:
        self._names: dict[Path, dict[str, int]] = {}
        self._files: set[int] = set()

    def note(self, descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        self._files.add(os.fstat(descriptor).st_ino)
        if path.is_dir():
            self._names[path] = {entry.name: entry.inode() for entry in os.scandir(path)}

    def names(self, directory: Path) -> set[str]:
        """Return the names that are on disk."""
        return set(self._names.get(directory, {}))

    def lost(self, top: Path) -> set[str]:
        """Return what in and above ``top`` a power cut could take, up to its existing parent."""
        paths = [top, *top.rglob("*")]
        return {
            str(path.relative_to(top.parent))
            for path in paths
            if self._names.get(path.parent, {}).get(path.name) != path.stat().st_ino
            or (path.is_file() and path.stat().st_ino not in self._files)
        }


@contextmanager
def recorded_syncs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Synced]:
    synced = Synced()
    fsync, fdatasync = os.fsync, os.fdatasync

    def noted_fsync(descriptor: int) -> None:
        synced.note(descriptor)
        fsync(descriptor)

    def noted_fdatasync(descriptor: int) -> None:
        synced.note(descriptor)
        fdatasync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", noted_fsync)
        patch.setattr(os, "fdatasync", noted_fdatasync)
        yield synced
