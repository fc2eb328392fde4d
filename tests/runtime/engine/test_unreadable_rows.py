"""A row that nobody can read, in any space: set aside by its key, and everything else goes on."""

from typing import Final

import pytest

from runtime import Party, Session, flow, initiate, responder, sleep
from runtime.errors import SennitError, UnreadableRow
from runtime.ids import FlowId, PeerName
from runtime.operations import FlowFilter
from runtime.ports import Batch, Space
from runtime.testing.memory_transport import Delivery
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import outcome, pair, same

SPACES: Final = (
    "journal",
    "inbox",
    "outbox",
    "tombstones",
    "client_ids",
    "results",
    "result_index",
    "held",
)
WRITE_ONCE: Final = frozenset({"journal", "inbox", "outbox"})

# Nothing, no MessagePack, another type, a row with too few and one with other fields.
DAMAGES: Final = {
    "empty": b"",
    "noise": b"\xc1\xff\x00",
    "nil": b"\xc0",
    "short": b"\x90",
    "other": b"\x9a" + b"\xa1x" * 10,
    "deep": b"\x91" * 5_000,
}


@flow(name="rows.talk")
def talk(peer: Party) -> list[str]:
    session = initiate(peer)
    answers = [session.exchange("one", str).unwrap(same)]
    sleep(50)
    answers.append(session.exchange("two", str).unwrap(same))
    return answers


@responder(talk)
def answer(session: Session) -> None:
    session.send(session.receive(str).unwrap(same) + "!")
    session.send("early")
    session.receive(str).unwrap(same)
    sleep(1)


@flow(name="rows.brief")
def brief(peer: Party) -> str:
    return initiate(peer).receive(str).unwrap(same)


@responder(brief)
def nothing(session: Session) -> None:
    session.send("nothing")


@flow(name="rows.add")
def add(one: int, other: int) -> int:
    return one + other


@flow(name="rows.later")
def later() -> str:
    sleep(100)
    return "later"


@flow(name="rows.hold")
def hold() -> None:
    raise NotImplementedError("wait for somebody")


APPS: Final = (talk, answer, brief, nothing, add, later, hold)


def filled(network: SimulatedNetwork) -> tuple[SimulatedNode, SimulatedNode]:
    """Return two nodes that have rows in all of their spaces."""
    alice, bob = pair(network, *APPS)
    alice.running.manager.hospital.hold_unexpected = True
    alice.options(client_id="sum").start_flow(add, 2, 3).result()
    alice.begin_flow(talk, bob.party)
    network.run_for(10)
    alice.begin_flow(hold)
    alice.begin_flow(later)
    alice.start_flow(brief, bob.party).result()
    network.links.policy = lambda link, encoded: []
    alice.begin_flow(talk, bob.party)
    network.run_for(1)
    network.links.policy = lambda link, encoded: [Delivery(encoded)]
    return alice, bob


def space_of(name: str) -> Space:
    return Space(name, write_once=name in WRITE_ONCE)


def keys_in(node: SimulatedNode, name: str) -> list[bytes]:
    return [key for key, _ in node.store.scan(space_of(name), b"", None)]


def write(node: SimulatedNode, rows: dict[tuple[str, bytes], bytes]) -> None:
    batch = Batch()
    for (name, key), value in rows.items():
        batch.put(space_of(name), key, value)
    node.store.submit(batch, lambda: None)


def all_lists(node: SimulatedNode) -> None:
    """Ask for everything that an operator can list."""
    for wanted in (FlowFilter(), FlowFilter(user="test"), FlowFilter(name="rows.*")):
        for row in node.operations.flows(wanted).rows:
            try:
                node.operations.flow(FlowId(row.id))
            except SennitError:
                assert row.name == "unreadable"
    node.operations.info()
    node.operations.unclaimed()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("space", SPACES)
