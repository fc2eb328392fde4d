"""RPC between a node and its users: what crosses the wire, value by value.

ZeroMQ: the node has a ROUTER, each client a DEALER, CURVE on. The user is whoever the client's
CURVE key belongs to; nothing in a message says who sends it. A message has these frames, after
the routing frame that only the ROUTER sees:

    version   b"sennit-rpc-1"
    number    u64 big-endian: the client numbers its requests from 1; answers carry the same number
    receipt   8 bytes, of an answer only
    body      one value, encoded by `runtime.codec`: a `Request` to the node, an `Answer` from it

A client that has read much says so: version, the receipt of the last answer that it has read in the
place of the number, and an empty body. Who reads nothing is sent no more large answers.

Each request has one answer: what its comment says, or `Failure`. `WatchFlow` has any number of
`FlowDetail`, the last one of an ended flow, until `StopWatching` with the number of the watch.
While a client watches, the node sends `StillThere` with number 0 now and then.
"""

from typing import Annotated, Final

from msgspec import Meta

from runtime.codec import message
from runtime.error_codec import (
    PackedError,
    bounded,
    class_name_of,
    message_of,
    pack_error,
    unpack_error,
)
from runtime.errors import (
    ArgumentInvalid,
    BadArguments,
    ClientIdInvalid,
    ClientIdTaken,
    ConfigurationError,
    Diverged,
    FlowException,
    FlowFailed,
    FlowKilled,
    MisuseError,
    NodeStopped,
    PermissionDenied,
    ResultNotReady,
    SennitError,
    UnexpectedFlowEnd,
    UnknownFlow,
    UnknownParty,
)
from runtime.operations import (
    Arguments,
    FlowDetail,
    FlowFilter,
    FlowKind,
    FlowPage,
    FlowResult,
    JournalRow,
    NodeInfo,
    OnRepeat,
    PeerRow,
    UnclaimedRow,
)

VERSION: Final = b"sennit-rpc-1"
NUMBER_BYTES: Final = 8
RECEIPT_BYTES: Final = NUMBER_BYTES

# A client sends a receipt when it has read so much.
RECEIPT_EVERY_BYTES: Final = 16 * 1024

# The index of an event is a u32 in the keys of the store.
EVENT_INDEX_MAX: Final = 2**32 - 1

# A client asks again; the node need not remember for long who waits for what.
RESULT_WAIT_MS_MAX: Final = 30_000

# So that a node forgets, within this time, a client that vanished while it watched.
STILL_THERE_SECONDS: Final = 10.0


class NodeUnreachable(SennitError):
    """No node answers; the caller starts it, or tries again later."""

    def __init__(self, address: str, what: str, do: str) -> None:
        super().__init__(address, what, do)
        self.address = address
        self.what = what
        self.do = do

    def __str__(self) -> str:
        return f"{self.what} at {self.address}: {self.do}"


class NodeBusy(SennitError):
    """The node has too many requests under way; the caller tries again later."""


class RequestFailed(SennitError):
    """The node failed while it answered: its mistake, not the caller's."""

    def __init__(self, error_id: str) -> None:
        super().__init__(error_id)
        self.error_id = error_id

    def __str__(self) -> str:
        return f"the node failed at this request; look for error id {self.error_id} in its log"


class RemoteError(SennitError):
    """An error of a class that this side does not know."""

    def __init__(self, original_class: str, text: str) -> None:
        super().__init__(original_class, text)
        self.original_class = original_class
        self.text = text

    def __str__(self) -> str:
        return f"{self.original_class}: {self.text}"


class BadRequest(MisuseError):
    """A request that this node does not understand."""


# What users may send is bounded while it is decoded. Names and ids have shorter bounds of their
# own, which say more when they are passed.
TEXT_CHARACTERS_MAX: Final = 16 * 1024
Text = Annotated[str, Meta(max_length=TEXT_CHARACTERS_MAX)]
Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]


@message(name="rpc.StartFlow")
class StartFlow:
    """Start a flow: `Started`."""

    flow_name: Text
    arguments: Arguments
    client_id: Text | None = None
    on_repeat: OnRepeat = "attach_if_same"


@message(name="rpc.FindFlow")
class FindFlow:
    """The flow of a client id of the user's own: `Found`."""

    client_id: Text


@message(name="rpc.ListFlowKinds")
class ListFlowKinds:
    """What can be started: `FlowKinds`."""


@message(name="rpc.ListFlows")
class ListFlows:
    """Flows, newest first: `FlowPage`. Without permission to read, only the user's own."""

    filter: FlowFilter


@message(name="rpc.GetFlow")
class GetFlow:
    """One flow: `FlowDetail`."""

    flow_id: Text


@message(name="rpc.GetResult")
class GetResult:
    """What a flow returned: `FlowResult`; ``wait_ms`` is cut to `RESULT_WAIT_MS_MAX`."""

    flow_id: Text
    wait_ms: Number


@message(name="rpc.ReadJournal")
class ReadJournal:
    """A page of a journal: `JournalRows`."""

    flow_id: Text
    start: Annotated[int, Meta(ge=0, le=EVENT_INDEX_MAX)]
    limit: Annotated[int, Meta(ge=1, le=2**31)]


