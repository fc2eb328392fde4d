"""The engine on gevent's hub: steps that block, threads, and flows taken down where they block."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import gevent
import pytest
from gevent.event import Event

from runtime import (
    FlowKilled,
    Party,
    Retry,
    Session,
    current_flow,
    flow,
    initiate,
    me,
    progress,
    responder,
    service,
    sleep,
    step,
    step_id,
    timeout,
)
from runtime.core.events import JOURNAL
from runtime.edge.gevent_loop import GeventLoop
from runtime.edge.system_clock import SystemClock, SystemEntropy
from runtime.engine.engine import Engine
from runtime.errors import MisuseError
from runtime.flow import Flow, Responder
from runtime.handle import FlowHandle
from runtime.host import Host
from runtime.ids import PeerName
from runtime.names import X500Name
from runtime.starting import StartOptions
from runtime.testing.identities import Authority, KeyRing, SimulatedDirectory
from runtime.testing.memory_store import MemoryStore
from runtime.testing.memory_transport import MemoryNetwork
from tests.runtime.engine.scenes import outcome, same


class Nodes:
    """Nodes on one gevent loop, with stores and links in memory."""

    def __init__(self, *apps: Flow[..., object] | Responder) -> None:
        self.apps = apps
        self.clock = SystemClock()
        self.loop = GeventLoop(self.clock)
        self.links = MemoryNetwork(self.loop)
        self.authority = Authority(0)
        self.directory = SimulatedDirectory(self.authority)
        self.engines: list[Engine] = []

    def start(self, organisation: str, store: MemoryStore | None = None) -> Engine:
        name = X500Name.parse(f"O={organisation},L=London,C=GB")
        signer = KeyRing(name, self.authority)
        party = Party(name=PeerName(str(name)), key=signer.identity)
        self.directory.add(party, is_notary=False)
        host = Host(
            me=party, clock=self.clock, loop=self.loop, directory=self.directory, signer=signer
        )
        host.register(*self.apps)
        engine = Engine(
            host=host,
            store=store or MemoryStore(self.loop),
            transport=self.links.transport(party.name),
            loop=self.loop,
            clock=self.clock,
            entropy=SystemEntropy(),
        )
        engine.start()
        self.engines.append(engine)
        return engine


@contextmanager
def nodes(*apps: Flow[..., object] | Responder) -> Iterator[Nodes]:
    world = Nodes(*apps)
    try:
        with gevent.Timeout(20):
            yield world
    finally:
        for engine in world.engines:
            engine.stop()


def start(engine: Engine, flow: Flow[..., object], *arguments: object) -> FlowHandle[object]:
    return engine.start_flow(flow, arguments, {}, StartOptions(user="anna"), is_awaited=True)


calls: list[str] = []
gates: dict[str, Event] = {}


@pytest.fixture(autouse=True)
def _fresh_world() -> None:
    calls.clear()
    gates.clear()
    gates.update(entered=Event(), go=Event(), left=Event())


@step
def block(what: str) -> str:
    calls.append(step_id())
    gates["entered"].set()
    gates["go"].wait()
    return what.upper()


@step(thread=True, retry=Retry(attempts=2, first_delay=0.01))
def block_in_thread(seconds: float) -> str:
    calls.append(step_id())
    if len(calls) == 1:
        raise ConnectionError("once")
    gevent.get_hub()
    return f"slept {seconds}"


@flow
def block_once() -> str:
    return block("x")


@flow
def use_thread() -> str:
    return block_in_thread(0.01)


@flow
def quick() -> str:
    sleep(0.001)
    return "quick"


def test_a_step_that_blocks_keeps_nobody_else_waiting() -> None:
    with nodes(block_once, quick) as world:
        alice = world.start("Alice")
        slow = start(alice, block_once)
        gates["entered"].wait()

        assert [start(alice, quick).result() for _ in range(3)] == ["quick"] * 3
        assert slow.status == "running"
        gates["go"].set()

        assert slow.result() == "X"


def test_a_step_in_a_native_thread_knows_its_id_and_is_tried_again() -> None:
    with nodes(use_thread) as world:
        handle = start(world.start("Alice"), use_thread)

        assert handle.result() == "slept 0.01"

    assert len(calls) == 2
    assert set(calls) == {f"{handle.id}:0"}


def test_a_flow_is_killed_where_its_step_blocks_and_the_killer_goes_on() -> None:
    with nodes(block_once) as world:
        alice = world.start("Alice")
        handle = start(alice, block_once)
        gates["entered"].wait()

        assert alice.manager.kill(handle.id)
        gates["go"].set()

        assert isinstance(outcome(handle), FlowKilled)
        gevent.sleep(0.01)
        assert alice.manager.counts == {"started": 1, "completed": 0, "failed": 1, "held": 0}


@step
def swallow_kill() -> str:
    gates["entered"].set()
    try:
        gates["go"].wait()
    except BaseException:
        # Goes on blocking, and then returns as if nothing had happened.
        gates["go"].wait()
    gates["left"].set()
    return "swallowed"


@flow
def swallow_once() -> str:
    with timeout(100):
        value = swallow_kill()
    calls.append("came back")
    return value


def kill(engine: Engine, handle: FlowHandle[object]) -> None:
    assert engine.manager.kill(handle.id)


@pytest.mark.parametrize("in_hub", [False, True])
def test_a_step_that_swallows_its_kill_and_blocks_on_writes_nothing(in_hub: bool) -> None:
    with nodes(swallow_once, quick) as world:
        alice = world.start("Alice")
        handle = start(alice, swallow_once)
        gates["entered"].wait()

        if in_hub:
            world.loop.call_soon(partial(kill, alice, handle))
            assert isinstance(outcome(handle), FlowKilled)
            gates["go"].set()
        else:
            gevent.spawn_later(0.01, gates["go"].set)
            alice.manager.kill(handle.id)
        gates["left"].wait()
        gevent.sleep(0.01)

        assert isinstance(outcome(handle), FlowKilled)
        assert calls == []
        assert alice.manager.counts["completed"] == 0
        assert start(alice, quick).result() == "quick"
        assert list(alice.commits.scan(JOURNAL, b"", None)) == []


@step(thread=True)
def look_around_in_thread() -> list[str]:
    progress("Looking")
    with pytest.raises(MisuseError, match="inside a step"):
        sleep(1)
    return [current_flow().id, str(me().name), step_id(), str(service(Nodes).clock.now_ms() > 0)]


@flow(progress=("Looking",))
def use_services_in_thread() -> list[str]:
    found = look_around_in_thread()
    block("x")
    return found


def test_code_in_a_native_thread_knows_its_flow_node_and_services() -> None:
    with nodes(use_services_in_thread) as world:
        alice = world.start("Alice")
        alice.host.provide(Nodes, world)
        handle = start(alice, use_services_in_thread)
        gates["entered"].wait()
        labels = [row.label for row in handle.progress.snapshot()]
        gates["go"].set()

        name = alice.host.me.name
        assert handle.result() == [handle.id, name, f"{handle.id}:0", "True"]
    assert "Looking" in labels


@step
def fail_on_the_way_out() -> None:
    gates["entered"].set()
    try:
        gates["go"].wait()
    except BaseException as error:
        raise ValueError("could not clean up") from error


@flow
def fail_when_taken_down() -> str:
    fail_on_the_way_out()
    return "done"


def test_what_a_step_raises_when_it_is_taken_down_is_no_outcome_of_it() -> None:
    with nodes(fail_when_taken_down) as world:
        store = MemoryStore(world.loop)
        alice = world.start("Alice", store)
        handle = start(alice, fail_when_taken_down)
        gates["entered"].wait()
        alice.stop()
        gates["go"].set()
        store.close()

        again = world.start("Alice", store.crash())

        assert again.manager.handle(handle.id).result() == "done"


@flow
def open_and_block(peer: Party) -> str:
    session = initiate(peer)
    session.send("hello")
    return block(session.counterparty.name)


@responder(open_and_block)
def accept_it(session: Session) -> None:
    session.receive(str)


def test_the_id_of_a_step_does_not_depend_on_an_acceptance_that_comes_meanwhile() -> None:
    with nodes(open_and_block, accept_it) as world:
        store = MemoryStore(world.loop)
        alice, bob = world.start("Alice", store), world.start("Bob")
        handle = start(alice, open_and_block, bob.host.me)
        gates["entered"].wait()
        # The acceptance is journaled while the step blocks.
        while alice.manager.runs[handle.id].machine.facts < 2:
            gevent.sleep(0.001)
        gevent.sleep(0.01)
        alice.crash()
        survivor = store.crash()
        gates["go"].set()

        again = world.start("Alice", survivor)
        assert again.manager.handle(handle.id).result() == bob.host.me.name.upper()

    assert len(calls) == 2
    assert len(set(calls)) == 1


def test_a_flow_that_is_blocked_when_its_node_stops_goes_on_at_the_next_start() -> None:
    with nodes(block_once) as world:
        store = MemoryStore(world.loop)
        alice = world.start("Alice", store)
        handle = start(alice, block_once)
        gates["entered"].wait()
        waiting = gevent.spawn(outcome, handle)
        gevent.sleep(0)

        alice.stop()
        assert "stopped" in str(waiting.get(timeout=5))
        gates["go"].set()
        store.close()

        again = world.start("Alice", store.crash())
        assert again.manager.handle(handle.id).result() == "X"
    assert len(set(calls)) == 1


def test_a_result_blocks_only_the_greenlet_that_asks() -> None:
    with nodes(block_once) as world:
        handle = start(world.start("Alice"), block_once)
        gates["entered"].wait()
        asking = [gevent.spawn(handle.result) for _ in range(3)]
        with pytest.raises(TimeoutError):
            handle.result(timeout=0.01)

        gates["go"].set()

        assert [each.get(timeout=5) for each in asking] == ["X"] * 3


def test_a_flow_may_wait_for_a_peer_on_the_same_loop() -> None:
    @flow
    def ask(peer: Party) -> str:
        return initiate(peer).exchange("hello", str).unwrap(same)

    @responder(ask)
    def answer(session: Session) -> None:
        session.send(session.receive(str).unwrap(same).upper())

    with nodes(ask, answer) as world:
        alice, bob = world.start("Alice"), world.start("Bob")

        assert start(alice, ask, bob.host.me).result() == "HELLO"
