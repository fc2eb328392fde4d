"""The other side of the sessions that are used in every way."""

from runtime import Session, responder
from tests.runtime.engine.scenes import same
from tests.runtime.engine.using_sessions import Sorry, use_it


@responder(use_it)
def follow(session: Session) -> None:
    while True:
        heard = session.receive(str).unwrap(same)
        session.send(f"re: {heard}")
        if heard == "hello":
            session.send("more")
        if heard == "ended":
            return
        if heard == "failed":
            raise Sorry("can't")
