"""Flows over RPC: started as on a node, and held by handles with the same verbs."""

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar, cast, overload

from runtime.codec import pack, unpack_any
from runtime.errors import FlowException, FlowFailed, FlowKilled, ResultNotReady
from runtime.flow import Flow
from runtime.ids import FlowId
from runtime.operations import Arguments, FlowDetail, OnRepeat
from runtime.starting import StartOptions, checked_flow

if TYPE_CHECKING:
    from runtime.edge.rpc_client import RpcClient

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class RpcHandle(Generic[R_co]):
    """A flow of another process's node: the verbs of `runtime.handle.FlowHandle`, asked each time.

    Each waits for the node, in the calling greenlet only.
    """

    def __init__(
        self, client: "RpcClient", flow_id: FlowId, flow: Flow[..., R_co] | None = None
    ) -> None:
        self.id = flow_id
        self._client = client
        self._flow = flow

    @property
    def name(self) -> str:
        """The flow's name."""
        return self.detail().row.name

    @property
    def status(self) -> str:
        """``running``, ``waiting``, ``held``, ``completed``, ``failed`` or ``killed``."""
        return self.detail().row.status

    @property
    def is_ended(self) -> bool:
        """Tell whether the flow is over, durably."""
        return self.detail().row.is_ended

    @property
    def why_held(self) -> str | None:
        """Why the flow is held for an operator, with the error and its id; None if it is not."""
        detail = self.detail()
        if detail.row.status != "held":
            return None
        return f"{detail.error} (error id {detail.error_id})"

    def detail(self) -> FlowDetail:
        """Return all about the flow."""
        return self._client.flow(self.id)

    def watch(self) -> Generator[FlowDetail, None, None]:
        """Yield the flow now, and the newest of it whenever it has changed, until it has ended."""
        return self._client.watch(self.id)

    def result(self, timeout: float | None = None) -> R_co:
        """Return the flow's result, or raise its error; a node that restarts is waited for.

        Raises `ResultNotReady`, a TimeoutError, after ``timeout`` seconds; the flow goes on. A
        result of a class that this process does not know can't be read; its text is in `detail`.
        """
        packed = self._client.result(self.id, timeout).value
        if self._flow is None:
            return cast(R_co, unpack_any(packed))
        return cast(R_co, self._flow.arguments.unpack_result(packed))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end, however it ends; False if there is none after ``timeout`` seconds."""
        try:
            self._client.result(self.id, timeout)
        except ResultNotReady:
            return False
        except (FlowException, FlowKilled, FlowFailed):
            return True
        return True

    def kill(self) -> bool:
        """End the flow, durably; False if it had ended before."""
        return self._client.kill(self.id)

    def retry(self) -> None:
        """Run the flow, which is held, again from its journal."""
        self._client.retry(self.id)

    def __repr__(self) -> str:
        return f"<flow {self.id} at {self._client.address.node}>"


class RpcStarter:
    """Starts flows of a node with the same options; made by `RpcClient.options`."""

    def __init__(self, client: "RpcClient", *, client_id: str | None, on_repeat: OnRepeat) -> None:
        # The node knows the user; this only checks the rest.
        self._options = StartOptions(user="", client_id=client_id, on_repeat=on_repeat)
        self._client = client

    @overload
    def start_flow(
        self, flow: Flow[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> RpcHandle[R]: ...
    @overload
    def start_flow(self, flow: str, /, *args: object, **kwargs: object) -> RpcHandle[object]: ...
    def start_flow(
        self, flow: Flow[..., object] | str, /, *args: object, **kwargs: object
    ) -> RpcHandle[object]:
        """Start a flow; returns once its start is durable.

        A flow that this process has not may be given by its name. Then arguments may be text where
        the flow wants something else: ``"Bob"`` for a party, ``"10.50 USD"`` for an amount.

        Raises `BadArguments`, `UnknownFlow`, `ClientIdInvalid`, `ClientIdTaken`,
        `PermissionDenied`, `NodeStopped`, `NodeUnreachable`.
        """
        return self.start(flow, args, kwargs)

    def start(
        self, flow: Flow[..., object] | str, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> RpcHandle[object]:
        """Do the same, for callers that pass arguments on."""
        if not isinstance(flow, str):
            checked_flow(flow)
            flow.arguments.encode_checked(args, kwargs)
        return self._start(flow, arguments_of(*args, **kwargs))

    def start_text(self, flow_name: str, arguments: Arguments) -> RpcHandle[object]:
        """Start a flow with arguments as a person types them: ``["buyer=Bob", "price=95"]``."""
        return self._start(flow_name, arguments)

    def _start(self, flow: Flow[..., object] | str, arguments: Arguments) -> RpcHandle[object]:
        name = flow if isinstance(flow, str) else flow.name
        options = self._options
        flow_id = self._client.start(name, arguments, options.client_id, options.on_repeat)
        return RpcHandle(self._client, flow_id, None if isinstance(flow, str) else flow)


def arguments_of(*positional: object, **named: object) -> Arguments:
    """Pack Python values as arguments."""
    return Arguments(
        [pack(value) for value in positional],
        {name: pack(value) for name, value in named.items()},
    )
