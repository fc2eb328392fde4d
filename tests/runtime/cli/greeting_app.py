"""A small app for the tests of the command: greet another node, refuse one, wait for ever."""

from runtime.context import progress, sleep
from runtime.errors import FlowException
from runtime.flow import flow, responder
from runtime.party import Party
from runtime.session import Session, initiate


class Unwelcome(FlowException):
    """We don't greet this one."""


@flow(progress=("Greeting", "Thanking"))
def greet(other: Party, name: str, times: int = 1) -> str:
    """Greet another node, which answers."""
    progress("Greeting")
    session = initiate(other)
    answers = [session.exchange(name, str).unwrap(str) for _ in range(times)]
    progress("Thanking")
    return ", ".join(answers)


@responder(greet)
def be_greeted(session: Session) -> None:
    """Answer whoever greets, but not eve."""
    while True:
        name = session.receive(str).unwrap(str)
        if name == "eve":
            raise Unwelcome(name)
        session.send(f"hello {name}")


@flow
def wait() -> None:
    """Wait for a day."""
    progress("Waiting")
    sleep(86_400)
