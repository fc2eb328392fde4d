"""The session machine over the full product of its statuses and inputs."""

import pytest

from runtime.core.envelopes import Accept, Data, End, Error, Open, encode
from runtime.core.session_machine import (
    TRANSITIONS,
    IllegalTransition,
    Input,
    SessionMachine,
    Status,
)
from runtime.errors import ProtocolViolation
from runtime.ids import SessionId
from runtime.limits import (
    GAP_ENVELOPES_MAX,
    KEPT_OVERHEAD_BYTES,
    UNREAD_BYTES_PER_SESSION_MAX,
)
from tests.runtime.core.session_inputs import (
    BY_PEER,
    ERROR_ID,
    FEEDS,
    OUR_SID,
    PEER_SID,
    accept,
    arrive,
    data,
    end,
    error,
    fresh,
    in_status,
    opening,
    refuse,
    responding,
)

PRODUCT = [(status, event) for status in Status for event in Input]


def is_duplicate(machine: SessionMachine, event: Input) -> bool:
    """Acceptance and refusal are number 0: later they are old news, whatever the status."""
    return event in (Input.ACCEPTED, Input.REFUSED) and machine.in_next > 0


# --- the product ---------------------------------------------------------------------------------


@pytest.mark.parametrize("status", Status)
def test_every_status_can_be_reached(status: Status) -> None:
    # Breaks when a status is added that nothing leads to.
    assert in_status(status).status is status


def test_every_input_can_be_fed() -> None:
    # Breaks when an input is added and the product below does not learn of it.
    assert set(FEEDS) == set(Input)


@pytest.mark.parametrize(("status", "event"), [pair for pair in PRODUCT if pair in TRANSITIONS])
def test_a_pair_in_the_table_moves_as_the_table_says(status: Status, event: Input) -> None:
    # Breaks when code moves the status beside the table.
    machine = in_status(status)

    FEEDS[event](machine)

    assert machine.status is TRANSITIONS[status, event]


@pytest.mark.parametrize(("status", "event"), [pair for pair in PRODUCT if pair not in TRANSITIONS])
def test_a_pair_that_is_not_in_the_table_is_refused_and_moves_nothing(
    status: Status, event: Input
) -> None:
    # Breaks when a pair is let through silently: ours must raise IllegalTransition, the peer's
    # ProtocolViolation, and what has an old number is a duplicate.
    machine = in_status(status)
    in_next, out_next = machine.in_next, machine.out_next

    if is_duplicate(machine, event):
        assert FEEDS[event](machine) == []
    else:
        expected = ProtocolViolation if event in BY_PEER else IllegalTransition
        with pytest.raises(expected):
            FEEDS[event](machine)

    assert (machine.status, machine.in_next, machine.out_next) == (status, in_next, out_next)


def test_an_error_of_the_peer_ends_a_session_as_an_end_does() -> None:
    machine = in_status(Status.OPEN)

    arrive(machine, error(1))

    assert machine.status is Status.PEER_ENDED
    assert machine.is_over_for_peer


def test_an_open_message_is_no_input_of_a_session_that_exists() -> None:
    machine = fresh()

    with pytest.raises(ProtocolViolation, match="Open while the session is fresh"):
        machine.arrive(Open(PEER_SID, "f", 1, "", "", b"", "", b""), b"")


# --- numbers of what we send ---------------------------------------------------------------------


def test_numbers_count_from_zero_over_open_data_and_end() -> None:
    # Breaks when one of the messages does not take a number, or takes two.
    machine = opening()
    arrive(machine, accept())

    numbers = [
        machine.send("str", b"a").number,
        machine.send("str", b"b").number,
        machine.end().number,
    ]

    assert numbers == [1, 2, 3]


def test_a_responder_counts_its_acceptance_as_number_zero() -> None:
    machine = responding()

    assert machine.send("str", b"a").number == 1


def test_the_open_message_names_our_session_and_the_flow() -> None:
    machine = fresh()

    opened = machine.open(flow="trade.sell", version=3, app="trade", app_version="1.2")

    assert opened == Open(OUR_SID, "trade.sell", 3, "trade", "1.2", b"", "", b"")


def test_what_is_sent_before_acceptance_has_no_address_yet() -> None:
    machine = opening()

    assert machine.send("str", b"a").to == SessionId(b"")
    assert machine.end().to == SessionId(b"")


def test_what_is_sent_after_acceptance_is_addressed_to_the_peers_session() -> None:
    machine = in_status(Status.OPEN)

    assert machine.send("str", b"a") == Data(PEER_SID, 1, "str", b"a")
    assert machine.fail(b"packed", ERROR_ID) == Error(PEER_SID, 2, b"packed", ERROR_ID)


