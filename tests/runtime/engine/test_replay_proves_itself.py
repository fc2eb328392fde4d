"""Rule 5 of the journal: place, kind, key attributes and hash of every operation must match."""

import pytest

from runtime import (
    Party,
    Session,
    flow,
    initiate,
    now,
    receive_all,
    responder,
    send_all,
    sleep,
    step,
    timeout,
)
from runtime.ports import Space
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import (
    assert_nothing_is_left,
    journal,
    only_flow,
    pair,
    same,
)

SPACE = Space("rules")
effects: list[str] = []


@flow
def sub() -> None:
    sleep(0)


@step(name="charge")
def charge(amount: int) -> str:
    return f"charged {amount}"


@step(name="charge", loose=True)
def charge_loosely(amount: int) -> str:
    return f"charged {amount}"


@step(name="refund")
def refund(amount: int) -> str:
    return f"refunded {amount}"


@flow(name="rule 5")
def original(peer: Party, other: Party) -> str:
    session = initiate(peer)
    receipt = charge(10)
    session.send("pay")
    session.receive(str)
    sleep(1_000)
    return receipt


@responder("rule 5")
def counterpart(session: Session) -> None:
    session.send(session.receive(object).unwrap(str))


@flow(name="rule 5")
def step_name(peer: Party, other: Party) -> str:
    session = initiate(peer)
    receipt = refund(10)
    session.send("pay")
    session.receive(str)
    sleep(1_000)
    return receipt


@flow(name="rule 5")
def step_argument(peer: Party, other: Party) -> str:
    session = initiate(peer)
    receipt = charge(11)
    session.send("pay")
    session.receive(str)
    sleep(1_000)
    return receipt


@flow(name="rule 5")
def message_content(peer: Party, other: Party) -> str:
    session = initiate(peer)
    receipt = charge(10)
    session.send("pay!")
    session.receive(str)
    sleep(1_000)
    return receipt


@flow(name="rule 5")
def message_type(peer: Party, other: Party) -> str:
    session = initiate(peer)
    receipt = charge(10)
    session.send(7)
    session.receive(str)
    sleep(1_000)
    return receipt


@flow(name="rule 5")
def other_peer(peer: Party, other: Party) -> str:
    session = initiate(other)
    receipt = charge(10)
    session.send("pay")
    session.receive(str)
    sleep(1_000)
    return receipt


@flow(name="rule 5")
def order(peer: Party, other: Party) -> str:
    session = initiate(peer)
    session.send("pay")
    receipt = charge(10)
    session.receive(str)
    sleep(1_000)
    return receipt


@flow(name="rule 5")
def missing_operation(peer: Party, other: Party) -> str:
    session = initiate(peer)
    session.send("pay")
    session.receive(str)
    sleep(1_000)
    return "charged 10"


@flow(name="rule 5")
def extra_operation(peer: Party, other: Party) -> str:
    session = initiate(peer)
    receipt = charge(10)
    now()
    session.send("pay")
    session.receive(str)
    sleep(1_000)
    return receipt


@flow(name="rule 5")
def send_for_receive(peer: Party, other: Party) -> str:
    session = initiate(peer)
    receipt = charge(10)
    session.send("pay")
    session.send("more")
    sleep(1_000)
    return receipt


@flow(name="rule 5")
def end_too_early(peer: Party, other: Party) -> str:
    session = initiate(peer)
    receipt = charge(10)
    session.send("pay")
    return receipt


@flow(name="rule 5")
def error_too_early(peer: Party, other: Party) -> str:
    raise KeyError(str(peer) + str(other))


@flow(name="rule 5")
def sub_flow_for_step(peer: Party, other: Party) -> str:
    sub()
    return original.function(peer, other)


@flow(name="rule 5")
def timeout_around(peer: Party, other: Party) -> str:
    with timeout(5):
        return original.function(peer, other)


CHANGES = {
    step_name: ("step charge(10)", "step refund(10)"),
    step_argument: ("step charge(10)", "step charge(11)"),
    message_content: ("send str ('pay') in session 1", "send str ('pay!') in session 1"),
    message_type: ("send str ('pay') in session 1", "send int (7) in session 1"),
    other_peer: ("open session 1 to O=Bob", "open session 1 to O=Carol"),
    order: ("step charge(10)", "open session 1 to O=Bob"),
    missing_operation: ("step charge(10)", "open session 1 to O=Bob"),
    extra_operation: ("open session 1 to O=Bob", "now"),
    send_for_receive: ("receive in session 1", "send str ('more') in session 1"),
    end_too_early: ("receive in session 1", "the end of the flow"),
    error_too_early: ("step charge(10)", "the end of the flow by KeyError"),
    sub_flow_for_step: ("step charge(10)", f"sub-flow {sub.name}()"),
    timeout_around: ("step charge(10)", "timeout"),
}


