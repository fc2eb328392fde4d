"""Which flow a thread is running, read from its stack by another thread."""

from types import FrameType
from typing import Final

from runtime.engine.flow_run import FlowRun
from runtime.places import place_of, words_of
from runtime.ports import Sight

_MAIN: Final = FlowRun.main.__code__


def look_at(frame: FrameType | None) -> Sight:
    """Read the stack of the loop's thread, from its innermost frame outwards."""
    place = place_of(frame)
    outer, entry = frame, None
    while outer is not None and outer.f_code is not _MAIN:
        if not outer.f_globals.get("__name__", "").startswith("runtime."):
            entry = outer
        outer = outer.f_back
    if outer is None:
        return Sight(words=place, flow_id=None, flow=None)
    # The outermost code of the flow's own is the function that its author looks for.
    if entry is not None and words_of(entry) != place:
        place = f"{place}, called from {words_of(entry)}"
    run = outer.f_locals["self"]
    assert isinstance(run, FlowRun)
    name = run.info.name
    return Sight(words=f"flow {run.flow_id} ({name}) in {place}", flow_id=run.flow_id, flow=name)
