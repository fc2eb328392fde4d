"""What operators see of flows: those that live, that ended lately, and that left only a result."""

import pytest

from runtime import (
    FlowException,
    FlowFailed,
    FlowKilled,
    Party,
    StoreTxn,
    UnexpectedFlowEnd,
    atomic,
    flow,
    initiate,
    message,
    sleep,
)
from runtime.errors import ClientIdInvalid, MisuseError, PermissionDenied, UnknownFlow
from runtime.flow import Flow
from runtime.ids import FlowId, UserName
from runtime.limits import PeerLimits
from runtime.operations import Arguments, FlowFilter
from runtime.testing.network import SimulatedNetwork, SimulatedNode


class Refused(FlowException):
    """An answer."""


@flow(name="ops.add")
def add(one: int, other: int) -> int:
    return one + other


@flow(name="ops.refuse")
def refuse(why: str) -> None:
    raise Refused(why)


@flow(name="ops.stumble")
def stumble() -> None:
    raise LookupError("where is it?")


@flow(name="ops.linger")
def linger() -> None:
    sleep(1e6)


@flow(name="ops.call")
def call(peer: Party) -> None:
    initiate(peer).send("is anybody there?")


@atomic
def nothing(txn: StoreTxn) -> None:
    """Wait for a commit."""


@message
class Price:
    cents: int

    def __str__(self) -> str:
        return f"{self.cents / 100:.2f}"


@flow(name="ops.price")
def price_of(cents: int) -> Price:
    return Price(cents)


APPS = (price_of, add, refuse, stumble, linger)


@pytest.fixture
def network() -> SimulatedNetwork:
    return SimulatedNetwork()


@pytest.fixture
def node(network: SimulatedNetwork) -> SimulatedNode:
    return network.node("Alice", apps=APPS)


def start(node: SimulatedNode, flow: Flow[..., object], *args: object, client_id: str) -> FlowId:
    handle = node.options(client_id=client_id).begin_flow(flow, *args)
    node.host.run_atomic(nothing)
    while flow is not linger and not handle.is_ended:
        node.host.run_atomic(nothing)
    return handle.id


def ended_before_a_restart(node: SimulatedNode, flow: Flow[..., object], *args: object) -> FlowId:
    flow_id = start(node, flow, *args, client_id=flow.name)
    node.restart()
    return flow_id


def test_a_result_kept_over_a_restart_is_listed_shown_and_watched(node: SimulatedNode) -> None:
    flow_id = ended_before_a_restart(node, add, 2, 3)

    asked = node.operations
    [row] = asked.flows(FlowFilter()).rows
    detail = asked.flow(flow_id)
    watch = asked.watch(flow_id, lambda: None)
    assert (row.id, row.name, row.status, row.client_id) == (
        flow_id,
        add.name,
        "completed",
        add.name,
    )
    assert row.is_ended
    assert detail.row == row
    assert detail.result == asked.result(flow_id, 0)
    assert detail.result is not None
    assert detail.result.text == "5"
    assert watch.detail() == detail
    watch.close()


def test_a_result_reads_as_its_class_wants_it_to(node: SimulatedNode) -> None:
    flow_id = start(node, price_of, 950, client_id="price")

    assert node.operations.result(flow_id, 0).text == "9.50"


def test_a_failure_kept_over_a_restart_has_its_error_and_its_id(node: SimulatedNode) -> None:
    flow_id = ended_before_a_restart(node, refuse, "no money")

    detail = node.operations.flow(flow_id)
    assert detail.row.status == "failed"
    assert detail.error == "Refused: no money"
    assert detail.error_id
    with pytest.raises(Refused, match="no money"):
        node.operations.result(flow_id, 0)


def test_an_unexpected_failure_is_told_by_class_and_text(node: SimulatedNode) -> None:
    flow_id = ended_before_a_restart(node, stumble)

    with pytest.raises(FlowFailed, match="where is it"):
        node.operations.result(flow_id, 0)
    assert "where is it" in node.operations.flow(flow_id).error