def suspended(network: SimulatedNetwork) -> SimulatedNode:
    alice, bob = pair(network, original, counterpart)
    carol = network.node("Carol", apps=[original, counterpart])
    alice.begin_flow(original, bob.party, carol.party)
    network.run_for(10)
    return alice


@pytest.mark.parametrize("changed", CHANGES, ids=lambda each: each.__name__)
def test_rule_5_replay_proves_itself(network: SimulatedNetwork, changed: object) -> None:
    recorded, asked = CHANGES[changed]  # type: ignore[index]
    alice = suspended(network)
    flow_id = only_flow(alice).flow_id
    events = journal(alice, flow_id)

    alice.restart(apps=[changed, counterpart])  # type: ignore[list-item]
    network.run_for(10)

    run = only_flow(alice)
    assert run.hold_reason == "diverged"
    report = run.error
    assert report is not None
    assert report.recorded.startswith(recorded)  # type: ignore[attr-defined]
    assert report.asked.startswith(asked)  # type: ignore[attr-defined]
    assert report.source.startswith(f"{__file__}:")  # type: ignore[attr-defined]
    # Set aside intact: the right code goes on from there.
    assert journal(alice, flow_id) == events
    alice.restart(apps=[original, counterpart])
    assert alice.handle(flow_id).result() == "charged 10"
    network.run()
    assert_nothing_is_left(network)


@flow(name="rule 5")
def loose(peer: Party, other: Party) -> str:
    session = initiate(peer)
    receipt = charge_loosely(11)
    session.send("pay")
    session.receive(str)
    sleep(1_000)
    return receipt


@flow(name="rule 5")
def moved_lines(peer: Party, other: Party) -> str:
    """Do the same, on other lines and in other words."""
    theirs = initiate(peer)

    paid = charge(
        10,
    )
    theirs.exchange("pay", str)
    if paid:
        sleep(1_000)

    return paid


@flow(name="rule 5")
def changed_behind(peer: Party, other: Party) -> str:
    session = initiate(peer)
    receipt = charge(10)
    session.send("pay")
    session.receive(str)
    sleep(1_000)
    refund(3)
    return receipt


@pytest.mark.parametrize("changed", [loose, moved_lines, changed_behind])
def test_rule_5_a_change_that_replays_the_same_is_no_divergence(
    network: SimulatedNetwork, changed: object
) -> None:
    alice = suspended(network)
    flow_id = only_flow(alice).flow_id

    alice.restart(apps=[changed, counterpart])  # type: ignore[list-item]

    assert alice.handle(flow_id).result() == "charged 10"


def test_rule_5_code_that_is_not_deterministic_is_found_by_the_replay_check() -> None:
    counter = iter(range(100))

    @flow
    def not_deterministic() -> None:
        charge(next(counter))
        sleep(1)

    network = SimulatedNetwork()
    alice = network.node("Alice", apps=[not_deterministic])
    alice.start_flow(not_deterministic)
    network.run_for(10)

    assert only_flow(alice).hold_reason == "diverged"


@flow(name="both")
def receive_both(peer: Party) -> list[str]:
    first, second = initiate(peer), initiate(peer)
    send_all({first: "first", second: "second"})
    words = [each.unwrap(same) for each in receive_all([first, second], str)]
    sleep(1_000)
    return words


@flow(name="both")
def receive_both_the_other_way(peer: Party) -> list[str]:
    first, second = initiate(peer), initiate(peer)
    send_all({first: "first", second: "second"})
    words = [each.unwrap(same) for each in receive_all([second, first], str)]
    sleep(1_000)
    return words


@responder("both")
def say_it(session: Session) -> None:
    session.send(session.receive(str).unwrap(same))


def test_rule_5_the_order_of_the_sessions_in_receive_all_is_proved(
    network: SimulatedNetwork,
) -> None:
    # Breaks when what one peer has said is taken for what another one has said.
    alice, bob = pair(network, receive_both, say_it)
    handle = alice.start_flow(receive_both, bob.party)
    network.run_for(10)

    alice.restart(apps=[receive_both_the_other_way, say_it])
    network.run_for(10)

    assert only_flow(alice).hold_reason == "diverged"
    alice.restart(apps=[receive_both, say_it])
    assert alice.handle(handle.id).result() == ["first", "second"]
