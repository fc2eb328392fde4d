"""Who waits for room is woken in order, a few at a time, and never forgotten."""

import pytest

from runtime.engine import room_queue
from runtime.engine.room_queue import RoomQueue
from runtime.ids import PeerName
from runtime.testing.simulated_loop import SimulatedClock, SimulatedLoop

ALICE, BOB = PeerName("O=Alice"), PeerName("O=Bob")


class Waiters:
    """A queue, the room of each peer as a number, and who was woken."""

    def __init__(self) -> None:
        self.loop = SimulatedLoop(SimulatedClock())
        self.room = {ALICE: 0, BOB: 0}
        self.woken: list[str] = []
        self.queue = RoomQueue(self.loop, lambda peer: self.room[peer] > 0)

    def join(self, peer: PeerName, *names: str, takes: int = 0) -> None:
        for name in names:

            def wake(name: str = name) -> None:
                self.woken.append(name)
                self.room[peer] -= takes

            self.queue.join(peer, name.encode(), wake)

    def make_room(self, peer: PeerName, amount: int = 1) -> None:
        self.room[peer] += amount
        self.queue.look_soon()
        self.loop.run_for(0)


@pytest.fixture
def waiters(monkeypatch: pytest.MonkeyPatch) -> Waiters:
    monkeypatch.setattr(room_queue, "WOKEN_AT_ONCE", 2)
    return Waiters()


def test_all_are_woken_in_order_if_those_before_them_leave_room(waiters: Waiters) -> None:
    # Breaks when the next ones are woken only by an acknowledgement: there may be none any more.
    waiters.join(ALICE, *"abcde")

    waiters.make_room(ALICE)

    assert waiters.woken == list("abcde")
    assert len(waiters.queue) == 0


def test_few_are_woken_for_little_room(waiters: Waiters) -> None:
    waiters.join(ALICE, *"abcde", takes=1)

    waiters.make_room(ALICE, 2)

    assert waiters.woken == list("ab")
    assert len(waiters.queue) == 3


def test_only_those_are_woken_whose_peer_has_room(waiters: Waiters) -> None:
    waiters.join(ALICE, "a")
    waiters.join(BOB, "b")

    waiters.make_room(BOB)

    assert waiters.woken == ["b"]


def test_who_left_is_not_woken_and_may_leave_twice(waiters: Waiters) -> None:
    waiters.join(ALICE, "a", "b")

    waiters.queue.leave(ALICE, b"a")
    waiters.queue.leave(ALICE, b"a")
    waiters.queue.leave(BOB, b"b")
    waiters.make_room(ALICE)

    assert waiters.woken == ["b"]


def test_nobody_is_woken_after_the_end(waiters: Waiters) -> None:
    waiters.join(ALICE, "a")

    waiters.room[ALICE] = 1
    waiters.queue.look_soon()
    waiters.queue.close()
    waiters.loop.run_for(0)

    assert waiters.woken == []
