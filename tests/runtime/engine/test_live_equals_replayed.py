"""What a flow gets when it runs is what it gets when it is replayed: values and exceptions."""

import datetime
import json
import urllib.error
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy
import sqlalchemy.exc
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import (
    FlowException,
    Party,
    Retry,
    Session,
    StepFailed,
    StoreTxn,
    UnexpectedMessage,
    UnserialisableMessage,
    atomic,
    flow,
    initiate,
    responder,
    sleep,
    step,
)
from runtime.signatures import Arguments
from runtime.testing.network import SimulatedNetwork
from tests.runtime.engine.kinds_of_values import BERLIN, KINDS, Batch, Reading, exact, in_words

STUBBORN = Retry(attempts=5, first_delay=0.1)


seen: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


def run_and_replay(network: SimulatedNetwork, code: Callable[[], None]) -> None:
    """Run a flow, restart its node before the end and after it, so that it is replayed."""
    flow_of_test = flow(name="tests.live.flow")(code)
    alice = network.node("Alice", apps=[flow_of_test])
    handle = alice.start_flow(flow_of_test)
    network.run_for(1)
    alice.restart()
    alice.handle(handle.id).result()


@pytest.mark.parametrize("kind", KINDS, ids=in_words)
def test_a_result_is_what_a_replay_will_get(
    kind: tuple[object, st.SearchStrategy[Any]],
) -> None:
    annotation, values = kind

    def function() -> object:
        """Have any result."""

    function.__annotations__["return"] = annotation
    arguments = Arguments(function)

    @settings(max_examples=60, deadline=None, database=None)
    @given(values)
    def property_of(value: object) -> None:
        try:
            live, body = arguments.recorded_result(value)
        except UnserialisableMessage:
            return
        assert exact(live) == exact(arguments.decode_result(body))
        assert exact(live) == exact(arguments.recorded_result(live)[0])

    property_of()


STATIC: list[tuple[object, object]] = [
    (float, 3),
    (float | None, 3),
    (datetime.datetime, datetime.datetime(2026, 7, 1, 12, tzinfo=BERLIN)),
    (list[int], (1, 2)),
    (tuple[int, ...], [1, 2]),
    (Reading, Reading(1, datetime.datetime(2026, 7, 1, 12, tzinfo=BERLIN), [1, 2])),  # type: ignore[arg-type]
    (Reading, Reading("no number", datetime.datetime(2026, 7, 1, 12, tzinfo=BERLIN))),  # type: ignore[arg-type]
    (object, [datetime.datetime(2026, 7, 1, 12, tzinfo=BERLIN)]),
    (int, "no number"),
    (list[int], ["no number"]),
]


RUN: list[tuple[str, object, object]] = [
    (kind, annotation, value)
    for kind in ("step", "thread", "at_most_once", "atomic", "sub-flow")
    for annotation, value in STATIC
    # An atomic function with a wrong result goes to the hospital.
    if kind != "atomic" or "no number" not in exact(value)
]


@pytest.mark.parametrize(("kind", "annotation", "value"), RUN, ids=lambda part: str(part)[:30])
def test_a_flow_gets_the_same_live_and_replayed(
    network: SimulatedNetwork, kind: str, annotation: object, value: object
) -> None:
    asked = _function_of_kind(kind, annotation, value)

    @step
    def use(text: str, values: object) -> None:
        """Have the arguments compared at the replay."""

    def code() -> None:
        try:
            got = asked()
        except Exception as error:
            got = error
        seen.append(exact(got))
        use(exact(got), None if isinstance(got, Exception) else got)
        sleep(10)

    run_and_replay(network, code)

    assert len(seen) >= 2
    assert len(set(seen)) == 1


def _function_of_kind(kind: str, annotation: object, value: object) -> Callable[[], object]:
    def make() -> object:
        return value

    def change(txn: StoreTxn) -> object:
        return value

    make.__annotations__["return"] = change.__annotations__["return"] = annotation
    if kind == "atomic":
        return atomic(change)
    if kind == "sub-flow":
        made = step(name="make")(make)

        def inner() -> object:
            return made()

        return flow(name="tests.live.inner")(inner)
    return step(
        name="make",
        thread=kind == "thread",
        kind=kind if kind == "at_most_once" else "at_least_once",
    )(make)


def test_the_result_of_a_flow_is_the_same_before_and_after_a_restart(
    network: SimulatedNetwork,
) -> None:
    @flow
    def measure() -> float | None:
        return 3

    alice = network.node("Alice", apps=[measure])
    handle = alice.options(client_id="m").start_flow(measure)
    live = handle.result()
    alice.restart()

    assert (
        exact(live)
        == exact(alice.options(client_id="m").start_flow(measure).result())
        == "float 3.0"
    )


