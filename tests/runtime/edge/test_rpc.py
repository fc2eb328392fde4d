"""RPC over real sockets with CURVE: who is admitted, who may do what, what is answered."""

from collections.abc import Callable, Iterator
from contextlib import closing

import gevent
import pytest

from runtime.codec import unpack_any
from runtime.edge.keystore import new_curve_keys
from runtime.edge.rpc_client import RpcClient
from runtime.errors import (
    BadArguments,
    ClientIdInvalid,
    ConfigurationError,
    FlowFailed,
    FlowKilled,
    PermissionDenied,
    ResultNotReady,
    UnknownFlow,
)
from runtime.ids import FlowId
from runtime.operations import Arguments, FlowFilter
from runtime.rpc_messages import (
    Failure,
    NodeUnreachable,
    RequestFailed,
    error_of,
)
from tests.runtime.edge.fake_node import UnacceptablePrice
from tests.runtime.edge.rpc_network import SECONDS, Network


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    with gevent.Timeout(SECONDS), closing(network):
        yield network


# Admission


def test_a_user_whose_key_is_listed_is_answered(network: Network) -> None:
    assert network.client("ann").info().name == "O=Bank A,L=London,C=GB"


def test_a_stranger_is_refused_at_once_and_told_what_to_do(network: Network) -> None:
    with pytest.raises(PermissionDenied, match=r"does not know this user's key.*file of users"):
        network.client("eve", connect_seconds=SECONDS)


def test_a_client_that_expects_another_node_does_not_connect(network: Network) -> None:
    address = network.address("ann", server_key=new_curve_keys().public_key)

    with pytest.raises(NodeUnreachable, match="its key"):
        RpcClient(address, connect_seconds=1.0)


def test_nobody_there_is_said_with_the_command_that_starts_the_node(network: Network) -> None:
    network.server.close()

    with pytest.raises(NodeUnreachable, match=r"no node answers at tcp://127.*node run nodes/bank"):
        network.client("ann", connect_seconds=0.3)


def test_a_port_that_is_taken_is_said_with_what_to_do(network: Network) -> None:
    with pytest.raises(ConfigurationError, match="can't listen at tcp://127"):
        network.serve()


# Asking


def test_a_flow_is_started_with_text_and_its_result_comes_back(network: Network) -> None:
    client = network.client("ann")

    flow_id = client.options().start_text("trade.add", Arguments(["3"], {"right": "4"})).id

    result = client.result(flow_id, SECONDS)
    assert unpack_any(result.value) == 7
    assert result.text == "7"


def test_a_flow_is_started_with_values(network: Network) -> None:
    client = network.client("ann")

    flow_id = client.start_flow("trade.add", 3, right=4).id

    assert client.result(flow_id, SECONDS).text == "7"


def test_the_user_is_the_owner_of_the_key(network: Network) -> None:
    flow_id = network.client("bob").start_flow("trade.wait").id

    assert network.node.by_id[flow_id].user == "bob"


@pytest.mark.parametrize("verb", ["flow", "result", "watch", "journal", "kill", "retry"])
def test_a_user_does_not_learn_whether_others_have_a_flow(network: Network, verb: str) -> None:
    # Breaks when a flow that is not there is told from one that may not be seen.
    theirs = network.client("ann").start_flow("trade.wait").id
    client = network.client("bob")
    ask: dict[str, Callable[[FlowId], object]] = {
        "flow": client.flow,
        "result": lambda flow_id: client.result(flow_id, SECONDS),
        "watch": lambda flow_id: next(client.watch(flow_id)),
        "journal": lambda flow_id: next(client.journal(flow_id)),
        "kill": client.kill,
        "retry": client.retry,
    }
    told = []

    for flow_id in (theirs, FlowId("0190-4711")):
        with pytest.raises(PermissionDenied) as denied:
            ask[verb](flow_id)
        told.append(str(denied.value))

    assert told[0] == told[1]


