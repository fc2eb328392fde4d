"""What an operator is told of one flow: its arguments, where it stands, no time of 1970."""

import pytest

from runtime import Party, RetryLater, Session, flow, initiate, responder, sleep
from runtime.core.events import JOURNAL
from runtime.engine.flow_ids import key_of
from runtime.limits import PeerLimits
from runtime.operations import FlowFilter
from runtime.ports import Batch
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import HeldDisk, turn


@flow(name="detail.ask")
def ask(peer: Party, price: int, note: str = "none") -> None:
    initiate(peer).receive(str)


@responder(ask)
def say_nothing(session: Session) -> None:
    sleep(1e6)


@flow(name="detail.outer")
def outer(peer: Party) -> None:
    sleep(0)
    ask(peer, 1)


@flow(name="detail.rely")
def rely() -> None:
    raise RetryLater("the bank is away")


@flow(name="detail.rest")
def rest() -> None:
    sleep(10)


@flow(name="detail.tell")
def tell(peer: Party) -> None:
    initiate(peer).send("news")


@pytest.fixture(params=[True, False], ids=["rebuilt", "resident"])
def network(request: pytest.FixtureRequest) -> SimulatedNetwork:
    return SimulatedNetwork(is_replay_checked=request.param)


def alone(network: SimulatedNetwork) -> SimulatedNode:
    return network.node("Alice", apps=[ask, say_nothing, outer, rely, rest])


def line_of(definition: object, below: int) -> str:
    code = definition.function.__code__  # type: ignore[attr-defined]
    return f"({__file__}:{code.co_firstlineno + below})"


def test_the_arguments_are_shown_by_name_also_after_a_restart(network: SimulatedNetwork) -> None:
    alice = alone(network)
    flow_id = alice.begin_flow(ask, alice.party, 95).id
    network.run_for(0.1)
    before = alice.operations.flow(flow_id).arguments
    alice.restart()

    after = alice.operations.flow(flow_id).arguments
    alice.restart(apps=[])
    without_app = alice.operations.flow(flow_id).arguments

    assert before == after
    assert after.endswith(", price=95, note='none'")
    assert after.startswith("peer=")
    assert "95" in without_app


def test_a_waiting_flow_tells_its_place_in_the_journal_and_its_line(
    network: SimulatedNetwork,
) -> None:
    alice = alone(network)
    flow_id = alice.begin_flow(outer, alice.party).id
    network.run_for(0.1)

    detail = alice.operations.flow(flow_id)

    assert detail.source == f"ask {line_of(ask, 2)}"
    path, _, number = detail.place.rpartition("/")
    assert path
    assert int(number) > 0


def test_a_flow_that_failed_or_will_be_tried_again_tells_the_line_that_failed(
    network: SimulatedNetwork,
) -> None:
    alice = alone(network)
    flow_id = alice.begin_flow(rely).id
    network.run_for(0.1)

    waiting = alice.operations.flow(flow_id)

    assert waiting.row.status == "waiting"
    assert waiting.source == f"rely {line_of(rely, 2)}"


def test_a_flow_that_waits_for_the_disk_says_since_when() -> None:
    disk = HeldDisk()
    network = SimulatedNetwork(disk=disk, is_replay_checked=False)
    disk.is_held = False
    alice = alone(network)
    disk.is_held = True
    flow_id = alice.begin_flow(outer, alice.party).id
    turn(network)
    network.run_for(5)

    wait = alice.operations.flow(flow_id).wait

    assert wait is None or wait.since_ms >= key_time(flow_id)


def key_time(flow_id: str) -> int:
    return int.from_bytes(key_of(flow_id)[:6], "big")


def test_a_flow_whose_journal_can_not_be_read_has_the_time_of_its_start(
    network: SimulatedNetwork,
) -> None:
    alice = alone(network)
    flow_id = alice.begin_flow(rest).id
    network.run_for(1)
    alice.crash()
    alice.store.submit(
        Batch({JOURNAL: {key_of(flow_id) + bytes(4): b"\xc1"}}), on_durable=lambda: None
    )
    alice.start()

    (row,) = alice.operations.flows(FlowFilter()).rows
    events = alice.operations.journal(row.id, 0, 10)  # type: ignore[arg-type]

    assert (row.status, row.started_ms) == ("held", key_time(flow_id))
    assert events[0].kind == "unreadable"
    assert all(event.time_ms is None or event.time_ms >= row.started_ms for event in events)


def test_flows_that_lack_their_app_are_one_line_of_the_log_and_keep_their_error_ids(
    network: SimulatedNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    alice = alone(network)
    ids = [alice.begin_flow(rest).id for _ in range(50)]
    alice.begin_flow(rely)
    network.run_for(1)
    alice.restart(apps=[])
    held = [it.getMessage() for it in caplog.records if "held" in it.getMessage()]
    first = alice.operations.flow(ids[0])
    network.run_for(1)
    alice.restart(apps=[])
    again = alice.operations.flow(ids[0])

    assert len(held) == 1
    assert "51 flows are held" in held[0]
    assert "detail.rest (50), detail.rely (1)" in held[0]
    assert first.error_id == again.error_id


def test_a_flow_that_waits_for_room_before_it_has_opened_a_session_tells_for_whom(
    network: SimulatedNetwork,
) -> None:
    network.peer_limits = PeerLimits(unacknowledged_bytes_per_peer_max=1)
    alice = alone(network)
    away = network.node("Bob", apps=[ask])
    away.crash()
    alice.begin_flow(ask, away.party, 1)
    alice.add_apps(tell)
    flow_id = alice.begin_flow(tell, away.party).id
    network.run_for(1)

    wait = alice.operations.flow(flow_id).wait

    assert wait is not None
    assert (wait.what, wait.whom) == ("room at the peer", away.party.name)
