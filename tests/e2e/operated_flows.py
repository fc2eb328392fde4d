"""An app whose flows do what an operator wants to be told of."""

import gevent

from runtime import (
    HoldForOperator,
    Party,
    Retry,
    RetryLater,
    Session,
    flow,
    initiate,
    progress,
    responder,
    sleep,
    step,
    timeout,
)

HOUR_SECONDS = 3600.0


@step
def rest_in_step(seconds: float) -> None:
    gevent.sleep(seconds)


@flow
def charge(account: str, cents: int) -> None:
    """Wait inside of a step."""
    rest_in_step(HOUR_SECONDS)


@step(retry=Retry(attempts=5, first_delay=HOUR_SECONDS, ceiling=HOUR_SECONDS))
def dial() -> None:
    raise OSError("the line is dead")


@flow
def call() -> None:
    """Wait for the second attempt at a step."""
    dial()


@flow
def rely() -> None:
    """Wait to be tried again."""
    raise RetryLater("the bank is away")


@flow
def give_up() -> None:
    raise HoldForOperator("look at it")


@flow(progress=("Asking", "Paying", "Thanking"))
def ask(peer: Party) -> str:
    """Wait for a peer, an hour at most."""
    progress("Asking")
    with timeout(HOUR_SECONDS):
        return initiate(peer).receive(str).unwrap(lambda it: it)


@responder(ask)
def say_nothing(session: Session) -> None:
    sleep(HOUR_SECONDS)
    session.send("at last")


@flow(progress=("Asking", "Paying", "Thanking"))
def hurry() -> int:
    """Skip the second step."""
    progress("Asking")
    progress("Thanking")
    return 7
