"""Envelopes of every kind in any order, true and forged: the engine stays well and bounded."""

from random import Random

import pytest

from runtime.core.envelopes import (
    NUMBER_MAX,
    Accept,
    Ack,
    AnyEnvelope,
    Data,
    End,
    Error,
    Gone,
    Open,
    Refuse,
    encode,
)
from runtime.ids import ErrorId, SessionId
from runtime.limits import PeerLimits
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import answer, ask, live, open_sessions, pair
from tests.runtime.engine.test_peer_limits import drink_late, flood_or_finish, gather, pour

LIMITS = PeerLimits(
    sessions_per_peer_max=20,
    unread_bytes_per_peer_max=100_000,
    received_bytes_per_peer_max=400_000,
    unclaimed_per_peer_max=10,
    tombstones_per_peer_max=30,
)
APPS = (ask, answer, pour, drink_late, gather, flood_or_finish)
FLOWS = ["nobody.has.it", ask.name, pour.name, gather.name]


def envelope(random: Random, sessions: list[SessionId]) -> AnyEnvelope:
    """Return any envelope; it mostly names sessions that exist, or have existed."""

    def sid() -> SessionId:
        if random.random() < 0.2:
            return SessionId(random.randbytes(16))
        return random.choice(sessions)

    number = random.choice([0, 1, 1, 2, 2, 3, 4, 5, 9, 1_000, NUMBER_MAX])
    kind = random.choice(["str", "int", "list", "", "no.Such"])
    body = random.choice([b"\xa1x", b"\x07", b"", b"\xc1", bytes(20_000), random.randbytes(50)])
    error_id = ErrorId("e" * random.choice([0, 16, 255]))
    flow_name, name = random.choice(FLOWS), "n" * random.choice([0, 1, 255])
    kinds: list[AnyEnvelope] = [
        Open(sid(), flow_name, random.choice([1, 1, 2]), name, name, b"", kind, body),
        Accept(sid(), sid(), random.choice([0, 1, NUMBER_MAX]), name, name),
        Refuse(sid(), sid(), "r" * random.choice([0, 2_048]), error_id),
        Data(sid(), number, kind, body),
        Data(sid(), number, kind, body),
        Error(sid(), number, random.choice([None, body]), error_id),
        End(sid(), number),
        Ack(sid(), number),
        Gone(sid(), sid(), error_id),
    ]
    return random.choice(kinds)


def assert_bounded(node: SimulatedNode) -> None:
    used = {row.name: (row.in_use, row.limit) for row in node.info().limits}
    # One message more may be there for each flow that waited for it.
    slack = {"unread_bytes_per_peer_max": 20 * 21_000, "tombstones_per_peer_max": 25}
    for name, (amount, limit) in used.items():
        assert 0 <= amount <= limit + slack.get(name, 0), name


@pytest.mark.parametrize("seed", range(12))
def test_any_envelopes_of_a_member_leave_a_node_bounded_and_others_served(seed: int) -> None:
    random = Random(seed)
    network = SimulatedNetwork(seed, is_replay_checked=False, peer_limits=LIMITS)
    mallory, bob = pair(network, *APPS)
    carol = network.node("Carol", apps=APPS)
    for _ in range(3):
        bob.begin_flow(gather, mallory.party)
    network.run_for(1)
    sender = mallory.party.name
    mallory.crash()
    sessions = [SessionId(random.randbytes(16)) for _ in range(60)]

    for _ in range(60):
        theirs = [sid for row in live(bob) for sid in open_sessions(bob, row.id)]
        sessions += [sid for sid in theirs if sid not in sessions]
        frame = [encode(envelope(random, sessions)) for _ in range(random.randrange(40))]
        if random.random() < 0.3:
            frame.append(random.randbytes(random.randrange(40)))
        bob.frame_arrives(sender, frame)
        network.run_for(random.choice([0, 0.01, 1, 40]))
        assert_bounded(bob)
    bob.restart()
    assert_bounded(bob)

    assert carol.start_flow(ask, bob.party).result() == "well"
