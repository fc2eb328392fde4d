"""The node's pool of threads for steps: its bound, who waits, and threads that are left behind."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial

import gevent
import greenlet
import pytest

from runtime.edge.step_threads import StepThreads

SECONDS = 10.0


class TakenDown(BaseException):
    """What a flow gets that is taken down."""


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What threads wait for; open at the end, lest one is left for the next test."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def threads() -> Iterator[StepThreads]:
    found = StepThreads(gevent.get_hub(), 2)
    yield found
    found.close()


def until(condition: Callable[[], bool]) -> None:
    with gevent.Timeout(SECONDS):
        while not condition():
            gevent.sleep(0.001)


def jobs(threads: StepThreads) -> list[tuple[str, bool]]:
    return [(row.what, row.is_left) for row in threads.use().occupants]


def test_more_steps_than_threads_wait_and_are_counted(
    threads: StepThreads, gate: threading.Event
) -> None:
    def wait_and_return(number: int) -> int:
        assert gate.wait(SECONDS)
        return number

    running = [
        gevent.spawn(threads.run, partial(wait_and_return, number), f"step {number}")
        for number in range(5)
    ]
    until(lambda: threads.use().waiting == 3)

    use = threads.use()
    gate.set()
    values = [each.get(timeout=SECONDS) for each in running]

    assert (use.threads_max, [row.what for row in use.occupants]) == (2, ["step 0", "step 1"])
    assert all(row.for_ms >= 0 and not row.is_left for row in use.occupants)
    assert values == [0, 1, 2, 3, 4]
    assert threads.use().occupants == []


def test_threads_are_used_again(threads: StepThreads) -> None:
    def run() -> set[object]:
        return {threads.run(threading.get_ident, "who") for _ in range(5)}

    assert len(gevent.spawn(run).get(timeout=SECONDS)) == 1


def test_a_thread_that_is_left_behind_is_named_and_gives_its_place_back(
    threads: StepThreads, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sennit.flow")
    for number in range(12):
        taken_down = gevent.spawn(threads.run, lambda: gate.wait(SECONDS), f"step {number}")
        until(lambda number=number: (f"step {number}", False) in jobs(threads))  # type: ignore[misc]
        taken_down.kill(TakenDown, block=True, timeout=SECONDS)

    value = gevent.spawn(threads.run, lambda: 42, "another").get(timeout=SECONDS)

    assert value == 42
    assert jobs(threads) == [(f"step {number}", True) for number in range(12)]
    assert [f"left behind: step {number}." in caplog.text for number in range(12)] == [True] * 12
    gate.set()
    until(lambda: jobs(threads) == [])
    assert "has ended: step 11" in caplog.text


def test_beyond_a_number_of_threads_that_never_end_places_are_kept(
    threads: StepThreads, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.edge.step_threads.LEFT_BEHIND_MAX", 1)
    for number in range(3):
        doomed = gevent.spawn(threads.run, lambda: gate.wait(SECONDS), f"step {number}")
        until(lambda number=number: (f"step {number}", False) in jobs(threads))  # type: ignore[misc]
        doomed.kill(TakenDown, block=True, timeout=SECONDS)

    waiting = gevent.spawn(threads.run, lambda: 42, "another")
    until(lambda: threads.use().waiting == 1)

    gate.set()
    assert waiting.get(timeout=SECONDS) == 42


def test_who_is_taken_down_while_it_waits_for_a_thread_takes_none(
    threads: StepThreads, gate: threading.Event
) -> None:
    running = [gevent.spawn(threads.run, lambda: gate.wait(SECONDS), "long") for _ in range(2)]
    doomed = gevent.spawn(threads.run, lambda: pytest.fail("ran"), "never")
    until(lambda: threads.use().waiting == 1)

    doomed.kill(TakenDown, block=True, timeout=SECONDS)
    gate.set()

    gevent.joinall(running, timeout=SECONDS, raise_error=True)
    assert threads.use().waiting == 0
    assert [gevent.spawn(threads.run, lambda: 1, "x").get(timeout=SECONDS) for _ in range(5)] == [
        1
    ] * 5


def test_threads_end_when_the_pool_is_closed(gate: threading.Event) -> None:
    threads = StepThreads(gevent.get_hub(), 3)
    idents: list[int] = []

    def wait() -> None:
        idents.append(threading.get_ident())
        gate.wait(SECONDS)

    running = [gevent.spawn(threads.run, wait, "wait") for _ in range(2)]
    until(lambda: len(idents) == 2)
    threads.close()
    gate.set()
    gevent.joinall(running, timeout=SECONDS, raise_error=True)

    until(lambda: not {*idents} & {*sys._current_frames()})


def test_the_hub_can_not_wait_for_a_thread(threads: StepThreads) -> None:
    caught: list[BaseException] = []

    def call() -> None:
        try:
            threads.run(lambda: None, "x")
        except RuntimeError as error:
            caught.append(error)

    gevent.get_hub().loop.run_callback(call)
    until(lambda: bool(caught))

    assert greenlet.getcurrent() is not gevent.get_hub()
    assert "can't be called from the hub" in str(caught[0])
