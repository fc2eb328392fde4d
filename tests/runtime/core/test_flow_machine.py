"""The flow machine: its life over the full product, and each operation against each event."""

from collections.abc import Callable
from typing import Final

import msgspec
import pytest

from runtime.core.envelopes import Data, End, Error, Open, Refuse, encode
from runtime.core.events import (
    Accepted,
    AnyEvent,
    Clocked,
    Closed,
    DeadlineSet,
    Ended,
    Entered,
    Left,
    Opened,
    PeerRead,
    Received,
    Sent,
    SessionOver,
    Slept,
    Started,
    StepAttempted,
    StepIntended,
    Stepped,
    TimedOut,
)
from runtime.core.flow_machine import (
    TRANSITIONS,
    FlowMachine,
    IllegalTransition,
    Input,
    Status,
)
from runtime.errors import FlowDiverged
from tests.runtime.core.samples import BOB, ERROR_ID, EVENTS, OURS, PEERS, TIME

STARTED: Final = EVENTS["started"]
PRODUCT = [(status, event) for status in Status for event in Input]


def machine(*events: AnyEvent) -> FlowMachine:
    return FlowMachine([STARTED, *events])


# --- the life of a flow --------------------------------------------------------------------------

WAYS: Final[dict[Status, list[Input]]] = {
    Status.NEW: [],
    Status.RUNNING: [Input.STARTED],
    Status.WAITING: [Input.STARTED, Input.SUSPENDED],
    Status.HELD: [Input.HELD],
    Status.ENDED: [Input.ENDED],
}


def in_status(status: Status) -> FlowMachine:
    flow = machine()
    for event in WAYS[status]:
        flow.move(event)
    return flow


@pytest.mark.parametrize("status", Status)
def test_every_status_can_be_reached(status: Status) -> None:
    # Breaks when a status is added that nothing leads to.
    assert in_status(status).status is status


@pytest.mark.parametrize(("status", "event"), [pair for pair in PRODUCT if pair in TRANSITIONS])
def test_a_pair_in_the_table_moves_as_the_table_says(status: Status, event: Input) -> None:
    # Breaks when code moves the status beside the table.
    flow = in_status(status)

    flow.move(event)

    assert flow.status is TRANSITIONS[status, event]


@pytest.mark.parametrize(("status", "event"), [pair for pair in PRODUCT if pair not in TRANSITIONS])
def test_a_pair_that_is_not_in_the_table_is_our_bug(status: Status, event: Input) -> None:
    # Breaks when a flow can, say, be resumed after its end.
    flow = in_status(status)

    with pytest.raises(IllegalTransition, match=f"{event.value} while {status.value}"):
        flow.move(event)

    assert flow.status is status


@pytest.mark.parametrize("status", Status)
def test_the_fast_move_does_what_the_table_says(status: Status) -> None:
    # Breaks when the shortcut and the table drift apart.
    flow = in_status(status)

    if (status, Input.SUSPENDED) in TRANSITIONS:
        flow.suspended()
        assert flow.status is TRANSITIONS[status, Input.SUSPENDED]
    else:
        with pytest.raises(IllegalTransition, match=f"suspended while {status.value}"):
            flow.suspended()
        assert flow.status is status


def test_only_what_runs_waits_and_only_what_waits_goes_on() -> None:
    # A wait for the disk sets both statuses without asking the table.
    moves = {
        pair: to for pair, to in TRANSITIONS.items() if pair[1] in (Input.SUSPENDED, Input.RESUMED)
    }

    assert moves == {
        (Status.RUNNING, Input.SUSPENDED): Status.WAITING,
        (Status.WAITING, Input.RESUMED): Status.RUNNING,
    }


def test_nothing_follows_an_end() -> None:
    # Breaks when an ended flow can come back and do its work twice.
    assert not [pair for pair in TRANSITIONS if pair[0] is Status.ENDED]


def test_a_journal_begins_with_a_start() -> None:
    with pytest.raises(AssertionError):
        FlowMachine([Clocked(TIME, "")])