def test_the_troubles_of_flows_are_shown_to_who_may_list_all(network: Network) -> None:
    network.node.left_behind = ["0190-4711 trade.wait"]

    seen = [network.client(name).info().left_behind for name in ("ann", "sam", "bob")]

    assert seen == [["0190-4711 trade.wait"], ["0190-4711 trade.wait"], []]


def test_the_same_client_id_gives_the_same_flow(network: Network) -> None:
    client = network.client("ann")

    first = client.options(client_id="order-17").start_flow("trade.wait").id
    second = client.options(client_id="order-17").start_flow("trade.wait").id

    assert first == second


def test_what_can_be_started_comes_with_signature_and_docstring(network: Network) -> None:
    kinds = {kind.name: kind for kind in network.client("bob").flow_names()}

    assert kinds["trade.add"].signature == "(left: int, right: int) -> int"
    assert kinds["trade.add"].doc == "Add two numbers."


def test_flows_are_listed_newest_first_and_filtered(network: Network) -> None:
    client = network.client("ann")
    waiting = client.start_flow("trade.wait").id
    added = client.options().start_text("trade.add", Arguments(["1", "2"])).id

    assert [row.id for row in client.flows()] == [added, waiting]
    assert [row.id for row in client.flows(FlowFilter(statuses=["waiting"]))] == [waiting]
    assert [row.id for row in client.flows(FlowFilter(name="*.add"))] == [added]
    assert len(client.flows(FlowFilter(limit=0))) == 1


