"""Scenarios of the simulated histories: what clients want, and what must come of it."""

from functools import partial
from typing import Final

from runtime import FlowKilled, FlowTimeout, SessionClosed, SessionNotOpen, UnexpectedFlowEnd
from runtime.core.envelopes import SESSION_ID_BYTES
from runtime.engine.tombstones import TOMBSTONES
from runtime.ids import SessionId
from runtime.testing.network import SimulatedNode
from runtime.testing.simulation import Scenario
from runtime.testing.world import Request, World, either, ended, raised, returned, succeeded
from tests.simulation import flows


def nodes(world: World, *names: str) -> list[SimulatedNode]:
    return [world.node(name, apps=[flows]) for name in names]


def ping_pong(world: World) -> None:
    alice, bob = nodes(world, "Alice", "Bob")
    for one, other in ((alice, bob), (bob, alice)):
        rounds = world.random.randint(1, 20)
        request = world.request(one, flows.play, other.party, rounds)
        request.expect(returned([-number for number in range(rounds)]))
        request.after(world.random.random() * 3)


def fan_out(world: World) -> None:
    alice, *others = nodes(world, "Alice", "Bob", "Carol", "Dave")
    for _ in range(3):
        rounds = world.random.randint(1, 4)
        peers = [node.party for node in others] * world.random.randint(1, 2)
        request = world.request(alice, flows.ask_all, peers, rounds)
        request.expect(returned([(number + 1) * len(peers) for number in range(rounds)]))


def hard_work(world: World) -> None:
    [alice] = nodes(world, "Alice")
    for name in range(3):
        rounds = world.random.randint(1, 5)
        request = world.request(alice, flows.work, f"work {name}", rounds)
        expected = [each for number in range(rounds) for each in (1, number * 2 + 1)]
        request.expect(returned(expected))
        world.check(lambda name=name, rounds=rounds: _worked(world, alice, name, rounds))  # type: ignore[misc]


def _worked(world: World, node: SimulatedNode, name: int, rounds: int) -> None:
    for number in range(rounds):
        token = f"work {name}"
        assert world.outside.times(f"{token} {number}") >= 1
        assert world.outside.times(f"{token} once {number}") <= 1
        assert counted(node, f"{token} {number}") == 1
        interrupted = counted(node, f"{token} interrupted {number}")
        assert world.outside.times(f"{token} once {number}") + interrupted >= 1


def counted(node: SimulatedNode, what: str) -> int:
    return int(node.host.get(flows.COUNTS, what.encode()) or 0)


def impatience(world: World) -> None:
    alice, bob = nodes(world, "Alice", "Bob")
    for _ in range(3):
        rounds = world.random.randint(1, 5)
        patience = world.random.choice((0.0, 0.2, 8.0))
        request = world.request(alice, flows.wait_a_little, bob.party, rounds, patience)
        request.expect(returned([str(number) for number in range(rounds)]))


def enough(world: World) -> None:
    alice, bob = nodes(world, "Alice", "Bob")
    for _ in range(3):
        rounds, patience = world.random.randint(0, 6), world.random.randint(0, 6)
        is_enough = patience < rounds
        request = world.request(alice, flows.play_until_enough, bob.party, rounds, patience)
        request.expect(raised(flows.Enough) if is_enough else returned(rounds))
        request = world.request(bob, flows.play_and_forgive, alice.party, rounds, patience)
        request.expect(returned(f"enough after {patience}" if is_enough else "all"))
    world.request(alice, flows.give_up, bob.party).expect(raised(flows.Enough))


def refusals(world: World) -> None:
    alice, bob = nodes(world, "Alice", "Bob")
    for one, other in ((alice, bob), (bob, alice), (alice, alice)):
        for refused in (flows.ask_nobody, flows.ask_the_future):
            request = world.request(one, refused, other.party)
            request.expect(raised(UnexpectedFlowEnd)).after(world.random.random())


