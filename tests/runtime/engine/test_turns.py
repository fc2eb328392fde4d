"""The turn of the loop: a lone flow is served in the callback that brought it news."""

from runtime import Party, Session, flow, initiate, responder, sleep, step
from runtime.testing.network import SimulatedNetwork
from tests.runtime.engine.scenes import pair

STEPS = 100


@step
def work(number: int) -> int:
    return number


@flow
def work_on(count: int) -> int:
    return sum(work(1) for _ in range(count))


@flow
def ping(peer: Party, rounds: int) -> None:
    session = initiate(peer)
    for number in range(rounds):
        session.exchange(number, int)


@responder(ping)
def pong(session: Session) -> None:
    while True:
        session.send(session.receive(int).unwrap(int))


@flow
def doze() -> None:
    sleep(100_000)


def callbacks_of(network: SimulatedNetwork, run: object) -> int:
    before = network.loop.callbacks
    assert callable(run)
    run()
    return network.loop.callbacks - before


# Breaks if a commit that lands, or a frame that arrives, only asks for a turn (Commits.schedule)
# and does not take it: then each of them costs another callback.
def test_a_step_costs_one_callback_the_one_that_says_that_its_commit_has_landed() -> None:
    network = SimulatedNetwork(is_replay_checked=False)
    alice = network.node("Alice", apps=[work_on])

    count = callbacks_of(network, lambda: alice.start_flow(work_on, STEPS).result())

    assert STEPS <= count < 1.1 * STEPS


def test_a_message_costs_two_callbacks_its_arrival_and_the_landing_of_its_commit() -> None:
    network = SimulatedNetwork(is_replay_checked=False)
    alice, bob = pair(network, ping, pong)

    count = callbacks_of(network, lambda: alice.start_flow(ping, bob.party, STEPS).result())

    assert 4 * STEPS <= count < 4.3 * STEPS


def test_timers_that_serve_many_messages_leave_an_idle_node_alone_in_the_end() -> None:
    network = SimulatedNetwork()
    alice, bob = pair(network, ping, pong, doze)
    alice.start_flow(ping, bob.party, STEPS)
    alice.start_flow(doze)
    network.run_for(60)

    commits = (alice.running.commits.commits, bob.running.commits.commits)
    count = callbacks_of(network, lambda: network.run_for(10_000))

    assert count == 0
    assert (alice.running.commits.commits, bob.running.commits.commits) == commits
