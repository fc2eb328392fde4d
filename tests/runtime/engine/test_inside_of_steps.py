"""What code inside a step may do and knows."""

import pytest

from runtime import (
    NotInFlow,
    Party,
    current_flow,
    flow,
    initiate,
    me,
    now,
    progress,
    service,
    sleep,
    step,
    step_id,
    uuid4,
)
from runtime.errors import MisuseError
from runtime.testing.network import SimulatedNetwork
from tests.runtime.engine.scenes import (
    kinds,
    pair,
)

calls: list[str] = []


@step
def plain(what: str) -> str:
    calls.append(step_id())
    return what.upper()


@flow
def plain_flow() -> str:
    return plain("x")


@pytest.fixture(autouse=True)
def _fresh_world() -> None:
    calls.clear()


def test_code_in_a_step_knows_its_flow_and_node(network: SimulatedNetwork) -> None:
    @step
    def look_around() -> list[str]:
        return [current_flow().id, str(me().name), step_id()]

    @flow
    def ask_step() -> list[str]:
        return look_around()

    alice = network.node("Alice", apps=[ask_step])
    handle = alice.start_flow(ask_step)

    flow_id, name, this_step = handle.result()

    assert (flow_id, name) == (handle.id, alice.party.name)
    assert this_step.startswith(flow_id)


class Greeter:
    """A service of the host."""

    def greet(self) -> str:
        return "hello"


@pytest.mark.parametrize("in_thread", [False, True])
def test_code_in_a_step_has_services_and_shows_progress(
    network: SimulatedNetwork, in_thread: bool
) -> None:
    @step(thread=in_thread)
    def look_around() -> list[str]:
        progress("Looking")
        return [current_flow().id, str(me().name), step_id(), service(Greeter).greet()]

    @flow(progress=("Looking",))
    def ask_step() -> list[str]:
        found = look_around()
        sleep(1)
        return found

    alice = network.node(
        "Alice", apps=[ask_step], install=lambda host: host.provide(Greeter, Greeter())
    )
    handle = alice.start_flow(ask_step)
    network.run_for(0.5)
    labels = [row.label for row in handle.progress.snapshot()]

    flow_id, name, this_step, greeting = handle.result()

    assert (flow_id, name, greeting) == (handle.id, alice.party.name, "hello")
    assert this_step.startswith(flow_id)
    assert "Looking" in labels


def test_an_operation_in_a_thread_is_refused_as_in_any_step(network: SimulatedNetwork) -> None:
    @step(thread=True)
    def misbehave() -> None:
        sleep(1)

    @flow
    def ask_step() -> str:
        try:
            misbehave()
        except MisuseError as error:
            return str(error)
        return "fine"

    alice = network.node("Alice", apps=[ask_step])

    assert "inside a step" in alice.start_flow(ask_step).result()


@pytest.mark.parametrize("operation", ["now", "uuid4", "sleep", "initiate", "send", "sub-flow"])
def test_an_operation_of_the_flow_inside_a_step_is_an_error_of_the_caller(
    network: SimulatedNetwork, operation: str
) -> None:
    # It would be journaled when the step runs, and missing when the replay passes over the step.
    @flow
    def inner() -> None:
        pass

    @flow
    def misuse(peer: Party) -> str:
        session = initiate(peer)

        @step
        def misbehave() -> None:
            match operation:
                case "now":
                    now()
                case "uuid4":
                    uuid4()
                case "sleep":
                    sleep(1)
                case "initiate":
                    initiate(peer)
                case "send":
                    session.send("x")
                case _:
                    inner()

        try:
            misbehave()
        except MisuseError as error:
            sleep(1)
            return str(error)
        return "fine"

    alice, bob = pair(network, misuse, inner)

    assert "inside a step" in alice.start_flow(misuse, bob.party).result()


def test_a_step_in_a_step_is_a_part_of_it(network: SimulatedNetwork) -> None:
    @step
    def outer() -> str:
        return plain("x") + plain("y")

    @flow
    def nest() -> str:
        value = outer()
        sleep(1)
        return value

    alice = network.node("Alice", apps=[nest])
    handle = alice.start_flow(nest)
    network.run_for(0.5)

    assert kinds(alice, handle.id).count("Stepped") == 1
    assert handle.result() == "XY"
    assert len(calls) == 2
    assert len(set(calls)) == 1


def test_a_step_id_has_no_meaning_outside_of_a_step() -> None:
    with pytest.raises(NotInFlow):
        step_id()


def test_two_flows_never_share_a_step_id(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[plain_flow])

    for _ in range(3):
        alice.start_flow(plain_flow).result()

    assert len(set(calls)) == 3


# --- loose ----------------------------------------------------------------------------------


def test_a_loose_step_may_get_other_arguments_at_the_replay(network: SimulatedNetwork) -> None:
    seen: list[str] = []

    @step(loose=True)
    def log_line(text: str) -> str:
        seen.append(text)
        return text

    @flow
    def chatty() -> str:
        text = log_line(f"take {len(seen)}")
        sleep(10)
        return text

    alice = network.node("Alice", apps=[chatty])
    handle = alice.start_flow(chatty)
    network.run_for(1)
    alice.restart()

    assert alice.handle(handle.id).result() == "take 0"
