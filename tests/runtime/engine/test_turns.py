"""The turn of the loop: a lone flow is served in the callback that brought it news."""

from runtime import Party, Session, flow, initiate, responder, sleep, step
from runtime.core.events import JOURNAL
from runtime.testing.network import SimulatedNetwork
from tests.runtime.engine.scenes import HeldDisk, only_flow, pair, turn

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

    commits = (alice.commits, bob.commits)
    count = callbacks_of(network, lambda: network.run_for(10_000))

    assert count == 0
    assert (alice.commits, bob.commits) == commits


@flow
def work_and_doze() -> int:
    done = work(1)
    sleep(1)
    return done


def test_a_flow_that_waits_for_the_disk_is_woken_by_nothing_else() -> None:
    # Breaks when it is marked as ready meanwhile: nothing would ever queue it again.
    disk = HeldDisk()
    network = SimulatedNetwork(disk=disk, is_replay_checked=False)
    alice = network.node("Alice", apps=[work_and_doze])
    handle = alice.begin_flow(work_and_doze)
    turn(network)
    assert disk.waiting(alice) == 1

    only_flow(alice).make_ready()
    turn(network)
    for _ in range(5):
        alice.store.make_durable()
        network.run_for(1)

    assert handle.status == "completed"


def flows_under_way(disk: HeldDisk) -> list[int]:
    """Return how many flows each batch that is not durable yet has events of."""
    return [len({key[:16] for key in batch.writes[JOURNAL]}) for _, batch in disk.batches]


def test_a_turn_of_many_flows_submits_half_way_to_a_disk_that_is_idle() -> None:
    # Breaks when a thousand flows all wait for one commit, and nothing runs meanwhile.
    disk = HeldDisk()
    network = SimulatedNetwork(disk=disk, is_replay_checked=False)
    alice = network.node("Alice", apps=[work_and_doze])
    for _ in range(1_000):
        alice.begin_flow(work_and_doze)
    turn(network)
    assert flows_under_way(disk) == [1_000]

    alice.store.make_durable()
    turn(network)
    half = flows_under_way(disk)
    alice.store.make_durable()
    turn(network)

    assert half == [512]
    assert flows_under_way(disk) == [488]
