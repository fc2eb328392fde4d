"""The node's side of the RPC: admits users by their CURVE keys, checks permissions, answers.

Wire format and messages: `runtime.rpc_messages`; what each request asks: `runtime.edge.rpc_verbs`.
The server lives on the node's own gevent loop with a ZeroMQ context of its own. Requests that only
look are answered where they are read; those that may wait have a greenlet each, and their number is
bounded. A watch never queues: the newest `FlowDetail` replaces one that was not sent yet. Who does
not read gets nothing large any more (`runtime.edge.rpc_unread`), and in the end is dropped.
"""

import itertools
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Self

import gevent
import zmq

from runtime.codec import decode, encode
from runtime.edge.rpc_connections import UserConnections
from runtime.edge.rpc_record import recorded
from runtime.edge.rpc_socket import RpcSocket
from runtime.edge.rpc_unread import UnreadAnswers
from runtime.edge.rpc_verbs import Look, MayWait, RpcUser, RpcVerbs
from runtime.edge.rpc_waiting import WaitingRequests
from runtime.edge.rpc_watches import Caller, Watch, Watches
from runtime.edge.zmq_auth import (
    HANDSHAKE_MS_MAX,
    USER_ID,
    ZAP_DOMAIN,
    CurveKeys,
    ZapHandler,
)
from runtime.edge.zmq_stats import TransportStats
from runtime.errors import ConfigurationError, ResultNotReady, SennitError
from runtime.ids import FlowId, UserName
from runtime.item_count import has_too_many_items
from runtime.limits import DEFAULT_RPC_LIMITS, RPC_REQUEST_ITEMS_MAX, RpcLimits
from runtime.operations import (
    NodeOperations,
)
from runtime.rpc_messages import (
    NUMBER_BYTES,
    STILL_THERE_SECONDS,
    VERSION,
    Answer,
    BadRequest,
    Done,
    DropUnclaimed,
    Failure,
    ForgetClientId,
    GetResult,
    KillFlow,
    NodeBusy,
    Request,
    RequestFailed,
    RetryFlow,
    StartFlow,
    StillThere,
    StopWatching,
    WatchFlow,
    failure,
)
from runtime.seldom_log import SeldomLog

log = logging.getLogger("sennit.rpc")

# Answers queued for one client that does not read; then it is dropped.
QUEUED_ANSWERS_MAX: Final = 1_000

# What a request has, with the routing frame.
PARTS: Final = 4

LINES_PER_SUBJECT: Final = 20

# A result waits so long for its client to read others; then the client may ask again.
UNREAD_SECONDS: Final = 20.0

# Whose an answer is that is no user's: it is small, and is not counted.
_NOBODY: Final = UserName("")

# A client that asks without pause, or watches much, must not keep flows and others waiting.
REQUESTS_PER_TURN: Final = 64
TURN_SECONDS: Final = 0.005

# A flow that moves a thousand times a second is drawn twenty times.
PUSH_PAUSE_SECONDS: Final = 0.05

HEARTBEAT_MS: Final = 5_000
LINGER_MS: Final = 300