def killings(world: World) -> None:
    alice, bob, carol = nodes(world, "Alice", "Bob", "Carol")
    peers = [bob.party, carol.party]
    wanted: list[Request] = [
        world.request(alice, flows.play, bob.party, 30),
        world.request(alice, flows.ask_all, peers, 5),
        world.request(bob, flows.work, "killed", 5),
        world.request(carol, flows.delegate, peers, 3, "killed"),
        world.request(carol, flows.wait_a_little, bob.party, 5, 2.0),
    ]
    for request in wanted:
        request.expect(either(raised(FlowKilled), succeeded))
        world.after(world.random.random() * 10, request.kill)


def delegation(world: World) -> None:
    alice, bob, carol = nodes(world, "Alice", "Bob", "Carol")
    peers = [bob.party, carol.party]
    for name in range(2):
        depth = world.random.randint(0, 4)
        request = world.request(alice, flows.delegate, peers, depth, f"delegated {name}")
        # Two rounds of ping-pong give -1; all but a patience of 3 and more runs out, once.
        total = sum(-1 + (1 if each < 3 else 0) for each in range(depth + 1))
        request.expect(returned(total))
        world.check(
            lambda name=name, depth=depth: _delegated(world, alice, f"delegated {name}", depth)  # type: ignore[misc]
        )


def _delegated(world: World, node: SimulatedNode, token: str, depth: int) -> None:
    for each in range(depth + 1):
        assert world.outside.times(f"{token} depth {each}") >= 1
        assert counted(node, f"{token} depth {each}") == 1
        assert counted(node, f"{token} enough {each}") == (1 if each < 3 else 0)


def soliloquy(world: World) -> None:
    [alice] = nodes(world, "Alice")
    for _ in range(3):
        rounds = world.random.randint(1, 10)
        request = world.request(alice, flows.soliloquy, rounds)
        request.expect(returned([-number for number in range(rounds)]))


def hospital(world: World) -> None:
    alice, bob = nodes(world, "Alice", "Bob")
    for number in range(2):
        depth, times = world.random.randint(0, 2), world.random.randint(0, 3)
        expected = -100 - sum(range(depth + 1))
        held = world.request(alice, flows.need_help, bob.party, f"held {number}", depth, times)
        held.expect(returned(expected))
        for hour in range(100):
            world.after(world.random.random() * 10 + hour * 3_600, held.retry)
        later = world.request(bob, flows.try_later, alice.party, f"later {number}", depth, times)
        later.expect(returned(expected))
        world.check(lambda number=number: _cured(alice, bob, number))  # type: ignore[misc]


def _cured(alice: SimulatedNode, bob: SimulatedNode, number: int) -> None:
    assert counted(alice, f"held {number} helped") == 1
    assert counted(bob, f"later {number} tried") == 1


def late_installation(world: World) -> None:
    alice = world.node("Alice", apps=[flows])
    bob = world.node("Bob")
    for _ in range(3):
        request = world.request(alice, flows.play, bob.party, 2)
        request.expect(returned([0, -1])).after(world.random.random() * 20)
    world.request(alice, flows.give_up, bob.party).expect(raised(flows.Enough))
    world.after(world.random.random() * 60, lambda: bob.add_apps(flows))


def improvisation(world: World) -> None:
    everybody = nodes(world, "Alice", "Bob", "Carol")
    peers = [node.party for node in everybody]
    for _ in range(4):
        node = world.random.choice(everybody)
        request = world.request(
            node,
            flows.improvise,
            peers,
            world.random.randrange(1_000_000),
            world.random.randint(1, 15),
            world.random.randint(0, 2),
        )
        request.after(world.random.random() * 3).expect(
            either(
                succeeded,
                raised(
                    FlowKilled,
                    FlowTimeout,
                    SessionClosed,
                    SessionNotOpen,
                    UnexpectedFlowEnd,
                    flows.Enough,
                ),
            )
        )
        if world.random.random() < 0.2:
            world.after(world.random.random() * 10, request.kill)