# --- operations against the record ---------------------------------------------------------------

DATA: Final = encode(Data(OURS, 1, "str", b"\xa2hi"))
ENDING: Final = encode(End(OURS, 1))

RECORDED: Final[dict[str, AnyEvent]] = {
    "stepped": Stepped(TIME, "", "charge", b"args", b"\xc0"),
    "step attempted": StepAttempted(TIME, "", "charge", b"args", 1, "down", TIME),
    "step intended": StepIntended(TIME, "", "charge", b"args"),
    "opened": Opened(TIME, "", 1, BOB, "sell", 3),
    "sent": Sent(TIME, "", 1, 1, "str", b"hi"),
    "received": Received(TIME, "", 1, 1, DATA),
    "received an end": Received(TIME, "", 1, 1, ENDING),
    "received a refusal": Received(TIME, "", 1, 0, encode(Refuse(OURS, PEERS, "no", ERROR_ID))),
    "slept": Slept(TIME, "", TIME),
    "clocked": Clocked(TIME, ""),
    "deadline set": DeadlineSet(TIME, "", TIME),
    "timed out": TimedOut(TIME, "", TIME, "sleep"),
    "closed": Closed(TIME, "", 1),
    "entered": Entered(TIME, "", "pay", 1, b"args"),
    "left": Left(TIME, "", "pay", False),
    "peer read": PeerRead(TIME, "", 1),
}

Operation = Callable[[FlowMachine], object]

STRICT: Final[dict[str, Operation]] = {
    "step": lambda flow: flow.step(path="", name="charge", arguments=b"args", is_loose=False),
    "open": lambda flow: flow.opened(path="", session=1, peer=BOB, flow="sell"),
    "send": lambda flow: flow.sent(path="", session=1, type_name="str", content=b"hi"),
    "receive": lambda flow: flow.received(path="", sessions=(1,), asked="receive str"),
    "peer": lambda flow: flow.peer_read(path="", session=1),
    "sleep": lambda flow: flow.slept(path=""),
    "now": lambda flow: flow.clocked(path=""),
    "timeout": lambda flow: flow.deadline_set(path=""),
    "time out": lambda flow: flow.timed_out(path=""),
    "close": lambda flow: flow.closed(path="", session=1),
    "enter": lambda flow: flow.entered(path="", flow="pay", arguments=b"args"),
    "leave": lambda flow: flow.left(path="", flow="pay", failed=False),
}
PEEKS: Final[dict[str, Operation]] = {
    "refused send": lambda flow: flow.refused_send(path="", sessions=(1, 2)),
    "refused": lambda flow: flow.refused(path="", session=1),
}
OPERATIONS: Final = STRICT | PEEKS

ANY_RECEIVED: Final = {"received", "received an end", "received a refusal"}
FITS: Final[dict[str, set[str]]] = {
    "step": {"stepped", "step attempted", "step intended"},
    "open": {"opened"},
    "send": {"sent"},
    "receive": {*ANY_RECEIVED, "timed out"},
    "peer": {*ANY_RECEIVED, "timed out", "peer read"},
    "sleep": {"slept"},
    "now": {"clocked"},
    "timeout": {"deadline set"},
    "time out": {"timed out"},
    "close": {"closed"},
    "enter": {"entered"},
    "leave": {"left"},
    "refused send": {"received an end", "received a refusal"},
    "refused": {"received a refusal"},
}


def test_there_is_a_record_of_every_kind_that_an_operation_can_leave() -> None:
    # Breaks when a kind of event is added and the product below does not learn of it.
    kinds = {type(event) for event in RECORDED.values()}

    facts = {Started, Accepted, SessionOver, Ended}
    assert kinds == {type(event) for event in EVENTS.values()} - facts


