"""What a running node offers to those who look after it: the RPC, the command line, a console.

Every method is called from a greenlet of the node's own loop. What may wait says so, and holds up
only the calling greenlet. Errors are those of `runtime.errors`, with text for the person who asked.
Values here cross the wire: fields may be added with a default, never renamed or removed.
"""

from collections.abc import Callable
from typing import Annotated, Final, Literal, Protocol, get_args

from msgspec import Meta

from runtime.codec import Packed, message
from runtime.ids import FlowId, UserName
from runtime.progress_tree import ProgressRow

STATUSES: Final = ("running", "waiting", "held", "completed", "failed", "killed")
"""An older command must be able to show the status of a newer node, so on the wire it is text."""

ENDED: Final = frozenset({"completed", "failed", "killed"})
LIVE: Final = frozenset(STATUSES) - ENDED

OnRepeat = Literal["attach_if_same", "attach", "refuse"]
"""Which flow a start may get whose client id stands for one already.

``attach_if_same``: the one with the same name and arguments. ``attach``: the one with the same
name, whatever its arguments are. ``refuse``: none. Else it raises `ClientIdTaken`.
"""

ON_REPEAT: Final[tuple[str, ...]] = get_args(OnRepeat)

# One answer stays small; whoever wants more asks for the next page.
FLOWS_LIMIT_MAX: Final = 1_000
JOURNAL_LIMIT_MAX: Final = 1_000
PEERS_MAX: Final = 1_000


# What users may send; see `runtime.rpc_messages`.
ARGUMENTS_MAX: Final = 1_000
PATTERN_CHARACTERS_MAX: Final = 512
STATUSES_ASKED_MAX: Final = 32
TIME_MS_MAX: Final = 2**53


@message(name="node.Arguments")
class Arguments:
    """What to call a flow with: each is text, read by the flow's signature, or a packed value.

    A positional text that begins with the name of a parameter, as ``price=95``, is for that one.
    """

    positional: Annotated[list[str | Packed], Meta(max_length=ARGUMENTS_MAX)] = []
    named: Annotated[dict[str, str | Packed], Meta(max_length=ARGUMENTS_MAX)] = {}


@message(name="node.FlowFilter")
class FlowFilter:
    """Which flows to list: newest first, at most ``limit``. ``name`` is a pattern: ``*.buy``.

    ``before`` is `FlowPage.rest_before` of the page before.
    """

    name: Annotated[str, Meta(max_length=PATTERN_CHARACTERS_MAX)] | None = None
    statuses: Annotated[list[str], Meta(max_length=STATUSES_ASKED_MAX)] = []
    user: Annotated[str, Meta(max_length=PATTERN_CHARACTERS_MAX)] | None = None
    since_ms: Annotated[int, Meta(ge=-TIME_MS_MAX, le=TIME_MS_MAX)] | None = None
    limit: Annotated[int, Meta(ge=0, le=2**31)] = 100
    before: str | None = None


@message(name="node.FlowRow")
class FlowRow:
    """One flow in a list."""

    id: str
    name: str
    version: int
    status: str
    started_ms: int
    ended_ms: int | None = None
    user: str = ""
    client_id: str | None = None
    waits_for: str = ""
    error: str = ""

    @property
    def is_ended(self) -> bool:
        """Whether it will never run again."""
        return self.status in ENDED


# The name that lists of flows had on the wire before they had pages.
@message(name="rpc.FlowRows")
class FlowPage:
    """Some flows, newest first. ``rest_before``: there may be more, with ids less than this."""

    rows: list[FlowRow]
    rest_before: str | None = None


@message(name="node.Wait")
class Wait:
    """Why a flow is not running: what it asked for, of whom, since when, what would wake it.

    ``until_ms`` is when time ends it, if it does: the end of a sleep, the next try, a timeout.
    """

    what: str
    since_ms: int
    until_ms: int | None = None
    whom: str = ""
    woken_by: str = ""


