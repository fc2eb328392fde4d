"""Session machines in every status, and every input that one can get."""

from collections.abc import Callable
from typing import Final

from runtime.core.envelopes import Accept, Data, End, Error, Open, Refuse, encode
from runtime.core.session_machine import Arriving, Input, SessionMachine, Status
from runtime.ids import ErrorId, PeerName, SessionId

OUR_SID: Final = SessionId(b"o" * 16)
PEER_SID: Final = SessionId(b"p" * 16)
PEER: Final = PeerName("O=Bob,L=London,C=GB")
ERROR_ID: Final = ErrorId("e" * 16)


def fresh() -> SessionMachine:
    return SessionMachine(number=1, sid=OUR_SID, peer=PEER)


def responding() -> SessionMachine:
    machine = SessionMachine(number=0, sid=OUR_SID, peer=PEER)
    opened = Open(PEER_SID, "trade.sell", 3, "trade", "1.2", b"", "str", b"\xa1x")
    machine.accept_opened(opened, version=3, app="trade", app_version="1.3")
    return machine


def opening() -> SessionMachine:
    machine = fresh()
    machine.open(flow="trade.sell", version=3, app="trade", app_version="1.2")
    return machine


def arrive(machine: SessionMachine, envelope: Arriving) -> list[tuple[Arriving, bytes]]:
    return machine.arrive(envelope, encode(envelope))


def accept() -> Accept:
    return Accept(OUR_SID, PEER_SID, 3, "trade", "1.3")


def refuse() -> Refuse:
    return Refuse(OUR_SID, PEER_SID, "unknown flow", ERROR_ID)


def data(number: int, text: str = "x") -> Data:
    return Data(OUR_SID, number, "str", text.encode())


def end(number: int) -> End:
    return End(OUR_SID, number)


def error(number: int) -> Error:
    return Error(OUR_SID, number, None, ERROR_ID)


def in_status(status: Status) -> SessionMachine:
    """Return a machine that has come to ``status`` by the shortest way."""
    machine = fresh()
    if status is Status.FRESH:
        return machine
    machine = opening()
    if status is Status.OPENING:
        return machine
    if status is Status.OPENING_CLOSED:
        machine.end()
        return machine
    arrive(machine, accept())
    if status is Status.OPEN:
        return machine
    if status in (Status.PEER_ENDED, Status.DONE):
        arrive(machine, end(1))
    if status in (Status.CLOSED, Status.DONE):
        machine.end()
    return machine


def _next_arrives(make: Callable[[int], Arriving]) -> Callable[[SessionMachine], object]:
    return lambda machine: arrive(machine, make(machine.in_next))


FEEDS: Final[dict[Input, Callable[[SessionMachine], object]]] = {
    Input.OPENED: lambda machine: machine.open(
        flow="trade.sell", version=1, app="trade", app_version="1"
    ),
    Input.SENT: lambda machine: machine.send("str", b"\xa1x"),
    Input.CLOSED: lambda machine: machine.end(),
    Input.ACCEPTED: lambda machine: machine.arrive(accept(), b"a"),
    Input.REFUSED: lambda machine: machine.arrive(refuse(), b"r"),
    Input.DATA: _next_arrives(data),
    Input.PEER_ENDED: _next_arrives(end),
}

BY_PEER: Final = frozenset({Input.ACCEPTED, Input.REFUSED, Input.DATA, Input.PEER_ENDED})
