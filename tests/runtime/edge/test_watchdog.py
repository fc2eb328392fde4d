"""The thread that notices a loop that stands still, and leaves alone one that waits."""

import logging
import time
from collections.abc import Callable, Iterator
from types import FrameType

import gevent
import pytest
from gevent.monkey import get_original

from runtime.edge.watchdog import Watchdog, is_sleep
from runtime.ids import FlowId
from runtime.places import place_of
from runtime.ports import Sight

really_sleep = get_original("time", "sleep")

SECONDS = 20.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.edge.watchdog.LOOK_SECONDS", 0.02)


class Notes:
    """What a watchdog has told."""

    def __init__(self) -> None:
        self.flows: list[str | None] = []
        self.looks = 0

    def look_at(self, frame: FrameType | None) -> Sight:
        self.looks += 1
        return Sight(words=place_of(frame), flow_id=FlowId("0190"), flow="x")


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def dog(notes: Notes, caplog: pytest.LogCaptureFixture) -> Iterator[Watchdog]:
    caplog.set_level(logging.INFO, "sennit.watchdog")
    dog = Watchdog(gevent.get_hub(), notes.look_at, notes.flows.append)
    dog.start()
    yield dog
    dog.stop()
    dog.stop()


def until(condition: Callable[[], object]) -> None:
    with gevent.Timeout(SECONDS):
        while not condition():
            gevent.sleep(0.005)


def stand_still_until(condition: Callable[[], object]) -> None:
    for _ in range(int(SECONDS / 0.005)):
        if condition():
            return
        really_sleep(0.005)
    raise AssertionError("nobody noticed")


def test_a_loop_that_stands_still_is_named_again_and_again_until_it_turns(
    dog: Watchdog, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    stand_still_until(lambda: notes.looks >= 3)
    until(lambda: notes.flows[-1] is None)

    said = [text for text in caplog.messages if "nothing has run" in text]
    assert len(said) >= 3
    assert "stand_still_until" in said[0]
    assert "test_watchdog.py" in said[0]
    assert notes.flows[:3] == ["0190"] * 3
    assert dog.freezes == 1
    assert dog.longest_ms >= 20
    until(lambda: "runs again" in caplog.text)


def test_a_loop_that_waits_is_not_asked_and_nothing_is_said(
    dog: Watchdog, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    gevent.sleep(0.3)

    assert (dog.freezes, notes.looks, caplog.messages) == (0, 0, [])


def test_a_loop_that_works_in_small_parts_is_left_alone(dog: Watchdog, notes: Notes) -> None:
    ends_at = time.monotonic() + 0.5
    while time.monotonic() < ends_at:
        sum(range(1_000))
        gevent.sleep(0)

    assert notes.looks == 0


def test_one_who_was_asleep_with_the_whole_process_says_nothing(
    dog: Watchdog, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.edge.watchdog.is_sleep", lambda late, cpu: True)

    really_sleep(0.3)

    assert (dog.freezes, notes.looks) == (0, 0)


@pytest.mark.parametrize(
    ("late_seconds", "cpu_seconds", "expected"),
    [
        (8.0, 0.1, True),  # SIGSTOP, or a laptop that was closed.
        (8.0, 7.5, False),  # C code has kept the interpreter.
        (3.0, 0.0, False),
    ],
)
def test_who_is_very_late_without_work_was_asleep(
    late_seconds: float, cpu_seconds: float, expected: bool
) -> None:
    assert is_sleep(late_seconds, cpu_seconds) == expected


def test_a_look_that_fails_does_not_end_the_watch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(frame: FrameType | None) -> Sight:
        raise LookupError("moved on")

    dog = Watchdog(gevent.get_hub(), fail)
    dog.start()

    stand_still_until(lambda: "moved on" in caplog.text)

    dog.stop()
    assert dog.freezes == 1


def test_a_watch_that_was_stopped_says_nothing_more(dog: Watchdog, notes: Notes) -> None:
    dog.stop()

    really_sleep(0.2)

    assert notes.looks == 0