@message(name="node.SessionRow")
class SessionRow:
    """One session of a flow."""

    id: str
    peer: str
    state: str
    protocol: str = ""
    sent: int = 0
    received: int = 0
    unacknowledged: int = 0


@message(name="node.StepRow")
class StepRow:
    """The step that a flow is in, and its attempt (from 1) that runs, or is waited for."""

    name: str
    attempt: int


@message(name="node.FlowResult")
class FlowResult:
    """What a flow returned, and how it reads (shortened) without the classes of the flow."""

    value: Packed
    text: str


@message(name="node.FlowDetail")
class FlowDetail:
    """All that is known of one flow. Of many sessions, the first hundred.

    ``arguments`` is text, shortened. ``place`` is where it stands in its journal, ``source`` the
    line of its code that it waits in, or that failed. ``step`` is the step that it is in.
    """

    row: FlowRow
    arguments: str = ""
    place: str = ""
    source: str = ""
    step: StepRow | None = None
    wait: Wait | None = None
    sessions: list[SessionRow] = []
    sessions_total: int = 0
    progress: list[ProgressRow] = []
    error: str = ""
    error_id: str | None = None
    result: FlowResult | None = None
    events: int = 0


@message(name="node.JournalRow")
class JournalRow:
    """One event of a flow's journal; without a time if it can't be read. ``value`` is shortened."""

    index: int
    time_ms: int | None
    kind: str
    place: str = ""
    peer: str = ""
    size: int = 0
    value: str = ""


@message(name="node.FlowKind")
class FlowKind:
    """A flow that can be started: ``(buyer: Party, price: int) -> str`` and its docstring."""

    name: str
    version: int = 1
    signature: str = "()"
    doc: str = ""


@message(name="node.ThreadRow")
class ThreadRow:
    """A step in a native thread. ``is_left``: its flow was killed, but the thread runs on."""

    what: str
    for_ms: int
    is_left: bool = False


@message(name="node.LimitRow")
class LimitRow:
    """A limit, as it is called in the table ``limits`` of ``node.toml``, and what is used of it.

    Of a limit for each peer, what the peer uses that uses most.
    """

    name: str
    limit: int
    in_use: int


@message(name="node.StoreRow")
class StoreRow:
    """The store of a node: its disk, what was written since the start, whether it can be written.

    ``trouble`` says why nothing can be written just now; it is tried again until it succeeds.
    """

    batches: int = 0
    batches_waiting: int = 0
    size_bytes: int | None = None
    free_bytes: int | None = None
    synced_ms: int | None = None
    trouble: str = ""
    trouble_since_ms: int | None = None


@message(name="node.PeerRow")
class PeerRow:
    """A peer: reachable, unreachable, or not tried; since when; what it has not acknowledged."""

    peer: str
    status: str = "not tried"
    since_ms: int | None = None
    messages: int = 0
    sessions: int = 0


@message(name="node.NodeInfo")
class NodeInfo:
    """Who this node is and how it does."""

    name: str
    identity: str
    addresses: list[str] = []
    rpc_address: str = ""
    version: str = ""
    started_ms: int = 0
    uptime_ms: int = 0
    commits: int = 0
    flows_live: int = 0
    flows_held: int = 0
    is_draining: bool = False
    unacknowledged: int = 0
    """Messages that peers have not acknowledged yet."""
    step_threads_max: int = 0
    step_threads_waited_for: int = 0
    step_threads: list[ThreadRow] = []
    """The longest running first; at most a hundred."""
    freezes: int = 0
    freeze_ms_longest: int = 0
    """How often the loop has stood still for more than a second, and the longest time."""
    left_behind: list[str] = []
    """Flows that were killed and whose code does not end, with the place where it is."""

    limits: list[LimitRow] = []
    store: StoreRow = StoreRow()
    peers_unreachable: int = 0
    """Of those that something waits for."""
    unreadable: list[str] = []
    """Rows of the store that can't be read, at most a thousand; the node goes on without them."""

    flows_started: int = 0
    """Since the start of the node, as are the next four: by users, by peers."""
    flows_completed: int = 0
    flows_failed: int = 0
    """Those that were killed among them."""
    messages_resent: int = 0
    messages_dropped: dict[str, int] = {}
    """Messages of peers that this node did not take, by the reason."""
    flows_without_room: int = 0
    """Flows that wait until a peer has acknowledged more of what it was sent."""


