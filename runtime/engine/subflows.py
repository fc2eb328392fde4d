"""Initiating sub-flows: with a path, a protocol and sessions of their own, inline in the caller.

An error that escapes a sub-flow ends it only when the caller has caught it, that is, with the next
operation. If nobody catches it and the flow is held, the sub-flow is not over: its peers hear
nothing, and once the code is right it goes on where it was.
"""

from typing import TYPE_CHECKING

from runtime.core.events import Entered, Left
from runtime.core.triage import is_for_hospital
from runtime.engine import conversing
from runtime.engine.error_ids import remember_id, words_of
from runtime.engine.marks import arguments_differ, arguments_to_record
from runtime.engine.session_views import close_view
from runtime.errors import FlowUnwound
from runtime.flow import Flow, Responder
from runtime.progress_tree import ProgressTree

if TYPE_CHECKING:
    from runtime.engine.flow_run import FlowRun
    from runtime.ids import ErrorId


class Frame:
    """One level of (sub-)flow: the place of its events, its protocol, its sessions."""

    __slots__ = ("app", "flow", "path", "sessions", "tree", "version")

    def __init__(self, path: str, definition: Flow[..., object] | Responder, tree: ProgressTree):
        self.path = path
        self.flow = definition.name
        self.version = definition.version
        self.app = definition.app
        self.tree = tree
        self.sessions: dict[int, None] = {}  # by number, in order


def run_subflow(run: "FlowRun", flow: Flow[..., object], arguments: tuple[object, ...]) -> object:
    """Run ``flow`` inside the flow that calls it."""
    path = run.path
    caller = run.frame
    assert caller is not None
    run.give_way()
    mark = flow.arguments.mark(arguments)
    place = run.machine.place
    differs = arguments_differ(run, flow.name, flow.arguments, arguments, mark)
    if run.machine.entered(path=path, flow=flow.name, arguments=mark, differs=differs) is None:
        mark = arguments_to_record(run, flow.name, flow.arguments, arguments, mark)
        run.append(Entered(run.now(), path, flow.name, flow.version, mark))
    tree = caller.tree.child(flow.name, flow.labels)
    run.frame = frame = Frame(f"{path}{place}/", flow, tree)
    try:
        value = flow.arguments.call(arguments)
        run.check_alive()
        conversing.settle(run, run.sessions_of_frame())
    except (FlowUnwound, KeyboardInterrupt):
        raise
    except BaseException as error:
        run.check_alive()
        if is_for_hospital(error):
            # No code of the caller gets to see it; see there.
            run.put_aside(error)
        tree.fail(words_of(error))
        run.frame = Failing(run, frame, flow, error, caller)
        raise
    _leave(run, frame, flow, None)
    tree.finish()
    run.frame = caller
    return value


class Failing(Frame):
    """In the place of the caller's frame while an error is on its way from a sub-flow to it.

    It has nothing of a frame but what is shown. Whatever asks for more comes from an operation, so
    the error was caught: the sub-flow is ended then, and the caller's frame is back.
    """

    __slots__ = ("caller", "left", "run")

    def __init__(
        self,
        run: "FlowRun",
        frame: Frame,
        flow: Flow[..., object],
        error: BaseException,
        caller: Frame,
    ) -> None:
        inner = run.frame
        self.run = run
        self.left: list[tuple[Frame, Flow[..., object], BaseException]] = []
        if isinstance(inner, Failing):
            self.left += inner.left
        self.left.append((frame, flow, error))
        self.caller = caller
        self.tree = caller.tree

    def end(self) -> Frame:
        """End the sub-flows that failed, the inner ones first; return the caller's frame."""
        self.run.frame = self.caller
        for frame, flow, error in self.left:
            _leave(self.run, frame, flow, error)
        return self.caller

    def __getattr__(self, name: str) -> object:
        return getattr(self.end(), name)


def _leave(
    run: "FlowRun", frame: Frame, flow: Flow[..., object], error: BaseException | None
) -> None:
    failed = error is not None
    recorded = run.machine.left(path=frame.path, flow=flow.name, failed=failed)
    if recorded is None:
        error_id: ErrorId | None = None
        if error is not None:
            error_id = run.manager.hospital.subflow_failed(run, flow, error)
        run.append(Left(run.now(), frame.path, flow.name, failed, error_id))
        conversing.end_sessions(run, list(frame.sessions), error, error_id)
    elif error is not None and recorded.error_id is not None:
        remember_id(error, run.flow_id, recorded.error_id)
    for number in list(frame.sessions):
        close_view(run, number)
