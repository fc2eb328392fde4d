"""Tests look at what everybody may see: who reaches into private parts is counted, and named here.

A test that knows an object's inside breaks when the inside is built anew, though all still works,
and passes when what users see is broken. So ask a node, real or simulated, by its verbs; hand a
fake over by a constructor; test the part itself. If neither will do, it stands in a list, with a
reason.
The lists only shrink: take out of them what you have mended.
"""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.source_files import ROOT, name

A_FAULT: Final = "plants a fault in the product, which a simulation must find"
A_DEVICE: Final = "puts a device that fails in the place of one that works"
A_MOMENT: Final = "makes a moment between two threads, or a state of the system, happen"
MEMORY: Final = "looks for what must not be in memory any more; nobody else can see it"
A_COUNT: Final = "counts work that must not be done; its result looks the same"
STATE: Final = "puts a node into a state that no verb leads to"
AN_INDEX: Final = "compares an index with what it is made from, row by row"
A_DRIVER: Final = "drives a simulation from the hub, where the verbs of a node can't wait"
A_PART: Final = "tests that part of the engine by itself"

PRIVATE: Final = {
    "e2e/test_secrets.py": (1, STATE),
    "ledger/flows/test_history.py": (3, A_COUNT),
    "ledger/test_vault_index.py": (1, MEMORY),
    "runtime/edge/store_helpers.py": (5, A_DEVICE),
    "runtime/edge/test_lmdb_store.py": (1, A_DEVICE),
    "runtime/edge/test_log_file.py": (1, STATE),
    "runtime/edge/test_mailbox.py": (1, A_MOMENT),
    "runtime/edge/test_rpc_watch.py": (2, A_MOMENT),
    "runtime/edge/test_zmq_connections.py": (6, A_MOMENT),
    "runtime/edge/test_zmq_links.py": (3, A_MOMENT),
    "runtime/edge/test_zmq_strangers.py": (1, STATE),
    "runtime/engine/test_greenlets.py": (1, MEMORY),
    "runtime/test_memtable.py": (3, MEMORY),
    "runtime/testing/test_memory_store.py": (1, MEMORY),
    "simulation/ledger_breaks.py": (16, A_FAULT),
    "simulation/ledger_checks.py": (6, AN_INDEX),
    "simulation/test_detection.py": (7, A_FAULT),
}

INSIDE_OF_ENGINES: Final = {
    "runtime/engine/scenes.py": (1, A_PART),
    "runtime/engine/test_full_journals.py": (1, STATE),
    "runtime/engine/test_greenlets.py": (2, MEMORY),
    "runtime/engine/test_holding.py": (1, A_PART),
    "runtime/engine/test_hospital.py": (1, A_DEVICE),
    "runtime/engine/test_live_flows.py": (2, A_PART),
    "runtime/engine/test_on_gevent.py": (1, A_PART),
    "runtime/engine/test_open_batch.py": (2, A_PART),
    "runtime/engine/test_refusing_to_end.py": (1, MEMORY),
    "runtime/engine/test_sessions_over.py": (3, MEMORY),
    "runtime/engine/test_subflows.py": (1, A_MOMENT),
    "runtime/engine/test_unreadable_rows.py": (1, STATE),
    "runtime/engine/test_unwinding.py": (2, MEMORY),
    "runtime/test_flow_pages.py": (2, A_COUNT),
    "simulation/floor.py": (2, A_DRIVER),
    "simulation/scenarios.py": (2, A_DRIVER),
}

# Of other people, who use the underscore in their own way.
FOREIGN: Final = {"lmdb", "os", "sys"}
PATCHING: Final = {"delattr", "getattr", "hasattr", "setattr"}
PARTS: Final = {"commits", "delivery", "hospital", "manager", "outbox", "ready", "transport"}


def is_private(attribute: str) -> bool:
    return attribute.startswith("_") and not attribute.startswith("__") and attribute != "_"


def private_reaches(node: ast.AST) -> int:
    """Return how many private names of something else a piece of code uses."""
    match node:
        case ast.Attribute(value=ast.Name(id="self" | "cls")):
            return 0
        case ast.Attribute(value=ast.Name(id=module)) if module in FOREIGN:
            return 0
        case ast.Attribute(attr=attribute):
            return int(is_private(attribute))
        case ast.ImportFrom(names=names):
            return sum(is_private(alias.name) for alias in names)
        case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called)) if called in PATCHING:
            texts = [each.value for each in node.args[:2] if isinstance(each, ast.Constant)]
            return sum(isinstance(it, str) and is_private(it.rpartition(".")[2]) for it in texts)
        case _:
            return 0


def engine_reaches(node: ast.AST) -> int:
    """Return 1 if a piece of code takes a part out of the engine of a node."""
    match node:
        case ast.Attribute(
            value=ast.Attribute(attr="running" | "engine") | ast.Name(id="engine"), attr=part
        ):
            return int(part in PARTS)
        case _:
            return 0


def counted(count: Callable[[ast.AST], int]) -> dict[str, int]:
    """Return how many reaches each file of tests has, of those that have any."""
    found = {
        name(path).removeprefix("tests/"): sum(count(node) for node in ast.walk(tree(path)))
        for path in sorted((ROOT / "tests").rglob("*.py"))
    }
    return {file: number for file, number in found.items() if number}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), name(path))


def test_no_test_reaches_into_private_parts_but_those_that_say_why() -> None:
    found = counted(private_reaches)

    assert found == {file: number for file, (number, _) in PRIVATE.items()}


def test_no_test_reaches_into_the_engine_of_a_node_but_those_that_say_why() -> None:
    found = counted(engine_reaches)

    assert found == {file: number for file, (number, _) in INSIDE_OF_ENGINES.items()}


@pytest.mark.parametrize(
    "code",
    [
        "store._trees",
        "store._trees.scan()",
        "make()._rows",
        "runtime.node._passwords",
        "from runtime.item_count import _skip",
        "patch.setattr(notary, '_commit', None)",
        "monkeypatch.setattr('runtime.node._passwords', None)",
        "getattr(index, '_engine')",
        "del alice._links[0]",
        "network._authority = None",
    ],
)
def test_a_reach_is_seen_in_whatever_way_it_is_written(code: str) -> None:
    assert sum(private_reaches(node) for node in ast.walk(ast.parse(code))) == 1


@pytest.mark.parametrize(
    "code",
    ["self._log", "cls._seen", "os._exit(1)", "store.__enter__()", "for _ in (): _", "_helper()"],
)
def test_what_is_ones_own_or_not_of_the_project_is_no_reach(code: str) -> None:
    assert sum(private_reaches(node) for node in ast.walk(ast.parse(code))) == 0


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("alice.running.manager.kill(it)", 1),
        ("len(node.engine.outbox)", 1),
        ("engine.manager.greenlets", 1),
        ("alice.kill(it)", 0),
        ("note.running", 0),
    ],
)
def test_a_reach_into_an_engine_is_seen(code: str, number: int) -> None:
    assert sum(engine_reaches(node) for node in ast.walk(ast.parse(code))) == number