def test_a_killed_flow_is_still_a_killed_one(node: SimulatedNode) -> None:
    flow_id = start(node, linger, client_id="linger")
    assert node.operations.kill(flow_id)
    node.restart()

    assert node.operations.flow(flow_id).row.status == "killed"
    with pytest.raises(FlowKilled):
        node.operations.result(flow_id, 0)


def test_a_result_whose_app_is_gone_is_shown_without_its_value(node: SimulatedNode) -> None:
    flow_id = ended_before_a_restart(node, add, 2, 3)
    del node.host.registry.flows[add.name]

    detail = node.operations.flow(flow_id)
    assert detail.result is None
    assert add.name in detail.error


def test_all_that_can_not_be_done_to_an_ended_flow_says_so(node: SimulatedNode) -> None:
    flow_id = ended_before_a_restart(node, add, 2, 3)

    asked = node.operations
    assert asked.kill(flow_id) is False
    with pytest.raises(UnknownFlow, match="only its result is left"):
        asked.journal(flow_id, 0, 10)
    with pytest.raises(UnknownFlow, match="only its result is left"):
        asked.retry(flow_id)


def test_lists_are_newest_first_whether_flows_live_or_not(
    network: SimulatedNetwork, node: SimulatedNode
) -> None:
    old = ended_before_a_restart(node, add, 1, 1)
    network.run_for(1)
    lately = start(node, add, 2, 2, client_id="lately")
    network.run_for(1)
    live = start(node, linger, client_id="live")

    asked = node.operations
    assert [row.id for row in asked.flows(FlowFilter()).rows] == [live, lately, old]
    assert [row.id for row in asked.flows(FlowFilter(limit=2)).rows] == [live, lately]
    assert [row.id for row in asked.flows(FlowFilter(statuses=["completed"])).rows] == [lately, old]
    assert [row.id for row in asked.flows(FlowFilter(name="*.linger")).rows] == [live]


def test_an_unknown_flow_is_unknown_to_every_verb(node: SimulatedNode) -> None:
    nobody = FlowId("01890a5d-ac96-774b-bcce-b302099a8057")

    asked = node.operations
    for verb in (asked.flow, asked.kill, asked.retry):
        with pytest.raises(UnknownFlow, match="sennit flow list"):
            verb(nobody)


def test_what_is_kept_for_a_client_id_can_be_forgotten(node: SimulatedNode) -> None:
    asked = node.operations
    user = UserName("anna")
    lingering = asked.start_flow(user, "ops.linger", Arguments(), "order-1")
    with pytest.raises(MisuseError, match="still runs"):
        asked.forget(user, "order-1")
    asked.kill(lingering)
    with pytest.raises(PermissionDenied):
        asked.forget(UserName("berta"), "order-1")

    asked.forget(user, "order-1")

    with pytest.raises(ClientIdInvalid, match="nothing is kept"):
        asked.forget(user, "order-1")


def test_who_asks_for_what_is_not_installed_is_listed_and_refused() -> None:
    network = SimulatedNetwork()
    alice, bob = network.node("Alice", apps=[call]), network.node("Bob")
    handle = alice.start_flow(call, bob.party)
    network.run_for(60)
    asked = bob.operations

    (row,) = asked.unclaimed()
    assert (row.peer, row.flow, row.version) == (alice.party.name, "ops.call", 1)
    assert row.since_ms <= row.heard_ms
    assert asked.drop_unclaimed("ops.other") == 0
    assert asked.drop_unclaimed("ops.call") == 1

    with pytest.raises(UnexpectedFlowEnd, match="does not want ops"):
        handle.result()
    assert asked.unclaimed() == []


def test_the_limits_are_told_with_what_is_used_of_them() -> None:
    network = SimulatedNetwork(peer_limits=PeerLimits(unclaimed_per_peer_max=7))
    alice, bob = network.node("Alice", apps=[call]), network.node("Bob")
    for _ in range(3):
        alice.start_flow(call, bob.party)
    network.run_for(60)

    limits = {row.name: (row.limit, row.in_use) for row in bob.operations.info().limits}

    assert limits["unclaimed_per_peer_max"] == (7, 3)
    assert limits["unclaimed_max"] == (PeerLimits().unclaimed_max, 3)
