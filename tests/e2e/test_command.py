"""The command end to end: a network of two real node processes, used as a person would."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.source_files import ROOT

SECONDS = 60.0

SPEC = """
[network]
name = "demo"

[[node]]
name = "O=Bank A,L=London,C=GB"
apps = ["tests.runtime.cli.greeting_app"]

[[node]]
name = "O=Bank B,L=Paris,C=FR"
apps = ["tests.runtime.cli.greeting_app"]
"""

COMMAND = [sys.executable, "-m", "runtime.cli"]


def sennit(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONUTF8": "1", **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@contextmanager
def running(directory: Path) -> "Iterator[subprocess.Popen[str]]":
    """Run the node of ``directory``, and wait until it says that it is up."""
    with (directory / "log").open("a") as log:
        process = subprocess.Popen(
            [*COMMAND, "node", "run", str(directory)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        assert "is up" in process.stdout.readline(), (directory / "log").read_text()
        yield process
    finally:
        process.kill()
        process.communicate()


@dataclass(frozen=True)
class Banks:
    """The directories of the nodes."""

    a: Path
    b: Path


@pytest.fixture(scope="module")
def banks(tmp_path_factory: pytest.TempPathFactory) -> Banks:
    directory = tmp_path_factory.mktemp("command")
    (directory / "demo.toml").write_text(SPEC)
    made = sennit("network", "create", str(directory / "demo.toml"))
    assert made.returncode == 0, made.stderr
    nodes = directory / "demo" / "nodes"
    return Banks(nodes / "bank-a", nodes / "bank-b")


@pytest.fixture
def both_run(banks: Banks) -> Iterator[Banks]:
    with ExitStack() as stack:
        stack.enter_context(running(banks.a))
        stack.enter_context(running(banks.b))
        yield banks


def test_a_flow_between_two_nodes_is_started_watched_and_explained(both_run: Banks) -> None:
    node = str(both_run.a)

    greeted = sennit("flow", "start", node, "greet", "other=Bank B", "name=ann", "times=3")
    begun = sennit("flow", "start", node, "wait", "--no-watch")
    flow_id = begun.stdout.strip()
    listed = sennit("flow", "list", node, "--json")
    shown = sennit("flow", "show", node, flow_id)
    journal = sennit("journal", node, flow_id)
    info = json.loads(sennit("node", "info", node, "--json").stdout)
    killed = sennit("flow", "kill", node, flow_id)

    assert greeted.returncode == 0, greeted.stderr
    assert "hello ann, hello ann, hello ann" in greeted.stdout.splitlines()[-1]
    ended_id = greeted.stdout.split()[1]
    assert "no events" in sennit("journal", node, ended_id).stderr
    assert json.loads(listed.stdout)[0]["id"] == flow_id
    assert "status:    waiting" in shown.stdout
    assert "▶ Waiting" in shown.stdout
    assert "greeting_app.wait" in journal.stdout
    assert info["name"] == "O=Bank A,L=London,C=GB"
    assert info["flows_live"] == 1
    assert killed.stdout == f"{flow_id} was killed\n"


def test_the_error_of_the_other_node_is_told_in_one_line(both_run: Banks) -> None:
    refused = sennit("flow", "start", str(both_run.a), "greet", "Bank B", "eve")

    assert refused.returncode == 1
    assert "Unwelcome: eve" in refused.stdout
    assert "Traceback" not in refused.stdout + refused.stderr


def test_what_a_terminal_cannot_show_is_escaped_and_the_command_goes_on(both_run: Banks) -> None:
    started = sennit(
        "flow", "start", str(both_run.a), "greet", "Bank B", "Åsa 漢", PYTHONIOENCODING="ascii"
    )

    assert (started.returncode, started.stderr) == (0, "")
    assert "hello \\xc5sa \\u6f22" in started.stdout


def test_a_time_to_wait_that_is_no_number_is_refused(both_run: Banks) -> None:
    refused = sennit("flow", "result", str(both_run.a), "order-17", "--timeout", "nan")

    assert refused.returncode == 2
    assert "'nan' is no number of seconds" in refused.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["greet", "other=Bank C", "name=ann"], "'Bank C' is no party of this network"),
        (["greet", "other=Bank B"], "name is missing"),
        (["greet", "Bank B", "ann", "times=often"], "times must be int, not 'often'"),
        (["greet", "Bank B", "ann", "1", "x=3"], "'x=3' is one argument too many"),
        (["meet"], "did you mean tests.runtime.cli.greeting_app.greet?"),
    ],
)
def test_arguments_that_do_not_fit_are_explained(
    both_run: Banks, words: list[str], said: str
) -> None:
    refused = sennit("flow", "start", str(both_run.a), *words)

    assert refused.returncode == 2
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_flow_goes_on_after_kill_9_and_its_result_is_there(banks: Banks) -> None:
    words = ["greet", "Bank B", "ann", "--client-id", "order-17"]

    with running(banks.a) as process:
        begun = sennit("flow", "start", str(banks.a), *words, "--no-watch")
        process.send_signal(signal.SIGKILL)
        process.wait()
    with running(banks.a), running(banks.b):
        again = sennit("flow", "start", str(banks.a), *words, "--json")

    ended = json.loads(again.stdout)
    assert ended["id"] == begun.stdout.strip()
    assert (ended["status"], ended["result"]) == ("completed", "hello ann")


@pytest.mark.parametrize("how", ["signal", "command"])
def test_a_node_stops_gracefully_with_0(banks: Banks, how: str) -> None:
    with running(banks.a) as process:
        if how == "signal":
            process.send_signal(signal.SIGTERM)
        else:
            assert sennit("node", "stop", str(banks.a)).returncode == 0
        output, _ = process.communicate(timeout=SECONDS)

    assert (process.returncode, output) == (0, "stopped\n")


def test_a_second_node_on_the_same_directory_is_refused_in_one_line(banks: Banks) -> None:
    with running(banks.a):
        second = sennit("node", "run", str(banks.a))

    assert second.returncode in {1, 2}
    assert second.stderr.splitlines()[-1].startswith("sennit: ")
    assert "Traceback" not in second.stderr
