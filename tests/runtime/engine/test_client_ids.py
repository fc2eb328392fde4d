"""Semantics 9: a client id gives one flow, whoever asks how often, over restarts."""

import pytest

from runtime import FlowException, UnserialisableMessage, flow, sleep
from runtime.errors import ClientIdInvalid, ClientIdTaken, MisuseError, PermissionDenied
from runtime.flow import Flow
from runtime.handle import FlowHandle
from runtime.ids import FlowId
from runtime.limits import CLIENT_ID_CHARACTERS_MAX
from runtime.node_verbs import LOCAL_USER
from runtime.operations import OnRepeat
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
    node: SimulatedNode, number: int, client_id: str, *, user: str = LOCAL_USER
) -> FlowHandle[int]:
    return node.options(client_id=client_id, user=user).start_flow(double, number)


def test_a_client_id_gives_the_same_flow(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[double])

    first = start(alice, 5, "order-17")
    second = start(alice, 5, "order-17")

    assert first.id == second.id
    assert second.result() == 10
    assert alice.info().flows_started == 1


@pytest.mark.parametrize("when", ["running", "ended"])
def test_it_does_so_after_a_restart(network: SimulatedNetwork, when: str) -> None:
    alice = network.node("Alice", apps=[double])
    first = start(alice, 5, "order-17")
    if when == "ended":
        first.result()

    alice.restart()
    second = start(alice, 5, "order-17")

    assert second.id == first.id
    assert second.result() == 10
    assert second.status == "completed"


MOMENTS = ("running", "running, restarted", "ended", "ended, restarted")


def started_before(network: SimulatedNetwork, moment: str) -> tuple[SimulatedNode, FlowId]:
    """Return a node with a flow of a client id at a moment of its life."""
    alice = network.node("Alice", apps=[double, fail])
    handle = start(alice, 5, "order-17")
    if "ended" in moment:
        handle.result()
    if "restarted" in moment:
        alice.restart()
    return alice, handle.id


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_repeat_with_other_arguments_is_refused(network: SimulatedNetwork, moment: str) -> None:
    alice, flow_id = started_before(network, moment)

    with pytest.raises(ClientIdTaken, match=r"'order-17' stands for .*double with other arguments"):
        start(alice, 6, "order-17")

    assert start(alice, 5, "order-17").id == flow_id


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("on_repeat", ["attach_if_same", "attach", "refuse"])
def test_a_repeat_with_another_flow_is_refused(
    network: SimulatedNetwork, moment: str, on_repeat: OnRepeat
) -> None:
    alice, _ = started_before(network, moment)
    starter = alice.options(client_id="order-17", on_repeat=on_repeat)

    with pytest.raises(ClientIdTaken, match=r"stands for .*\.double, and this start is of .*fail"):
        starter.start_flow(fail, "never")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_caller_may_attach_whatever_the_arguments_are(
    network: SimulatedNetwork, moment: str
) -> None:
    alice, flow_id = started_before(network, moment)

    handle = alice.options(client_id="order-17", on_repeat="attach").start_flow(double, 6)

    assert handle.id == flow_id
    assert handle.result() == 10


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_caller_may_refuse_any_repeat(network: SimulatedNetwork, moment: str) -> None:
    alice, _ = started_before(network, moment)
    starter = alice.options(client_id="order-17", on_repeat="refuse")

    with pytest.raises(ClientIdTaken, match=r"stands for .*double already"):
        starter.start_flow(double, 5)

    assert alice.forget("order-17") == ("ended" in moment)


def test_an_unknown_policy_is_refused(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[double])

    with pytest.raises(MisuseError, match="on_repeat is one of attach_if_same, attach, refuse"):
        alice.options(client_id="order-17", on_repeat="perhaps")  # type: ignore[arg-type]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_flow_is_found_by_its_client_id_and_none_is_started(
    network: SimulatedNetwork, moment: str
) -> None:
    alice, flow_id = started_before(network, moment)

    found = alice.find("order-17", double)

    assert found is not None
    assert found.id == flow_id
    assert found.result() == 10
    assert alice.find("order-18") is None
    assert alice.find("order-17", user="berta") is None
    with pytest.raises(ClientIdTaken, match=r"stands for .*double"):
        alice.find("order-17", fail)
    with pytest.raises(ClientIdInvalid):
        alice.find("")
    assert len(alice.flows()) == 1


