"""An error reads the same wherever an operator meets it, and its id stands there once."""

import re

import pytest

from runtime import FlowException, FlowFailed, HoldForOperator, flow
from runtime.cli.flow_view import show_detail
from runtime.operations import FlowFilter
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.test_node_operations import start


class Refused(FlowException):
    """An answer."""


SHARED = Refused("we are closed")


class Odd(Exception):
    """An error that can't be rebuilt, because it takes what it does not keep."""

    def __init__(self, what: str, *, why: object) -> None:
        super().__init__(f"{what}: {why}")


@flow(name="words.refuse")
def refuse() -> None:
    raise SHARED


@flow(name="words.stumble")
def stumble() -> None:
    raise Odd("nothing", why=object)


@flow(name="words.give_up")
def give_up() -> None:
    raise HoldForOperator("look at it")


@pytest.fixture
def node() -> SimulatedNode:
    return SimulatedNetwork().node("Alice", apps=[refuse, stumble, give_up])


@pytest.mark.parametrize(
    ("definition", "said"),
    [(refuse, "Refused: we are closed"), (stumble, "Odd: nothing: <class 'object'>")],
)
def test_an_error_reads_the_same_before_and_after_a_restart(
    node: SimulatedNode,
    definition: object,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flow_id = start(node, definition, client_id="one")  # type: ignore[arg-type]
    before = node.operations.flow(flow_id)
    node.restart()
    after = node.operations.flow(flow_id)
    (row,) = node.operations.flows(FlowFilter()).rows
    show_detail(after)

    assert [before.error, after.error, row.error] == [said] * 3
    assert before.error_id == after.error_id
    assert before.error_id
    assert capsys.readouterr().out.count(before.error_id) == 1


def test_the_error_of_a_held_flow_reads_the_same_after_a_restart(node: SimulatedNode) -> None:
    flow_id = node.begin_flow(give_up).id
    node.wait_durable()
    before = node.operations.flow(flow_id)
    node.restart()
    after = node.operations.flow(flow_id)

    assert before.error == "held, the flow asked for it: HoldForOperator: look at it"
    assert (after.error, after.error_id) == (before.error, before.error_id)
    assert after.row.error == "HoldForOperator: look at it"


def test_flows_that_raise_the_same_object_have_an_error_id_each_and_no_heap_of_notes(
    node: SimulatedNode,
) -> None:
    ids = {
        node.operations.flow(start(node, refuse, client_id=str(number))).error_id
        for number in range(5)
    }

    assert len(ids) == 5
    assert len(SHARED.__notes__) == 1


def test_an_error_without_an_id_does_not_speak_of_one() -> None:
    assert str(FlowFailed("", "shop.Odd", "nothing")) == "shop.Odd: nothing"
    assert re.search("error id e1", str(FlowFailed("e1", "shop.Odd", "nothing")))
