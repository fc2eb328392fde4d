"""Log lines that peers and strangers can cause, and can't turn into a flood."""

import logging
from typing import Final

import pytest

from runtime.seldom_log import LINE_CHARACTERS_MAX, QUIET_S, SUBJECTS_MAX, SeldomLog

LOG: Final = logging.getLogger("sennit.test")


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_warning_of_a_kind_is_logged_and_the_others_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    log = SeldomLog(LOG, now=clock)

    for _ in range(5):
        log.warn("alice", "alice is strange")
    log.warn("bob", "bob is strange")
    clock.now += QUIET_S
    log.warn("alice", "alice is strange")
    clock.now += QUIET_S
    log.warn("alice", "alice is strange")

    assert caplog.messages == [
        "alice is strange",
        "bob is strange",
        "alice is strange (4 more like it before)",
        "alice is strange",
    ]


def test_a_burst_is_logged_before_a_subject_has_to_be_quiet(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = SeldomLog(LOG, burst=3, now=Clock())

    for number in range(10):
        log.warn("alice", f"line {number}")

    assert caplog.messages == ["line 0", "line 1", "line 2"]


def test_the_subjects_that_are_remembered_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    log = SeldomLog(LOG, now=Clock())

    for number in range(3 * SUBJECTS_MAX):
        log.warn(f"peer {number}", "is strange")
    caplog.clear()
    first_remembered = 2 * SUBJECTS_MAX

    log.warn(f"peer {first_remembered}", "is remembered")
    log.warn(f"peer {first_remembered - 1}", "is forgotten")

    assert caplog.messages == ["is forgotten"]


def test_a_long_line_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    log = SeldomLog(LOG, now=Clock())

    log.warn("alice", "x" * 1_000_000)

    assert len(caplog.messages[0]) < LINE_CHARACTERS_MAX + 10


def test_an_error_is_logged_with_its_stack_and_what_else_is_known(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = SeldomLog(LOG, now=Clock())

    log.say(logging.ERROR, "alice", "failed", extra={"peer": "alice"}, error=ValueError("why"))

    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.__dict__["peer"] == "alice"
    assert record.exc_info is not None
    assert "why" in caplog.text
