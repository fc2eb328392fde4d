"""Back-pressure: a flow that is too far ahead of a peer waits for room, and is woken by it."""

from runtime import Party, Session, flow, initiate, responder, sleep
from runtime.core.envelopes import Ack, encode
from runtime.testing.network import SimulatedNetwork
from tests.runtime.engine.scenes import open_sessions, pair, same

MESSAGE = b"x" * (9 * 1024 * 1024)


@flow
def run_far_ahead(peer: Party) -> str:
    session = initiate(peer)
    session.exchange("hello", str)
    sleep(1)
    for _ in range(5):
        session.send(MESSAGE)
    return "went on"


@responder(run_far_ahead)
def read_slowly(session: Session) -> None:
    session.send(session.receive(str).unwrap(same))
    for _ in range(5):
        session.receive(bytes)


def test_one_acknowledgement_of_all_that_is_under_way_wakes_the_flow(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, run_far_ahead, read_slowly)
    handle = alice.start_flow(run_far_ahead, bob.party)
    network.run_for(0.5)
    # Now the peer hears nothing, so it can't acknowledge a part.
    network.links.cut(alice.party.name, bob.party.name)
    network.run_for(60)
    was_waiting = alice.flow(handle.id).wait

    (sid,) = open_sessions(alice, handle.id)
    alice.frame_arrives(bob.party.name, [encode(Ack(sid, 2**31))])
    network.run_for(1)
    waits_now = alice.flow(handle.id).wait

    assert was_waiting is not None
    assert was_waiting.what == "room at the peer"
    assert waits_now is None or waits_now.what != was_waiting.what
