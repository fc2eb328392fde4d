"""Semantics 2 as a table, and a flow that shows what each use of a session does in each state."""

from typing import Final

from runtime import FlowException, FlowTimeout, Party, Session, flow, initiate, sleep, timeout
from runtime.errors import SennitError
from tests.runtime.engine.scenes import same


class Sorry(FlowException):
    """The answering side can't."""


STATES: Final = ("fresh", "opening", "open", "ended", "failed", "refused", "closed")
USES: Final = ("send", "receive", "exchange", "peer", "close")


def use(session: Session, how: str, patience: float = 60) -> str:
    """Use a session; return what came of it in one word or two."""
    try:
        with timeout(patience):
            match how:
                case "send":
                    session.send("again")
                    return "sent"
                case "receive":
                    return session.receive(str).unwrap(same)
                case "exchange":
                    return session.exchange("again", str).unwrap(same)
                case "peer":
                    return f"version {session.peer.flow_version}"
                case _:
                    session.close()
                    return "closed"
    except (SennitError, FlowTimeout) as error:
        return type(error).__name__


def bring(session: Session, state: str, pause: float) -> None:
    """Bring a fresh session of the flow below to a state."""
    if state in ("opening", "refused"):
        session.send("hello")
    if state in ("open", "closed"):
        session.exchange("hello", str)
    if state in ("ended", "failed"):
        session.exchange(state, str)
    if state == "closed":
        session.close()
    if state != "opening":
        # What the peer does next arrives, and the flow has not looked yet.
        sleep(pause)


@flow(version=7)
def use_it(
    peer: Party, state: str, how: list[str], pause: float = 5, patience: float = 60
) -> list[str]:
    session = initiate(peer)
    bring(session, state, pause)
    return [use(session, each, patience) for each in how]


TABLE: Final[dict[str, dict[str, str]]] = {
    "fresh": {
        "send": "sent",
        "receive": "FlowTimeout",
        "exchange": "re: again",
        "peer": "version 7",
        "close": "SessionNotOpen",
    },
    "opening": {
        "send": "sent",
        "receive": "FlowTimeout",
        "exchange": "FlowTimeout",
        "peer": "FlowTimeout",
        "close": "SessionNotOpen",
    },
    "open": {
        "send": "sent",
        "receive": "more",
        "exchange": "more",
        "peer": "version 7",
        "close": "closed",
    },
    "ended": {
        "send": "UnexpectedFlowEnd",
        "receive": "UnexpectedFlowEnd",
        "exchange": "UnexpectedFlowEnd",
        "peer": "version 7",
        "close": "closed",
    },
    "failed": {
        "send": "Sorry",
        "receive": "Sorry",
        "exchange": "Sorry",
        "peer": "version 7",
        "close": "closed",
    },
    "refused": {
        "send": "UnexpectedFlowEnd",
        "receive": "UnexpectedFlowEnd",
        "exchange": "UnexpectedFlowEnd",
        "peer": "UnexpectedFlowEnd",
        "close": "closed",
    },
    "closed": {
        "send": "SessionClosed",
        "receive": "SessionClosed",
        "exchange": "SessionClosed",
        "peer": "version 7",
        "close": "closed",
    },
}
