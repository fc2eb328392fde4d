"""What sessions keep is charged to the peer, and bounded over all its sessions."""

from typing import Final

from runtime.core.quota import Quotas
from runtime.core.session_machine import SessionMachine, Status
from runtime.limits import KEPT_OVERHEAD_BYTES, PeerLimits
from tests.runtime.core.session_inputs import data, in_status

COST: Final = KEPT_OVERHEAD_BYTES + 10


def two_sessions(*, per_peer: int) -> tuple[Quotas, SessionMachine, SessionMachine]:
    """Return two open sessions with one peer, for which so many messages of ten bytes are kept."""
    limits = PeerLimits(unread_bytes_per_peer_max=per_peer * COST)
    quotas = Quotas(limits)
    machines = in_status(Status.OPEN), in_status(Status.OPEN)
    for machine in machines:
        machine.charge(quotas.of(machine.peer))
    return quotas, *machines


def test_what_is_kept_for_a_peer_is_bounded_over_all_its_sessions() -> None:
    quotas, first, second = two_sessions(per_peer=3)
    first.arrive(data(1), bytes(10))
    first.arrive(data(3), bytes(10))
    second.arrive(data(1), bytes(10))

    assert second.arrive(data(2), bytes(10)) == []
    assert first.arrive(data(4), bytes(10)) == []
    assert quotas.unread.used == 3 * COST
    first.read()

    assert len(second.arrive(data(2), bytes(10))) == 1


def test_what_a_flow_waits_for_is_taken_though_nothing_else_is() -> None:
    # Breaks when the flow that would make room waits for ever for what there is no room for.
    quotas, first, second = two_sessions(per_peer=1)
    first.arrive(data(1), bytes(10))

    assert second.arrive(data(1), bytes(10)) == []
    assert len(second.arrive(data(1), bytes(10), is_awaited=True)) == 1
    assert second.arrive(data(2), bytes(10), is_awaited=True) == []
    assert quotas.unread.used == 2 * COST


def test_what_is_held_for_a_gap_goes_before_what_could_be_read_is_refused() -> None:
    # Breaks when a session whose gap takes all there is can't get the message that fills it.
    quotas, first, _ = two_sessions(per_peer=2)
    first.arrive(data(2), bytes(10))
    first.arrive(data(3), bytes(10))

    taken = first.arrive(data(1), bytes(10))

    assert len(taken) == 1
    assert not first.gap
    assert quotas.unread.used == COST


def test_what_the_flows_of_a_peer_have_read_is_bounded_until_they_end() -> None:
    quotas = Quotas(PeerLimits(received_bytes_per_peer_max=2 * COST))
    first, second = in_status(Status.OPEN), in_status(Status.OPEN)
    for machine in (first, second):
        machine.charge(quotas.of(machine.peer))
    for number in (1, 2):
        first.arrive(data(number), bytes(10))
        first.read()

    assert second.arrive(data(1), bytes(10), is_awaited=True) == []
    first.let_go()

    assert len(second.arrive(data(1), bytes(10))) == 1


def test_a_session_that_is_let_go_is_charged_for_nothing() -> None:
    quotas, first, second = two_sessions(per_peer=9)
    first.arrive(data(1), bytes(10))
    first.arrive(data(2), bytes(10))
    first.arrive(data(4), bytes(10))
    first.read()
    second.arrive(data(1), bytes(10))

    first.let_go()

    assert (quotas.unread.used, quotas.received.used) == (COST, 0)
    second.end()
    assert quotas.unread.used == 0


def test_a_session_that_nobody_is_charged_for_can_be_let_go_twice() -> None:
    machine = in_status(Status.OPEN)
    machine.arrive(data(1), bytes(10))

    machine.let_go()
    machine.let_go()

    assert (machine.unread_bytes, machine.gap_bytes, machine.account) == (0, 0, None)


def test_what_nobody_will_read_needs_no_room() -> None:
    _, first, second = two_sessions(per_peer=1)
    first.arrive(data(1), bytes(10))
    second.end()

    assert len(second.arrive(data(1), bytes(10))) == 1
