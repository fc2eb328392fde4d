"""The user's side of the RPC: connect to a node, ask, watch; for commands and gevent programs.

Every call waits in the calling greenlet only; a program without gevent just waits. A lost
connection comes back by itself: what only looks is asked again, a watch goes on; what may have had
an effect is raised as `NodeUnreachable`. A client belongs to the thread that made it.
Wire format and messages: `runtime.rpc_messages`.
"""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, ParamSpec, Self, TypeVar, overload

import gevent
import gevent.event
import zmq

from runtime import checks
from runtime.codec import decode, encode
from runtime.edge.rpc_pending import Pending
from runtime.edge.rpc_socket import RpcSocket, dealer
from runtime.edge.rpc_starting import RpcHandle, RpcStarter
from runtime.edge.zmq_auth import CurveKeys
from runtime.edge.zmq_watch import EventWatch
from runtime.errors import (
    BadMessage,
    ClientIdTaken,
    MisuseError,
    PermissionDenied,
    ResultNotReady,
    SennitError,
)
from runtime.flow import Flow
from runtime.ids import FlowId
from runtime.operations import (
    JOURNAL_LIMIT_MAX,
    Arguments,
    FlowDetail,
    FlowFilter,
    FlowKind,
    FlowPage,
    FlowResult,
    FlowRow,
    JournalRow,
    NodeInfo,
    OnRepeat,
    PeerRow,
    UnclaimedRow,
)
from runtime.rpc_messages import (
    NUMBER_BYTES,
    RECEIPT_EVERY_BYTES,
    RESULT_WAIT_MS_MAX,
    VERSION,
    Answer,
    Done,
    Drain,
    Dropped,
    DropUnclaimed,
    FindFlow,
    FlowKinds,
    ForgetClientId,
    Found,
    GetFlow,
    GetInfo,
    GetResult,
    JournalRows,
    Killed,
    KillFlow,
    ListFlowKinds,
    ListFlows,
    ListPeers,
    ListUnclaimed,
    NodeUnreachable,
    PeerRows,
    ReadJournal,
    RemoteError,
    Request,
    RetryFlow,
    Started,
    StartFlow,
    StopNode,
    StopWatching,
    UnclaimedRows,
    WatchFlow,
    has_effect,
)

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")

# What an answer has; the routing frame is only at the node.
ANSWER_PARTS: Final = 4

CONNECT_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 30.0

# What arrived before the connection broke is read within this time.
LAST_WORDS_SECONDS: Final = 0.1

