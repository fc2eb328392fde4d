"""What tests of the engine share: two nodes, an ear on the wire, a disk that waits for orders."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from runtime import Party, Session, flow, initiate, responder
from runtime.codec import Packed, unpack_any
from runtime.core.envelopes import (
    Accept,
    Ack,
    AnyEnvelope,
    Data,
    End,
    Error,
    Gone,
    Open,
    Refuse,
    decode,
)
from runtime.core.events import JOURNAL, AnyEvent
from runtime.core.events import decode as decode_event
from runtime.engine.flow_ids import key_of
from runtime.engine.flow_run import FlowRun
from runtime.handle import FlowHandle
from runtime.ids import FlowId, SessionId
from runtime.operations import FLOWS_LIMIT_MAX, LIVE, FlowFilter, FlowRow
from runtime.ports import Batch, Space
from runtime.testing.memory_transport import Delivery, Link
from runtime.testing.network import App, SimulatedNetwork, SimulatedNode

T = TypeVar("T")


def pair(network: SimulatedNetwork, *apps: App) -> tuple[SimulatedNode, SimulatedNode]:
    """Return two nodes that have the same apps."""
    return network.node("Alice", apps=apps), network.node("Bob", apps=apps)


def same(value: T) -> T:
    """Check nothing: for values that a test trusts."""
    return value


@flow
def ask(peer: Party) -> str:
    """Make one exchange."""
    return initiate(peer).exchange("how?", str).unwrap(same)


@responder(ask)
def answer(session: Session) -> None:
    session.receive(str)
    session.send("well")


class Wire:
    """A policy that writes down every envelope that crosses, each once, and lets tests lose some.

    A resent envelope is the same message; acknowledgements are kept apart.
    """

    def __init__(self, network: SimulatedNetwork) -> None:
        self.envelopes: list[tuple[Link, AnyEnvelope]] = []
        self.acknowledgements: list[tuple[Link, Ack]] = []
        self.frames = 0
        self.loses: Callable[[Link, AnyEnvelope], bool] = lambda link, envelope: False
        self._seen: set[tuple[Link, bytes]] = set()
        network.links.policy = self

    def __call__(self, link: Link, encoded: list[bytes]) -> list[Delivery]:
        self.frames += 1
        delivered: list[bytes] = []
        for each in encoded:
            envelope = decode(each)
            if self.loses(link, envelope):
                continue
            delivered.append(each)
            if isinstance(envelope, Ack):
                self.acknowledgements.append((link, envelope))
            elif (link, each) not in self._seen:
                self._seen.add((link, each))
                self.envelopes.append((link, envelope))
        return [Delivery(delivered)] if delivered else []

    def of(self, kind: type[T]) -> list[T]:
        """Return all envelopes of one kind, in order."""
        return [envelope for _, envelope in self.envelopes if isinstance(envelope, kind)]

    def trace(self) -> list[str]:
        """Return the messages in words, in the order in which they crossed."""
        return [in_words(envelope) for _, envelope in self.envelopes]


def in_words(envelope: AnyEnvelope) -> str:
    match envelope:
        case Open(kind=""):
            return "open"
        case Open():
            return f"open({value_of(envelope)})"
        case Accept():
            return "accept"
        case Refuse():
            return "refuse"
        case Data():
            return f"data {value_of(envelope)}"
        case Error():
            return "error"
        case End():
            return "end"
        case Ack():
            return f"ack {envelope.up_to}"
        case Gone():
            return "gone"


def value_of(envelope: Open | Data) -> object:
    return unpack_any(Packed(envelope.kind, envelope.body))


class HeldDisk:
    """A disk of all nodes on which nothing becomes durable before the test says so."""

    def __init__(self) -> None:
        self.batches: list[tuple[SimulatedNode, Batch]] = []
        self.is_held = True

    def submitted(self, node: SimulatedNode, batch: Batch) -> None:
        self.batches.append((node, batch))
        if not self.is_held:
            node.loop.call_soon(node.store.make_durable)

    def landed(self, node: SimulatedNode, batch: Batch) -> None:
        self.batches.remove((node, batch))

    def let_go(self, node: SimulatedNode) -> None:
        """Make durable what ``node`` has submitted, and from now on whatever any node submits."""
        self.is_held = False
        node.store.make_durable()

    def waiting(self, node: SimulatedNode) -> int:
        """Return how many batches of a node are under way."""
        return sum(one is node for one, _ in self.batches)


def turn(network: SimulatedNetwork) -> None:
    """Run what is ready now, without letting time go on."""
    network.loop.run_for(0)


def journal(node: SimulatedNode, flow_id: FlowId) -> list[AnyEvent]:
    """Return the events of a flow that is alive."""
    key = key_of(flow_id)
    rows = node.host.scan(JOURNAL, key, key + b"\xff" * 5)
    return [decode_event(value) for _, value in rows]


def kinds(node: SimulatedNode, flow_id: FlowId) -> list[str]:
    """Return the kinds of a living flow's events."""
    return [type(event).__name__ for event in journal(node, flow_id)]


def only_flow(node: SimulatedNode) -> FlowRun:
    """Return the only living flow of a node."""
    (run,) = node.running.manager.runs.values()
    return run


def live(node: SimulatedNode) -> list[FlowRow]:
    """Return the living flows of a node, newest first."""
    return node.flows(FlowFilter(statuses=sorted(LIVE), limit=FLOWS_LIMIT_MAX))


def open_sessions(node: SimulatedNode, flow_id: str) -> list[SessionId]:
    """Return the ids of a flow's sessions that are not over."""
    return [SessionId(bytes.fromhex(row.id)) for row in node.flow(flow_id).sessions]


def used(node: SimulatedNode, limit: str) -> int:
    """Return what a node uses of a limit; of one for each peer, the most that a peer uses."""
    (found,) = [row.in_use for row in node.info().limits if row.name == limit]
    return found


def write(node: SimulatedNode, space: Space, rows: Mapping[bytes, bytes | None]) -> None:
    """Write, or with None delete, rows of a node's store behind its back, up or down."""
    node.store.submit(Batch({space: dict(rows)}), lambda: None)


def rows(node: SimulatedNode, space: str) -> int:
    """Return how many rows a space of a node's store has."""
    return len(list(node.host.scan(Space(space), b"", None)))


LEFT_BEHIND: Final = ("journal", "outbox", "inbox", "held")


def assert_nothing_is_left(network: SimulatedNetwork) -> None:
    """All flows are over, so no store holds anything of them but results and tombstones."""
    for node in network.nodes.values():
        assert node.info().flows_live == 0
        assert {space: rows(node, space) for space in LEFT_BEHIND} == dict.fromkeys(LEFT_BEHIND, 0)


def outcome(handle: FlowHandle[T]) -> T | Exception:
    """Return a flow's result, or the exception that it ended with."""
    try:
        return handle.result()
    except Exception as error:
        return error


def crash_points(nodes: Sequence[SimulatedNode]) -> int:
    """Return how many commits these nodes have made."""
    return sum(node.commits for node in nodes)
