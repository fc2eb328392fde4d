"""Semantics 9: a client id gives one flow, whoever asks how often, over restarts."""

import pytest

from runtime import FlowException, UnserialisableMessage, flow, sleep
from runtime.errors import ClientIdInvalid, PermissionDenied
from runtime.handle import FlowHandle
from runtime.limits import CLIENT_ID_CHARACTERS_MAX
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import (
    HeldDisk,
    assert_nothing_is_left,
    outcome,
    rows,
    turn,
)


@flow
def double(number: int) -> int:
    sleep(10)
    return number * 2


@flow
def fail(text: str) -> None:
    raise FlowException(text)


@flow
def return_nonsense() -> object:
    return object()


@flow
def return_other_type() -> int:
    return "no number"  # type: ignore[return-value]


def start(
    node: SimulatedNode, number: int, client_id: str, *, user: str = "anna"
) -> FlowHandle[object]:
    return node.running.start_flow(
        double, (number,), client_id=client_id, user=user, is_awaited=True
    )


def test_a_client_id_gives_the_same_flow_and_the_arguments_of_a_repeat_are_ignored(
    network: SimulatedNetwork,
) -> None:
    alice = network.node("Alice", apps=[double])

    first = start(alice, 5, "order-17")
    second = start(alice, 6, "order-17")

    assert first.id == second.id
    assert second.result() == 10
    assert alice.running.manager.counts["started"] == 1


@pytest.mark.parametrize("when", ["running", "ended"])
def test_it_does_so_after_a_restart(network: SimulatedNetwork, when: str) -> None:
    alice = network.node("Alice", apps=[double])
    first = start(alice, 5, "order-17")
    if when == "ended":
        first.result()

    alice.restart()
    second = start(alice, 6, "order-17")

    assert second.id == first.id
    assert second.result() == 10
    assert second.status == "completed"


def test_get_or_create_is_atomic_for_callers_in_the_same_turn() -> None:
    disk = HeldDisk()
    network = SimulatedNetwork(disk=disk)
    alice = network.node("Alice", apps=[double])

    handles = [alice.begin_flow(double, n, client_id="order-17") for n in range(5)]
    turn(network)
    handles.append(alice.begin_flow(double, 9, client_id="order-17"))
    alice.store.make_durable()
    turn(network)
    handles.append(alice.begin_flow(double, 9, client_id="order-17"))

    assert len({handle.id for handle in handles}) == 1
    assert rows(alice, "client_ids") == 1
    assert alice.running.manager.counts["started"] == 1


@pytest.mark.parametrize("restarts", [True, False])
def test_another_user_is_denied_the_id_for_start_and_for_forget(
    network: SimulatedNetwork, restarts: bool
) -> None:
    alice = network.node("Alice", apps=[double])
    annas = start(alice, 5, "order-17", user="anna")
    annas.result()
    if restarts:
        alice.restart()

    with pytest.raises(PermissionDenied, match="another user"):
        start(alice, 6, "order-17", user="berta")
    with pytest.raises(PermissionDenied):
        alice.running.manager.forget("berta", "order-17")

    assert alice.running.manager.forget("anna", "order-17")
    assert start(alice, 6, "order-17", user="berta").result() == 12


@pytest.mark.parametrize("restarts", [True, False])
def test_a_result_is_kept_until_it_is_forgotten(network: SimulatedNetwork, restarts: bool) -> None:
    alice = network.node("Alice", apps=[double])
    first = start(alice, 5, "order-17")
    assert not alice.running.manager.forget("anna", "order-17")
    first.result()
    if restarts:
        alice.restart()

    assert alice.running.manager.forget("anna", "order-17")
    assert not alice.running.manager.forget("anna", "order-17")
    network.run()

    assert rows(alice, "client_ids") == rows(alice, "results") == 0
    second = start(alice, 6, "order-17")
    assert second.id != first.id
    assert second.result() == 12


def test_an_exception_is_kept_too(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[fail])
    outcome(alice.begin_flow(fail, "first", client_id="order-17"))
    alice.restart()

    error = outcome(alice.begin_flow(fail, "second", client_id="order-17"))

    assert isinstance(error, FlowException)
    assert error.args == ("first",)


def test_without_a_client_id_nothing_is_left_of_a_flow(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[double])
    handle = alice.start_flow(double, 5)

    assert handle.result() == 10
    network.run()

    assert_nothing_is_left(network)
    assert rows(alice, "results") == 0


@pytest.mark.parametrize("how", [return_nonsense, return_other_type])
def test_a_result_that_can_not_be_encoded_fails_the_flow_with_that_error(
    network: SimulatedNetwork, how: object
) -> None:
    alice = network.node("Alice", apps=[return_nonsense, return_other_type])
    errors = [outcome(alice.begin_flow(how, client_id="order-17"))]  # type: ignore[arg-type]
    alice.restart()
    errors.append(outcome(alice.begin_flow(how, client_id="order-17")))  # type: ignore[arg-type]

    assert [type(error) for error in errors] == [UnserialisableMessage] * 2
    assert "the result of" in str(errors[1])


@pytest.mark.parametrize("character", ["x", "é", "€", "🙂"])
def test_a_client_id_has_up_to_512_characters_of_any_kind(
    network: SimulatedNetwork, character: str
) -> None:
    alice = network.node("Alice", apps=[double])
    long = character * CLIENT_ID_CHARACTERS_MAX
    other = character * (CLIENT_ID_CHARACTERS_MAX - 1)

    first = start(alice, 5, long)
    alice.restart()

    assert start(alice, 6, long).id == first.id
    assert start(alice, 6, other).id != first.id


@pytest.mark.parametrize("client_id", ["", "x" * (CLIENT_ID_CHARACTERS_MAX + 1), "\ud800"])
def test_other_client_ids_are_refused(network: SimulatedNetwork, client_id: str) -> None:
    alice = network.node("Alice", apps=[double])

    with pytest.raises(ClientIdInvalid):
        start(alice, 5, client_id)

    assert alice.running.manager.counts["started"] == 0


def test_a_crash_right_after_the_end_keeps_the_result() -> None:
    network = SimulatedNetwork()
    alice = network.node("Alice", apps=[double])
    handle = start(alice, 5, "order-17")
    assert handle.result() == 10

    # The result was told, so it must be durable.
    alice.restart()

    assert start(alice, 6, "order-17").result() == 10