def test_an_acceptance_names_both_sessions() -> None:
    machine = SessionMachine(number=0, sid=OUR_SID, peer=responding().peer)
    opened = Open(PEER_SID, "trade.sell", 3, "trade", "1.2", b"", "", b"")

    accepted = machine.accept_opened(opened, version=4, app="trade", app_version="2.0")

    assert accepted == Accept(PEER_SID, OUR_SID, 4, "trade", "2.0")
    assert (machine.peer_version, machine.app, machine.app_version) == (3, "trade", "1.2")


# --- numbers of what arrives ---------------------------------------------------------------------


def test_messages_are_taken_in_the_order_of_their_numbers() -> None:
    # Breaks when arrival order is taken for the peer's order.
    machine = in_status(Status.OPEN)

    assert arrive(machine, data(3, "c")) == []
    assert arrive(machine, data(2, "b")) == []
    freed = arrive(machine, data(1, "a"))

    assert [envelope for envelope, _ in freed] == [data(1, "a"), data(2, "b"), data(3, "c")]
    assert [machine.read()[0] for _ in range(3)] == [data(1, "a"), data(2, "b"), data(3, "c")]
    assert machine.gap == {}
    assert machine.gap_bytes == 0


def test_a_duplicate_changes_nothing() -> None:
    # Breaks when a message that was taken before is taken again.
    machine = in_status(Status.OPEN)
    arrive(machine, data(1))

    assert arrive(machine, data(1)) == []
    assert machine.in_next == 2
    assert len(machine.unread) == 1


def test_a_duplicate_in_a_gap_is_held_once() -> None:
    machine = in_status(Status.OPEN)
    arrive(machine, data(2))
    held = machine.gap_bytes

    arrive(machine, data(2))

    assert machine.gap_bytes == held


def test_what_lies_behind_another_gap_is_still_held() -> None:
    # Breaks when a message that fills one gap lets go of what waits behind the next.
    machine = in_status(Status.OPEN)
    arrive(machine, data(2))
    arrive(machine, data(4))

    arrive(machine, data(1))

    assert machine.in_next == 3
    assert set(machine.gap) == {4}


def test_data_that_overtakes_the_acceptance_waits_for_it() -> None:
    machine = opening()

    assert arrive(machine, data(1)) == []
    freed = arrive(machine, accept())

    assert [type(envelope) for envelope, _ in freed] == [Accept, Data]
    assert machine.status is Status.OPEN
    assert len(machine.unread) == 1


def test_what_came_early_and_is_out_of_turn_is_dropped_and_what_came_before_it_is_kept() -> None:
    # Breaks when a violation loses messages that were taken in the same call.
    machine = in_status(Status.OPEN)
    arrive(machine, data(3, "after the end"))
    arrive(machine, end(2))

    freed = arrive(machine, data(1))

    assert [envelope for envelope, _ in freed] == [data(1), end(2)]
    assert machine.status is Status.PEER_ENDED
    assert machine.gap == {}


@pytest.mark.parametrize("status", [Status.PEER_ENDED, Status.DONE])
@pytest.mark.parametrize("beyond", [0, 5])
def test_what_follows_the_peers_end_is_refused_and_may_be_forgotten(
    status: Status, beyond: int
) -> None:
    # Breaks when it is held as if something could still come before it.
    machine = in_status(status)
    in_next = machine.in_next
    late = data(in_next + beyond)

    with pytest.raises(ProtocolViolation):
        arrive(machine, late)

    assert (machine.status, machine.in_next, machine.gap) == (status, in_next, {})
    assert machine.acknowledged_by(late) == in_next + beyond
    assert machine.acknowledged_by(data(1)) == in_next - 1


def test_a_gap_behind_the_peers_end_is_let_go() -> None:
    machine = in_status(Status.OPEN)
    arrive(machine, data(4))
    arrive(machine, end(2))

    arrive(machine, data(1))

    assert (machine.status, machine.gap, machine.gap_bytes) == (Status.PEER_ENDED, {}, 0)


def test_a_message_beyond_a_gap_is_not_acknowledged() -> None:
    machine = in_status(Status.OPEN)
    arrive(machine, data(3))

    assert machine.acknowledged_by(data(3)) == 0
    assert opening().acknowledged_by(data(1)) == -1


def test_a_refusal_is_content_that_the_flow_can_see() -> None:
    machine = opening()

    arrive(machine, refuse())

    assert machine.read()[0] == refuse()
    assert machine.peer_sid is None


