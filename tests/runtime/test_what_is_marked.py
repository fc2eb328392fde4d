"""What `@flow`, `@responder`, `@step` and `@atomic` take, and what they refuse by name."""

import functools
from collections.abc import Callable
from typing import Any, Final

import pytest

import runtime
from runtime import Flow, Retry, Session, StoreTxn, atomic, flow, responder, step
from runtime.errors import ArgumentInvalid, ConfigurationError, UnknownFlow
from runtime.testing.network import SimulatedNetwork

# Marks are set as a program without a type checker sets them.
untyped: Any = runtime

MARKERS: Final[dict[str, Any]] = {
    "@flow": untyped.flow,
    "@responder": untyped.responder("a.b"),
    "@step": untyped.step,
    "@atomic": untyped.atomic,
}


@flow
def whole() -> int:
    return 1


@responder(whole)
def answer(session: Session) -> None:
    """Say nothing."""


@step
def part() -> int:
    return 1


@atomic
def write(txn: StoreTxn) -> None:
    """Write nothing."""


class Desk:
    def method(self, number: int) -> int:
        return number

    @staticmethod
    def plain(number: int) -> int:
        return number


def two(one: int, other: int) -> int:
    return one + other


REFUSED: Final[dict[str, tuple[object, str]]] = {
    "a flow": (whole, "marks whole, which is marked @flow already"),
    "a responder": (answer, "which is marked @responder already"),
    "a step": (part, "marks part, which is marked @step already"),
    "an atomic function": (write, "marks write, which is marked @atomic already"),
    "a lambda": (lambda it: it, "has no name. Write a function, with def"),
    "a builtin": (len, "not a Python function. Mark a function: def name"),
    "a class": (Desk, "not a Python function"),
    "an object": (Desk(), "not a Python function"),
    "a bound method": (Desk().method, "not a Python function"),
    "a staticmethod": (vars(Desk)["plain"], "below @staticmethod"),
    "a partial": (functools.partial(two, 1), "not a Python function"),
    "a cache": (functools.cache(two), "not a Python function"),
}


@pytest.mark.parametrize("marker", MARKERS)
@pytest.mark.parametrize("what", REFUSED)
def test_what_can_not_be_marked_is_refused_where_it_is_declared(marker: str, what: str) -> None:
    value, why = REFUSED[what]

    with pytest.raises(ArgumentInvalid) as refused:
        MARKERS[marker](value)

    assert str(refused.value).startswith(f"{marker} marks ")
    assert why in str(refused.value)


@pytest.mark.parametrize("marker", ["@flow", "@responder", "@atomic"])
def test_a_method_that_wants_an_object_is_refused(marker: str) -> None:
    with pytest.raises(ArgumentInvalid, match=r"marks Desk\.method, a method\. Mark a function of"):
        MARKERS[marker](Desk.method)


@pytest.mark.parametrize("marker", [untyped.flow, untyped.step])
def test_a_lambda_that_is_given_a_name_may_be_marked(marker: Any) -> None:
    marker(name="named")(lambda: None)


def counted(function: Callable[..., object], calls: list[str]) -> Any:
    """Return a function that writes down each call, as decorators of libraries do."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> object:
        calls.append(function.__name__)
        return function(*args, **kwargs)

    return call


def test_a_decorator_between_the_mark_and_the_function_is_called() -> None:
    calls: list[str] = []

    def fail_once() -> int:
        if calls.count("fail_once") < 2:
            raise ConnectionError
        return 1

    def count(txn: StoreTxn) -> int:
        return 1

    def run() -> int:
        return int(tried_again()) + int(counting())

    tried_again = untyped.step(retry=Retry(attempts=2, first_delay=0))(counted(fail_once, calls))
    counting = untyped.atomic(counted(count, calls))
    running = untyped.flow(counted(run, calls))
    alice = SimulatedNetwork(is_replay_checked=False).node("Alice", apps=[running])

    assert alice.start_flow(running).result() == 2
    assert calls == ["run", "fail_once", "fail_once", "count"]


def numbered(number: int) -> Flow[[], int]:
    @flow
    def give() -> int:
        return number

    return give


def with_default(number: int) -> Flow[[], int]:
    @flow
    def give(given: int = number) -> int:
        return given

    return give


@pytest.mark.parametrize("made", [numbered, with_default])
def test_flows_of_one_name_that_differ_by_what_is_around_them_are_refused(
    made: Callable[[int], Flow[[], int]],
) -> None:
    network = SimulatedNetwork()
    alice = network.node("Alice", apps=[made(1), made(1)])

    assert alice.start_flow(made(1)).result() == 1
    with pytest.raises(UnknownFlow, match="another flow is installed"):
        alice.start_flow(made(2))
    with pytest.raises(ConfigurationError, match="two flows have this name"):
        network.node("Bob", apps=[made(1), made(2)])
