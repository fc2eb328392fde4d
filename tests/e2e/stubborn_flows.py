"""An app whose flows refuse to end when they are taken down, or stop the whole loop."""

import contextlib

import gevent
from gevent.monkey import get_original

from runtime import flow, sleep, step

really_sleep = get_original("time", "sleep")

LONG_SECONDS = 3600.0


@flow
def swallow_everything() -> None:
    while True:
        with contextlib.suppress(BaseException):
            sleep(LONG_SECONDS)


@step
def swallow_on_gevent() -> None:
    while True:
        with contextlib.suppress(BaseException):
            gevent.sleep(LONG_SECONDS)


@flow
def swallow_in_step() -> None:
    swallow_on_gevent()


@flow
def wait_in_finally() -> None:
    try:
        sleep(LONG_SECONDS)
    finally:
        gevent.sleep(LONG_SECONDS)


@flow
def freeze_in_finally() -> None:
    """Wait; when it is taken down, stop the whole process for an hour."""
    try:
        sleep(LONG_SECONDS)
    finally:
        really_sleep(LONG_SECONDS)


@step(thread=True)
def never_return() -> None:
    while True:
        with contextlib.suppress(BaseException):
            really_sleep(LONG_SECONDS)


@flow
def block_a_thread() -> None:
    never_return()


@step(thread=True)
def double(number: int) -> int:
    return 2 * number


@flow
def double_in_thread(number: int) -> int:
    return double(number)
