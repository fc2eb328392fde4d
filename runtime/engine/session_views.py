"""What a flow's code has seen of its sessions, and how one that both sides ended leaves memory.

A flow may live for long and have any number of sessions, one after the other. Of one that is over
at both ends the journal says so (`SessionOver`), a tombstone answers late messages, and the view
stays exactly as long as the code holds its `Session`. A replay builds the view up again, answers
from the journal, and lets it go where the code had closed the session.

The session that a responder was started for stays until the flow ends: it counts for the peer.
"""

from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from runtime.core.envelopes import Content
from runtime.core.events import Accepted, Origin, SessionOver
from runtime.core.session_machine import SessionMachine, Status
from runtime.ids import PeerName

if TYPE_CHECKING:
    from runtime.engine.flow_run import FlowRun


class SessionView:
    """What the flow's code has seen of one session; a replay builds it up again.

    ``beside`` are the numbers of the sessions that the same (sub-)flow has.
    """

    __slots__ = (
        "__weakref__",
        "acceptance",
        "app",
        "beside",
        "flow",
        "is_closed",
        "is_used",
        "over",
        "peer",
        "taken",
        "version",
    )

    def __init__(
        self, *, peer: PeerName, flow: str, version: int, app: str, beside: dict[int, None]
    ) -> None:
        self.peer = peer
        self.flow = flow
        self.version = version
        self.app = app
        self.beside = beside
        self.is_used = False
        self.is_closed = False
        self.taken = -1  # the number of the message that the flow took last
        self.over: Content | None = None
        self.acceptance: Accepted | None = None  # of a session that has left memory

    @classmethod
    def of_responder(cls, origin: Origin, beside: dict[int, None]) -> "SessionView":
        """Return the view of the session that a responder was started for."""
        view = cls(
            peer=origin.peer,
            flow=origin.flow,
            version=origin.version,
            app=origin.app,
            beside=beside,
        )
        view.is_used = True
        return view


class SessionViews(dict[int, SessionView]):
    """The views of one flow by number; those that have left are found as long as code has them."""

    _left: WeakValueDictionary[int, SessionView] | None = None

    def __missing__(self, number: int) -> SessionView:
        if self._left is None:
            raise KeyError(number)
        return self._left[number]

    def leave(self, number: int) -> None:
        """Keep a view no longer than the flow's code does."""
        view = self.pop(number)
        view.beside.pop(number, None)
        if self._left is None:
            self._left = WeakValueDictionary()
        self._left[number] = view


def close_view(run: "FlowRun", number: int) -> None:
    """Note that the code has ended a session, replayed or now; forget it if the peer has, too."""
    view = run.views[number]
    view.is_closed = True
    machine = run.sessions.get(number)
    if machine is not None:
        forget_if_over(run, machine)
    else:
        # It was never used, or is over already.
        view.acceptance = run.machine.acceptances.pop(number, None)
        run.views.leave(number)


def forget_if_over(run: "FlowRun", machine: SessionMachine) -> None:
    """Forget a session that both sides have ended, durably; no effect on any other.

    It may be that a replay has not come to the end of it yet; `close_view` does the rest then.
    """
    number, peer_sid = machine.number, machine.peer_sid
    if machine.status is not Status.DONE or number == 0 or peer_sid is None:
        return
    now, received = run.now(), machine.received_bytes
    run.append_fact(SessionOver(now, "", number, machine.peer, received))
    run.manager.delivery.retire(run.key, machine)
    del run.sessions[number]
    acceptance = Accepted(
        now, "", number, peer_sid, machine.peer_version, machine.app, machine.app_version
    )
    view = run.views.get(number)
    if view is not None and view.is_closed:
        view.acceptance = acceptance
        run.views.leave(number)
    else:
        run.machine.acceptances[number] = acceptance


def acceptance_of(run: "FlowRun", number: int) -> Accepted | SessionMachine:
    """Return what knows the peer's version and app, of a session that was accepted."""
    found = run.sessions.get(number) or run.machine.acceptances.get(number)
    found = found or run.views[number].acceptance
    assert found is not None
    return found
