"""The transport as a guest of gevent's loop: it leaves others time, and when idle takes none."""

import subprocess
import sys
import time
from pathlib import Path

import gevent
import pytest
from gevent.hub import get_hub

from runtime.edge.zmq_link import LinkTimes
from runtime.ids import PeerName
from runtime.testing.transport_conformance import ALICE, BOB, CAROL, RecordingReceiver
from tests.runtime.edge.zmq_network import ZmqNetwork

REPOSITORY = Path(__file__).parents[3]


class Flooded(RecordingReceiver):
    """Takes its time over each frame."""

    def frame_arrived(self, peer: PeerName, envelopes: list[bytes]) -> None:
        super().frame_arrived(peer, envelopes)
        ends_at = time.monotonic() + 0.0005
        while time.monotonic() < ends_at:
            pass


class Failing(RecordingReceiver):
    """Fails on its first frame."""

    def frame_arrived(self, peer: PeerName, envelopes: list[bytes]) -> None:
        super().frame_arrived(peer, envelopes)
        if len(self.frames) == 1:
            raise RuntimeError("a mistake of ours")


def test_two_nodes_talk_at_once(network: ZmqNetwork) -> None:
    alice, alice_seen = network.started(ALICE)
    bob, bob_seen = network.started(BOB)
    expected = [b"%d" % number for number in range(2_000)]

    for number in expected:
        alice.send(BOB, [number])
        bob.send(ALICE, [number])
        gevent.sleep(0)

    network.run_until(lambda: len(alice_seen.envelopes) == len(bob_seen.envelopes) == 2_000)
    assert alice_seen.bodies(BOB) == expected
    assert bob_seen.bodies(ALICE) == expected


def test_other_greenlets_live_through_a_flood(network: ZmqNetwork) -> None:
    alice, _ = network.started(ALICE)
    bob, seen = network.transport(BOB), Flooded()
    bob.start(seen)
    gaps: list[float] = []

    def tick() -> None:
        while len(seen.frames) < 1_000:
            before = time.monotonic()
            gevent.sleep(0.001)
            gaps.append(time.monotonic() - before)

    def flood() -> None:
        while len(seen.frames) < 1_000:
            alice.send(BOB, [b"drop"])
            gevent.sleep(0)

    ticking, flooding = gevent.spawn(tick), gevent.spawn(flood)
    network.run_until(lambda: len(seen.frames) >= 1_000)
    gevent.joinall([ticking, flooding])

    assert len(gaps) > 20
    # A slice is 5 ms; one hundred callbacks without a look at the clock would be 250.
    assert sorted(gaps)[len(gaps) * 9 // 10] < 0.1


def test_a_mistake_of_the_receiver_does_not_end_the_receiving(
    network: ZmqNetwork, capsys: pytest.CaptureFixture[str]
) -> None:
    alice, _ = network.started(ALICE)
    bob, seen = network.transport(BOB), Failing()
    bob.start(seen)
    alice.send(BOB, [b"knock"])
    network.run_until(lambda: len(seen.frames) == 1)

    for _ in range(3):
        alice.send(BOB, [b"go on"])

    network.run_until(lambda: len(seen.envelopes) == 4)
    assert "a mistake of ours" in capsys.readouterr().err


def test_an_idle_transport_wakes_nobody(network: ZmqNetwork) -> None:
    alice, alice_seen = network.started(ALICE, times=LinkTimes(connecting_ms_max=1_000))
    bob, bob_seen = network.started(BOB)
    absent = network.started(CAROL)[0]
    absent.close()
    alice.send(BOB, [b"hello"])
    bob.send(ALICE, [b"hello"])
    network.run_until(lambda: bool(alice_seen.envelopes) and bool(bob_seen.envelopes))
    alice.send(CAROL, [b"are you there?"])
    network.run_until(lambda: alice.stats.envelopes_dropped == 1)
    gevent.sleep(0.05)
    loop = get_hub().loop
    turns = loop.iteration
    cpu_s = time.thread_time()

    gevent.sleep(1.0)

    assert loop.iteration - turns <= 3
    assert time.thread_time() - cpu_s < 0.02


SCRIPT = """
{first}
from gevent.hub import get_hub
from runtime.testing.transport_conformance import ALICE, BOB, RecordingReceiver
from tests.runtime.edge.zmq_network import ZmqNetwork

with ZmqNetwork() as network:
    alice, _ = network.started(ALICE)
    bob, seen = network.started(BOB)
    alice.send(BOB, [b"hello"])
    network.run_until(lambda: bool(seen.envelopes))
    print(type(get_hub().loop).__module__, seen.envelopes == [(ALICE, b"hello")])
"""


@pytest.mark.parametrize(
    ("first", "loop"),
    [
        ("", "gevent.libev.corecext"),
        ("from gevent import monkey; monkey.patch_all()", "gevent.libev.corecext"),
        ("import gevent; gevent.config.loop = 'libuv'", "gevent.libuv.loop"),
    ],
    ids=["unpatched", "monkey-patched", "libuv"],
)
def test_it_works_in_any_gevent_process(first: str, loop: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT.format(first=first)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout == f"{loop} True\n", done.stderr


def test_many_nodes_live_in_one_process(network: ZmqNetwork) -> None:
    names = [PeerName(f"O=Node {number},L=London,C=GB") for number in range(12)]
    nodes = [network.started(name) for name in names]

    # What is sent while a link comes up may be lost on a busy machine; after that, nothing is.
    for transport, _ in nodes:
        for name in names:
            transport.send(name, [b"wake"])
    network.run_until(lambda: all(set(names) <= set(seen.reachable) for _, seen in nodes))
    for _, seen in nodes:
        seen.envelopes.clear()

    for transport, _ in nodes:
        for name in names:
            transport.send(name, [b"hello all"])

    def heard(seen: RecordingReceiver) -> list[bytes]:
        return [body for _, body in seen.envelopes if body == b"hello all"]

    network.run_until(lambda: all(len(heard(seen)) == 12 for _, seen in nodes))
    assert all({peer for peer, _ in seen.envelopes} == set(names) for _, seen in nodes)
