"""An app whose flows refuse to end when they are taken down, or stop the whole loop."""

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import time

import gevent
from gevent.monkey import get_original

from runtime import flow, sleep, step

log = logging.getLogger(__name__)

really_sleep = get_original("time", "sleep")

LONG_SECONDS = 3600.0

# Whoever starts a flow has the answer before it stops the node.
FIRST_WAIT_SECONDS = 0.5


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


@flow
def freeze_for(seconds: float) -> str:
    """Stop the whole process after a first wait, by code that no patch makes harmless."""
    sleep(FIRST_WAIT_SECONDS)
    really_sleep(seconds)
    return "thawed"


@flow
def compute_for_ever() -> None:
    sleep(FIRST_WAIT_SECONDS)
    while True:
        pass


@flow
def compute_in_c_for(rounds: int) -> int:
    """Do so for a while."""
    sleep(FIRST_WAIT_SECONDS)
    return sum(range(rounds))


@flow
def compute_in_c() -> None:
    """Keep the interpreter for itself: no other thread runs, nor does a handler of a signal."""
    sleep(FIRST_WAIT_SECONDS)
    sum(range(10**13))


def die() -> None:
    """End the process as a lack of memory would: nothing in it gets to do anything any more."""
    os.kill(os.getpid(), signal.SIGKILL)


@flow
def die_at_the_start() -> None:
    sleep(0)
    die()


@flow
def die_after_a_wait() -> None:
    sleep(FIRST_WAIT_SECONDS)
    die()


@flow
def die_by_a_fault() -> None:
    sleep(FIRST_WAIT_SECONDS)
    ctypes.string_at(0)


@step
def die_after_io() -> None:
    gevent.sleep(FIRST_WAIT_SECONDS)
    die()


@flow
def die_in_step() -> None:
    die_after_io()


ran_here: list[str] = []


@step
def live_on(path: str) -> int:
    """Count in a file, which outlives the process."""
    ran_here.append(path)
    with open(path, "a+") as lives:
        lives.write("x")
        lives.seek(0)
        return len(lives.read())


@flow
def get_on(path: str) -> int:
    """Die again and again, but a step further each time."""
    done = 0
    for _ in range(5):
        done = live_on(path)
        sleep(0.01)
        if ran_here and done < 5:
            die()
    return done


@step
def nap_plainly() -> None:
    log.info("going to nap")
    time.sleep(LONG_SECONDS)


@flow
def nap() -> None:
    """Sleep as any library would."""
    sleep(FIRST_WAIT_SECONDS)
    nap_plainly()


@step(thread=True)
def run_a_program() -> int:
    return subprocess.run(["/bin/sh", "-c", "exit 7"], check=False, capture_output=True).returncode


@flow
def run_program() -> int:
    return run_a_program()


@step(thread=True)
def double(number: int) -> int:
    return 2 * number


@flow
def double_in_thread(number: int) -> int:
    return double(number)
