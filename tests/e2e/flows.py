"""An app whose flows wait in every way: asleep, for a peer, in steps, in native threads."""

import socket
import time

import gevent
import gevent.event
import gevent.socket
from gevent.monkey import get_original

from runtime import Party, Session, flow, initiate, responder, sleep, step

WEEK_SECONDS = 7 * 24 * 3600.0


@step
def sum_of(a: int, b: int) -> int:
    return a + b


@flow
def add(a: int, b: int) -> int:
    return sum_of(a, b)


@flow
def work(rounds: int) -> int:
    """Do many steps, one after another."""
    total = 0
    for number in range(rounds):
        total = sum_of(total, number)
    return total


@flow
def sleep_a_week() -> None:
    sleep(WEEK_SECONDS)


@flow
def await_peer(peer: Party) -> str:
    """Wait for a peer that says nothing for a week."""
    return initiate(peer).receive(str).unwrap(lambda it: it)


@responder(await_peer)
def say_nothing(session: Session) -> None:
    sleep(WEEK_SECONDS)
    session.send("at last")


@flow
def greet(peer: Party, name: str) -> str:
    return initiate(peer).exchange(name, str).unwrap(lambda it: it)


@responder(greet)
def answer(session: Session) -> None:
    name = session.receive(str).unwrap(lambda it: it)
    session.send(f"hello {name}")


@step
def nap_on_gevent(seconds: float) -> float:
    gevent.sleep(seconds)
    return seconds


@flow
def nap_in_step(seconds: float) -> float:
    return nap_on_gevent(seconds)


class Gate:
    """What steps come to and wait at, until somebody opens it: greenlets, and native threads."""

    def __init__(self) -> None:
        # Native threads come here too, and adding to a list is one thing to them.
        self._arrived: list[None] = []
        self._opened = gevent.event.Event()
        self._lock = get_original("_thread", "allocate_lock")()
        self._lock.acquire()

    @property
    def waiting(self) -> int:
        """How many have come."""
        return len(self._arrived)

    def pass_on_gevent(self) -> None:
        """Block only the calling greenlet."""
        self._arrived.append(None)
        self._opened.wait()

    def pass_in_thread(self) -> None:
        """Block the calling native thread."""
        self._arrived.append(None)
        with self._lock:
            pass

    def open(self) -> None:
        """Let everybody through."""
        self._opened.set()
        self._lock.release()


gate = Gate()


@step
def wait_on_gevent() -> str:
    gate.pass_on_gevent()
    return "on gevent"


@flow
def wait_in_step() -> str:
    return wait_on_gevent()


@step(thread=True)
def wait_natively() -> str:
    gate.pass_in_thread()
    return "in a thread"


@flow
def wait_in_thread() -> str:
    return wait_natively()


@step
def count_of(pairs: set[frozenset[str]], weights: frozenset[float]) -> int:
    return len(pairs) + len(weights)


@flow
def count_and_wait(words: list[str]) -> int:
    """Hand sets to a step, whose order of iteration differs between processes; then wait."""
    count = count_of({frozenset({word, "x"}) for word in words}, frozenset(map(float, words)))
    sleep(WEEK_SECONDS)
    return count


@step(thread=True)
def nap_natively(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@flow
def nap_in_thread(seconds: float) -> float:
    return nap_natively(seconds)


@step
def echoed_by_gevent(port: int, text: str) -> str:
    with gevent.socket.create_connection(("127.0.0.1", port)) as connection:
        return exchange(connection, text)


@step
def echoed_by_plain_socket(port: int, text: str) -> str:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        return exchange(connection, text)


def exchange(connection: socket.socket, text: str) -> str:
    connection.sendall(text.encode() + b"\n")
    with connection.makefile("r") as lines:
        return lines.readline().strip()


@flow
def ask_echo(port: int, text: str) -> str:
    """Ask a slow server by a socket of gevent."""
    return echoed_by_gevent(port, text)


@flow
def ask_echo_plainly(port: int, text: str) -> str:
    """Ask a slow server by a socket of Python, which gevent may have patched."""
    return echoed_by_plain_socket(port, text)
