"""A Ctrl-C in the code of a flow is for the process; the flow runs again as if it had not been."""

import contextlib

import pytest

from runtime import flow, sleep, step
from runtime.atomic import StoreTxn, atomic
from runtime.testing.network import SimulatedNetwork
from tests.runtime.engine.scenes import rows


def test_an_interrupt_from_the_keyboard_passes_through_and_the_flow_goes_on(
    network: SimulatedNetwork,
) -> None:
    done: list[str] = []

    @flow
    def interrupted_once() -> str:
        sleep(1)
        done.append("ran")
        if len(done) == 1:
            raise KeyboardInterrupt
        return "done"

    alice = network.node("Alice", apps=[interrupted_once])
    handle = alice.start_flow(interrupted_once)

    with pytest.raises(KeyboardInterrupt):
        handle.result()

    assert handle.result() == "done"
    assert rows(alice, "journal") == 0


@pytest.mark.parametrize("kind", ["step", "thread", "atomic"])
def test_an_interrupt_in_a_step_that_the_flow_swallows_is_not_part_of_its_history(
    network: SimulatedNetwork, kind: str
) -> None:
    done: list[str] = []

    def interrupt_once() -> str:
        done.append("ran")
        if len(done) == 1:
            raise KeyboardInterrupt
        return "done"

    @atomic
    def interrupt_atomic(txn: StoreTxn) -> str:
        return interrupt_once()

    in_thread = kind == "thread"
    interrupt_step = step(name="test.interrupted", thread=in_thread)(interrupt_once)

    @flow
    def swallow() -> str:
        told = "nothing"
        sleep(1)
        with contextlib.suppress(BaseException):
            told = interrupt_atomic() if kind == "atomic" else interrupt_step()
        sleep(1)
        return told

    alice = network.node("Alice", apps=[swallow])
    handle = alice.start_flow(swallow)
    with pytest.raises(KeyboardInterrupt):
        handle.result()

    assert handle.result() == "done"