@pytest.mark.parametrize("recorded", RECORDED)
@pytest.mark.parametrize("asked", OPERATIONS)
def test_an_operation_is_answered_from_the_record_that_fits_it(asked: str, recorded: str) -> None:
    # Breaks when an operation takes the outcome of another kind.
    event = RECORDED[recorded]
    flow = machine(event)

    if recorded in FITS[asked]:
        assert OPERATIONS[asked](flow) is event
        assert not flow.is_replaying
    elif asked in PEEKS:
        assert OPERATIONS[asked](flow) is None
        assert flow.is_replaying
    else:
        with pytest.raises(FlowDiverged):
            OPERATIONS[asked](flow)


@pytest.mark.parametrize("asked", OPERATIONS)
def test_at_the_end_of_the_record_nothing_answers(asked: str) -> None:
    flow = machine()

    assert OPERATIONS[asked](flow) is None
    assert not flow.is_replaying


@pytest.mark.parametrize("recorded", RECORDED)
@pytest.mark.parametrize("asked", OPERATIONS)
def test_a_record_of_another_path_never_fits(asked: str, recorded: str) -> None:
    # Breaks when an operation of a sub-flow is answered with that of its caller.
    elsewhere = msgspec.structs.replace(RECORDED[recorded], path="3/")
    flow = machine(elsewhere)

    if asked in PEEKS:
        assert OPERATIONS[asked](flow) is None
    else:
        with pytest.raises(FlowDiverged, match="in sub-flow 3/"):
            OPERATIONS[asked](flow)


# Each changes one attribute of what was recorded.
CHANGED: Final[dict[str, tuple[str, Operation]]] = {
    "the step's name": (
        "stepped",
        lambda flow: flow.step(path="", name="refund", arguments=b"args", is_loose=False),
    ),
    "the step's arguments": (
        "stepped",
        lambda flow: flow.step(path="", name="charge", arguments=b"other", is_loose=False),
    ),
    "the loose step's name": (
        "stepped",
        lambda flow: flow.step(path="", name="refund", arguments=b"args", is_loose=True),
    ),
    "the peer": ("opened", lambda flow: flow.opened(path="", session=1, peer="C", flow="sell")),
    "the protocol": ("opened", lambda flow: flow.opened(path="", session=1, peer=BOB, flow="buy")),
    "the opened session": (
        "opened",
        lambda flow: flow.opened(path="", session=2, peer=BOB, flow="sell"),
    ),
    "the message's type": (
        "sent",
        lambda flow: flow.sent(path="", session=1, type_name="int", content=b"hi"),
    ),
    "the message's content": (
        "sent",
        lambda flow: flow.sent(path="", session=1, type_name="str", content=b"ho"),
    ),
    "the session sent to": (
        "sent",
        lambda flow: flow.sent(path="", session=2, type_name="str", content=b"hi"),
    ),
    "the session received from": (
        "received",
        lambda flow: flow.received(path="", sessions=(2, 3), asked="receive str"),
    ),
    "the session whose peer": ("peer read", lambda flow: flow.peer_read(path="", session=2)),
    "the session closed": ("closed", lambda flow: flow.closed(path="", session=2)),
    "the sub-flow": (
        "entered",
        lambda flow: flow.entered(path="", flow="refund", arguments=b"args"),
    ),
    "the sub-flow's arguments": (
        "entered",
        lambda flow: flow.entered(path="", flow="pay", arguments=b"other"),
    ),
    "the sub-flow left": ("left", lambda flow: flow.left(path="", flow="refund", failed=False)),
    "the sub-flow's outcome": ("left", lambda flow: flow.left(path="", flow="pay", failed=True)),
}


@pytest.mark.parametrize("changed", CHANGED)
def test_each_key_attribute_must_match(changed: str) -> None:
    # Breaks when an attribute is left out of a comparison.
    recorded, operation = CHANGED[changed]
    flow = machine(RECORDED[recorded])

    with pytest.raises(FlowDiverged) as caught:
        operation(flow)

    assert caught.value.report.place == "event 1"
    assert caught.value.report.recorded != caught.value.report.asked


def test_a_loose_step_may_have_other_arguments() -> None:
    flow = machine(RECORDED["stepped"])

    event = flow.step(path="", name="charge", arguments=b"other", is_loose=True)

    assert event is RECORDED["stepped"]


