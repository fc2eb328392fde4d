"""The command and its shell: early Ctrl-C, few files, full disks, closed streams, odd bytes."""

import ast
import configparser
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from runtime.testing.driver import NetworkDriver
from tests.e2e.networks import EMBEDDED
from tests.source_files import ROOT

SECONDS: Final = 60.0
SENNIT: Final = f"{sys.executable} -m sennit"

# A Ctrl-C arrives while the named module is looked for.
INTERRUPTED_AT_IMPORT: Final = """
import os, signal, sys

wanted = sys.argv[1]

class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupter())
sys.argv[:2] = ["sennit"]
from sennit import main
main()
"""

# A Ctrl-C arrives while Python cleans up.
INTERRUPTED_AT_EXIT: Final = """
import atexit, os, signal
from sennit import main
atexit.register(os.kill, os.getpid(), signal.SIGINT)
main()
"""


@pytest.fixture(scope="module")
def network() -> Iterator[NetworkDriver]:
    with NetworkDriver.create(EMBEDDED) as network:
        network.start("alice")
        yield network


@pytest.fixture(scope="module")
def alice(network: NetworkDriver) -> str:
    return str(network.node("alice").directory)


@pytest.fixture(scope="module")
def bob(network: NetworkDriver) -> Path:
    return network.node("bob").directory


def python(program: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def shell(line: str, **names: object) -> "subprocess.CompletedProcess[str]":
    """Run a line of shell in which ``$sennit`` is the command."""
    return subprocess.run(
        ["bash", "-c", line],
        cwd=ROOT,
        env={**os.environ, "sennit": SENNIT, **{name: str(it) for name, it in names.items()}},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_the_installed_command_takes_care_of_ctrl_c_before_it_loads_anything() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    installed = setup["options.entry_points"]["console_scripts"].split()
    source = ast.parse((ROOT / "sennit" / "__init__.py").read_text())
    imports = (node for node in ast.walk(source) if isinstance(node, ast.Import | ast.ImportFrom))

    assert installed == ["sennit", "=", "sennit:main"]
    for node in imports:
        names = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        assert {str(name).partition(".")[0] for name in names} <= sys.stdlib_module_names


@pytest.mark.parametrize("module", ["runtime", "runtime.flow", "runtime.cli.main", "zmq"])
def test_ctrl_c_while_modules_are_loaded_ends_the_command_without_a_word(
    alice: str, module: str
) -> None:
    ended = python(INTERRUPTED_AT_IMPORT, module, "flow", "list", alice)

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


@pytest.mark.parametrize("module", ["gevent.monkey", "runtime.cli.node_run", "lmdb"])
def test_ctrl_c_while_a_node_is_loaded_ends_it_without_a_word(bob: Path, module: str) -> None:
    ended = python(INTERRUPTED_AT_IMPORT, module, "node", "run", str(bob))

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_ctrl_c_while_python_cleans_up_ends_it_without_a_word() -> None:
    ended = python(INTERRUPTED_AT_EXIT, "--version")

    assert (ended.returncode, ended.stderr) == (130, "")


def test_ctrl_c_that_the_shell_has_the_command_ignore_stays_ignored() -> None:
    ended = shell(
        'trap "" INT; exec $python -c "$program" click --version',
        python=sys.executable,
        program=INTERRUPTED_AT_IMPORT,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("sennit ")


@pytest.mark.parametrize(
    ("words", "files", "least"),
    [("flow list", 20, 32), ("node run", 20, 32), ("node run", 64, 256)],
)
def test_too_few_files_are_refused_with_what_to_do(
    alice: str, words: str, files: int, least: int
) -> None:
    refused = shell(f"ulimit -n {files}; $sennit {words} $node", node=alice)

    assert refused.returncode == 2
    assert f"{files} files and connections open, and needs {least}" in refused.stderr
    assert "ulimit -n 4096" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_node_asks_for_more_files_than_the_shell_gives_it(network: NetworkDriver) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    started = shell(
        "ulimit -Sn 64; $sennit node run $node & until $sennit node info $node > /dev/null 2>&1;"
        "do :; done; grep 'open files' /proc/$!/limits; kill $!; wait $!",
        node=network.node("bob").directory,
    )

    assert int(started.stdout.split("Max open files")[1].split()[0]) >= min(hard, 4096)


@pytest.mark.parametrize("words", ["--version", "--help", "flow --help", "flow list $node"])
def test_output_that_can_not_be_written_is_one_clear_line(alice: str, words: str) -> None:
    full = shell(f"$sennit {words} > /dev/full", node=alice)

    assert full.returncode == 1
    (line,) = full.stderr.splitlines()
    assert line.startswith("sennit: standard output can't be written: No space left on device")


@pytest.mark.parametrize("words", ["--help", "flow list $node"])
def test_a_reader_who_has_gone_is_no_news(alice: str, words: str) -> None:
    unread = shell(f"$sennit {words} | true; exit ${{PIPESTATUS[0]}}", node=alice)

    assert (unread.returncode, unread.stderr) == (1, "")


@pytest.mark.parametrize("streams", ["2>/dev/full", ">&- 2>&- <&-"])
def test_the_exit_code_is_right_where_nothing_can_be_said(alice: str, streams: str) -> None:
    listed = shell(f"$sennit flow list $node {streams}", node=alice)
    wrong = shell(f"$sennit flow show $node no-such-flow {streams}", node=alice)
    misused = shell(f"$sennit flow show {streams}", node=alice)

    assert (listed.returncode, wrong.returncode, misused.returncode) == (0, 2, 2)


@pytest.mark.parametrize("streams", ["> /dev/full", ">&- 2>&- <&-", "2> /dev/full", "> >(true)"])
def test_a_node_runs_on_whatever_becomes_of_its_output(bob: Path, streams: str) -> None:
    ran = shell(
        # The pid of the node itself, which exec gives to it.
        f"(echo $BASHPID >&3; exec $sennit node run $node) {streams} 3>$pid & "
        "until $sennit node info $node > /dev/null 2>&1; do :; done;"
        "lsof=$(readlink /proc/$(cat $pid)/fd/2); $sennit flow start $node add 1 2;"
        "kill $(cat $pid); while kill -0 $(cat $pid) 2>/dev/null; do :; done; echo $lsof",
        node=bob,
        pid=bob / "pid",
    )

    assert "completed" in ran.stdout
    assert "store" not in ran.stdout.splitlines()[-1]
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    "words",
    [
        "flow show $node $'\\xff'",
        "flow start $node add $'\\xff' 2",
        "flow start $node add 1 2 --client-id $'\\xff'",
        "journal $node $'\\xff'",
    ],
)
def test_words_that_are_no_text_are_refused_in_one_line(alice: str, words: str) -> None:
    refused = shell(f"$sennit {words}", node=alice)

    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line == "sennit: '\\udcff' can't be sent to the node: it is no text in UTF-8"


def test_a_directory_may_have_a_name_that_is_no_text(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/\xff"))
    (tmp_path / "odd.toml").write_text(EMBEDDED)

    made = shell("$sennit network create $spec --out $odd", spec=tmp_path / "odd.toml", odd=odd)
    listed = shell("$sennit flow list $odd/nodes/alice", odd=odd)

    assert made.returncode == 0, made.stderr
    assert "no node answers" in listed.stderr