def test_rows_of_a_space_that_can_not_be_read_stop_neither_start_nor_lists(
    network: SimulatedNetwork, space: str, damage: str
) -> None:
    alice, bob = filled(network)
    rows = dict(alice.store.scan(space_of(space), b"", None))
    keys = list(rows)
    alice.crash()
    write(alice, {(space, key): DAMAGES[damage] for key in keys})
    write(alice, {(space, b"odd"): next(iter(rows.values()))})

    alice.start()
    network.run_for(200)

    assert keys
    all_lists(alice)
    if space in ("journal", "outbox", "results"):
        assert any(b"odd".hex() in text for text in alice.operations.info().unreadable)
    assert alice.start_flow(add, 4, 5).result() == 9
    if space != "journal":
        ended = [row.id for row in alice.flows(FlowFilter(name=later.name, statuses=["completed"]))]
        assert "later" in [alice.handle(flow_id).result() for flow_id in ended]
    assert bob.is_up


def test_events_that_make_no_sense_together_hold_their_flow(network: SimulatedNetwork) -> None:
    alice, _ = filled(network)
    rows = dict(alice.store.scan(space_of("journal"), b"", None))
    for key in rows:
        for value in set(rows.values()):
            alice.crash()
            write(alice, {("journal", key): value})

            alice.start()
            all_lists(alice)

            alice.crash()
            write(alice, {("journal", key): rows[key]})
            alice.start()


@pytest.mark.parametrize("space", ["outbox", "tombstones", "client_ids", "results", "held"])
def test_what_is_set_aside_is_told_with_its_key_and_stays(
    network: SimulatedNetwork, space: str, caplog: pytest.LogCaptureFixture
) -> None:
    alice, _ = filled(network)
    [key, *_] = keys_in(alice, space)
    alice.crash()
    write(alice, {(space, key): b"\xc1"})

    alice.start()
    all_lists(alice)
    if space == "client_ids":
        with pytest.raises(UnreadableRow, match=key.hex()):
            alice.options(client_id="sum").start_flow(add, 2, 3)

    told = [text for text in alice.operations.info().unreadable if key.hex() in text]
    assert len(told) == 1
    assert key.hex() in caplog.text
    if space != "held":
        assert alice.store.get(space_of(space), key) == b"\xc1"


def test_a_flow_whose_message_can_not_be_read_is_held_until_it_can(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, *APPS)
    handle = alice.begin_flow(talk, bob.party)
    network.run_for(10)
    [key] = keys_in(alice, "inbox")
    good = alice.store.get(space_of("inbox"), key)
    assert good is not None
    alice.crash()
    write(alice, {("inbox", key): b"\xc1"})

    alice.start()
    network.run_for(100)
    held = alice.operations.flow(handle.id)
    with pytest.raises(UnreadableRow, match=key.hex()):
        alice.operations.retry(handle.id)
    alice.crash()
    write(alice, {("inbox", key): good})
    alice.start()
    alice.operations.retry(handle.id)
    again = alice.handle(handle.id)
    network.run()

    assert held.row.status == "held"
    assert key.hex() in held.error
    assert outcome(again) == ["one!", "early"]


def test_a_flow_that_was_held_for_a_reason_that_can_not_be_read_stays_held(
    network: SimulatedNetwork,
) -> None:
    alice, _ = filled(network)
    [key] = keys_in(alice, "held")
    for _ in range(2):
        alice.crash()
        write(alice, {("held", key): b"\xc1"})
        alice.start()

    [held] = alice.flows(FlowFilter(statuses=["held"]))
    assert alice.handle(held.id).status == "held"


def test_a_tombstone_that_can_not_be_read_starts_no_second_responder(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, *APPS)
    sent: list[tuple[PeerName, list[bytes]]] = []

    def copied(link: object, encoded: list[bytes]) -> list[Delivery]:
        sent.append((alice.party.name, encoded))
        return [Delivery(encoded)]

    network.links.policy = copied
    alice.start_flow(talk, bob.party)
    network.run()
    bob.crash()
    write(bob, {("tombstones", key): b"\xc1" for key in keys_in(bob, "tombstones")})
    bob.start()

    bob.frame_arrives(alice.party.name, sent[0][1])
    network.run_for(1)

    assert bob.info().flows_started == 0
