"""The command as a whole: help with examples, errors in one line, exit codes of real processes."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import gevent
import pytest
from click.testing import CliRunner
from gevent import subprocess

from runtime.cli.errors import SennitGroup, error_text
from runtime.cli.main import cli
from runtime.errors import FlowException, note_origin
from runtime.operations import Arguments
from tests.runtime.cli.conftest import SPEC, Demo
from tests.source_files import ROOT

SECONDS = 30.0
ARGUMENTS = Arguments()


def run(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "runtime.cli", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONUTF8": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


@pytest.mark.parametrize("words", list(commands(cli)), ids=" ".join)
def test_every_command_has_help_with_an_example(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, [*words, "--help"])

    assert result.exit_code == 0
    assert f"Example: sennit {words[0]}" in result.stdout


def test_the_help_shows_the_way_from_nothing_to_a_flow() -> None:
    text = CliRunner().invoke(cli, ["--help"]).stdout

    for line in ("sennit network create", "sennit node run", "sennit flow start", "_COMPLETE"):
        assert line in text


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(cli, ["--version"]).stdout.startswith("sennit ")


def test_a_process_ends_with_0_1_or_2(demo: Demo) -> None:
    done = run("flow", "start", demo.bank_a, "add", "1", "2", "--json")
    failed = run("flow", "start", demo.bank_a, "buy", "120")
    misused = run("flow", "start", demo.bank_a, "sell")

    assert (done.returncode, failed.returncode, misused.returncode) == (0, 1, 2)
    assert json.loads(done.stdout)["result"] == 3
    assert done.stderr == failed.stderr == ""
    assert misused.stderr.startswith("sennit: this node has no flow 'sell'")


def test_interrupting_a_watch_leaves_the_flow_and_says_how_to_go_on(demo: Demo) -> None:
    watching = subprocess.Popen(
        [sys.executable, "-m", "runtime.cli", "flow", "start", demo.bank_a, "wait"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not any(flow.watchers for flow in demo.node.by_id.values()):
        gevent.sleep(0.01)

    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=SECONDS)

    assert watching.returncode == 130
    assert errors.strip() == (
        f"The flow goes on. Watch it again with: sennit flow watch {demo.bank_a} 0190-0000"
    )
    assert demo.node.by_id[next(iter(demo.node.by_id))].status == "waiting"


def test_a_reader_that_has_seen_enough_is_no_error(demo: Demo) -> None:
    for _ in range(300):
        demo.node.start_flow("admin", "trade.wait", ARGUMENTS, None)  # type: ignore[arg-type]
    listed = f"{sys.executable} -m runtime.cli flow list {demo.bank_a} --limit 300 --json"

    ended = subprocess.run(
        ["sh", "-c", f"{listed} | head -c 9"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )

    assert len(ended.stdout) == 9
    assert ended.stderr == b""


def failing(error: Exception) -> click.Group:
    group = SennitGroup("failing")

    @group.command()
    def fail() -> None:
        raise error

    return group


def test_an_error_of_ours_is_one_line_that_says_how_to_see_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SENNIT_TRACEBACK", raising=False)
    group = failing(ZeroDivisionError("division by zero"))

    plain = CliRunner().invoke(group, ["fail"])
    traced = CliRunner().invoke(group, ["fail"], env={"SENNIT_TRACEBACK": "1"})

    assert plain.exit_code == 1
    assert plain.stderr == (
        "sennit: an error inside sennit itself: ZeroDivisionError: division by zero "
        "(set SENNIT_TRACEBACK=1 to see where)\n"
    )
    assert "Traceback" in traced.stderr


def test_an_error_of_the_system_is_its_text() -> None:
    result = CliRunner().invoke(failing(OSError(28, "No space left on device")), ["fail"])

    assert (result.exit_code, result.stderr) == (1, "sennit: [Errno 28] No space left on device\n")


def test_an_interrupted_command_ends_with_130() -> None:
    group = SennitGroup("interrupted")

    @group.command()
    def fail() -> None:
        raise KeyboardInterrupt

    assert CliRunner().invoke(group, ["fail"]).exit_code == 130


def test_the_error_of_a_flow_is_named_as_where_it_was_raised() -> None:
    unknown = FlowException("too dear")
    note_origin(unknown, original_class="samples.trade.UnacceptablePrice")

    assert error_text(unknown) == "UnacceptablePrice: too dear"
    assert error_text(FlowException()) == "FlowException"


# Networks


def test_network_create_makes_it_and_says_what_to_run(tmp_path: Path) -> None:
    (tmp_path / "demo.toml").write_text(SPEC)

    made = run("network", "create", str(tmp_path / "demo.toml"))
    again = run("network", "create", str(tmp_path / "demo.toml"))
    forced = run("network", "create", str(tmp_path / "demo.toml"), "--force", "--json")

    assert made.returncode == 0, made.stderr
    assert f"Run each node with: sennit node run {tmp_path}/demo/nodes/bank-a" in made.stdout
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert [node["short_name"] for node in json.loads(forced.stdout)["nodes"]] == [
        "bank-a",
        "bank-b",
    ]


def test_network_create_shows_paths_as_one_would_type_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo.toml").write_text(SPEC)

    result = CliRunner().invoke(cli, ["network", "create", "demo.toml"])

    assert "sennit node run demo/nodes/bank-a" in result.stdout


def test_network_create_names_the_mistakes_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "demo.toml").write_text('[network]\nname = "Demo!"\n')

    result = CliRunner().invoke(cli, ["network", "create", str(tmp_path / "demo.toml")])

    assert result.exit_code == 2
    assert "Demo!" in result.stderr


def test_ctrl_c_while_the_command_is_being_loaded_ends_it_without_a_traceback(
    tmp_path: Path,
) -> None:
    # Loaded in place of click, which the command needs first of all.
    (tmp_path / "click.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")

    ended = run("flow", "--help", PYTHONPATH=str(tmp_path))

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")