@message(name="node.UnclaimedRow")
class UnclaimedRow:
    """A peer that asks for a flow that is not installed, since when and until when heard (ms)."""

    peer: str
    flow: str
    version: int
    since_ms: int
    heard_ms: int


class FlowWatch(Protocol):
    """Someone is watching one flow."""

    def detail(self) -> FlowDetail:
        """Return the flow as it is now; also after its end, as long as the watch is open."""

    def close(self) -> None:
        """Stop calling back. Idempotent."""


class NodeOperations(Protocol):
    """What a running node can be asked to do."""

    def start_flow(
        self,
        user: UserName,
        flow_name: str,
        arguments: Arguments,
        client_id: str | None,
        on_repeat: OnRepeat = "attach_if_same",
    ) -> FlowId:
        """Start a flow and return once its start is durable; may wait.

        The same user and client id give the same flow, as far as ``on_repeat`` lets them; see
        `OnRepeat`. Raises `UnknownFlow`, `BadArguments`, `UnknownParty`, `ClientIdInvalid`,
        `ClientIdTaken`, `PermissionDenied`, `NodeStopped`.
        """

    def find(self, user: UserName, client_id: str) -> FlowId | None:
        """Return the flow that the user's client id stands for, running or ended, or None.

        Raises `ClientIdInvalid`.
        """

    def flow_names(self) -> list[FlowKind]:
        """Return what can be started, by name."""

    def flows(self, flow_filter: FlowFilter) -> FlowPage:
        """Return flows that live or left a result, newest first."""

    def flow(self, flow_id: FlowId) -> FlowDetail:
        """Return all about one flow, or raise `UnknownFlow`."""

    def result(self, flow_id: FlowId, timeout_seconds: float | None) -> FlowResult:
        """Wait for the end; return what the flow returned or raise how it failed.

        What a flow raised is a `SennitError` here: its `FlowException` as it is, `FlowKilled`, or
        `FlowFailed` for all that may not cross. Raises `ResultNotReady` when the time is over,
        which means nothing to the flow.
        """

    def journal(self, flow_id: FlowId, start: int, limit: int) -> list[JournalRow]:
        """Return up to ``limit`` events from index ``start`` on; an empty list is the end."""

    def watch(self, flow_id: FlowId, changed: Callable[[], None]) -> FlowWatch:
        """Call ``changed``, which never waits, whenever `FlowWatch.detail` would be different."""

    def retry(self, flow_id: FlowId) -> None:
        """Run a held flow again from its journal."""

    def kill(self, flow_id: FlowId) -> bool:
        """End a flow and tell its peers; ``False`` if it had ended before. May wait."""

    def forget(self, user: UserName, client_id: str) -> None:
        """Drop the result that is kept for the user's client id; may wait.

        Raises `ClientIdInvalid` if there is none, `PermissionDenied` if it is another user's, and
        `MisuseError` if its flow still runs.
        """

    def peers(self) -> list[PeerRow]:
        """Return whom the node can reach, and what waits for them; a thousand at most."""

    def unclaimed(self) -> list[UnclaimedRow]:
        """Return who asks for flows that are not installed, oldest first; a thousand at most."""

    def drop_unclaimed(self, flow_name: str) -> int:
        """Refuse all who ask for this flow that is not installed; how many. May wait."""

    def drain(self, *, is_on: bool) -> None:
        """Take no new flows (``is_on``), or take them again; those that live go on."""

    def stop(self) -> None:
        """Begin to stop the node, and return at once."""

    def info(self) -> NodeInfo:
        """Return who this node is and how it does."""
