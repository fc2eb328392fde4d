"""Where code stands, in words: ``function (file:line)`` of the frame that its author knows."""

from types import FrameType
from typing import Final

# What a flow's code waits in is not what its author has written.
_NOT_THE_AUTHORS: Final = ("runtime", "gevent", "greenlet", "zmq")


def place_of(frame: FrameType | None) -> str:
    """Return the place of the innermost frame that is neither ours nor gevent's."""
    innermost = frame
    while frame is not None and _package(frame) in _NOT_THE_AUTHORS:
        frame = frame.f_back
    return words_of(frame or innermost)


def place_of_error(error: BaseException) -> str:
    """Return the innermost place of its author's code that an error came through, if any."""
    trace, found = error.__traceback__, ""
    while trace is not None:
        if _package(trace.tb_frame) not in _NOT_THE_AUTHORS:
            code = trace.tb_frame.f_code
            found = f"{code.co_qualname} ({code.co_filename}:{trace.tb_lineno})"
        trace = trace.tb_next
    return found


def words_of(frame: FrameType | None) -> str:
    """Return the place of this frame."""
    if frame is None:
        return "nowhere"
    return f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"


def _package(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0]