def test_one_flow_is_shown_with_what_it_waits_for(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait").id

    detail = client.flow(flow_id)

    assert detail.wait is not None
    assert detail.wait.whom == "O=Seller,L=London,C=GB"
    assert [row.label for row in detail.progress] == ["Asking", "Paying"]


def test_a_journal_is_read_page_by_page(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait").id

    rows = list(client.journal(flow_id))

    assert [row.kind for row in rows] == ["started", "sent", "received"]


def test_the_operator_intervenes(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "sennit.operator")
    client = network.client("ann")
    flow_id, held = client.start_flow("trade.wait").id, client.start_flow("trade.hold").id
    client.options(client_id="order-17").start_flow("trade.add", 1, 2)

    client.retry(held)
    was_live = client.kill(flow_id)
    is_live = client.kill(flow_id)
    client.forget("order-17")
    client.drain(is_on=True)
    client.stop()

    assert [row.flow for row in client.unclaimed()] == ["other.sell"]
    assert (client.drop_unclaimed("other.sell"), client.drop_unclaimed("sell")) == (1, 0)
    assert network.node.forgotten == [("ann", "order-17")]
    said = [record.getMessage() for record in caplog.records if record.name == "sennit.operator"]
    assert said[:2] == [f"RetryFlow by user ann: {held}", f"KillFlow by user ann: {flow_id}"]
    assert said[-2:] == ["DropUnclaimed by user ann: other.sell", "DropUnclaimed by user ann: sell"]
    assert network.node.retried == [held]
    assert (was_live, is_live) == (True, False)
    assert client.info().is_draining
    assert network.node.is_stopping.is_set()


def test_a_slow_result_holds_up_nobody_else(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait").id
    waiting = gevent.spawn(client.result, flow_id, SECONDS)
    gevent.sleep(0)

    client.info()
    assert not waiting.ready()
    network.node.end(network.node.by_id[flow_id], result="done")

    assert waiting.get().text == "'done'"


# Errors


def test_a_flows_own_error_arrives_as_its_class_with_its_fields(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.buy", 120).id

    with pytest.raises(UnacceptablePrice) as raised:
        client.result(flow_id, SECONDS)

    assert raised.value.price == 120


def test_the_result_of_a_killed_and_of_a_failed_flow_raise_so(network: Network) -> None:
    client = network.client("ann")
    killed, failed = client.start_flow("trade.wait").id, client.start_flow("trade.wait").id
    client.kill(killed)
    network.node.fail_otherwise(failed)

    with pytest.raises(FlowKilled):
        client.result(killed, SECONDS)
    with pytest.raises(FlowFailed, match=r"builtins\.ValueError: no \(error id 00ff\)"):
        client.result(failed, SECONDS)


def test_a_result_may_be_waited_for_without_end(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait").id
    network.node.end(network.node.by_id[flow_id], result=7)

    result = client.result(flow_id, float("inf"))

    assert result.text == "7"


def test_a_result_that_takes_too_long_is_a_timeout_and_the_flow_goes_on(network: Network) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait").id

    with pytest.raises(ResultNotReady, match="has not ended yet"):
        client.result(flow_id, 0.05)

    assert client.flow(flow_id).row.status == "waiting"


def test_misuse_arrives_as_the_same_class_with_its_text(network: Network) -> None:
    client = network.client("ann")

    with pytest.raises(UnknownFlow, match=r"no flow 'trade\.sell'; it has trade\.add"):
        client.start_flow("trade.sell")
    with pytest.raises(UnknownFlow, match="no flow with the id 17"):
        client.flow(FlowId("17"))
    with pytest.raises(BadArguments, match="right is missing"):
        client.options().start_text("trade.add", Arguments(["1"]))


def test_a_bug_in_the_node_arrives_as_an_error_id_that_stands_in_its_log(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    client = network.client("ann")

    with pytest.raises(RequestFailed) as raised:
        client.start_flow("trade.crash")

    assert raised.value.error_id in [record.__dict__["error_id"] for record in caplog.records]
    assert "a bug in the node" in caplog.text
    assert client.info().commits == 42


def test_an_error_that_the_client_does_not_know_keeps_its_name_and_text() -> None:
    assert str(error_of(Failure("VaultClosed", "the vault is closed"))) == (
        "VaultClosed: the vault is closed"
    )
    assert str(error_of(Failure("FlowFailed", "from a newer node", ["a"]))) == (
        "FlowFailed: from a newer node"
    )
    assert isinstance(error_of(Failure("ClientIdInvalid", "", ["too long"])), ClientIdInvalid)


# Permissions


def test_a_user_starts_only_what_they_may(network: Network) -> None:
    client = network.client("bob")

    client.start_flow("trade.wait")
    with pytest.raises(PermissionDenied, match=r"'bob' may not start trade\.buy"):
        client.start_flow("trade.buy")


def test_without_read_a_user_sees_only_their_own_flows(network: Network) -> None:
    of_ann = network.client("ann").start_flow("trade.wait").id
    client = network.client("bob")
    of_bob = client.start_flow("trade.wait").id

    assert [row.id for row in client.flows()] == [of_bob]
    assert client.flow(of_bob).row.user == "bob"
    assert next(iter(client.watch(of_bob))).row.id == of_bob
    for look in (
        lambda: client.flow(of_ann),
        lambda: client.result(of_ann, 0),
        lambda: list(client.watch(of_ann)),
        lambda: list(client.journal(of_bob)),
        lambda: client.unclaimed(),
    ):
        with pytest.raises(PermissionDenied, match="'bob' may not use"):
            look()


def test_read_sees_all_and_changes_nothing(network: Network) -> None:
    of_ann = network.client("ann").start_flow("trade.wait").id
    client = network.client("sam")

    assert [row.id for row in client.flows()] == [of_ann]
    assert len(list(client.journal(of_ann))) == 3
    for change in (
        lambda: client.start_flow("trade.wait").id,
        lambda: client.kill(of_ann),
        lambda: client.retry(of_ann),
        lambda: client.drop_unclaimed("other.sell"),
        lambda: client.drain(is_on=True),
        client.stop,
    ):
        with pytest.raises(PermissionDenied, match="'sam' may not"):
            change()
    assert not network.node.is_draining
    assert not network.node.is_stopping.is_set()
