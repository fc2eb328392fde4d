"""An app as it was when a journal was recorded, how to change it, and how to record it.

    python -m tests.runtime.engine.grown

writes `tests/golden/grown.json`: the journal of a flow of the app as it is in ``BEFORE``.
"""

import json
import sys
import types
from pathlib import Path
from typing import Final

from runtime.core.events import JOURNAL
from runtime.testing.network import SimulatedNetwork

GOLDEN: Final = Path(__file__).parents[2] / "golden" / "grown.json"
MODULE: Final = "tests_grown_app"

BEFORE: Final = """
from runtime import (
    Party, Retry, Session, StoreTxn, atomic, flow, initiate, message, responder, sleep, step
)

@message
class Line:
    item: str
    count: int

@message
class Special(Line):
    why: str = ""

@message
class Order:
    buyer: str
    lines: list[Line]

@message
class Tick:
    n: int

@step
def charge(order: Order) -> str:
    return order.buyer

@step
def note(text: str) -> None:
    pass

@step
def anything(what):
    pass

@step(kind="at_most_once")
def once(order: Order) -> None:
    pass

@step(retry=Retry(attempts=2, first_delay=0.1))
def again_and_again(lines: list[Line], what) -> None:
    attempts.append(1)
    if len(attempts) % 2:
        raise ConnectionError("again")

attempts: list[int] = []

@atomic
def keep(txn: StoreTxn, order: Order) -> None:
    pass

@flow
def inner(order: Order) -> int:
    return len(order.lines)

SHORT = Order("b", [])
LONG = Order(
    "a buyer with a long name", [Line("bolt", 3), Special("nut", 4, why="a gift, as always")]
)

@flow
def place(peer: Party) -> str:
    session = initiate(peer)
    for order in (SHORT, LONG, LONG):
        session.send(order)
        session.send(Tick(1))
        charge(order)
        note(order.buyer)
        anything(order)
        once(order)
        again_and_again(order.lines, order)
        session.send([order])
        session.send({"line": (Tick(2), "and a text of some length")})
        keep(order)
        inner(order)
    session.send("text")
    sleep(100)
    again = initiate(peer)
    for order in (LONG, SHORT, LONG):
        again.send(order)
        charge(order)
        anything(order)
        sleep(1)
    return again.receive(str).unwrap(str)

@responder(place)
def take(session: Session) -> None:
    session.receive(Order)
    session.send("thanks")
    sleep(1000)
"""


def changed(*replacements: tuple[str, str], source: str = BEFORE) -> str:
    """Return the source of the app after some changes; each must hit."""
    for old, new in replacements:
        assert old in source, old
        source = source.replace(old, new)
    return source


def app_of(source: str) -> types.ModuleType:
    """Return the app with that source, under the name that it always has."""
    app = types.ModuleType(MODULE)
    sys.modules[MODULE] = app
    exec(compile(source, f"{MODULE}.py", "exec"), vars(app))
    return app


def record() -> None:
    """Write the journal of a flow that has come to its first sleep."""
    network = SimulatedNetwork()
    alice, bob = (network.node(name, apps=[app_of(BEFORE)]) for name in ("Alice", "Bob"))
    alice.begin_flow(vars(sys.modules[MODULE])["place"], bob.party)
    network.run_for(50)
    rows = alice.store.scan(JOURNAL, b"", None)
    GOLDEN.write_text(json.dumps({key.hex(): row.hex() for key, row in rows}, indent=1) + "\n")


if __name__ == "__main__":
    record()
