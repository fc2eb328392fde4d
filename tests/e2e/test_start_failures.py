"""A node that can't start says why in one line and lets go of everything that it has opened."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.config import NodeConfig
from runtime.errors import SennitError, StoreUnusable
from runtime.network_bootstrap import create_network
from runtime.node import Node
from tests.e2e.flows import add
from tests.e2e.networks import EMBEDDED
from tests.source_files import ROOT

Mend = Callable[[], object]
Spoil = Callable[[Path, Path], Mend]
"""Makes the first node unable to start, given both directories; what it returns mends that."""


def take_p2p_port(mine: Path, others: Path) -> Mend:
    return take_port(NodeConfig.load(mine).p2p_address)


def take_rpc_port(mine: Path, others: Path) -> Mend:
    return take_port(NodeConfig.load(mine).rpc_address)


def take_port(address: str) -> Mend:
    host, _, port = address.removeprefix("tcp://").partition(":")
    listener = socket.socket()
    listener.bind((host, int(port)))
    listener.listen()
    return listener.close


def change_password(mine: Path, others: Path) -> Mend:
    return replace_text(mine / "password", "guessed\n")


def lose_password(mine: Path, others: Path) -> Mend:
    return replace_text(mine / "node.toml", without_line(mine / "node.toml", "key_password_file"))


def name_missing_app(mine: Path, others: Path) -> Mend:
    text = (mine / "node.toml").read_text()
    return replace_text(mine / "node.toml", text.replace("tests.e2e.flows", "nowhere.flows"))


def name_broken_app(mine: Path, others: Path) -> Mend:
    text = (mine / "node.toml").read_text()
    return replace_text(mine / "node.toml", text.replace("tests.e2e.flows", "tests.e2e.broken_app"))


def expose_users(mine: Path, others: Path) -> Mend:
    (mine / "users.toml").chmod(0o644)
    return lambda: (mine / "users.toml").chmod(0o600)


def take_store_of_another(mine: Path, others: Path) -> Mend:
    with Node(others):
        pass
    (others / "store").rename(mine / "store")
    return lambda: shutil.rmtree(mine / "store")


def take_certificate_of_another(mine: Path, others: Path) -> Mend:
    name = "certificates/identity.pem"
    return replace_text(mine / name, (others / name).read_text())


def replace_text(path: Path, text: str) -> Mend:
    before = path.read_text()
    path.write_text(text)
    return lambda: path.write_text(before)


def without_line(path: Path, start: str) -> str:
    lines = path.read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(start))


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong, and what the error must say of it."""

    spoil: Spoil
    says: tuple[str, ...]

    def __str__(self) -> str:
        return self.spoil.__name__


TROUBLES = (
    Trouble(take_p2p_port, ("tcp://127.0.0.1:", "can't listen", "no other process listens")),
    Trouble(take_rpc_port, ("can't listen at tcp://127.0.0.1:", "Another process")),
    Trouble(change_password, ("password",)),
    Trouble(lose_password, ("SENNIT_KEY_PASSWORD",)),
    Trouble(name_missing_app, ("node.toml", "'nowhere.flows' can't be imported", "Install it")),
    Trouble(name_broken_app, ("node.toml", "'tests.e2e.broken_app'", "ZeroDivisionError")),
    Trouble(expose_users, ("users.toml", "chmod 600")),
    Trouble(take_store_of_another, ("O=Alice,L=London,C=GB", "O=Bob,L=Paris,C=FR")),
    Trouble(take_certificate_of_another, ("identity.pem", "O=Bob,L=Paris,C=FR")),
)


@pytest.fixture
def nodes(tmp_path: Path) -> tuple[Path, Path]:
    """Two nodes that can start; one of them did, so that what the process keeps open is open."""
    (tmp_path / "network.toml").write_text(EMBEDDED)
    mine, others = create_network(tmp_path / "network.toml").nodes
    with Node(others.directory):
        pass
    shutil.rmtree(others.directory / "store")
    return mine.directory, others.directory


def opened() -> tuple[list[str], int]:
    """Return what this process has open, files and sockets, and the number of its threads."""
    names = []
    for entry in Path("/proc/self/fd").iterdir():
        if entry.is_symlink():
            names.append(os.readlink(entry).partition("[")[0])
    return sorted(names), len(list(Path("/proc/self/task").iterdir()))


def assert_let_go(before: tuple[list[str], int]) -> None:
    """Check that no more is open than before; the system counts a thread a while after its end."""
    files_before, threads_before = before
    deadline = time.monotonic() + 10
    while True:
        files, threads = opened()
        if files == files_before and threads <= threads_before:
            return
        assert time.monotonic() < deadline, (files, threads, before)
        time.sleep(0.01)


@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_a_node_that_can_not_start_says_why_and_leaves_nothing_open(
    nodes: tuple[Path, Path], trouble: Trouble
) -> None:
    mend = trouble.spoil(*nodes)
    before = opened()

    with pytest.raises(SennitError) as raised:
        Node(nodes[0]).start()

    assert_let_go(before)
    assert [part for part in trouble.says if part not in str(raised.value)] == []
    mend()
    with Node(nodes[0]) as node:
        assert node.start_flow(add, 1, 2).result(timeout=10) == 3


def test_a_directory_can_not_be_run_twice_at_the_same_time(nodes: tuple[Path, Path]) -> None:
    with Node(nodes[0]) as node:
        before = opened()

        with pytest.raises(StoreUnusable):
            Node(nodes[0]).start()

        assert_let_go(before)
        assert node.start_flow(add, 1, 2).result(timeout=10) == 3


def test_a_node_can_be_started_and_stopped_again_and_again(nodes: tuple[Path, Path]) -> None:
    node = Node(nodes[0])
    before = opened()

    for number in range(5):
        with node:
            assert node.start_flow(add, number, 1).result(timeout=10) == number + 1

    assert_let_go(before)


@pytest.mark.parametrize("trouble", TROUBLES[::3], ids=str)
def test_the_command_says_it_in_one_line(nodes: tuple[Path, Path], trouble: Trouble) -> None:
    mend = trouble.spoil(*nodes)

    ran = subprocess.run(
        [sys.executable, "-m", "runtime.cli", "node", "run", str(nodes[0])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    mend()
    assert (ran.returncode, ran.stdout) == (2, "")
    # A development network says at each start that its keys lie open.
    (line,) = [line for line in ran.stderr.splitlines() if "KEYS OF THIS NODE LIE OPEN" not in line]
    assert line.startswith("sennit: ")
    assert [part for part in trouble.says if part not in line] == []
