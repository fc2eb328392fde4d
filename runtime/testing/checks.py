"""What must hold after a simulated history, whatever went wrong in it. Each yields problems."""

from collections import defaultdict
from collections.abc import Iterator

from runtime.codec import fingerprint
from runtime.core import envelopes
from runtime.core.derive import session_id
from runtime.core.envelopes import Answer, Content, Data, Open, Refuse
from runtime.core.events import (
    JOURNAL,
    Accepted,
    AnyEvent,
    Opened,
    Received,
    Sent,
    SessionOver,
    Started,
    StepAttempted,
    StepIntended,
    Stepped,
)
from runtime.engine.inbox import INBOX
from runtime.engine.outbox import OUTBOX
from runtime.engine.result_index import RESULT_INDEX
from runtime.engine.results import CLIENT_IDS, HELD, RESULTS
from runtime.evolution import content_of
from runtime.ids import SessionId
from runtime.limits import TOMBSTONE_MS
from runtime.testing.memory_transport import Link
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from runtime.testing.recorder import Recorder
from runtime.testing.world import World, outcome_of

_KEPT_WHILE_FLOWS_LIVE = (JOURNAL, OUTBOX, INBOX, HELD)


def requests_ended(world: World) -> Iterator[str]:
    """Every flow that a client wanted has ended as expected, and still says so when asked again."""
    for request in world.requests:
        if request.outcome is None:
            yield f"{request} has not ended"
            continue
        if not request.expectation(request.outcome):
            yield (
                f"{request} ended with {request.outcome}, "
                f"expected was {request.expectation.__qualname__}"
            )
        handle = request.begin()
        if handle.id != request.flow_id or not handle.is_ended:
            yield f"{request} was flow {request.flow_id}; asked again it is {handle!r}"
            continue
        again = outcome_of(handle)
        if (again.value, again.error_class) != (request.outcome.value, request.outcome.error_class):
            yield f"{request} ended with {request.outcome}; asked again it is {again}"


def nothing_left(network: SimulatedNetwork) -> Iterator[str]:
    """No flow lives, and no node has a row or a thing in memory that belonged to one."""
    for node in network.nodes.values():
        manager = node.running.manager
        for run in manager.runs.values():
            waits = run.wait.on if run.wait else run.error
            yield f"{node.name}: flow {run.info.name} is {run.status_text()}, waits for {waits}"
        for space in _KEPT_WHILE_FLOWS_LIVE:
            count = sum(1 for _ in node.store.scan(space, b"", None))
            if count:
                yield f"{node.name}: {count} rows are left in {space.name}"
        memory = {
            "messages in the outbox": len(manager.outbox),
            "sessions": len(manager.delivery.sessions),
            "opened sessions": len(manager.delivery.opened),
            "unclaimed sessions": len(manager.delivery.unclaimed),
            "batches on their way": node.store.waiting,
        }
        quotas = manager.delivery.quotas
        memory |= {
            "sessions counted for peers": quotas.sessions.used,
            "unread bytes counted for peers": quotas.unread.used,
            "received bytes counted for peers": quotas.received.used,
            "unacknowledged bytes counted for peers": quotas.unacknowledged.used,
            "flows that wait for room": len(manager.outbox.queue),
        }
        for what, count in memory.items():
            if count:
                yield f"{node.name}: {count} {what} are left in memory"


def results_forgotten(world: World) -> Iterator[str]:
    """A result that is forgotten leaves nothing."""
    for request in world.requests:
        if not request.node.forget(request.client_id):
            yield f"{request} can't be forgotten"
    for node in world.network.nodes.values():
        for space in (RESULTS, RESULT_INDEX, CLIENT_IDS):
            count = sum(1 for _ in node.running.scan(space, b"", None))
            if count:
                yield f"{node.name}: {count} rows are left in {space.name}"


def steps_answered_once(recorder: Recorder) -> Iterator[str]:
    """After a step's intent or failed attempt comes the same step, until it has its outcome."""
    for (node, _), events in recorder.journals.items():
        pending: AnyEvent | None = None
        for event in events.values():
            if isinstance(event, Accepted | SessionOver):
                continue
            if isinstance(pending, StepAttempted | StepIntended):
                is_same = (
                    isinstance(event, Stepped | StepAttempted | StepIntended)
                    and (event.path, event.name) == (pending.path, pending.name)
                    and not (isinstance(event, StepIntended) and isinstance(pending, StepIntended))
                )
                if not is_same:
                    yield f"{node}: {event} follows {pending}"
            pending = event


def effects_have_one_id(world: World) -> Iterator[str]:
    """A step that runs again has the id that it had before."""
    for what, ids in world.outside.step_ids.items():
        if len(set(ids)) > 1:
            yield f"{what} was done by steps of several ids: {', '.join(sorted(set(ids)))}"


class _Side:
    """What one flow sent and received in one session, by number."""

    def __init__(self, node: str, peer: str) -> None:
        self.node = node
        self.peer = peer
        self.sent: dict[int, tuple[str, bytes]] = {}
        self.received: dict[int, Content] = {}


