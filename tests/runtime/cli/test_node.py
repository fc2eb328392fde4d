"""The commands ``sennit node``: the process of a node, its signals and exit codes, questions."""

import json
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from click.testing import CliRunner, Result
from gevent import subprocess

from runtime.cli.logs import FieldsFormatter
from runtime.cli.main import cli
from runtime.cli.node_process import start_line
from runtime.ids import UserName
from runtime.operations import Arguments
from tests.runtime.cli.conftest import Demo
from tests.runtime.edge.fake_node import FakeNode
from tests.source_files import ROOT

SECONDS = 30.0


def sennit(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


def line_of(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


@contextmanager
def running(
    directory: str, manner: str, before: Sequence[str] = ()
) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        [*before, sys.executable, "-m", "tests.runtime.cli.node_of_memory", directory, manner],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=SECONDS)


def test_the_start_line_has_name_addresses_and_flows() -> None:
    node = FakeNode()
    node.start_flow(UserName("ann"), "trade.wait", Arguments(), None)

    assert start_line(node) == (
        "O=Bank A,L=London,C=GB is up. Peers: tcp://127.0.0.1:10001. Users: tcp://127.0.0.1:10002. "
        "Flows: trade.add, trade.buy, trade.crash, trade.hold, trade.wait; 1 go on"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_stops_gracefully_with_0(demo: Demo, number: signal.Signals) -> None:
    with running(demo.bank_b, "well") as process:
        first = line_of(process.stdout)
        process.send_signal(number)
        output, errors = process.communicate(timeout=SECONDS)

    assert first.startswith("O=Bank A,L=London,C=GB is up. ")
    assert (process.returncode, output) == (0, "stopped\n")
    assert errors == "stopping; once more stops at once\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_stops_at_once(demo: Demo, number: signal.Signals) -> None:
    with running(demo.bank_b, "slow") as process:
        line_of(process.stdout)
        process.send_signal(number)
        line_of(process.stderr)
        process.send_signal(number)
        process.communicate(timeout=SECONDS)

    # The kernel ends it if Python has not seen the first one yet.
    assert process.returncode in (128 + number, -number)


def test_under_nohup_the_end_of_a_session_does_not_stop_a_node(demo: Demo) -> None:
    with running(demo.bank_b, "well", before=["nohup"]) as process:
        while not line_of(process.stdout).startswith("O=Bank A"):
            pass
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)

    # Were the first one heard, the second would end it at once.
    assert process.returncode == 0


def test_a_node_stops_when_a_user_asks_it_to(demo: Demo) -> None:
    with running(demo.bank_b, "well") as process:
        line_of(process.stdout)
        asked = sennit("node", "stop", demo.bank_b)
        process.communicate(timeout=SECONDS)

    assert (asked.exit_code, asked.stdout, asked.stderr) == (0, "the node is stopping\n", "")
    assert process.returncode == 0


def test_a_node_that_can_not_start_says_why_in_one_line(demo: Demo) -> None:
    with running(demo.bank_b, "broken") as process:
        output, errors = process.communicate(timeout=SECONDS)

    assert (process.returncode, output) == (2, "")
    assert errors == "sennit: node.toml: is odd. Mend it\n"


def test_run_refuses_a_directory_that_is_no_nodes(tmp_path: Path) -> None:
    result = sennit("node", "run", str(tmp_path))

    assert result.exit_code == 2
    assert "node.toml" in result.stderr


def test_info_shows_the_node(demo: Demo) -> None:
    text = sennit("node", "info", demo.bank_a).stdout
    value = json.loads(sennit("node", "info", demo.bank_a, "--json").stdout)

    assert text.splitlines()[0].split(maxsplit=1) == ["name:", "O=Bank A,L=London,C=GB"]
    assert "commits: 42" in " ".join(text.split())
    assert value["name"] == "O=Bank A,L=London,C=GB"


def test_info_counts_flows_and_what_went_wrong_with_messages(demo: Demo) -> None:
    text = " ".join(sennit("node", "info", demo.bank_a).stdout.split())
    value = json.loads(sennit("node", "info", demo.bank_a, "--json").stdout)

    ends = "1,001 completed, 4 failed or killed"
    assert f"flows started: 1,007 since the start of the node; {ends}" in text
    assert "sent again: 12 messages" in text
    assert "not taken: messages of peers: 30 no room, 1 out of turn" in text
    assert "no room: 2 flows wait until peers acknowledge more" in text
    assert value["messages_dropped"] == {"out of turn": 1, "no room": 30}


def test_drain_stops_new_flows_until_it_is_lifted(demo: Demo) -> None:
    on = sennit("node", "drain", demo.bank_a).stdout
    during = sennit("node", "info", demo.bank_a).stdout
    off = sennit("node", "drain", demo.bank_a, "--off").stdout

    assert (on, off) == ("the node takes no new flows\n", "the node takes new flows\n")
    assert "yes: it takes no new flows" in during
    assert not demo.node.is_draining


def test_a_log_line_has_its_fields_behind_the_text() -> None:
    record = logging.makeLogRecord(
        {"name": "runtime.engine", "levelname": "WARNING", "msg": "flow held"}
        | {"flow_id": "0190", "attempt": 3, "reason": "no cash", "peer": ""}
    )

    line = FieldsFormatter("%(levelname)s %(name)s: %(message)s").format(record)

    assert line == (
        "WARNING runtime.engine: flow held flow_id=0190 attempt=3 reason='no cash' peer=''"
    )
