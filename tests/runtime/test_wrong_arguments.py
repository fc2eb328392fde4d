"""Wrong types at every public entry: refused where they are given, and the node starts again."""

import contextlib
import decimal
import enum
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

import runtime
from runtime import (
    FlowException,
    Party,
    Retry,
    Session,
    Space,
    StoreTxn,
    atomic,
    checks,
    flow,
    initiate,
    message,
    responder,
    sleep,
    step,
)
from runtime.errors import ArgumentInvalid, MisuseError
from runtime.network_bootstrap import CreatedNetwork, create_network
from runtime.node import Node
from runtime.starting import StartOptions
from tests.e2e.networks import EMBEDDED

# Calls are made as a program without a type checker makes them.
untyped: Any = runtime

SECONDS: Final = 20.0


class Shade(enum.StrEnum):
    DARK = "dark"


class Odd:
    """Of no known type, and not even to be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


WRONG: Final[list[object]] = [
    5,
    -1,
    2**64,
    1.5,
    float("nan"),
    True,
    b"bytes",
    "",
    "x" * 100_000,
    "\ud800",
    "a\nb",
    [],
    ["\ud800"],
    {"a": 1},
    (1, 2),
    decimal.Decimal(1),
    object,
    Odd(),
    lambda: None,
]


def plain() -> None:
    """Do nothing."""


async def coroutine() -> None:
    """Not a flow."""


def generator() -> Iterator[None]:
    """Not a flow."""
    yield


DECLARATIONS: Final[dict[str, Callable[[Any], object]]] = {
    "@flow": lambda it: untyped.flow(it),
    "@flow(name=...)": lambda it: untyped.flow(name=it)(plain),
    "@flow(version=...)": lambda it: untyped.flow(version=it)(plain),
    "@flow(progress=...)": lambda it: untyped.flow(progress=it)(plain),
    "@responder(...)": lambda it: untyped.responder(it)(plain),
    "@responder(version=...)": lambda it: untyped.responder("a.b", version=it)(plain),
    "@responder(progress=...)": lambda it: untyped.responder("a.b", progress=it)(plain),
    "@step": lambda it: untyped.step(it),
    "@step(name=...)": lambda it: untyped.step(name=it)(plain),
    "@step(kind=...)": lambda it: untyped.step(kind=it)(plain),
    "@step(retry=...)": lambda it: untyped.step(retry=it)(plain),
    "@step(thread=...)": lambda it: untyped.step(thread=it)(plain),
    "@step(loose=...)": lambda it: untyped.step(loose=it)(plain),
    "@atomic": lambda it: untyped.atomic(it),
    "@message": lambda it: untyped.message(it),
    "@message(name=...)": lambda it: untyped.message(name=it)(type("M", (), {})),
    "@message(fallback=...)": lambda it: untyped.message(fallback=it)(Shade),
    "Retry(attempts=...)": lambda it: untyped.Retry(attempts=it),
    "Retry(first_delay=...)": lambda it: untyped.Retry(first_delay=it),
    "Retry(factor=...)": lambda it: untyped.Retry(factor=it),
    "Retry(ceiling=...)": lambda it: untyped.Retry(ceiling=it),
    "Retry(jitter=...)": lambda it: untyped.Retry(jitter=it),
    "Retry(final=...)": lambda it: untyped.Retry(final=it),
    "Space(name)": lambda it: untyped.Space(it),
}

# What fits although it stands among the wrong ones; and what is checked by another rule.
FITTING: Final[dict[str, tuple[object, ...]]] = {
    "@flow": (None,),
    "@flow(version=...)": (5,),
    "@flow(progress=...)": ([], {"a": 1}),
    "@responder(...)": (),
    "@responder(version=...)": (5,),
    "@responder(progress=...)": ([], {"a": 1}),
    "@step(thread=...)": (True,),
    "@step(loose=...)": (True,),
    "@message": (object,),
    "Retry(attempts=...)": (5,),
    "Retry(first_delay=...)": (5, 1.5),
    "Retry(factor=...)": (5, 1.5),
    "Retry(ceiling=...)": (5, 1.5),
    "Retry(jitter=...)": (True,),
}


def fits(argument: str, wrong: object) -> bool:
    return any(
        wrong is fitting or (type(wrong) is type(fitting) and wrong == fitting)
        for fitting in FITTING.get(argument, ())
    )


@pytest.mark.parametrize("argument", DECLARATIONS)
def test_a_declaration_refuses_what_does_not_fit_and_names_the_argument(argument: str) -> None:
    for wrong in WRONG:
        if fits(argument, wrong):
            continue
        with pytest.raises((MisuseError, TypeError)) as refused:
            DECLARATIONS[argument](wrong)

        assert isinstance(refused.value, MisuseError), f"{argument} with {type(wrong)}"
        text = str(refused.value)
        assert argument in text or (
            "@message" in argument and ("wire name" in text or "Shade" in text)
        )
        assert len(text) < 500


@pytest.mark.parametrize("marker", [untyped.flow, untyped.step, untyped.responder("a.b")])
@pytest.mark.parametrize("function", [coroutine, generator, type("Callable", (), {})])
def test_only_plain_functions_are_marked(marker: Any, function: object) -> None:
    with pytest.raises(ArgumentInvalid, match=r"plain function|Mark a function"):
        marker(function)


def test_a_message_class_whose_own_name_is_too_long_is_refused() -> None:
    with pytest.raises(MisuseError, match="wire name"):
        message(type("Long" * 100, (), {}))


def test_an_error_about_an_argument_is_both_a_type_and_a_value_error() -> None:
    for kind in (TypeError, ValueError):
        with pytest.raises(kind, match=r"^@flow\(version=\.\.\.\) is '2', of type str\. Give"):
            untyped.flow(version="2")(plain)


def test_text_of_a_subclass_is_taken_as_text() -> None:
    marked = untyped.flow(name=Shade.DARK, version=5)(plain)

    assert (type(marked.name), marked.name) == (str, "dark")


def test_a_retry_that_grows_for_ever_stays_at_its_ceiling() -> None:
    retry = Retry(attempts=1_000_000, factor=1e6, ceiling=7, jitter=False)

    assert retry.delay_ms(999_999, 0.5) == 7_000


class Sorry(FlowException):
    """An answer."""


SPACE = Space("wrong")


@atomic
def write(txn: StoreTxn, number: int, what: str) -> None:
    given: Any = {"space": SPACE, "key": b"key", "value": b"value", what: WRONG[number]}
    untyped_txn: Any = txn
    untyped_txn.put(given["space"], given["key"], given["value"])


@atomic
def write_to_the_engines_own(txn: StoreTxn, name: str) -> None:
    txn.put(Space(name), b"key", b"value")


@step
def anything() -> None:
    """Do nothing."""


def calls(session: Session, number: int) -> dict[str, Callable[[], object]]:
    """Return each operation with a wrong argument."""
    wrong: Any = WRONG[number]
    seconds = "no" if wrong in (5, 1.5, True) else wrong
    return {
        "sleep": lambda: untyped.sleep(seconds),
        "sleep_until": lambda: untyped.sleep_until(wrong),
        "timeout": lambda: untyped.timeout(seconds).__enter__(),
        "initiate": lambda: untyped.initiate(wrong),
        "send": lambda: session.send(Odd()),
        "receive": lambda: session.receive(wrong if wrong is not object else Odd),
        "send_all": lambda: untyped.send_all([wrong], 1),
        "send_all of": lambda: untyped.send_all(wrong or 5, 1),
        "receive_all": lambda: untyped.receive_all([wrong], int),
        "receive_all without": lambda: untyped.receive_all([session]),
        "receive_all of a type": lambda: untyped.receive_all([session], Odd()),
        "progress": lambda: untyped.progress(wrong if not isinstance(wrong, str) else 5),
        "service": lambda: untyped.service(wrong if wrong is not object else 5),
        "step": lambda: untyped_step(wrong, wrong),
    }


untyped_step: Any = anything


@flow(name="wrong.call")
def call(peer: Party, number: int) -> list[str]:
    session = initiate(peer)
    accepted = []
    for name, attempt in calls(session, number).items():
        try:
            attempt()
        except (MisuseError, TypeError, ValueError, runtime.UnserialisableMessage):
            continue
        accepted.append(name)
    return accepted


@flow(name="wrong.store")
def store(number: int, what: str) -> None:
    write(number, what)


@flow(name="wrong.own")
def own(name: str) -> None:
    write_to_the_engines_own(name)


@flow(name="wrong.show")
def show(number: int) -> None:
    """Put into a progress and into an error whatever can be put there."""
    wrong: Any = WRONG[number]
    if isinstance(wrong, str) and wrong:
        untyped.progress(wrong)
    error = Sorry(wrong)
    names = ("peer", "error_id", "original_class", "args_", "\ud800", "_sennit_error_id")
    vars(error).update(dict.fromkeys(names, wrong))
    error.__notes__ = wrong
    raise error


@flow(name="wrong.wait")
def wait() -> None:
    sleep(1e6)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> CreatedNetwork:
    path = tmp_path_factory.mktemp("wrong") / "network.toml"
    path.write_text(EMBEDDED)
    return create_network(path)


APPS: Final = (call, store, own, show, wait)


def test_wrong_arguments_at_every_entry_leave_a_node_that_starts_again(
    network: CreatedNetwork,
) -> None:
    directory = network.nodes[0].directory
    with Node(directory, apps=APPS, sync=False) as node:
        any_node: Any = node
        for number, wrong in enumerate(WRONG):
            for options in ({"user": wrong}, {"client_id": wrong}):
                with contextlib.suppress(MisuseError):
                    any_node.options(**options).start_flow(wait)
            for lookup in (any_node.handle, any_node.journal, any_node.find, any_node.forget):
                with contextlib.suppress(MisuseError):
                    lookup(wrong)
            assert node.start_flow(call, node.me, number).result(SECONDS) == []
            for what in ("space", "key", "value"):
                if what != "space" and isinstance(wrong, bytes):
                    continue
                with pytest.raises(ArgumentInvalid, match=rf"^put\({what}\) is "):
                    node.start_flow(store, number, what).result(SECONDS)
            with pytest.raises(Sorry):
                node.options(client_id=f"show-{number}").start_flow(show, number).result(SECONDS)
        for space in ("journal", "inbox", "outbox", "tombstones", "client_ids", "results", "held"):
            with pytest.raises(ArgumentInvalid, match="the engine's own"):
                node.start_flow(own, space).result(SECONDS)
        before = {row.id: row for row in node.flows()}

    with Node(directory, apps=APPS, sync=False) as again:
        after = {row.id for row in again.flows()}

        for flow_id in after:
            again.operations.flow(again.handle(flow_id).id)
    assert after >= {row.id for row in before.values() if not row.is_ended}
    assert sum(row.name == show.name for row in before.values()) == len(WRONG)


@pytest.mark.parametrize("option", ["user", "client_id"])
def test_how_a_flow_is_started_is_checked_by_type(option: str) -> None:
    given: Any = {"user": "me"}
    for wrong in (5, True, b"bytes", ["x"], Odd()):
        with pytest.raises(ArgumentInvalid, match=rf"^{option} is "):
            StartOptions(**given | {option: wrong})


def of_two(session: Session, other: Session) -> None:
    """Not a responder."""


@pytest.mark.parametrize("function", [plain, of_two])
def test_a_responder_that_a_session_can_not_be_given_to_is_refused(
    function: Callable[..., object],
) -> None:
    with pytest.raises(ArgumentInvalid, match="can't be called with a session"):
        responder("test.ask")(function)


@pytest.mark.parametrize("wrong", [float("nan"), "1", True])
def test_a_time_to_wait_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(ArgumentInvalid, match="timeout"):
        checks.wait_seconds(wrong, "timeout")


@pytest.mark.parametrize(
    ("given", "waits"), [(None, None), (float("inf"), None), (-1, 0.0), (2, 2.0)]
)
def test_a_negative_time_is_none_and_infinity_is_for_ever(
    given: float | None, waits: float | None
) -> None:
    assert checks.wait_seconds(given, "timeout") == waits
