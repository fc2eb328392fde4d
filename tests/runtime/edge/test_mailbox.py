"""Waking another native thread: nothing is lost, nobody blocks who must not."""

import os
import threading
from collections import deque
from collections.abc import Iterator

import pytest

from runtime.edge.mailbox import Mailbox

SECONDS_MAX = 30.0


@pytest.fixture
def mailbox() -> Iterator[Mailbox[int]]:
    mailbox = Mailbox[int]()
    yield mailbox
    mailbox.close()


def test_a_reader_gets_everything_in_order_whenever_it_comes(mailbox: Mailbox[int]) -> None:
    taken: list[int] = []
    count = 20_000

    def read() -> None:
        taken.extend(mailbox.get() for _ in range(count))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    for number in range(count):
        mailbox.put(number)
    reader.join(SECONDS_MAX)

    assert taken == list(range(count))
    assert not mailbox


def test_a_reader_that_sleeps_is_woken_for_each_item(mailbox: Mailbox[int]) -> None:
    # Breaks when a put after a wake-up rings no more: the second answer never comes.
    answers = Mailbox[int]()

    def double() -> None:
        while (number := mailbox.get()) >= 0:
            answers.put(2 * number)

    reader = threading.Thread(target=double, daemon=True)
    reader.start()
    doubled = []
    for number in range(2_000):
        mailbox.put(number)
        doubled.append(answers.get())
    mailbox.put(-1)
    reader.join(SECONDS_MAX)
    answers.close()

    assert doubled == [2 * number for number in range(2_000)]


def test_what_was_put_before_the_reader_came_needs_no_bell(mailbox: Mailbox[int]) -> None:
    mailbox.put(1)
    mailbox.put(2)

    assert bool(mailbox)
    assert [mailbox.get(), mailbox.get()] == [1, 2]


def test_an_item_that_comes_while_the_reader_lies_down_is_not_slept_over(
    mailbox: Mailbox[int],
) -> None:
    # Breaks when the reader does not look once more after it has said that it sleeps.
    class Hasty(deque[int]):
        """Empty when it is looked at first, and a moment later no more."""

        was_seen = False

        def __len__(self) -> int:
            length = super().__len__()
            if not self.was_seen:
                self.was_seen = True
                mailbox.put(1)
            return length

    mailbox._items = Hasty()
    taken: list[int] = []
    reader = threading.Thread(target=lambda: taken.append(mailbox.get()), daemon=True)

    reader.start()
    reader.join(SECONDS_MAX)

    assert taken == [1]


def test_a_reader_is_rung_for_only_once(
    mailbox: Mailbox[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Breaks when every item costs a system call.
    rung: list[bytes] = []
    sleep = os.read

    def fill_while_it_sleeps(bell: int, count: int) -> bytes:
        for number in range(3):
            mailbox.put(number)
        rung.append(sleep(bell, count))
        return rung[-1]

    monkeypatch.setattr(os, "read", fill_while_it_sleeps)

    assert mailbox.get() == 0
    assert rung == [b"!"]
