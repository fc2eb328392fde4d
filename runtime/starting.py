"""How flows are started, on every kind of node: options apart from the arguments of the flow.

    node.start_flow(sell, buyer, "bond", 95)
    node.options(client_id="order-17").start_flow(sell, buyer, "bond", 95)

What is started is checked first; what can't be started is refused, and leaves nothing behind.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar, cast

from runtime import checks
from runtime.driver import driver_or_none
from runtime.errors import InFlow, MisuseError
from runtime.flow import Flow, Responder
from runtime.handle import FlowHandle
from runtime.operations import ON_REPEAT, OnRepeat

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOptions:
    """How to start a flow, but for its arguments."""

    user: str
    client_id: str | None = None
    on_repeat: OnRepeat = "attach_if_same"

    def __post_init__(self) -> None:
        object.__setattr__(self, "user", checks.user(self.user, "user"))
        if self.client_id is not None:
            checks.instance(self.client_id, str, "client_id", 'a text, like "order-17", or None')
            object.__setattr__(self, "client_id", str.__str__(self.client_id))
        if self.on_repeat not in ON_REPEAT:
            raise MisuseError(f"on_repeat is one of {', '.join(ON_REPEAT)}; not {self.on_repeat!r}")


class Starter(Protocol):
    """The part of the engine that starts flows."""

    def start_flow(
        self,
        flow: Flow[..., object],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        options: StartOptions,
        *,
        is_awaited: bool,
    ) -> FlowHandle[object]:
        """Start a flow, or get that of the client id; on the loop's thread.

        Raises `BadArguments`, `UnknownFlow`, `ClientIdInvalid`, `ClientIdTaken`,
        `PermissionDenied`, `NodeStopped`.
        """

    def in_loop(self, function: Callable[[], T]) -> T:
        """See `runtime.ports.Loop`."""


class FlowStarter:
    """Starts flows with the same options; made by ``options()`` of a node or a host."""

    def __init__(self, starter: Callable[[], Starter], options: StartOptions) -> None:
        self._starter = starter
        self._options = options

    def start_flow(self, flow: Flow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> FlowHandle[R]:
        """Start a flow; returns once its start is durable, blocking only the calling greenlet.

        May be called from any thread while the node runs. Raises `BadArguments` if the arguments
        don't fit the flow, `UnknownFlow` if no app of the node has it, `InFlow` inside a flow,
        `ClientIdInvalid`, `ClientIdTaken`, `PermissionDenied`, `NodeStopped`.
        """
        return self._start(flow, args, kwargs, is_awaited=True)

    def begin_flow(self, flow: Flow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> FlowHandle[R]:
        """Do the same, but return at once: for many starts in one commit. A crash may undo it.

        The start is durable when the node's ``wait_durable()`` returns.
        """
        return self._start(flow, args, kwargs, is_awaited=False)

    def _start(
        self,
        flow: Flow[..., R],
        args: tuple[object, ...],
        kwargs: dict[str, object],
        *,
        is_awaited: bool,
    ) -> FlowHandle[R]:
        checked_flow(flow)
        if driver_or_none() is not None:
            raise InFlow(
                f"a replay would start {flow.name} once more; call {_called(flow)} as a sub-flow, "
                "or start it outside of flows"
            )
        starter = self._starter()
        handle = starter.in_loop(
            lambda: starter.start_flow(flow, args, kwargs, self._options, is_awaited=is_awaited)
        )
        return cast("FlowHandle[R]", handle)


def checked_flow(flow: object) -> None:
    """Raise `MisuseError` for what can't be started, saying what to do instead."""
    if isinstance(flow, Flow):
        return
    if isinstance(flow, Responder):
        problem = (
            f"{flow.name} is the responder to {flow.answers}: a peer's session starts it; "
            "start that flow at the peer"
        )
    elif isinstance(flow, str):
        problem = f"{flow!r} is a name; import the flow and give that"
    elif callable(flow):
        name = getattr(flow, "__qualname__", repr(flow))
        problem = f"{name} is not a flow; mark it with @flow"
    else:
        problem = f"{flow!r} is not a flow"
    raise MisuseError(problem)


def _called(flow: Flow[..., object]) -> str:
    return f"{getattr(flow, '__name__', flow.name)}(...)"