def short_sessions(world: World) -> None:
    everybody = nodes(world, "Alice", "Bob", "Carol")
    heard = dict.fromkeys((node.name for node in everybody), 0)
    for number in range(150):
        one, other = world.random.sample(everybody, 2)
        words = [f"{number} {word}" for word in range(world.random.randint(0, 3))]
        request = world.request(one, flows.tell, other.party, words)
        request.expect(returned(None)).after(world.random.random() * 5)
        heard[other.name] += bool(words)
        for word in words:
            world.check(lambda node=other, word=word: _heard(node, word))  # type: ignore[misc]
    for node in everybody:
        expected = heard[node.name]
        world.check(lambda node=node, expected=expected: _heard_all(node, expected))  # type: ignore[misc]


def _heard(node: SimulatedNode, word: str) -> None:
    assert counted(node, f"heard {word}") == 1, f"{word} was heard {counted(node, word)} times"


def _heard_all(node: SimulatedNode, expected: int) -> None:
    assert counted(node, "heard it all") == expected


def forgetfulness(world: World) -> None:
    """Nodes forget sessions as soon as those are over and nothing is under way any more.

    What comes for them later, because an acknowledgement was lost, must not come for ever.
    """
    everybody = nodes(world, "Alice", "Bob", "Carol")
    peers = [node.party for node in everybody]
    for number in range(6):
        one, other = world.random.sample(everybody, 2)
        rounds = world.random.randint(0, 3)
        requests = [
            world.request(one, flows.play, other.party, rounds),
            world.request(one, flows.tell, other.party, [f"{number} {each}" for each in "abc"]),
            world.request(one, flows.give_up, other.party),
            world.request(one, flows.ask_nobody, other.party),
            world.request(one, flows.improvise, peers, world.random.randrange(1_000_000), 5, 1),
        ]
        expected = [
            returned([-each for each in range(rounds)]),
            returned(None),
            raised(flows.Enough),
            raised(UnexpectedFlowEnd),
            ended,
        ]
        for request, expectation in zip(requests, expected, strict=True):
            request.expect(expectation).after(world.random.random() * 5)
    for moment in range(150):
        node = everybody[moment % 3]
        world.after(moment / 10, lambda node=node: forget_sessions(node))  # type: ignore[misc]


def forget_sessions(node: SimulatedNode) -> None:
    """Forget what answers late messages, except late open messages."""
    if node.engine is None:
        return
    outbox = node.engine.outbox
    for key, _ in list(node.host.scan(TOMBSTONES, b"", None)):
        if len(key) == SESSION_ID_BYTES and not outbox.has(SessionId(key)):
            node.engine.commits.delete(TOMBSTONES, key)


def draining(world: World) -> None:
    """Nodes drain again and again, and each time that comes to an end."""
    alice, bob = nodes(world, "Alice", "Bob")
    for _ in range(5):
        depth = world.random.randint(0, 4)
        request = world.request(alice, flows.confer, bob.party, depth)
        request.expect(returned(depth + 1)).after(world.random.random() * 3)
    for node in (alice, bob):
        world.after(world.random.random() * 5, partial(drain, world, node, 20))


def drain(world: World, node: SimulatedNode, times: int) -> None:
    """Let a node drain until no flow lives there, and again some time later."""
    may_start = all(request.flow_id is not None for request in world.requests)
    if node.is_up:
        info = node.info()
        if not info.is_draining:
            node.drain(is_on=times > 0 and may_start)
            times -= 1
        elif not info.flows_live:
            node.drain(is_on=False)
    if times > 0 or not node.is_up or node.info().is_draining:
        world.after(world.random.random(), partial(drain, world, node, times))


def great_messages(world: World) -> None:
    alice, bob = nodes(world, "Alice", "Bob")
    world.request(alice, flows.pour, bob.party, 7_000_000, 6).expect(returned(42_000_000))
    world.request(alice, flows.play, bob.party, 2, 5_000_000).expect(returned([0, -1]))


SCENARIOS: Final[tuple[Scenario, ...]] = (
    ping_pong,
    fan_out,
    hard_work,
    impatience,
    enough,
    refusals,
    killings,
    delegation,
    soliloquy,
    improvisation,
    hospital,
    late_installation,
    short_sessions,
    forgetfulness,
    draining,
)