@flow
def scale(factor: float) -> float:
    return factor


def test_arguments_are_the_same_if_the_flow_would_get_the_same(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[scale])
    starter = alice.options(client_id="order-17")

    first = starter.start_flow(scale, 2)

    assert starter.start_flow(scale, factor=2.0).id == first.id
    with pytest.raises(ClientIdTaken):
        starter.start_flow(scale, 2.5)


def versions_of_order() -> tuple[Flow[[str], str], Flow[..., str]]:
    @flow(name="order")
    def before(what: str) -> str:
        return what

    @flow(name="order")
    def after(what: str, count: int = 1, *, note: object = None) -> str:
        return what * count

    return before, after


def test_a_parameter_with_a_default_may_be_added_between_start_and_repeat(
    network: SimulatedNetwork,
) -> None:
    before, after = versions_of_order()
    alice = network.node("Alice", apps=[before])
    first = alice.options(client_id="order-17").start_flow(before, "pen")
    first.result()

    alice.restart(apps=[after])

    starter = alice.options(client_id="order-17")
    assert starter.start_flow(after, "pen").id == first.id
    assert starter.start_flow(after, "pen", 1, note=None).id == first.id
    for others in (("pen", 2), ("ink",)):
        with pytest.raises(ClientIdTaken):
            starter.start_flow(after, *others)
    with pytest.raises(ClientIdTaken):
        starter.start_flow(after, "pen", note="soon")


def test_get_or_create_is_atomic_for_callers_in_the_same_turn() -> None:
    disk = HeldDisk()
    network = SimulatedNetwork(disk=disk)
    alice = network.node("Alice", apps=[double])
    starter = alice.options(client_id="order-17")

    handles = [starter.begin_flow(double, 5) for _ in range(5)]
    turn(network)
    handles.append(starter.begin_flow(double, 5))
    alice.store.make_durable()
    turn(network)
    handles.append(starter.begin_flow(double, 5))

    assert len({handle.id for handle in handles}) == 1
    assert rows(alice, "client_ids") == 1
    assert alice.info().flows_started == 1


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
        alice.forget("order-17", user="berta")

    assert alice.forget("order-17", user="anna")
    assert start(alice, 6, "order-17", user="berta").result() == 12


@pytest.mark.parametrize("restarts", [True, False])
def test_a_result_is_kept_until_it_is_forgotten(network: SimulatedNetwork, restarts: bool) -> None:
    alice = network.node("Alice", apps=[double])
    first = start(alice, 5, "order-17")
    assert not alice.forget("order-17")
    first.result()
    if restarts:
        alice.restart()

    assert alice.forget("order-17")
    assert not alice.forget("order-17")
    network.run()

    assert rows(alice, "client_ids") == rows(alice, "results") == 0
    second = start(alice, 6, "order-17")
    assert second.id != first.id
    assert second.result() == 12


def test_an_exception_is_kept_too(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[fail])
    outcome(alice.options(client_id="order-17").begin_flow(fail, "first"))
    alice.restart()

    error = outcome(alice.options(client_id="order-17").begin_flow(fail, "first"))

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
    errors = [outcome(alice.options(client_id="order-17").begin_flow(how))]  # type: ignore[arg-type]
    alice.restart()
    errors.append(outcome(alice.options(client_id="order-17").begin_flow(how)))  # type: ignore[arg-type]

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

    assert start(alice, 5, long).id == first.id
    assert start(alice, 6, other).id != first.id


@pytest.mark.parametrize("client_id", ["", "x" * (CLIENT_ID_CHARACTERS_MAX + 1), "\ud800"])
def test_other_client_ids_are_refused(network: SimulatedNetwork, client_id: str) -> None:
    alice = network.node("Alice", apps=[double])

    with pytest.raises(ClientIdInvalid):
        start(alice, 5, client_id)

    assert alice.info().flows_started == 0


def test_a_crash_right_after_the_end_keeps_the_result() -> None:
    network = SimulatedNetwork()
    alice = network.node("Alice", apps=[double])
    handle = start(alice, 5, "order-17")
    assert handle.result() == 10

    # The result was told, so it must be durable.
    alice.restart()

    assert start(alice, 5, "order-17").result() == 10
