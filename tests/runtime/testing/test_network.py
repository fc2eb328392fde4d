"""The simulated network: nodes that crash and come back, virtual time, the replay check.

And what a flow can know of its surroundings, for which nothing more than such a network is needed.
"""

import random
from collections.abc import Iterator
from datetime import timedelta
from itertools import count

import pytest

from runtime import (
    AnonymousParty,
    FlowInfo,
    Party,
    PeerInfo,
    Session,
    current_flow,
    flow,
    initiate,
    me,
    now,
    responder,
    rng,
    service,
    sleep,
    sleep_until,
)
from runtime.errors import ConfigurationError, MisuseError, NodeStopped
from runtime.host import Host
from runtime.keys import PrivateKey
from runtime.testing.network import SimulatedNetwork, SimulatedNode

MONTH_SECONDS = 30 * 24 * 3600


class Register:
    """A service of an app."""

    def __init__(self) -> None:
        self.numbers: Iterator[int] = count(1)


def read_float(session: Session) -> float:
    return session.receive(float).unwrap(float)


@flow
def roll(peer: Party) -> float:
    return initiate(peer).exchange(rng().random(), float).unwrap(float)


@flow
def roll_carelessly(peer: Party) -> float:
    return initiate(peer).exchange(random.random(), float).unwrap(float)


@responder(roll)
def watch_roll(session: Session) -> None:
    session.send(read_float(session))


@responder(roll_carelessly)
def watch_careless_roll(session: Session) -> None:
    session.send(read_float(session))


@flow
def hibernate(until_spring: bool) -> str:
    asleep = now()
    if until_spring:
        sleep_until(asleep + timedelta(seconds=MONTH_SECONDS))
    else:
        sleep(MONTH_SECONDS)
    return str((now() - asleep).total_seconds())


@flow(name="tests.who", version=3)
def who(peer: Party) -> list[str]:
    session = initiate(peer)
    return [*about(current_flow()), str(me()), *about_peer(session.peer), str(session.counterparty)]


@responder(who)
def somebody(session: Session) -> None:
    """Accept, and leave it at that."""


def about(info: FlowInfo) -> list[str]:
    assert current_flow() == info
    return [info.id, info.name, str(info.version), info.user]


def about_peer(info: PeerInfo) -> list[str]:
    return [str(info.party), str(info.flow_version), info.app]


@flow
def greet_anonymously(peer: AnonymousParty) -> str:
    session = initiate(peer)
    session.send("hello")
    return str(session.counterparty)


@responder(greet_anonymously)
def return_greeting(session: Session) -> None:
    session.receive(str).unwrap(str)


@flow
def ask_register() -> int:
    return next(service(Register).numbers)


APPS = (roll, watch_roll, roll_carelessly, watch_careless_roll, hibernate, who, somebody)


def pair(network: SimulatedNetwork) -> tuple[SimulatedNode, SimulatedNode]:
    return network.node("Alice", apps=APPS), network.node("Bob", apps=APPS)


def test_the_replay_check_finds_what_is_not_deterministic() -> None:
    network = SimulatedNetwork()
    alice, bob = pair(network)

    careless = alice.start_flow(roll_carelessly, bob.party)
    careful = alice.start_flow(roll, bob.party)
    network.run()

    assert careless.status == "held"
    assert careful.status == "completed"


def test_without_the_check_it_is_found_at_a_restart() -> None:
    network = SimulatedNetwork(is_replay_checked=False)
    alice, bob = pair(network)
    bob.stop()
    flow_id = alice.start_flow(roll_carelessly, bob.party).id

    assert alice.handle(flow_id).status == "waiting"
    alice.restart()
    network.run_for(1)

    assert alice.handle(flow_id).status == "held"


@pytest.mark.parametrize("until_spring", [False, True])
def test_a_month_of_sleep_takes_no_time_to_test(until_spring: bool) -> None:
    network = SimulatedNetwork()
    alice, _ = pair(network)

    slept = alice.start_flow(hibernate, until_spring).result()

    assert float(slept) == MONTH_SECONDS


def test_a_node_whose_clock_was_set_forward_wakes_its_sleepers_at_the_start() -> None:
    network = SimulatedNetwork()
    alice, _ = pair(network)
    flow_id = alice.start_flow(hibernate, False).id
    network.run_for(1)

    alice.stop()
    alice.move_clock(MONTH_SECONDS * 1000)
    alice.start()
    network.run_for(1)

    assert alice.handle(flow_id).status == "completed"


def test_a_flow_knows_itself_its_node_and_its_peer() -> None:
    network = SimulatedNetwork()
    alice, bob = pair(network)

    handle = alice.start_flow(who, bob.party)

    assert handle.result() == [
        handle.id,
        "tests.who",
        "3",
        "local",
        str(alice.party),
        str(bob.party),
        "3",
        "tests",
        str(bob.party),
    ]


def test_a_session_can_be_opened_to_a_one_time_identity_that_is_known() -> None:
    network = SimulatedNetwork()
    alice = network.node("Alice", apps=[greet_anonymously])
    bob = network.node("Bob", apps=[return_greeting])
    known, unknown = (AnonymousParty(PrivateKey.generate().public) for _ in range(2))
    alice.host.resolvers.append(lambda party: bob.party if party == known else None)

    reached = alice.start_flow(greet_anonymously, known).result()
    refused = alice.start_flow(greet_anonymously, unknown)
    network.run()

    assert reached == str(bob.party)
    assert refused.status == "held"
    assert unknown.key.fingerprint() in alice.flow(refused.id).error


def test_an_app_has_services_and_is_told_of_start_and_stop() -> None:
    heard: list[str] = []

    def install(host: Host) -> None:
        host.provide(Register, Register())
        host.on_start(lambda: heard.append("start"))
        host.on_stop(lambda: heard.append("stop"))

    alice = SimulatedNetwork().node("Alice", apps=[ask_register], install=install)

    numbers = [alice.start_flow(ask_register).result() for _ in range(2)]
    alice.stop()

    assert numbers == [1, 2]
    assert heard == ["start", "stop"]


def test_a_service_that_nobody_provides_is_named() -> None:
    alice, _ = pair(SimulatedNetwork())

    with pytest.raises(ConfigurationError, match="Register"):
        alice.host.service(Register)


def test_two_flows_of_one_name_stop_the_node_at_its_start() -> None:
    @flow(name="tests.who")
    def another() -> None:
        """It is not the one above."""

    with pytest.raises(ConfigurationError, match="two flows have this name"):
        SimulatedNetwork().node("Alice", apps=[who, another])


def test_a_node_that_drains_starts_nothing_and_finishes_what_lives() -> None:
    network = SimulatedNetwork()
    alice, bob = pair(network)
    living = alice.start_flow(hibernate, False)
    alice.drain()

    with pytest.raises(NodeStopped, match="draining"):
        alice.start_flow(roll, bob.party)
    asked = bob.start_flow(roll, alice.party)
    assert living.result()
    assert not asked.is_ended

    alice.drain(is_on=False)
    assert asked.result() >= 0


def test_a_node_that_is_down_can_be_asked_nothing() -> None:
    network = SimulatedNetwork()
    alice, bob = pair(network)
    alice.crash()

    with pytest.raises(MisuseError, match="restart"):
        alice.start_flow(roll, bob.party)