def test_what_a_step_does_to_its_arguments_is_not_seen_by_the_flow(
    network: SimulatedNetwork,
) -> None:
    @step
    def add_to(lines: list[int], by_name: dict[str, list[int]], batch: Batch) -> None:
        lines.append(1)
        by_name["a"].append(1)
        batch.names["a"] = {1}

    def add(lines: list[int]) -> int:
        lines.append(1)
        if len(attempts) % 3 < 2:
            attempts.append(1)
            raise ConnectionError("again")
        attempts.append(1)
        return len(lines)

    add_again = step(name="add_again", retry=STUBBORN)(add)
    add_in_thread = step(name="add_in_thread", thread=True, retry=STUBBORN)(add)

    @atomic
    def add_atomically(txn: StoreTxn, lines: list[int]) -> None:
        lines.append(1)

    attempts: list[int] = []
    lengths: list[int] = []

    def code() -> None:
        lines: list[int] = []
        by_name: dict[str, list[int]] = {"a": []}
        batch = Batch([])
        add_to(lines, by_name, batch)
        lengths.extend([add_again(lines), add_in_thread(lines)])
        add_atomically(lines)
        seen.append(exact((lines, by_name, batch)))
        sleep(10)

    run_and_replay(network, code)

    assert set(seen) == {exact(([], {"a": []}, Batch([])))}
    assert set(lengths) == {1}


class Declined(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__("declined")
        self.code = code


class Worded(FlowException):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class TransportError(OSError):
    def __init__(self, *args: object, request: object = None) -> None:
        super().__init__(*args)
        self.request = request


def _insert_twice() -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("create table t (a integer unique)"))
        for _ in range(2):
            connection.execute(sqlalchemy.text("insert into t values (1)"))


def _decline() -> None:
    raise Declined(code=51)


def _word() -> None:
    raise Worded(code=3)


def _fail_in_transport() -> None:
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise TransportError(104, "reset", request=object()) from error


def _fail_with_objects() -> None:
    error = ValueError(4, [5.0, (6,)])
    error.add_note("look here")
    raise error


def _fail_several() -> None:
    raise ExceptionGroup("several", [Declined(code=1), KeyError("b")])


def _exit() -> None:
    raise SystemExit(3)


FAILING: list[tuple[Callable[[], object], type[Exception]]] = [
    (_insert_twice, sqlalchemy.exc.IntegrityError),
    (_insert_twice, sqlalchemy.exc.SQLAlchemyError),
    (lambda: json.loads("{"), json.JSONDecodeError),
    (lambda: json.loads("{"), ValueError),
    (lambda: _raise(urllib.error.URLError(TimeoutError("slow"))), urllib.error.URLError),
    (_decline, Declined),
    (_word, Worded),
    (_fail_in_transport, TransportError),
    (_fail_in_transport, OSError),
    (_fail_with_objects, ValueError),
    (_fail_several, ExceptionGroup),
    (_exit, StepFailed),
]


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize(
    ("fail", "caught"), FAILING, ids=lambda part: getattr(part, "__name__", "lambda")
)
def test_an_error_of_a_step_is_caught_by_its_class_live_and_replayed(
    network: SimulatedNetwork,
    fail: Callable[[], object],
    caught: type[Exception],
    in_thread: bool,
) -> None:
    @step(thread=in_thread)
    def break_down() -> None:
        fail()

    @step
    def use(text: str) -> None:
        """Have the text compared at the replay."""

    def code() -> None:
        try:
            break_down()
        except caught as error:
            seen.append(f"{exact(error)} {error.__cause__!r}")
            use(seen[-1])
        sleep(10)

    run_and_replay(network, code)

    assert len(seen) >= 2
    assert len(set(seen)) == 1


def test_an_error_about_a_message_says_the_same_when_it_is_replayed(
    network: SimulatedNetwork,
) -> None:
    @flow
    def ask(peer: Party) -> None:
        session = initiate(peer)
        seen.append(repr(session))
        session.exchange("first", str)
        try:
            session.receive(int)
        except UnexpectedMessage as error:
            seen.append(f"{error} {session!r}")
        session.receive(str)
        sleep(10)
        session.receive(str)

    @responder(ask)
    def answer(session: Session) -> None:
        session.receive(str)
        for text in ("one", "two", "three", "four"):
            session.send(text)

    alice, bob = (network.node(name, apps=[ask, answer]) for name in ("Alice", "Bob"))
    handle = alice.start_flow(ask, bob.party)
    network.run_for(1)
    alice.restart()
    alice.handle(handle.id).result()

    assert len(set(seen)) == 2
