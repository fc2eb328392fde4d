"""What a step raises has the context that a replay gives it: none but what the flow handles."""

from collections.abc import Callable

import pytest

from runtime import FlowException, Retry, StoreTxn, atomic, flow, sleep, step
from runtime.testing.network import SimulatedNetwork


class Refused(FlowException):
    pass


@step
def fail() -> int:
    raise ValueError("failed")


@step
def fail_in_finally() -> int:
    try:
        raise KeyError("inner")
    finally:
        raise ValueError("outer")


@step(retry=Retry(attempts=2, first_delay=0.1))
def fail_twice() -> int:
    raise ValueError("failed")


@step(thread=True)
def fail_in_thread() -> int:
    raise ValueError("failed")


@step
def give_what_is_no_value() -> object:
    return object()


@atomic
def refuse(txn: StoreTxn) -> int:
    raise Refused("no")


STEPS: dict[str, Callable[[], object]] = {
    "fail": fail,
    "fail_in_finally": fail_in_finally,
    "fail_twice": fail_twice,
    "fail_in_thread": fail_in_thread,
    "give_what_is_no_value": give_what_is_no_value,
    "refuse": refuse,
}


@flow
def contexts(name: str) -> list[str]:
    """Return the types of what was raised, its cause and its context: alone, and in a handler."""
    seen: list[str] = []
    try:
        STEPS[name]()
    except Exception as error:
        seen += [type(it).__name__ for it in (error, error.__cause__, error.__context__)]
    try:
        raise RuntimeError("the flow's own")
    except RuntimeError:
        try:
            STEPS[name]()
        except Exception as error:
            seen += [type(it).__name__ for it in (error, error.__cause__, error.__context__)]
    sleep(5)
    return seen


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("is_replayed", [False, True], ids=["live", "replayed"])
def test_a_step_fails_with_no_context_of_its_own(
    network: SimulatedNetwork, name: str, is_replayed: bool
) -> None:
    alice = network.node("Alice", apps=[contexts])
    flow_id = alice.start_flow(contexts, name).id
    network.run_for(2)
    if is_replayed:
        alice.restart()

    result = alice.handle(flow_id).result()

    assert isinstance(result, list)
    raised, cause, context, again, _, outer = result

    assert (cause, context) == ("NoneType", "NoneType")
    assert (again, outer) == (raised, "RuntimeError")
