"""Ping-pong between two nodes, in twenty lines."""

from runtime import Party, Session, flow, initiate, responder


@flow
def ping(peer: Party, rounds: int) -> int:
    """Send a number there and back; the peer adds one each time."""
    session = initiate(peer)
    number = 0
    for _ in range(rounds):
        number = session.exchange(number, int).unwrap(lambda it: it)
    session.send(-1)
    return number


@responder(ping)
def pong(session: Session) -> None:
    """Add one until a negative number says that it is over."""
    while (number := session.receive(int).unwrap(lambda it: it)) >= 0:
        session.send(number + 1)
