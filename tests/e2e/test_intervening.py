"""The verbs with which an operator intervenes, by the command, on real nodes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner, Result

from runtime.cli.main import cli
from runtime.testing.driver import NetworkDriver, NodeProcess

SECONDS: Final = 30.0

SPEC: Final = """\
[network]
name = "intervened"

[[node]]
name = "O=Alice,L=London,C=GB"
apps = ["tests.e2e.intervened_flows"]

[[node]]
name = "O=Bob,L=Paris,C=FR"
apps = []
"""

Sennit = Callable[..., Result]


@pytest.fixture(scope="module")
def network() -> Iterator[NetworkDriver]:
    with NetworkDriver.create(SPEC) as network:
        network.start()
        yield network


@pytest.fixture
def alice(network: NetworkDriver) -> NodeProcess:
    return network.node("alice")


def sennit(node: NodeProcess, *words: str, code: int = 0) -> str:
    """Return what the command prints about a node; the first two words are the verb."""
    group, verb, *rest = words
    result = CliRunner().invoke(cli, [group, verb, "--node", str(node.directory), *rest])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.output


def test_names_lists_what_can_be_started_with_its_arguments(alice: NodeProcess) -> None:
    listed = json.loads(sennit(alice, "flow", "names", "--json"))

    assert {row["name"] for row in listed} == {"intervened.hail", "intervened.mend"}
    assert "path" in sennit(alice, "flow", "names")


def test_a_held_flow_is_retried_and_its_result_kept_until_it_is_forgotten(
    alice: NodeProcess, tmp_path: Path
) -> None:
    file = tmp_path / "answer"
    words = ("mend", str(file), "--client-id", "repair", "--no-watch")
    sennit(alice, "flow", "start", *words)
    flow = alice.rpc.find("repair")
    assert flow is not None
    alice.wait_until(lambda: alice.rpc.flow(flow.id).row.status == "held", "held", SECONDS)
    too_early = sennit(alice, "flow", "forget", "repair", code=2)
    waiting = sennit(alice, "flow", "result", "repair", "--timeout", "0", code=1)

    file.write_text("mended")
    sennit(alice, "flow", "retry", "repair")
    watched = sennit(alice, "flow", "watch", "repair")
    told = sennit(alice, "flow", "result", "repair", "--timeout", str(SECONDS))
    again = sennit(alice, "flow", "start", *words[:-1])
    sennit(alice, "flow", "forget", "repair")
    gone = sennit(alice, "flow", "forget", "repair", code=2)

    assert "MisuseError" not in too_early
    assert "held" in waiting
    assert "mended" in told
    assert "mended" in again
    assert "completed" in watched
    assert "repair" in gone
    assert alice.rpc.find("repair") is None


def test_who_asks_for_what_is_not_installed_is_listed_and_can_be_refused(
    network: NetworkDriver, alice: NodeProcess
) -> None:
    bob = network.node("bob")
    sennit(alice, "flow", "start", "hail", "Bob", "--client-id", "hail", "--no-watch")
    bob.wait_until(lambda: bool(bob.rpc.unclaimed()), "unclaimed", SECONDS)
    listed = json.loads(sennit(bob, "node", "unclaimed", "--json"))

    dropped = sennit(bob, "node", "drop", "intervened.hail")
    failed = sennit(alice, "flow", "result", "hail", "--timeout", str(SECONDS), code=1)

    assert [(row["peer"], row["flow"]) for row in listed] == [
        ("O=Alice,L=London,C=GB", "intervened.hail")
    ]
    assert "1" in dropped
    assert "the operator does not want intervened.hail" in failed
    assert json.loads(sennit(bob, "node", "unclaimed", "--json")) == []


def test_a_node_that_drains_starts_nothing_until_that_is_over(
    alice: NodeProcess, tmp_path: Path
) -> None:
    file = tmp_path / "answer"
    file.write_text("at once")
    sennit(alice, "node", "drain")
    refused = sennit(alice, "flow", "start", "mend", str(file), code=2)
    draining = json.loads(sennit(alice, "node", "info", "--json"))["is_draining"]

    sennit(alice, "node", "drain", "--off")
    done = sennit(alice, "flow", "start", "mend", str(file))

    assert draining
    assert "draining" in refused
    assert "at once" in done
