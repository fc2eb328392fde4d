"""`NodeVerbs`: what a program, or a test, can ask of its node, real or simulated."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Final, ParamSpec, TypeVar, overload

from runtime.engine.engine import Engine
from runtime.errors import ClientIdTaken
from runtime.flow import Flow
from runtime.flow_lists import checked_id
from runtime.handle import FlowHandle
from runtime.host import Host
from runtime.node_operations import EngineOperations
from runtime.operations import (
    JOURNAL_LIMIT_MAX,
    FlowDetail,
    FlowFilter,
    FlowRow,
    JournalRow,
    NodeInfo,
    OnRepeat,
)
from runtime.party import Party
from runtime.starting import FlowStarter, StartOptions

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

LOCAL_USER: Final = "local"
"""Who starts the flows of the embedding program; a client id is denied to all but its user."""


class NodeVerbs(ABC):
    """What `runtime.node.Node` and `runtime.testing.network.SimulatedNode` have in common.

    All of it may be called from any thread while the node runs; where it waits, it blocks only the
    calling greenlet, or the calling thread if that is not the node's. Each raises `NodeStopped` if
    the node is down.
    """

    @abstractmethod
    def _live(self) -> Engine:
        """Return the engine; raises `NodeStopped` if the node is down."""

    @property
    @abstractmethod
    def operations(self) -> EngineOperations:
        """What operators can ask of the node, by id and name; only in the node's own thread."""

    def _in_loop(self, function: Callable[[], T]) -> T:
        return self._live().in_loop(function)

    # --- starting -----------------------------------------------------------------------------

    def start_flow(self, flow: Flow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> FlowHandle[R]:
        """Start a flow; returns once its start is durable.

        Raises `BadArguments` if the arguments don't fit the flow, `UnknownFlow` if no app of the
        node has it, `InFlow` inside a flow.
        """
        return self._plainly.start_flow(flow, *args, **kwargs)

    def begin_flow(self, flow: Flow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> FlowHandle[R]:
        """Do the same, but return at once: for many starts in one commit. A crash may undo it.

        Whoever needs to know waits for the result, or calls `wait_durable`.
        """
        return self._plainly.begin_flow(flow, *args, **kwargs)

    @cached_property
    def _plainly(self) -> FlowStarter:
        return self.options()

    def options(
        self,
        *,
        client_id: str | None = None,
        user: str = LOCAL_USER,
        on_repeat: OnRepeat = "attach_if_same",
    ) -> FlowStarter:
        """Return what starts flows with these options, with the same verbs.

        Args:
            client_id: Stands for one flow: the same user and client id give the same flow, also
                when it has ended and after a restart, until it is forgotten.
            user: Who starts the flow. Another user's client id is denied.
            on_repeat: Which flow a start may get whose client id is in use already. By default, the
                one with the same name and arguments; others raise `ClientIdTaken`. ``attach``:
                whatever its arguments are. ``refuse``: none.
        """
        options = StartOptions(user=user, client_id=client_id, on_repeat=on_repeat)
        return FlowStarter(self._live, options)

    def wait_durable(self) -> None:
        """Return when all that was written so far is durable, starts of flows among it."""
        self._in_loop(self._live().wait_durable)

    # --- finding ------------------------------------------------------------------------------

    @overload
    def find(self, client_id: str, *, user: str = ...) -> FlowHandle[object] | None: ...
    @overload
    def find(
        self, client_id: str, flow: Flow[..., R], *, user: str = ...
    ) -> FlowHandle[R] | None: ...
    def find(
        self, client_id: str, flow: Flow[..., object] | None = None, *, user: str = LOCAL_USER
    ) -> FlowHandle[object] | None:
        """Return the flow of a client id, running or ended, without starting one; or None.

        Another user's client id is not found. With ``flow``, the handle has the type of its result;
        raises `ClientIdTaken` if the id stands for another flow. Raises `ClientIdInvalid`.
        """

        def found() -> FlowHandle[object] | None:
            manager = self._live().manager
            flow_id = manager.find(user, client_id)
            return None if flow_id is None else manager.handle(flow_id)

        handle = self._in_loop(found)
        if handle is not None and flow is not None and handle.name != flow.name:
            raise ClientIdTaken(f"client id {client_id!r} stands for {handle.name}")
        return handle

    def handle(self, flow_id: str) -> FlowHandle[object]:
        """Return a handle on a flow that runs, ended lately, or left a result; `UnknownFlow`."""
        return self._in_loop(lambda: self._live().manager.handle(checked_id(flow_id)))

    def flows(self, wanted: FlowFilter | None = None) -> list[FlowRow]:
        """List flows, newest first: those that run, and those that have left a result.

        ``FlowFilter(before=...)`` with the id of the last one gives those that come after it.
        """
        return self._in_loop(lambda: self.operations.flows(wanted or FlowFilter()).rows)

    def flow(self, flow_id: str) -> FlowDetail:
        """Return all about one flow: what it waits for, its sessions, why it is held, its end."""
        return self._in_loop(lambda: self.operations.flow(checked_id(flow_id)))

    def journal(self, flow_id: str) -> list[JournalRow]:
        """Return every event of a flow that runs, in order."""

        def all_rows() -> list[JournalRow]:
            rows: list[JournalRow] = []
            while page := self.operations.journal(
                checked_id(flow_id), len(rows), JOURNAL_LIMIT_MAX
            ):
                rows += page
            return rows

        return self._in_loop(all_rows)

    # --- intervening --------------------------------------------------------------------------

    def kill(self, flow_id: str) -> bool:
        """End a flow as `FlowKilled`, durably; False if it had ended before."""
        return self._in_loop(lambda: self.operations.kill(checked_id(flow_id)))

    def retry(self, flow_id: str) -> None:
        """Run a held flow again from its journal; raises `MisuseError` if it is not held."""
        self._in_loop(lambda: self.operations.retry(checked_id(flow_id)))

    def forget(self, client_id: str, *, user: str = LOCAL_USER) -> bool:
        """Drop the result kept for a client id; False if there is none, or the flow still runs."""
        return self._in_loop(lambda: self._live().manager.forget(user, client_id))

    def drain(self, *, is_on: bool = True) -> None:
        """Take no new flows, or take them again; those that run go on."""
        self._in_loop(lambda: self.operations.drain(is_on=is_on))

    # --- the node -----------------------------------------------------------------------------

    @property
    def host(self) -> Host:
        """The node's services."""
        return self._live().host

    @property
    def me(self) -> Party:
        """The node's legal identity."""
        return self.host.me

    @property
    def commits(self) -> int:
        """How many commits the store has made since the start."""
        return self._live().commits.commits

    def info(self) -> NodeInfo:
        """Return who the node is and how it does."""
        return self._in_loop(self.operations.info)