def test_the_bytes_that_arrived_are_kept_with_each_content() -> None:
    machine = in_status(Status.OPEN)
    machine.arrive(data(1), b"as it came")

    assert machine.read() == (data(1), b"as it came")
    assert machine.unread_bytes == 0


# --- bounds --------------------------------------------------------------------------------------


def test_beyond_the_unread_limit_nothing_is_taken_until_the_flow_reads() -> None:
    # Breaks when a peer can fill our memory faster than the flow reads.
    machine = in_status(Status.OPEN)
    machine.arrive(data(1), bytes(UNREAD_BYTES_PER_SESSION_MAX + 1))

    assert arrive(machine, data(2)) == []
    assert machine.in_next == 2
    machine.read()

    assert len(arrive(machine, data(2))) == 1


def test_a_gap_holds_a_bounded_number_of_messages() -> None:
    # Breaks when a peer that leaves number 1 out can fill our memory.
    machine = in_status(Status.OPEN)

    for number in range(2, GAP_ENVELOPES_MAX + 10):
        arrive(machine, data(number))

    assert len(machine.gap) == GAP_ENVELOPES_MAX


def test_a_gap_holds_a_bounded_number_of_bytes_and_can_still_be_filled() -> None:
    # Breaks when the message that would drain a full gap finds no room itself.
    machine = in_status(Status.OPEN)
    machine.arrive(data(2), bytes(UNREAD_BYTES_PER_SESSION_MAX - KEPT_OVERHEAD_BYTES))

    machine.arrive(data(3), bytes(1))
    assert set(machine.gap) == {2}
    freed = arrive(machine, data(1))

    assert len(freed) == 2
    assert machine.gap_bytes == 0


# --- our own end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fail", [False, True])
def test_closing_drops_what_nobody_read(fail: bool) -> None:
    machine = in_status(Status.OPEN)
    arrive(machine, data(1))

    if fail:
        machine.fail(None, ERROR_ID)
    else:
        machine.end()

    assert not machine.unread
    assert machine.unread_bytes == 0
    assert machine.is_closed


def test_what_arrives_after_our_end_is_taken_and_dropped() -> None:
    # Breaks when late messages are not counted, and so never acknowledged.
    machine = in_status(Status.CLOSED)

    taken = arrive(machine, data(1))

    assert len(taken) == 1
    assert not machine.unread
    assert machine.in_next == 2


@pytest.mark.parametrize("status", [Status.CLOSED, Status.DONE])
def test_after_our_end_a_gap_is_no_gap(status: Status) -> None:
    # After a restart we don't know what was dropped before it; waiting for it would be for ever.
    machine = in_status(status)

    if status is Status.DONE:
        with pytest.raises(ProtocolViolation):
            arrive(machine, data(machine.in_next + 5))
    else:
        assert len(arrive(machine, data(machine.in_next + 5))) == 1


def test_a_session_that_is_closed_while_opening_is_closed_once_accepted() -> None:
    machine = in_status(Status.OPENING_CLOSED)

    arrive(machine, accept())

    assert machine.status is Status.CLOSED
    assert machine.peer_sid == PEER_SID


def test_is_closed_and_is_over_for_peer_name_their_statuses() -> None:
    closed = {status for status in Status if in_status(status).is_closed}
    over = {status for status in Status if in_status(status).is_over_for_peer}

    assert closed == {Status.OPENING_CLOSED, Status.CLOSED, Status.DONE}
    assert over == {Status.PEER_ENDED, Status.DONE}


# --- restored ------------------------------------------------------------------------------------


def test_restoring_counts_what_was_sent_without_sending() -> None:
    machine = fresh()

    machine.restore_opened()
    machine.restore_sent(0)
    machine.restore_accepted(accept())
    machine.restore_sent(1)
    machine.restore_sent(2)

    assert machine.status is Status.OPEN
    assert machine.send("str", b"").number == 3


def test_restoring_an_unread_content_lets_the_flow_read_it() -> None:
    machine = in_status(Status.OPEN)

    machine.restore_arrived(data(1), b"bytes", is_read=False)

    assert machine.read() == (data(1), b"bytes")
    assert machine.in_next == 2


def test_restoring_the_payload_of_an_open_message_takes_no_number() -> None:
    machine = responding()
    opened = Open(PEER_SID, "trade.sell", 3, "trade", "1.2", b"", "str", b"\xa1x")

    machine.restore_arrived(opened, encode(opened), is_read=False)

    assert machine.in_next == 1
    assert machine.read()[0] == opened


def test_restoring_what_a_closed_session_got_drops_it() -> None:
    machine = in_status(Status.CLOSED)

    machine.restore_arrived(End(OUR_SID, 1), b"", is_read=False)

    assert machine.status is Status.DONE
    assert not machine.unread
