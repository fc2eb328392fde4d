"""What the checkers of histories say of journals and messages that no engine should make."""

import pytest

from runtime.codec import pack
from runtime.core.derive import session_id
from runtime.core.envelopes import Data, End, Open, Refuse, encode
from runtime.core.events import (
    JOURNAL,
    AnyEvent,
    Clocked,
    Opened,
    Origin,
    Received,
    Sent,
    Started,
    StepAttempted,
    StepIntended,
    Stepped,
)
from runtime.core.events import encode as encode_event
from runtime.ids import ErrorId, PeerName, SessionId
from runtime.ports import Batch
from runtime.testing.checks import sessions_agree, steps_answered_once
from runtime.testing.memory_transport import Link
from runtime.testing.network import JournalRows, SimulatedNetwork
from runtime.testing.recorder import Recorder
from runtime.testing.simulated_loop import SimulatedClock

ALICE, BOB = PeerName("O=Alice"), PeerName("O=Bob")
OPENER = session_id(bytes(16), 1)
ANSWERER = session_id(b"1" * 16, 0)
VALUE = pack(7)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(SimulatedClock(), is_traced=True)


def add_journal(recorder: Recorder, node: str, *events: AnyEvent) -> None:
    key = len(recorder.journals).to_bytes(16, "big")
    recorder.journals[node, key] = dict(enumerate(events))


def started(origin: Origin | None = None) -> Started:
    seed = bytes(16) if origin is None else b"1" * 16
    return Started(0, "", "f", 1, b"", seed, "u", None, origin)


ASKED = Origin(ALICE, OPENER, "f", 1, "", "")
OPENED = Opened(0, "", 1, BOB, "f", 1)


def sent(number: int) -> Sent:
    return Sent(0, "", 1, number, VALUE.type, VALUE.body)


def got(number: int, *, body: bytes = VALUE.body) -> Received:
    envelope = Data(ANSWERER, number, VALUE.type, body)
    return Received(0, "", 0, number, encode(envelope))


def got_first() -> Received:
    opened = Open(OPENER, "f", 1, "", "", b"", VALUE.type, VALUE.body)
    return Received(0, "", 0, 0, encode(opened))


def got_end(number: int) -> Received:
    return Received(0, "", 0, number, encode(End(ANSWERER, number)))


def test_a_conversation_in_order_is_fine(recorder: Recorder) -> None:
    add_journal(recorder, "Alice", started(), OPENED, sent(0), sent(1))
    add_journal(recorder, "Bob", started(ASKED), got_first(), got(1), got_end(2))

    assert list(sessions_agree(recorder)) == []


@pytest.mark.parametrize(
    ("alice", "bob", "problem"),
    [
        ((sent(0), sent(1)), (got_first(), got(1, body=b"\x08")), "received"),
        ((sent(0), sent(1), sent(2)), (got_first(), got(2)), "never received the messages [1]"),
        ((sent(0), sent(0)), (got_first(),), "is sent twice"),
        ((sent(0), sent(1)), (got(1), got_first()), "out of order"),
        ((sent(0), sent(1), sent(2)), (got_first(), got_end(1)), "after the end of the session"),
        (
            (sent(0),),
            (Received(0, "", 0, 0, encode(Refuse(ANSWERER, OPENER, "", ErrorId("")))),),
            "was refused by Alice and accepted",
        ),
    ],
)
def test_ends_that_saw_different_messages_are_told(
    recorder: Recorder, alice: tuple[AnyEvent, ...], bob: tuple[AnyEvent, ...], problem: str
) -> None:
    add_journal(recorder, "Alice", started(), OPENED, *alice)
    add_journal(recorder, "Bob", started(ASKED), *bob)

    problems = list(sessions_agree(recorder))

    assert any(problem in each for each in problems)


def test_two_responders_of_one_session_are_told(recorder: Recorder) -> None:
    add_journal(recorder, "Alice", started(), OPENED)
    add_journal(recorder, "Bob", started(ASKED))
    add_journal(recorder, "Bob", started(ASKED))

    assert list(sessions_agree(recorder)) == ["Alice: a session has 2 responders"]


def test_a_responder_that_nobody_asked_for_is_told(recorder: Recorder) -> None:
    add_journal(recorder, "Bob", started(ASKED))

    assert len(list(sessions_agree(recorder))) == 1


STEPPED = Stepped(0, "", "s", b"", b"")
INTENDED = StepIntended(0, "", "s", b"")
ATTEMPTED = StepAttempted(0, "", "s", b"", 1, "", 0)


@pytest.mark.parametrize(
    ("events", "count"),
    [
        ((INTENDED, STEPPED), 0),
        ((ATTEMPTED, ATTEMPTED, STEPPED), 0),
        ((INTENDED, ATTEMPTED, INTENDED, STEPPED), 0),
        ((INTENDED, INTENDED, STEPPED), 1),
        ((INTENDED, Clocked(0, "")), 1),
        ((ATTEMPTED, Stepped(0, "", "another", b"", b"")), 1),
    ],
)
def test_a_step_is_not_left_before_it_has_its_outcome(
    recorder: Recorder, events: tuple[AnyEvent, ...], count: int
) -> None:
    add_journal(recorder, "Alice", started(), *events)

    assert len(list(steps_answered_once(recorder))) == count


def journal_batch(*indexes: int) -> Batch:
    rows = JournalRows()
    for index in indexes:
        rows[bytes(16) + index.to_bytes(4, "big")] = encode_event(started())
    batch = Batch()
    batch.writes[JOURNAL] = rows
    return batch


@pytest.mark.parametrize(
    ("indexes", "problem"),
    [((0, 1), ""), ((0, 0), "journaled twice"), ((0, 2), "the last was 0")],
)
def test_a_journal_has_each_index_once_and_no_gap(
    recorder: Recorder, indexes: tuple[int, ...], problem: str
) -> None:
    node = SimulatedNetwork().node("Alice")

    recorder.landed(node, journal_batch(*indexes))

    assert len(recorder.problems) == bool(problem)
    assert problem in "".join(recorder.problems)


def test_a_message_that_is_not_durable_may_not_leave(recorder: Recorder) -> None:
    recorder.carried(Link(source=ALICE, target=BOB), [encode(End(SessionId(bytes(16)), 1))])

    (problem,) = recorder.problems
    assert "sends what is not durable" in problem


def test_a_message_may_not_change(recorder: Recorder) -> None:
    link = Link(source=ALICE, target=BOB)
    one, other = (Data(SessionId(bytes(16)), 1, "int", body) for body in (b"\1", b"\2"))

    recorder.carried(link, [encode(one)])
    recorder.carried(link, [encode(one), encode(other)])

    assert [each for each in recorder.problems if "another message of the number" in each]