def test_a_refused_send_is_one_of_a_session_that_was_over() -> None:
    # Breaks when a message that the old code received is taken for the end of a session.
    error = Received(TIME, "", 1, 1, encode(Error(OURS, 1, None, ERROR_ID)))
    opened = Received(TIME, "", 1, 0, encode(Open(PEERS, "f", 1, "", "", b"", "str", b"")))

    assert machine(error).refused_send(path="", sessions=(1,)) is error
    assert machine(error).refused_send(path="", sessions=(2,)) is None
    assert machine(opened).refused_send(path="", sessions=(1,)) is None


def test_a_time_out_can_be_looked_at_before_it_is_taken() -> None:
    flow = machine(RECORDED["timed out"])

    assert flow.times_out(path="")
    assert not flow.times_out(path="3/")
    assert flow.times_out(path="", on="sleep")
    assert not flow.times_out(path="", on="room at the peer")
    assert flow.timed_out(path="") is not None
    assert not flow.times_out(path="")


# --- divergence ----------------------------------------------------------------------------------


def test_after_a_divergence_nothing_matches_any_more() -> None:
    # Breaks when code that swallows the exception can go on with a mix of old and new.
    flow = machine(RECORDED["stepped"], RECORDED["slept"])
    with pytest.raises(FlowDiverged) as first:
        flow.slept(path="")

    for operation in STRICT.values():
        with pytest.raises(FlowDiverged) as again:
            operation(flow)
        assert again.value.report is first.value.report
    with pytest.raises(FlowDiverged):
        flow.ended("the end of the flow")
    assert flow.is_replaying
    assert flow.divergence is first.value


def test_an_end_before_the_end_of_the_record_diverges() -> None:
    flow = machine(RECORDED["slept"])

    with pytest.raises(FlowDiverged, match="the end of the flow"):
        flow.ended("the end of the flow")


def test_an_end_at_the_end_of_the_record_is_fine() -> None:
    flow = machine(RECORDED["slept"])
    flow.slept(path="")

    flow.ended("the end of the flow")

    assert flow.divergence is None


def test_a_match_can_be_taken_back() -> None:
    flow = machine(RECORDED["received"])
    flow.received(path="", sessions=(1, 2), asked="receive str")

    error = flow.mismatch(path="", asked="receive str in session 2")

    assert error.report.asked == "receive str in session 2"
    assert flow.is_replaying


# --- places --------------------------------------------------------------------------------------


def test_places_count_operations_and_not_what_arrived_meanwhile() -> None:
    # Breaks when the id of a step depends on when an acceptance came.
    accepted = EVENTS["accepted"]
    plain = machine(RECORDED["clocked"], RECORDED["slept"])
    disturbed = machine(RECORDED["clocked"], accepted, RECORDED["slept"], accepted)

    places = []
    for flow in (plain, disturbed):
        flow.clocked(path="")
        first = flow.place
        flow.slept(path="")
        places.append((first, flow.place))

    assert places == [(1, 2), (1, 2)]
    assert disturbed.index_next == 5


def test_a_divergence_names_the_index_in_the_journal() -> None:
    flow = machine(EVENTS["accepted"], RECORDED["slept"])

    with pytest.raises(FlowDiverged) as caught:
        flow.clocked(path="")

    report = caught.value.report
    assert (report.place, report.recorded, report.asked) == ("event 2", "sleep", "now")


def test_a_replay_has_the_acceptances_of_sessions_that_are_over() -> None:
    accepted = [Accepted(TIME, "", number, PEERS, 3, "trade", "1.2") for number in (1, 2)]
    events = [STARTED, *accepted, Closed(TIME, "", 2), SessionOver(TIME, "", 2, BOB, 0)]

    flow = FlowMachine(events)
    known = dict(flow.acceptances)
    flow.forget_record()

    assert known == {2: accepted[1]}
    assert flow.facts == 4
    assert not flow.acceptances
    assert not flow.is_replaying
