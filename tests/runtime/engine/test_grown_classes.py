"""Flows in flight while message classes, steps and sub-flows gain, lose and rename fields.

The journal that is replayed here is in a file, written when the app was as it is in
`tests.runtime.engine.grown`.
"""

import json

import pytest

from runtime.core.events import JOURNAL
from runtime.engine.flow_ids import flow_id_at
from runtime.errors import Diverged
from runtime.handle import FlowHandle
from runtime.ports import Batch
from runtime.testing.network import SimulatedNetwork
from tests.runtime.engine.grown import BEFORE, GOLDEN, app_of, changed
from tests.runtime.engine.scenes import only_flow

LINE = ("    count: int\n", '    count: int\n    unit: str = "piece"\n')
SPECIAL = ('why: str = ""\n', 'why: str = ""\n    by: Line | None = None\n')
ORDER = (
    "    lines: list[Line]\n",
    "    lines: list[Line]\n    tags: list[str] = []\n    priority: int = 0\n",
)
TICK = ("    n: int\n", "    n: int\n    m: int = 5\n")
CHARGE = ("def charge(order: Order)", 'def charge(order: Order, currency: str = "GBP", n: int = 1)')
NOTE = ("def note(text: str)", "def note(text: str, level: int = 1)")
ANYTHING = ("def anything(what)", "def anything(what, more=None)")
KEEP = (
    "def keep(txn: StoreTxn, order: Order)",
    "def keep(txn: StoreTxn, order: Order, n: int = 1)",
)
INNER = ("def inner(order: Order)", "def inner(order: Order, more: Line | None = None)")
ALL = (LINE, SPECIAL, ORDER, TICK, CHARGE, NOTE, ANYTHING, KEEP, INNER)


def begun_before(network: SimulatedNetwork, source: str) -> FlowHandle[object]:
    """Return the recorded flow, on a node of today with the app of ``source``."""
    app = app_of(source)
    alice, _ = (network.node(name, apps=[app]) for name in ("Alice", "Bob"))
    rows = {bytes.fromhex(k): bytes.fromhex(v) for k, v in json.loads(GOLDEN.read_text()).items()}
    alice.stop()
    batch = Batch({JOURNAL: dict(rows)})
    alice.store.submit(batch, lambda: None)
    alice.start()
    return alice.handle(flow_id_at(next(iter(rows))[:16]))


def why_held(network: SimulatedNetwork, source: str) -> str:
    """Return why the recorded flow is held with the app of ``source``."""
    begun_before(network, source)
    network.run_for(1)
    error = only_flow(network.nodes["Alice"]).error
    assert isinstance(error, Diverged)
    return error.asked


def test_the_app_as_it_was_goes_on(network: SimulatedNetwork) -> None:
    assert begun_before(network, BEFORE).result() == "thanks"


@pytest.mark.parametrize(
    "change", [*[(one,) for one in ALL], ALL], ids=lambda change: change[0][0].strip()[:20]
)
def test_a_field_or_a_parameter_with_a_default_changes_nothing_for_flows_in_flight(
    network: SimulatedNetwork, change: tuple[tuple[str, str], ...]
) -> None:
    handle = begun_before(network, changed(*change))

    assert handle.result() == "thanks"


def test_a_flow_in_flight_goes_on_with_what_it_records_after_the_change(
    network: SimulatedNetwork,
) -> None:
    handle = begun_before(network, changed(*ALL))
    network.run_for(101.5)
    alice = network.nodes["Alice"]
    app = app_of(changed(*ALL, ('unit: str = "piece"\n', 'unit: str = "piece"\n    z: int = 0\n')))
    alice.restart(apps=[app])

    assert alice.handle(handle.id).result() == "thanks"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((("buyer", "customer"),), ["Order had a field 'buyer'", "'customer' of"]),
        ((("    count: int\n", ""), ('"bolt", 3', '"bolt"'), ('"nut", 4', '"nut"')), ["'count'"]),
        ((LINE, ('"bolt", 3', '"bolt", 3, "kg"'), ('"nut", 4', '"nut", 4, "kg"')), ["'unit' of"]),
        ((TICK, ("Tick(1)", "Tick(1, 6)")), ["the field 'm' of", "is not its default"]),
        ((("Tick(1)", "Tick(2)"),), ["Tick.n was 1 and is 2"]),
        ((CHARGE, ("charge(order)", 'charge(order, "EUR")')), ["the content differs"]),
        ((("class Tick", "class Tock"), ("Tick(1)", "Tock(1)")), ["Tock"]),
        ((NOTE, ("note(order.buyer)", "note(order.buyer, 2)")), ["there were 1 arguments"]),
        ((('"a gift, as always"', '"another gift of us"'),), ["the content differs"]),
        ((("note(order.buyer)", 'note("c")'),), ["text was 'b' and is 'c'"]),
    ],
    ids=lambda part: str(part)[:40],
)
def test_what_else_has_changed_is_told_field_by_field(
    network: SimulatedNetwork, change: tuple[tuple[str, str], ...], said: list[str]
) -> None:
    asked = why_held(network, changed(*change))

    for words in said:
        assert words in asked


def test_a_default_that_has_changed_is_a_change(network: SimulatedNetwork) -> None:
    # The message that was sent has the old one.
    before = changed(*ALL)
    alice, bob = (network.node(name, apps=[app_of(before)]) for name in ("Alice", "Bob"))
    alice.begin_flow(app_of(before).place, bob.party)
    network.run_for(50)

    alice.restart(apps=[app_of(changed(('"piece"', '"box"'), source=before))])
    network.run_for(1)

    assert isinstance(only_flow(alice).error, Diverged)
