"""The flows that are measured, in a module of their own: both processes know them by its name."""

import time
from typing import Final

from runtime import Party, Session, flow, initiate, message, responder, sleep, step

FILLING: Final = b"f" * 90
"""With it an envelope takes about `benchmarks.limits.ROUND_TRIP_BYTES`, names and ids included."""

WAIT_SECONDS: Final = 86_400.0

step_seconds: Final[list[float]] = []
"""What `sampled_steps` has measured; the flows run in the process that measures."""

round_trip_seconds: Final[list[float]] = []
"""What `ping` has measured."""


@step
def add(left: int, right: int) -> int:
    """Return the sum: two small arguments, a small result, no effects."""
    return left + right


@flow
def some_steps(count: int) -> int:
    """Run ``count`` durable steps, one after another."""
    total = 0
    for number in range(count):
        total = add(total, number)
    return total


@flow
def sampled_steps(count: int) -> int:
    """Do the same, and take the time from each step to the next: the wait for its commit too."""
    total = 0
    before = time.perf_counter()
    for number in range(count):
        total = add(total, number)
        now = time.perf_counter()
        # The first has nothing to wait for but the commit of the flow's own start.
        if number:
            step_seconds.append(now - before)
        before = now
    return total


@flow
def steps_then_wait(count: int) -> int:
    """Run the steps and wait, so that somebody can read the journal."""
    total = 0
    for number in range(count):
        total = add(total, number)
    sleep(WAIT_SECONDS)
    return total


@message
class Ball:
    """What goes there and back."""

    left: int
    filling: bytes = FILLING


@flow
def ping(peer: Party, rounds: int) -> int:
    """Make ``rounds`` exchanges in one session; return how many the peer has answered."""
    session = initiate(peer)
    answered = 0
    for left in reversed(range(rounds)):
        before = time.perf_counter()
        ball = session.exchange(Ball(left), Ball).unwrap(lambda it: it)
        round_trip_seconds.append(time.perf_counter() - before)
        answered += ball.left == left
    return answered


@responder(ping)
def pong(session: Session) -> None:
    """Send every ball back."""
    left = 1
    while left:
        ball = session.receive(Ball).unwrap(lambda it: it)
        left = ball.left
        session.send(ball)


@flow
def ping_then_wait(peer: Party) -> None:
    """Make one exchange and wait, so that somebody can read the journal."""
    initiate(peer).exchange(Ball(0), Ball)
    sleep(WAIT_SECONDS)


@responder(ping_then_wait)
def pong_once(session: Session) -> None:
    """Send the ball back and wait for the end, which never comes."""
    session.send(session.receive(Ball).unwrap(lambda it: it))
    session.receive(Ball)
