"""Which flow was running when the last process of this node ended: a small file in the store.

    magic 8 | running 16 | suspect 16, deaths u32, events u32       little-endian; zeros: nobody

The file is mapped into memory. So a note costs no call to the system, and the last one is there
after any end of the process: `kill -9`, a lack of memory, a fault in C code. It is never synced:
after a power cut it may say anything, and a key that no flow has means nobody.
"""

import mmap
import os
import struct
from pathlib import Path
from typing import Final

from runtime.edge.files import FILE_MODE
from runtime.ports import Suspicion

LAST_RUN_FILE: Final = "running"

_MAGIC: Final = b"sennit-1"
_HISTORY: Final = struct.Struct("<16sII")
_HISTORY_AT: Final = 24
_SIZE: Final = 64
_NOBODY: Final = bytes(16)


class LastRun:
    """Implements `runtime.ports.RunNote`; whoever has the store open has it, too."""

    def __init__(self, directory: Path) -> None:
        descriptor = os.open(
            directory / LAST_RUN_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE
        )
        try:
            if os.fstat(descriptor).st_size != _SIZE or os.pread(descriptor, 8, 0) != _MAGIC:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, _MAGIC.ljust(_SIZE, b"\0"), 0)
            self._file = mmap.mmap(descriptor, _SIZE)
        finally:
            os.close(descriptor)
        self._map: mmap.mmap | bytearray = self._file

    def enter(self, key: bytes) -> None:
        """See `runtime.ports.RunNote`."""
        self._map[8:24] = key

    def leave(self) -> None:
        """See `runtime.ports.RunNote`."""
        self._map[8:24] = _NOBODY

    def close(self) -> None:
        """See `runtime.ports.RunNote`; a greenlet that was left behind may still make notes."""
        self._map = bytearray(self._map)
        self._file.close()

    @property
    def running(self) -> bytes | None:
        """See `runtime.ports.RunNote`."""
        key = bytes(self._map[8:24])
        return None if key == _NOBODY else key

    @property
    def suspicion(self) -> Suspicion | None:
        """See `runtime.ports.RunNote`."""
        key, deaths, events = _HISTORY.unpack_from(self._map, _HISTORY_AT)
        return None if key == _NOBODY else Suspicion(key, deaths, events)

    @suspicion.setter
    def suspicion(self, value: Suspicion | None) -> None:
        fields = (_NOBODY, 0, 0) if value is None else (value.key, value.deaths, value.events)
        _HISTORY.pack_into(self._map, _HISTORY_AT, *fields)