_EVENTS: Final = (
    zmq.Event.CONNECTED
    | zmq.Event.HANDSHAKE_SUCCEEDED
    | zmq.Event.HANDSHAKE_FAILED_AUTH
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.DISCONNECTED
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcAddress:
    """Where a node answers, its CURVE key in Z85, and the key pair of a user.

    ``start_with`` is the command that starts the node; it stands in the error if nobody answers.
    ``node`` is how a person names the node, for hints what to type next.
    """

    endpoint: str
    server_key: bytes
    user_keys: CurveKeys
    start_with: str = "sennit node run DIRECTORY"
    node: str = "NODE"


class RpcClient:
    """One user's connection to one node; a context manager.

    ``on_link`` is called with ``False`` when the connection is lost, ``True`` when it is back; it
    must not wait.
    """

    def __init__(
        self,
        address: RpcAddress,
        *,
        connect_seconds: float = CONNECT_SECONDS,
        on_link: Callable[[bool], None] = lambda is_up: None,
    ) -> None:
        seconds = checks.wait_seconds(connect_seconds, "RpcClient(connect_seconds=...)")
        self.address = address
        self._on_link = on_link
        self._pending: dict[int, Pending] = {}
        self._last_number = 0
        self._read_bytes = 0
        self._refusal: SennitError | None = None
        self._was_connected = False
        self._has_stranger = False
        self._is_port_open = False
        self._is_connected = gevent.event.Event()
        self._is_decided = gevent.event.Event()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = RpcSocket(dealer(self._context, address.server_key, address.user_keys))
        self._connection = EventWatch(self._socket.raw, _EVENTS, self._connection_changed)
        self._reader = gevent.spawn(self._read)
        try:
            self._connect(seconds)
        except BaseException:
            self.close()
            raise

    def _connect(self, seconds: float | None) -> None:
        self._socket.raw.connect(self.address.endpoint)
        self._is_decided.wait(seconds)
        if self._refusal is not None:
            raise self._refusal
        if not self._is_connected.is_set():
            if self._has_stranger:
                raise self._stranger()
            raise self._busy() if self._is_port_open else self._unreachable("no node answers")

    def close(self) -> None:
        """Let go; whoever waits gets `NodeUnreachable`. Idempotent."""
        if self._socket.is_closed:
            return
        self._reader.kill()
        self._is_connected.clear()
        self._connection.close()
        self._socket.close()
        self._context.term()
        for pending in self._pending.values():
            pending.put(self._unreachable("this client was closed, so it is not connected"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # What can be asked

    @overload
    def start_flow(
        self, flow: Flow[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> RpcHandle[R]: ...
    @overload
    def start_flow(self, flow: str, /, *args: object, **kwargs: object) -> RpcHandle[object]: ...
    def start_flow(
        self, flow: Flow[..., object] | str, /, *args: object, **kwargs: object
    ) -> RpcHandle[object]:
        """Start a flow, durably; see `RpcStarter.start_flow`."""
        return self.options().start(flow, args, kwargs)

    def options(
        self, *, client_id: str | None = None, on_repeat: OnRepeat = "attach_if_same"
    ) -> RpcStarter:
        """Return what starts flows with these options; see `runtime.node_verbs`."""
        return RpcStarter(self, client_id=client_id, on_repeat=on_repeat)

    def start(
        self, flow_name: str, arguments: Arguments, client_id: str | None, on_repeat: OnRepeat
    ) -> FlowId:
        """Have the node start a flow, and return its id; `RpcStarter` is easier to use."""
        request = StartFlow(flow_name, arguments, client_id, on_repeat)
        return FlowId(self._ask(request, Started).flow_id)

    @overload
    def find(self, client_id: str) -> RpcHandle[object] | None: ...
    @overload
    def find(self, client_id: str, flow: Flow[..., R]) -> RpcHandle[R] | None: ...
    def find(
        self, client_id: str, flow: Flow[..., object] | None = None
    ) -> RpcHandle[object] | None:
        """Return the flow of the user's client id, running or ended; starts nothing.

        With ``flow``, the handle has the type of its result; raises `ClientIdTaken` if the id
        stands for another flow.
        """
        flow_id = self._ask(FindFlow(client_id), Found).flow_id
        if flow_id is None:
            return None
        handle = RpcHandle(self, FlowId(flow_id), flow)
        if flow is not None and handle.name != flow.name:
            raise ClientIdTaken(f"client id {client_id!r} stands for {handle.name}")
        return handle

    def handle(self, flow_id: str) -> RpcHandle[object]:
        """Return a handle on a flow; whether the node has it shows when it is used."""
        return RpcHandle(self, FlowId(flow_id))

    def flow_names(self) -> list[FlowKind]:
        """Return what can be started."""
        return self._ask(ListFlowKinds(), FlowKinds).kinds

    def flows(self, flow_filter: FlowFilter | None = None) -> list[FlowRow]:
        """Return flows, newest first; without permission to read, only the user's own."""
        return self.flow_page(flow_filter).rows

    def flow_page(self, flow_filter: FlowFilter | None = None) -> FlowPage:
        """Return the same, and where the next page begins, if there may be one."""
        return self._ask(ListFlows(flow_filter or FlowFilter()), FlowPage)

    def flow(self, flow_id: FlowId) -> FlowDetail:
        """Return all about one flow."""
        return self._ask(GetFlow(flow_id), FlowDetail)

    def result(self, flow_id: FlowId, timeout_seconds: float | None) -> FlowResult:
        """Wait for the end of a flow; return what it returned or raise what it raised.

        Raises `ResultNotReady` when the time is over. A node that restarts is waited for.
        """
        seconds = checks.wait_seconds(timeout_seconds, "timeout")
        ends_at = None if seconds is None else time.monotonic() + seconds
        while True:
            left_ms = RESULT_WAIT_MS_MAX
            if ends_at is not None:
                left_ms = int(max(0, min(left_ms, (ends_at - time.monotonic()) * 1000)))
            try:
                return self._ask(GetResult(flow_id, left_ms), FlowResult, left_ms / 1000)
            except ResultNotReady:
                if ends_at is not None and time.monotonic() >= ends_at:
                    raise

    def journal(self, flow_id: FlowId) -> Iterator[JournalRow]:
        """Yield every event of a flow, asking page by page."""
        start = 0
        while rows := self._ask(ReadJournal(flow_id, start, JOURNAL_LIMIT_MAX), JournalRows).rows:
            yield from rows
            start = rows[-1].index + 1

    def watch(self, flow_id: FlowId) -> Generator[FlowDetail, None, None]:
        """Yield the flow now, and the newest of it whenever it has changed, until it has ended."""
        number, pending = self._send(WatchFlow(flow_id))
        try:
            while True:
                detail = pending.take(None)
                if not isinstance(detail, FlowDetail):
                    raise BadMessage(f"the node answers a watch with {detail!r}")
                yield detail
                if detail.row.is_ended:
                    return
        finally:
            del self._pending[number]
            if self._is_connected.is_set():
                self._transmit(bytes(NUMBER_BYTES), encode(StopWatching(number)))

    def retry(self, flow_id: FlowId) -> None:
        """Run a held flow again."""
        self._ask(RetryFlow(flow_id), Done)

    def kill(self, flow_id: FlowId) -> bool:
        """End a flow; ``False`` if it had ended before."""
        return self._ask(KillFlow(flow_id), Killed).was_live

    def forget(self, client_id: str) -> None:
        """Drop the result that is kept for a client id of the user's own."""
        self._ask(ForgetClientId(client_id), Done)

    def peers(self) -> list[PeerRow]:
        """Return whom the node can reach, and what waits for them."""
        return self._ask(ListPeers(), PeerRows).rows

    def unclaimed(self) -> list[UnclaimedRow]:
        """Return who asks for flows that are not installed, oldest first."""
        return self._ask(ListUnclaimed(), UnclaimedRows).rows

    def drop_unclaimed(self, flow_name: str) -> int:
        """Refuse all who ask for a flow that is not installed; how many."""
        return self._ask(DropUnclaimed(flow_name), Dropped).count

    def drain(self, *, is_on: bool) -> None:
        """Have the node take no new flows, or take them again."""
        self._ask(Drain(is_on), Done)

    def stop(self) -> None:
        """Begin to stop the node."""
        self._ask(StopNode(), Done)

    def info(self) -> NodeInfo:
        """Return who the node is and how it does."""
        return self._ask(GetInfo(), NodeInfo)

    # Asking

    def _ask(self, request: Request, answer_class: type[A], more_seconds: float = 0.0) -> A:
        number, pending = self._send(request)
        try:
            answer = pending.take(ANSWER_SECONDS + more_seconds)
        finally:
            del self._pending[number]
        if answer is None:
            is_connected = self._is_connected.is_set()
            raise self._busy() if is_connected else self._unreachable("the connection is lost")
        if not isinstance(answer, answer_class):
            raise BadMessage(f"the node answers {type(request).__name__} with {answer!r}")
        return answer

    def _send(self, request: Request) -> tuple[int, Pending]:
        if self._socket.is_closed:
            raise MisuseError("this RpcClient is closed; make a new one")
        is_connected = self._is_connected.is_set()
        if has_effect(request) and not is_connected:
            raise self._unreachable("the connection is lost")
        pending = Pending(request, encode(request))
        self._last_number += 1
        self._pending[self._last_number] = pending
        if is_connected:
            self._transmit(_as_bytes(self._last_number), pending.body)
        return self._last_number, pending

    def _transmit(self, number: bytes, body: bytes) -> None:
        try:
            self._socket.send([VERSION, number, body])
        except zmq.Again:
            # The connection has just gone; once it is back, everything pending is sent again.
            return

    def _unreachable(self, what: str) -> NodeUnreachable:
        return NodeUnreachable(
            self.address.endpoint,
            what,
            f"is it running? Start it with: {self.address.start_with}",
        )

    def _busy(self) -> NodeUnreachable:
        return NodeUnreachable(
            self.address.endpoint,
            "the port is open, but the node does not answer",
            "it runs and is busy: its log says with which flow, in which line. Wait, or end it "
            "with two signals (SIGTERM or Ctrl-C); nothing is lost by that",
        )

    def _interrupted(self) -> NodeUnreachable:
        return NodeUnreachable(
            self.address.endpoint,
            "the connection was lost before the answer came",
            "the request may have been carried out, or not. Once the node runs, look with: "
            f"sennit flow list. Start it with: {self.address.start_with}",
        )

    def _stranger(self) -> NodeUnreachable:
        return NodeUnreachable(
            self.address.endpoint,
            "something answers that is not this node",
            "its key is another one. Another program may have the port, or the network was "
            "created anew while the node ran. Stop what runs there, then start the node with: "
            f"{self.address.start_with}",
        )

    # Hearing

    def _read(self) -> None:
        while True:
            frames = [frame.bytes for frame in self._socket.receive(parts_max=ANSWER_PARTS)]
            if len(frames) < 3:
                continue
            version, number_bytes, *rest = frames
            pending = self._pending.get(int.from_bytes(number_bytes, "big"))
            if version != VERSION:
                if pending is not None:
                    pending.put(RemoteError("BadRequest", f"the node speaks {version!r}"))
                continue
            if len(frames) != ANSWER_PARTS:
                continue
            receipt, body = rest
            self._note_read(receipt, len(body))
            if pending is None:
                continue
            try:
                pending.put(decode(body, Answer))
            except SennitError as error:
                pending.put(error)

    def _note_read(self, receipt: bytes, size: int) -> None:
        self._read_bytes += size
        if self._read_bytes >= RECEIPT_EVERY_BYTES and self._is_connected.is_set():
            self._read_bytes = 0
            self._transmit(receipt, b"")

    def _connection_changed(self, event: zmq.Event, _: int) -> None:
        match event:
            case zmq.Event.CONNECTED:
                self._is_port_open = True
            case zmq.Event.HANDSHAKE_SUCCEEDED:
                self._connected()
            case zmq.Event.DISCONNECTED:
                self._disconnected()
            case zmq.Event.HANDSHAKE_FAILED_AUTH:
                self._refused(
                    PermissionDenied(
                        f"the node at {self.address.endpoint} does not know this user's key; "
                        "whoever runs the node can add it to its file of users"
                    )
                )
            case _:
                # The node may be going down or coming up just now: ZeroMQ tries again.
                self._has_stranger = True

    def _connected(self) -> None:
        self._is_connected.set()
        self._is_decided.set()
        for number, pending in self._pending.items():
            if not has_effect(pending.request):
                self._transmit(_as_bytes(number), pending.body)
        if self._was_connected:
            self._on_link(True)
        self._was_connected = True

    def _disconnected(self) -> None:
        self._is_port_open = False
        if not self._is_connected.is_set():
            return
        self._is_connected.clear()
        self._on_link(False)
        lost = [pending for pending in self._pending.values() if has_effect(pending.request)]
        # Its answer may have arrived just before: a node that is told to stop says yes and goes.
        gevent.spawn_later(LAST_WORDS_SECONDS, self._fail, lost)

    def _fail(self, lost: list[Pending]) -> None:
        for pending in lost:
            if pending.newest is None:
                pending.put(self._interrupted())

    def _refused(self, error: SennitError) -> None:
        self._refusal = error
        self._is_decided.set()
        for pending in list(self._pending.values()):
            pending.put(error)


def _as_bytes(number: int) -> bytes:
    return number.to_bytes(NUMBER_BYTES, "big")
