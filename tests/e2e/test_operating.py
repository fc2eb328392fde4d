"""What an operator is told by the command of a real node: of its flows, its peers, its store."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from click.testing import CliRunner

from runtime.cli.main import cli
from runtime.ids import FlowId
from runtime.operations import Arguments
from runtime.testing.driver import NetworkDriver, NodeProcess

SECONDS: Final = 30.0
APP: Final = "tests.e2e.operated_flows"

SPEC: Final = """\
[network]
name = "operated"

[[node]]
name = "O=Alice,L=London,C=GB"
apps = ["tests.e2e.operated_flows"]

[[node]]
name = "O=Bob,L=Paris,C=FR"
apps = ["tests.e2e.operated_flows"]
"""


@pytest.fixture(scope="module")
def network() -> Iterator[NetworkDriver]:
    with NetworkDriver.create(SPEC) as network:
        network.start("alice")
        yield network


@pytest.fixture
def alice(network: NetworkDriver) -> NodeProcess:
    return network.node("alice")


def begin(node: NodeProcess, name: str, *arguments: str, status: str = "waiting") -> FlowId:
    """Start a flow and wait until it has the status."""
    started = node.rpc.options().start_text(f"{APP}.{name}", Arguments([*arguments]))
    node.wait_until(lambda: node.rpc.flow(started.id).row.status == status, name, SECONDS)
    return started.id


def sennit(*words: str) -> str:
    """Return what the command prints."""
    result = CliRunner().invoke(cli, [*words])
    assert result.exit_code == 0, result.output
    return result.stdout


def shown(node: NodeProcess, flow_id: FlowId) -> dict[str, str]:
    """Return the fields that `sennit flow show` prints."""
    lines = sennit("flow", "show", str(node.directory), flow_id).splitlines()
    fields = (re.fullmatch(r"([a-z ]+): +(.*)", line) for line in lines)
    return {match[1]: match[2] for match in fields if match is not None}


def test_a_running_step_is_shown_with_its_attempt_arguments_and_line(alice: NodeProcess) -> None:
    flow_id = begin(alice, "charge", "account=DE7", "cents=95", status="running")
    alice.wait_until(lambda: alice.rpc.flow(flow_id).step is not None, "in its step", SECONDS)

    fields = shown(alice, flow_id)

    assert fields["status"] == "running"
    assert fields["step"] == f"{APP}.rest_in_step, attempt 1"
    assert fields["arguments"] == "account='DE7', cents=95"
    assert re.match(r"rest_in_step \(.*operated_flows\.py:\d+\)", fields["source"])


def test_a_step_that_failed_waits_for_its_second_attempt_and_says_until_when(
    alice: NodeProcess,
) -> None:
    flow_id = begin(alice, "call")

    fields = shown(alice, flow_id)

    assert fields["step"] == f"{APP}.dial, attempt 2"
    assert re.search(r"until \d{4}-\d\d-\d\d", fields["waits for"])


def test_back_off_and_timeouts_say_when_they_are_over(alice: NodeProcess) -> None:
    relying = shown(alice, begin(alice, "rely"))
    asking = shown(alice, begin(alice, "ask", "Bob"))

    assert relying["status"] == "waiting"
    assert "RetryLater: the bank is away" in relying["waits for"]
    assert "rely (" in relying["source"]
    for fields in (relying, asking):
        assert re.search(r"until \d{4}-\d\d-\d\d", fields["waits for"])
        assert "1970" not in str(fields)
    assert asking["woken by"] == "a message or time"


def test_a_list_by_status_name_and_user_finds_what_it_should(alice: NodeProcess) -> None:
    held = begin(alice, "give_up", status="held")
    node = str(alice.directory)

    by_status = json.loads(sennit("flow", "list", node, "--status", "held", "--json"))
    by_name = json.loads(sennit("flow", "list", node, "--name", "*.give_up", "--json"))
    by_user = json.loads(sennit("flow", "list", node, "--started-by", "nobody", "--json"))
    later = json.loads(sennit("flow", "list", node, "--since", "2100-01-01", "--json"))

    assert [row["id"] for row in by_status] == [row["id"] for row in by_name] == [held]
    assert by_user == later == []


def test_a_step_of_the_progress_that_was_passed_by_is_not_shown_as_done(
    alice: NodeProcess,
) -> None:
    started = sennit("flow", "start", str(alice.directory), "hurry")
    row: dict[str, Any] = json.loads(
        sennit("flow", "list", str(alice.directory), "--name", "*.hurry", "--json")
    )[0]
    lines = sennit("flow", "show", str(alice.directory), row["id"]).splitlines()

    assert "Paying" not in started
    assert [line for line in lines if "Asking" in line or "Paying" in line] == [
        "✓ Asking",
        "- Paying",
    ]


def test_a_peer_that_is_away_is_shown_with_what_waits_for_it_until_it_is_there(
    network: NetworkDriver, alice: NodeProcess
) -> None:
    flow_id = begin(alice, "ask", "Bob")
    node = str(alice.directory)

    def bob() -> dict[str, Any]:
        (row,) = json.loads(sennit("node", "peers", node, "--json"))
        assert row["peer"] == "O=Bob,L=Paris,C=FR"
        found: dict[str, Any] = row
        return found

    away = bob()
    info = sennit("node", "info", node)
    network.start("bob")
    alice.wait_until(lambda: bob()["messages"] == 0, "bob has all", SECONDS)
    there = bob()

    assert (away["status"], away["messages"] >= 1) == ("unreachable", True)
    assert "1 peers that something waits for" in info
    assert there["status"] == "reachable"
    assert there["since_ms"] > away["since_ms"]
    alice.rpc.kill(flow_id)


def test_the_store_and_its_disk_are_shown(alice: NodeProcess) -> None:
    begin(alice, "rely")

    info = sennit("node", "info", str(alice.directory))

    assert re.search(r"store: +\d+ batches written, the last \d{4}-", info)
    assert re.search(r"disk: +[\d.,]+ [KMG]iB, [\d.,]+ [KMGT]iB free", info)
    assert "store trouble" not in info
