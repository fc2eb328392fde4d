"""Warnings that strangers can't turn into a flood."""

import logging

import pytest

from runtime.edge.zmq_stats import WARNING_INTERVAL_S, SeldomLog


def test_one_warning_of_a_kind_is_logged_and_the_others_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = SeldomLog(logging.getLogger("runtime.test"))

    for _ in range(5):
        log.warn("alice", "alice is strange")
    log.warn("bob", "bob is strange")
    log._said_at["alice"] -= WARNING_INTERVAL_S
    log.warn("alice", "alice is strange")
    log._said_at["alice"] -= WARNING_INTERVAL_S
    log.warn("alice", "alice is strange")

    assert caplog.messages == [
        "alice is strange",
        "bob is strange",
        "alice is strange (4 more like it before)",
        "alice is strange",
    ]
