"""Groups of exceptions whose classes make something of their own of message and exceptions."""

import logging

import pytest

from runtime import flow, sleep, step
from runtime.testing.network import SimulatedNetwork


class Named(ExceptionGroup[Exception]):
    message = "a name of its own"


class Silent(ExceptionGroup[Exception]):
    @property
    def message(self) -> str:
        raise RuntimeError("nobody may ask")

    @property
    def exceptions(self) -> tuple[Exception, ...]:
        raise RuntimeError("nobody may ask")


KINDS = {cls.__name__: cls for cls in (Named, Silent)}


@step
def break_down(kind: str) -> int:
    raise KINDS[kind]("both", [ValueError("one"), KeyError("two")])


@flow
def fail(kind: str) -> None:
    raise KINDS[kind]("both", [ValueError("one"), KeyError("two")])


@flow
def catch(kind: str) -> str:
    try:
        break_down(kind)
    except ExceptionGroup as error:
        caught, errors = type(error).__name__, ExceptionGroup.exceptions.__get__(error)
    sleep(5)
    return f"{caught}: {', '.join(map(repr, errors))}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_group_is_caught_live_and_replayed_alike(network: SimulatedNetwork, kind: str) -> None:
    alice = network.node("Alice", apps=[catch])
    handle = alice.start_flow(catch, kind)
    network.run_for(1)
    alice.restart()

    assert alice.handle(handle.id).result() == f"{kind}: ValueError('one'), KeyError('two')"


@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_that_fails_with_a_group_ends(
    network: SimulatedNetwork, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody can print the stack of such a group. Logging says so and goes on; pytest's would raise.
    monkeypatch.setattr(logging.getLogger("sennit.flow"), "disabled", True)
    alice = network.node("Alice", apps=[fail])
    handle = alice.start_flow(fail, kind)

    with pytest.raises(KINDS[kind]):
        handle.result()
