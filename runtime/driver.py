"""The seam between a flow's code and the engine that drives it: who am I, and what may I ask.

Author-side modules look up the driver of the flow they are called in and ask it; they never import
the engine. A method that waits does so by switching to the loop; the docstrings say which.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import greenlet
import msgspec

from runtime.codec import Packed
from runtime.errors import NotInFlow
from runtime.ids import FlowId, UserName
from runtime.party import AnonymousParty, Party

if TYPE_CHECKING:
    from runtime.atomic import AtomicFunction
    from runtime.flow import Flow
    from runtime.host import Host
    from runtime.ports import RunNote
    from runtime.step import StepFunction

T = TypeVar("T")


class FlowInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a flow can know of itself."""

    id: FlowId
    name: str
    version: int
    user: UserName
    client_id: str | None


class PeerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the peer told of itself when the session was opened or accepted."""

    party: Party
    flow_version: int
    app: str
    app_version: str


class Driver(Protocol):
    """What one flow may ask of the engine. Every call may raise what unwinds the flow."""

    @property
    def info(self) -> FlowInfo:
        """Identity of the flow."""

    @property
    def host(self) -> "Host":
        """The node's services."""

    def step_id(self) -> str:
        """Return the stable id of the step that is running."""

    def initiate(self, party: Party | AnonymousParty) -> tuple[int, object]:
        """Return the number of a fresh session; nothing is sent.

        The second one is what the engine knows of it. Whoever uses the number must hold that, too:
        of a session that is over, nobody else does.
        """

    def counterparty(self, session: int) -> Party:
        """Return the party at the other end."""

    def send(self, messages: Sequence[tuple[int, Packed]]) -> None:
        """Hand messages over; waits only if a peer is far behind."""

    def receive(self, sessions: Sequence[int], asked: str) -> list[Packed]:
        """Wait until every session has a message; take one of each, or raise how one ended."""

    def peer_info(self, session: int) -> PeerInfo:
        """Wait until the peer has accepted."""

    def close(self, session: int) -> None:
        """End the session."""

    def where(self, session: int) -> str:
        """Return words that name the session and the position in it, for errors."""

    def now_ms(self) -> int:
        """Return the time, journaled."""

    def sleep_until(self, time_ms: int | None, delay_ms: int) -> None:
        """Wait until a time, or for a delay counted from now."""

    def derive(self, label: bytes) -> bytes:
        """Return the next 16 derived bytes under ``label``."""

    def kept(self, label: bytes, make: Callable[[bytes], T]) -> T:
        """Return what ``make`` made of the derived bytes at the first call with ``label``."""

    def enter_deadline(self, delay_ms: int) -> object:
        """Bound all waits until `leave_deadline` is called with what this returns."""

    def leave_deadline(self, due: object) -> None:
        """Undo the `enter_deadline` that returned ``due``."""

    def durable(self) -> None:
        """Wait until all that the flow did is durable."""

    def critical(self) -> None:
        """Have an unexpected failure from here on hold the flow."""

    def progress(self, label: str) -> None:
        """Show where the flow is."""

    def run_step(self, step: "StepFunction[..., object]", arguments: tuple[object, ...]) -> object:
        """Run a step, or answer it from the journal."""

    def run_atomic(
        self, atomic: "AtomicFunction[..., object]", arguments: tuple[object, ...]
    ) -> object:
        """Run an atomic function in the open batch, or answer it from the journal."""

    def run_subflow(self, flow: "Flow[..., object]", arguments: tuple[object, ...]) -> object:
        """Run an initiating sub-flow inline."""


driver_in_thread: Final[ContextVar[Driver | None]] = ContextVar("driver_in_thread", default=None)
"""The driver of code that a flow runs in a native thread, where it has no greenlet."""


_switch: Final = greenlet.greenlet.switch


class FlowGreenlet(greenlet.greenlet):
    """The greenlet that a flow lives in; everything it calls finds its driver here."""

    __slots__ = ("driver", "key", "note")

    def __init__(
        self,
        run: Callable[[], None],
        parent: greenlet.greenlet,
        driver: Driver,
        note: "RunNote",
        key: bytes,
    ) -> None:
        super().__init__(run, parent)
        self.driver = driver
        self.note = note
        self.key = key

    def switch(self, *values: object) -> object:
        """Resume it, as gevent does when a step goes on; it is noted that the flow has the loop."""
        self.note.enter(self.key)
        try:
            return _switch(self, *values)
        finally:
            self.note.leave()


def driver_or_none() -> Driver | None:
    """Return the driver of the flow that the caller runs in, if it does."""
    current = greenlet.getcurrent()
    return current.driver if isinstance(current, FlowGreenlet) else driver_in_thread.get()


def driver(asked: str) -> Driver:
    """Return the driver of the caller's flow; raises `NotInFlow` naming what was ``asked``."""
    found = driver_or_none()
    if found is not None:
        return found
    raise NotInFlow(
        f"{asked} is an operation of a flow, and this code runs outside of one. "
        "Start the flow that calls it with node.start_flow(flow, ...)"
    )