@message(name="rpc.WatchFlow")
class WatchFlow:
    """Any number of `FlowDetail`, at once and then when something changes."""

    flow_id: Text


@message(name="rpc.StopWatching")
class StopWatching:
    """End the watch that was asked for with this number: `Done`."""

    number: Number


@message(name="rpc.RetryFlow")
class RetryFlow:
    """Run a held flow again: `Done`."""

    flow_id: Text


@message(name="rpc.KillFlow")
class KillFlow:
    """End a flow: `Killed`."""

    flow_id: Text


@message(name="rpc.ForgetClientId")
class ForgetClientId:
    """Drop the result that is kept for a client id of the user's own: `Done`."""

    client_id: Text


@message(name="rpc.ListPeers")
class ListPeers:
    """Whom the node can reach: `PeerRows`."""


@message(name="rpc.ListUnclaimed")
class ListUnclaimed:
    """Who asks for flows that are not installed: `UnclaimedRows`."""


@message(name="rpc.DropUnclaimed")
class DropUnclaimed:
    """Refuse all who ask for a flow that is not installed: `Dropped`."""

    flow_name: Text


@message(name="rpc.Drain")
class Drain:
    """Take no new flows, or take them again: `Done`."""

    is_on: bool


@message(name="rpc.StopNode")
class StopNode:
    """Stop the node gracefully: `Done`, at once."""


@message(name="rpc.GetInfo")
class GetInfo:
    """The node: `NodeInfo`."""


Request = (
    StartFlow
    | FindFlow
    | ListFlowKinds
    | ListFlows
    | GetFlow
    | GetResult
    | ReadJournal
    | WatchFlow
    | StopWatching
    | RetryFlow
    | KillFlow
    | ForgetClientId
    | ListPeers
    | ListUnclaimed
    | DropUnclaimed
    | Drain
    | StopNode
    | GetInfo
)


def has_effect(request: Request) -> bool:
    """Tell whether asking it twice would do something twice, or be answered otherwise."""
    match request:
        case StartFlow():
            return request.client_id is None or request.on_repeat == "refuse"
        case KillFlow() | RetryFlow() | StopNode() | ForgetClientId() | DropUnclaimed():
            return True
        case _:
            return False


@message(name="rpc.Started")
class Started:
    """The flow is durable."""

    flow_id: str


@message(name="rpc.Found")
class Found:
    """The flow of the client id, if it stands for one."""

    flow_id: str | None


@message(name="rpc.FlowKinds")
class FlowKinds:
    """What can be started."""

    kinds: list[FlowKind]


@message(name="rpc.JournalRows")
class JournalRows:
    """A page of a journal; an empty one is the end."""

    rows: list[JournalRow]


@message(name="rpc.Killed")
class Killed:
    """``was_live``: it had not ended before."""

    was_live: bool


@message(name="rpc.PeerRows")
class PeerRows:
    """Whom the node can reach."""

    rows: list[PeerRow]


@message(name="rpc.UnclaimedRows")
class UnclaimedRows:
    """Who asks for flows that are not installed."""

    rows: list[UnclaimedRow]


@message(name="rpc.Dropped")
class Dropped:
    """So many were refused."""

    count: int


@message(name="rpc.Done")
class Done:
    """There is nothing more to say."""


@message(name="rpc.StillThere")
class StillThere:
    """The node lives."""


@message(name="rpc.Failure")
class Failure:
    """An error, as its class and arguments; ``flow_error`` if it is one of a flow's own."""

    error_class: str
    text: str
    arguments: list[str | None] = []
    flow_error: PackedError | None = None


Answer = (
    Started
    | Found
    | FlowKinds
    | FlowPage
    | FlowDetail
    | FlowResult
    | JournalRows
    | Killed
    | PeerRows
    | UnclaimedRows
    | Dropped
    | NodeInfo
    | Done
    | StillThere
    | Failure
)

_CROSSING: Final[dict[str, type[SennitError]]] = {
    known.__name__: known
    for known in (
        ArgumentInvalid,
        BadArguments,
        BadRequest,
        ClientIdInvalid,
        ClientIdTaken,
        ConfigurationError,
        Diverged,
        FlowFailed,
        FlowKilled,
        MisuseError,
        NodeBusy,
        NodeStopped,
        PermissionDenied,
        RequestFailed,
        ResultNotReady,
        UnexpectedFlowEnd,
        UnknownFlow,
        UnknownParty,
    )
}


def failure(error: SennitError) -> Failure:
    """Turn an error into what crosses."""
    name, text = class_name_of(error), message_of(error)
    if isinstance(error, FlowException):
        return Failure(name, text, flow_error=pack_error(error))
    if _CROSSING.get(name) is type(error):
        arguments = [None if it is None else bounded(str(it)) for it in error.args]
        return Failure(name, text, arguments)
    return Failure(name, text)


def error_of(failed: Failure) -> SennitError:
    """Turn what crossed into an error of the same class, or into a `RemoteError`."""
    if failed.flow_error is not None:
        return unpack_error(failed.flow_error)
    known = _CROSSING.get(failed.error_class)
    if known is None:
        return RemoteError(failed.error_class, failed.text)
    try:
        return known(*failed.arguments)
    except TypeError:
        # Made by another version, with other arguments.
        return RemoteError(failed.error_class, failed.text)