class RpcServer:
    """Answers users at one address, from `start` to `close`; a context manager.

    Users know the public part of ``keys``, so that they talk to no other server.
    """

    def __init__(
        self,
        operations: NodeOperations,
        *,
        address: str,
        keys: CurveKeys,
        users: Iterable[RpcUser],
        limits: RpcLimits = DEFAULT_RPC_LIMITS,
    ) -> None:
        self._operations = operations
        self._address = address
        self._verbs = RpcVerbs(operations)
        self._user_by_key = {user.public_key: user for user in users}
        self._watches = Watches()
        self._limits = limits
        self._waiting = WaitingRequests(limits)
        self._unread = UnreadAnswers(limits)
        self._log = SeldomLog(log, burst=LINES_PER_SUBJECT)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.stats: Final = TransportStats()
        self._zap = ZapHandler(self._context, self._user_by_key.__contains__, self.stats)
        self._socket = RpcSocket(_router(self._context, keys, limits))
        self._connections = UserConnections(
            self._socket, limits, stats=self.stats, log=self._log, on_gone=self._gone
        )
        self._greenlets: list[gevent.Greenlet[..., None]] = []
        self._is_closed = False

    def start(self) -> str:
        """Listen, and return the address with the port that was taken."""
        try:
            self._socket.raw.bind(self._address)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigurationError(
                "rpc address",
                f"can't listen at {self._address}: {error}",
                "Another process (this node, started twice?) may have it; stop that, or choose "
                "another port in the node's configuration",
            ) from error
        self._greenlets = [
            gevent.spawn(self._serve),
            gevent.spawn(self._push),
            gevent.spawn(self._say_still_there),
        ]
        return self._socket.raw.get_string(zmq.LAST_ENDPOINT)

    def close(self) -> None:
        """Stop listening; requests under way get no answer. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        # First those that take requests, lest they take more while the others are ended.
        gevent.killall(self._greenlets)
        self._waiting.kill()
        for client in list(self._watches.by_client):
            self._watches.forget_client(client)
        self._connections.close()
        self._socket.close()
        self._zap.close()
        self._context.term()

    def usage(self) -> list[tuple[str, int, int]]:
        """Return each limit by name, with what is used of it, or what one user uses at most."""
        watches = max(self._watches.count_of.values(), default=0)
        return [
            *self._waiting.usage(),
            *self._unread.usage(),
            *self._connections.usage(),
            ("rpc_watches_per_user_max", self._limits.rpc_watches_per_user_max, watches),
            ("rpc_request_bytes_max", self._limits.rpc_request_bytes_max, 0),
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # Requests

    def _serve(self) -> None:
        until = time.monotonic() + TURN_SECONDS
        for count in itertools.count(1):
            if count % REQUESTS_PER_TURN == 0 or time.monotonic() > until:
                gevent.sleep(0)
                until = time.monotonic() + TURN_SECONDS
            frames = self._socket.receive(parts_max=PARTS)
            try:
                self._take_frames(frames)
            # Nothing that a user sends may end this loop, which serves all of them.
            except Exception as error:
                self._log.say(logging.ERROR, "request", "a request was dropped", error=error)

    def _take_frames(self, frames: list[zmq.Frame]) -> None:
        client = frames[0].bytes
        number = frames[2].bytes if len(frames) == PARTS else b""
        caller = Caller(client, number)
        user = self._user_by_key[str(frames[1].get(USER_ID)).encode()]
        try:
            if not self._connections.admit(frames[1], client, user.name):
                return
        except NodeBusy as busy:
            self._send(caller, _NOBODY, failure(busy))
            return
        if frames[1].bytes != VERSION or len(number) != NUMBER_BYTES:
            self._send(caller, _NOBODY, failure(_other_version(frames[1].bytes)))
            return
        body = frames[3].bytes
        if not body:
            self._unread.read(client, number)
            return
        self._take(caller, user, body)

    def _take(self, caller: Caller, user: RpcUser, body: bytes) -> None:
        try:
            request = _understood(body)
        except BadRequest as error:
            self._send(caller, user.name, failure(error))
            return
        match request:
            case (
                StartFlow()
                | GetResult()
                | RetryFlow()
                | KillFlow()
                | ForgetClientId()
                | DropUnclaimed()
            ):
                self._answer_when_ready(caller, user, request)
            case WatchFlow():
                self._watch(caller, user, request)
            case StopWatching():
                self._watches.forget(
                    Caller(caller.client, request.number.to_bytes(NUMBER_BYTES, "big"))
                )
                self._send(caller, user.name, Done())
            case _:
                looked_at = request
                self._answer(caller, user.name, lambda: self._look(user, looked_at))

    def _look(self, user: RpcUser, request: Look) -> Answer:
        if not self._unread.has_room(user.name):
            raise NodeBusy(
                f"answers to user {user.name!r} have not been read; read them, then ask again"
            )
        return recorded(user.name, request, self._verbs.look(user, request))

    def _answer_when_ready(self, caller: Caller, user: RpcUser, request: MayWait) -> None:
        def ask() -> Answer:
            if isinstance(request, GetResult):
                return recorded(user.name, request, self._result(user, request))
            return recorded(user.name, request, self._verbs.perform(user, request))

        is_intervention = not isinstance(request, StartFlow | GetResult)
        try:
            self._waiting.begin(
                user.name,
                lambda: self._answer(caller, user.name, ask),
                is_intervention=is_intervention,
            )
        except NodeBusy as busy:
            self._send(caller, user.name, failure(busy))

    def _result(self, user: RpcUser, request: GetResult) -> Answer:
        """Return a result when the user's clients have read enough for it.

        It is not kept meanwhile: many may wait, and each may be large.
        """
        answer = self._verbs.perform(user, request)
        while not self._unread.has_room(user.name):
            del answer
            if not self._unread.wait_for_room(user.name, UNREAD_SECONDS):
                raise ResultNotReady(f"answers to user {user.name!r} have not been read")
            answer = self._verbs.perform(user, request)
        return answer

    def _answer(self, caller: Caller, user: UserName, ask: Callable[[], Answer]) -> None:
        """Send what ``ask`` returns or raises. The one place where an error becomes an answer."""
        try:
            answer = ask()
        except SennitError as error:
            answer = failure(error)
        except (KeyboardInterrupt, gevent.GreenletExit):
            raise
        # Also what would end the process: it is the code of an app that raised it.
        except BaseException as error:
            answer = self._failed_here(error)
        self._send(caller, user, answer)

    def _failed_here(self, error: BaseException) -> Failure:
        error_id = secrets.token_hex(8)
        self._log.say(
            logging.ERROR,
            "failed",
            f"rpc request failed, error id {error_id}",
            extra={"error_id": error_id},
            error=error,
        )
        return failure(RequestFailed(error_id))

    # Watching

    def _watch(self, caller: Caller, user: RpcUser, request: WatchFlow) -> None:
        # A number used twice would leave the first watch without anybody to close it.
        self._watches.forget(caller)
        watch = Watch(user=user.name)

        def open_it() -> None:
            most = self._limits.rpc_watches_per_user_max
            if self._watches.count_of[user.name] >= most:
                raise NodeBusy(f"user {user.name!r} watches {most:,} flows; end some first")
            self._verbs.require(user, "watch", request.flow_id)
            watch.flow_watch = self._operations.watch(
                FlowId(request.flow_id), lambda: self._watches.mark(caller, watch)
            )

        try:
            open_it()
        except SennitError as error:
            self._watches.forget(caller)
            self._send(caller, user.name, failure(error))
        except Exception as error:  # the request fails, not the server
            self._watches.forget(caller)
            self._send(caller, user.name, self._failed_here(error))
        else:
            self._watches.add(caller, watch)
            self._watches.mark(caller, watch)

    def _push(self) -> None:
        """Send what is new to those who watch, at once and then at most every short while."""
        while True:
            self._watches.is_dirty.wait()
            self._watches.is_dirty.clear()
            dirty, self._watches.dirty = self._watches.dirty, {}
            until = time.monotonic() + TURN_SECONDS
            for caller, watch in dirty.items():
                self._push_one(caller, watch)
                if time.monotonic() > until:
                    gevent.sleep(0)
                    until = time.monotonic() + TURN_SECONDS
            gevent.sleep(PUSH_PAUSE_SECONDS)

    def _push_one(self, caller: Caller, watch: Watch) -> None:
        if watch.is_closed or watch.flow_watch is None:
            return
        if not self._unread.has_room(watch.user):
            self._watches.mark(caller, watch)
            return
        try:
            detail = watch.flow_watch.detail()
        except Exception as error:  # one watch fails, not all of them
            self._watches.forget(caller)
            self._send(caller, watch.user, self._failed_here(error))
            return
        if detail.row.is_ended:
            self._watches.forget(caller)
        self._send(caller, watch.user, detail)

    def _say_still_there(self) -> None:
        """Find out which clients have gone without a word."""
        while True:
            gevent.sleep(STILL_THERE_SECONDS)
            for client in {*self._watches.by_client, *self._unread.clients()}:
                self._send(Caller(client, bytes(NUMBER_BYTES)), _NOBODY, StillThere())

    # Sending

    def _send(self, caller: Caller, user: UserName, answer: Answer) -> None:
        """Send without waiting. A client that has gone, or does not read, loses its watches."""
        try:
            body = encode(answer)
        except Exception as error:
            body = encode(self._failed_here(error))
        try:
            receipt = self._unread.new_receipt()
            self._socket.send([caller.client, VERSION, caller.number, receipt, body])
        except zmq.Again:
            self._drop(caller.client)
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                self._unread.gone(caller.client)
            else:
                self._log.warn("unsent", f"an answer can't be sent: {error}")
            self._watches.forget_client(caller.client)
        else:
            if user:
                self._unread.sent(caller.client, user, receipt, len(body))
                if self._unread.is_hopeless(user):
                    self._drop(self._unread.laziest(user))

    def _drop(self, client: bytes) -> None:
        """Hang up on a client that does not read, and so forget what waits for it."""
        self._log.warn("unread", "an rpc client does not read its answers and is dropped")
        self._connections.drop(client)
        self._gone(client)

    def _gone(self, client: bytes) -> None:
        """Keep nothing more for a client whose connection has ended."""
        self._unread.gone(client)
        self._watches.forget_client(client)


def _router(
    context: zmq.Context[zmq.Socket[bytes]], keys: CurveKeys, limits: RpcLimits
) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.ROUTER)
    socket.curve_server = True
    socket.curve_publickey = keys.public_key
    socket.curve_secretkey = keys.secret_key
    socket.zap_domain = ZAP_DOMAIN
    socket.linger = LINGER_MS
    socket.handshake_ivl = HANDSHAKE_MS_MAX
    socket.sndhwm = QUEUED_ANSWERS_MAX
    socket.maxmsgsize = limits.rpc_request_bytes_max
    socket.heartbeat_ivl = HEARTBEAT_MS
    # Without it, an answer to a client that has gone would look as if it had been sent.
    socket.router_mandatory = True
    return socket


def _understood(body: bytes) -> Request:
    """Return the request; raises `BadRequest`, and does not take long over any bytes."""
    if has_too_many_items(body, RPC_REQUEST_ITEMS_MAX):
        raise BadRequest(f"a request of more than {RPC_REQUEST_ITEMS_MAX:,} parts")
    try:
        request: Request = decode(body, Request)
    except SennitError as error:
        raise BadRequest(
            f"the node does not understand this request ({error}); "
            "the command may be newer than the node"
        ) from None
    return request


def _other_version(theirs: bytes) -> BadRequest:
    return BadRequest(
        f"this node speaks {VERSION.decode()}, the client {theirs[:40]!r}; "
        "use the same version of sennit on both sides"
    )
