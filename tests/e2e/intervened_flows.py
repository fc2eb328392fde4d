"""An app whose flows need an operator."""

from pathlib import Path

from runtime import HoldForOperator, Party, Session, flow, initiate, responder, step


@step
def read(path: str) -> str:
    """Ask for the operator until somebody has written the file."""
    try:
        return Path(path).read_text()
    except FileNotFoundError as error:
        raise HoldForOperator(f"write {path}, then retry") from error


@flow(name="intervened.mend")
def mend(path: str) -> str:
    """Return what the file says, once it is there."""
    return read(path)


@flow(name="intervened.hail")
def hail(peer: Party) -> str:
    """Ask a peer that may not have this app."""
    return initiate(peer).exchange("are you there?", str).unwrap(lambda it: it)


@responder(hail)
def answer(session: Session) -> None:
    """Answer once."""
    session.receive(str)
    session.send("here")
