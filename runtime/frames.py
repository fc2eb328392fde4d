"""Frame: many envelopes that cross a link together.

    version    u8        1
    envelopes  msgpack   an array of 1 to FRAME_ENVELOPES_MAX bin, in the order of sending

A frame has at most FRAME_BYTES_MAX bytes, and nothing follows the array. What an envelope holds is
the business of those who send and receive it. A frame that is anything else is dropped whole, since
a peer that has made one mistake may have made others.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Annotated, Final

import msgspec

from runtime.errors import SennitError
from runtime.limits import FRAME_BYTES_MAX, FRAME_BYTES_TARGET, FRAME_ENVELOPES_MAX

VERSION: Final = 1

# The msgpack header of an array has at most 5 bytes, that of a bin too.
_OVERHEAD_BYTES: Final = 1 + 5
_ENVELOPE_OVERHEAD_BYTES: Final = 5

ENVELOPE_BYTES_MAX: Final = FRAME_BYTES_MAX - _OVERHEAD_BYTES - _ENVELOPE_OVERHEAD_BYTES

# The array's length is checked before its items are decoded.
_Envelopes = Annotated[list[bytes], msgspec.Meta(min_length=1, max_length=FRAME_ENVELOPES_MAX)]

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Envelopes)


class MalformedFrame(SennitError):
    """Bytes from a peer that are no frame; whoever reads the link drops and counts them."""


def pack(envelopes: Sequence[bytes]) -> bytearray:
    """Return the frame that carries ``envelopes``, one of `batches`."""
    assert 1 <= len(envelopes) <= FRAME_ENVELOPES_MAX
    frame = bytearray(b"\x01")
    _encoder.encode_into(envelopes, frame, 1)
    assert len(frame) <= FRAME_BYTES_MAX
    return frame


def unpack(frame: bytes | bytearray | memoryview) -> list[bytes]:
    """Return the envelopes of ``frame``; raises `MalformedFrame`."""
    if len(frame) > FRAME_BYTES_MAX:
        raise MalformedFrame(f"{len(frame)} bytes; at most {FRAME_BYTES_MAX} are allowed")
    if not frame:
        raise MalformedFrame("no bytes at all")
    if frame[0] != VERSION:
        raise MalformedFrame(f"version {frame[0]}; this node speaks {VERSION}")
    try:
        return _decoder.decode(memoryview(frame)[1:])
    except msgspec.DecodeError as error:
        raise MalformedFrame(f"not an array of envelopes: {error}") from error


def fits(envelopes: Sequence[bytes]) -> bool:
    """Tell whether ``envelopes``, at least one, are fit for one frame together."""
    size = sum(map(len, envelopes)) + len(envelopes) * _ENVELOPE_OVERHEAD_BYTES
    return size <= FRAME_BYTES_TARGET and len(envelopes) <= FRAME_ENVELOPES_MAX


def batches(envelopes: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Yield ``envelopes`` in portions, each fit for one frame; the lists are new."""
    if envelopes and fits(envelopes):
        yield list(envelopes)
        return
    start = size = 0
    for index, envelope in enumerate(envelopes):
        assert len(envelope) <= ENVELOPE_BYTES_MAX
        cost = len(envelope) + _ENVELOPE_OVERHEAD_BYTES
        count = index - start
        if count and (size + cost > FRAME_BYTES_TARGET or count == FRAME_ENVELOPES_MAX):
            yield list(envelopes[start:index])
            start, size = index, 0
        size += cost
    if start < len(envelopes):
        yield list(envelopes[start:])


class Backlog:
    """Envelopes that wait for room on a link, in order, bounded in bytes; the newest are refused.

    What waits together travels together: neighbours share frames as far as these have room.
    """

    def __init__(self, *, bytes_max: int) -> None:
        assert bytes_max > ENVELOPE_BYTES_MAX
        self._bytes_max = bytes_max
        self._batches: deque[list[bytes]] = deque()
        self._last_bytes = 0
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._batches)

    def add(self, envelopes: Sequence[bytes]) -> int:
        """Take ``envelopes`` as far as there is room, and return how many were refused."""
        taken = 0
        for batch in batches(envelopes):
            size = sum(map(len, batch)) + len(batch) * _ENVELOPE_OVERHEAD_BYTES
            if self._bytes + size > self._bytes_max:
                break
            self._append(batch, size)
            taken += len(batch)
        return len(envelopes) - taken

    def _append(self, batch: list[bytes], size: int) -> None:
        self._bytes += size
        if self._batches:
            last = self._batches[-1]
            if (
                self._last_bytes + size <= FRAME_BYTES_TARGET
                and len(last) + len(batch) <= FRAME_ENVELOPES_MAX
            ):
                last.extend(batch)
                self._last_bytes += size
                return
        self._batches.append(batch)
        self._last_bytes = size

    def first(self) -> list[bytes]:
        """Return what the next frame should carry."""
        return self._batches[0]

    def pop(self) -> None:
        """Forget what `first` returned: it is on its way."""
        batch = self._batches.popleft()
        self._bytes -= sum(map(len, batch)) + len(batch) * _ENVELOPE_OVERHEAD_BYTES

    def clear(self) -> int:
        """Forget everything, and return how many envelopes that were."""
        count = sum(map(len, self._batches))
        self._batches.clear()
        self._bytes = 0
        return count


assert FRAME_BYTES_TARGET < ENVELOPE_BYTES_MAX
