"""A notary's queue: whom it sends away, and for how long."""

import pytest

from ledger.notary_queue import (
    CLIENT_MS_MAX,
    QUEUE_SECONDS_MAX,
    WAIT_SECONDS_MAX,
    WAIT_SECONDS_MIN,
    NotaryQueue,
)
from runtime.ids import FlowId


def ids(count: int, kind: str = "f") -> list[FlowId]:
    return [FlowId(f"{kind}{number}") for number in range(count)]


def burst(queue: NotaryQueue, count: int, *, ms_each: int, at_ms: int = 0) -> None:
    """Have requests come all at once and be answered one after another."""
    for flow_id in ids(count):
        queue.take(flow_id, at_ms)
    for number, flow_id in enumerate(ids(count), start=1):
        queue.answered(flow_id, at_ms + number * ms_each)


def fill(queue: NotaryQueue, count: int) -> None:
    for flow_id in ids(count, "waiting"):
        queue.take(flow_id, 0)


def test_an_idle_notary_takes_every_request() -> None:
    queue = NotaryQueue()

    assert queue.send_away(0) == 0
    assert queue.sent_away == 0


def test_whoever_would_wait_too_long_is_sent_away_for_about_that_time() -> None:
    queue = NotaryQueue()
    burst(queue, 100, ms_each=100)

    fill(queue, 90)
    taken = queue.send_away(0)
    fill(queue, 200)
    sent_away = queue.send_away(0)

    assert taken == 0
    assert 18 < sent_away < 21
    assert queue.sent_away == 1


def test_lone_requests_that_wait_for_the_disk_do_not_count_as_many_in_a_queue_would() -> None:
    queue = NotaryQueue()
    for number in range(1_000):
        burst(queue, 1, ms_each=5, at_ms=number * 1_000)

    fill(queue, 3_000)

    assert queue.estimate_seconds < QUEUE_SECONDS_MAX


def test_many_answers_at_once_count_as_quick_ones() -> None:
    queue = NotaryQueue()
    for flow_id in ids(1_000):
        queue.take(flow_id, 0)
    for flow_id in ids(1_000):
        queue.answered(flow_id, 100)

    fill(queue, 10_000)

    assert queue.estimate_seconds < 2


def test_a_notary_that_became_faster_is_believed_after_a_while() -> None:
    queue = NotaryQueue()
    burst(queue, 500, ms_each=100)
    fill(queue, 500)
    slow = queue.estimate_seconds
    for flow_id in ids(500, "waiting"):
        queue.leave(flow_id)

    for _ in range(20):
        burst(queue, 500, ms_each=1)
    fill(queue, 500)

    assert slow > 45
    assert queue.estimate_seconds < 1


def test_a_queue_of_the_greatest_length_takes_no_more_however_quick_it_is() -> None:
    queue = NotaryQueue(length_max=3)
    fill(queue, 3)

    assert queue.send_away(0) == WAIT_SECONDS_MIN
    queue.leave(FlowId("waiting0"))
    assert queue.send_away(0) == 0


def test_requests_that_took_very_long_close_the_notary_for_no_longer_than_a_wait() -> None:
    queue = NotaryQueue()
    burst(queue, 200, ms_each=10**9)
    fill(queue, 1_000)
    assert queue.send_away(0) == WAIT_SECONDS_MAX


def test_a_request_that_waits_for_its_client_counts_for_a_while_and_again_when_it_goes_on() -> None:
    queue = NotaryQueue(length_max=2)
    slow, quick = ids(2)
    for flow_id in (slow, quick):
        queue.take(flow_id, 0)
        queue.wait_for_client(flow_id, 0)
    assert queue.send_away(CLIENT_MS_MAX - 1) > 0

    queue.take(quick, CLIENT_MS_MAX)
    assert queue.send_away(CLIENT_MS_MAX) == 0
    assert len(queue) == 1

    queue.take(slow, CLIENT_MS_MAX + 1)
    assert queue.send_away(CLIENT_MS_MAX + 1) > 0


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_request_is_counted_once_and_not_after_it_has_gone(is_answered: bool) -> None:
    queue = NotaryQueue()
    (flow_id,) = ids(1)
    queue.take(flow_id, 0)
    queue.take(flow_id, 50)
    assert len(queue) == 1

    for _ in range(2):
        if is_answered:
            queue.answered(flow_id, 100)
        else:
            queue.leave(flow_id)

    assert len(queue) == 0