def sessions_agree(recorder: Recorder) -> Iterator[str]:
    """Both ends of each session saw the same numbered messages, and each session has two ends."""
    sides: dict[SessionId, _Side] = {}
    pairs: dict[SessionId, list[SessionId]] = defaultdict(list)
    for (node, _), events in recorder.journals.items():
        yield from _read_sessions(node, events, sides, pairs)
    for opener, responders in pairs.items():
        if opener not in sides:
            yield f"a responder was started for session {opener.hex()} that nobody opened"
        elif len(responders) > 1:
            yield f"{sides[opener].node}: a session has {len(responders)} responders"
        else:
            yield from _compare(sides[opener], sides[responders[0]])
            yield from _compare(sides[responders[0]], sides[opener])


def _read_sessions(
    node: str,
    events: dict[int, AnyEvent],
    sides: dict[SessionId, _Side],
    pairs: dict[SessionId, list[SessionId]],
) -> Iterator[str]:
    started = events[0]
    assert isinstance(started, Started)
    if started.origin is not None:
        sid = session_id(started.seed, 0)
        sides[sid] = _Side(node, started.origin.peer)
        pairs[started.origin.peer_session].append(sid)
    for event in events.values():
        match event:
            case Opened():
                sides[session_id(started.seed, event.session)] = _Side(node, event.peer)
            case Sent():
                side = sides[session_id(started.seed, event.session)]
                if event.number in side.sent:
                    yield f"{node}: message {event.number} of a session is sent twice"
                side.sent[event.number] = (event.kind, content_of(event.content))
            case Received():
                side = sides[session_id(started.seed, event.session)]
                content = envelopes.decode(event.envelope)
                assert not isinstance(content, Answer | envelopes.Accept)
                if side.received and event.number <= max(side.received):
                    yield f"{node}: message {event.number} of a session is received out of order"
                side.received[event.number] = content
            case _:
                pass


def _compare(sender: _Side, receiver: _Side) -> Iterator[str]:
    for number, content in receiver.received.items():
        match content:
            case Data() | Open():
                got = (content.kind, fingerprint(content.body))
                if sender.sent.get(number) != got:
                    yield (
                        f"{receiver.node} received {got} as message {number} from {sender.node}, "
                        f"which sent {sender.sent.get(number)}"
                    )
            case Refuse():
                yield f"{receiver.node}: a session was refused by {sender.node} and accepted"
            case _:
                later = [sent for sent in sender.sent if sent > number]
                if later:
                    yield f"{sender.node} sent {later} after the end of the session, {number}"
    taken = [n for n, content in receiver.received.items() if isinstance(content, Data | Open)]
    missing = [number for number in sender.sent if taken and number < max(taken)]
    lost = sorted(set(missing) - set(taken))
    if lost:
        yield f"{receiver.node} never received the messages {lost} of {sender.node}"


class LateMessages:
    """Every message that was ever sent arrives once more, when all is over."""

    def __init__(self, network: SimulatedNetwork, recorder: Recorder) -> None:
        self._network = network
        self._nodes = {node.party.name: node for node in network.nodes.values()}
        # After so long a time a node may have forgotten its sessions, whatever its wall clock says.
        may_have_forgotten = network.clock.steady_ms() >= TOMBSTONE_MS
        self._sent = [] if may_have_forgotten else list(recorder.sent)
        self.answered: set[tuple[str, SessionId]] = set()

    def check(self) -> Iterator[str]:
        """Each is answered; nothing starts and nothing stays."""
        before = {node.name: _durable_state(node) for node in self._nodes.values()}
        for link, encoded in self._sent:
            target = self._nodes[link.target].running
            target.manager.delivery.frame_arrived(link.source, [encoded])
        self._network.loop.run_until_idle()
        for node in self._nodes.values():
            if _durable_state(node) != before[node.name]:
                yield f"{node.name}: a message that comes too late changed what the node has stored"
        for link, encoded in self._sent:
            answer = self._expected_answer(link, encoded)
            if answer is not None and answer not in self.answered:
                envelope = envelopes.decode(encoded)
                yield f"{link.target} does not answer the late message {envelope} of {link.source}"

    def was_answered(self, link: Link, answer: Answer) -> None:
        """Take an answer."""
        self.answered.add((link.target, answer.to))

    def _expected_answer(self, link: Link, encoded: bytes) -> tuple[str, SessionId] | None:
        envelope = envelopes.decode(encoded)
        match envelope:
            case Open() | envelopes.Accept() | Refuse():
                sender_session = envelope.sid
            case _:
                return None
        return link.source, sender_session


def _durable_state(node: SimulatedNode) -> dict[str, list[tuple[bytes, bytes]]]:
    return {
        space.name: list(node.store.scan(space, b"", None))
        for space in (JOURNAL, OUTBOX, INBOX, RESULTS, RESULT_INDEX, CLIENT_IDS, HELD)
    }
