"""A node whose disk is full says so, refuses starts, and goes on when there is room."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from runtime.testing.driver import NetworkDriver, NodeProcess
from tests.e2e.networks import EMBEDDED
from tests.source_files import ROOT

SECONDS: Final = 30.0
DISK_BYTES: Final = 32 * 1024 * 1024


@pytest.fixture
def alice(tmp_path: Path) -> Iterator[NodeProcess]:
    """A node whose store lies on a disk of 32 MiB."""
    with NetworkDriver.create(EMBEDDED) as network:
        node = network.node("alice")
        store = node.directory / "store"
        store.mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", store],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            pytest.skip("only a privileged user can mount a small disk")
        try:
            node.start()
            yield node
            node.stop()
        finally:
            subprocess.run(["umount", "-l", store], check=True)


def sennit(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "sennit", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_a_full_disk_is_told_everywhere_and_refuses_starts_until_there_is_room(
    alice: NodeProcess,
) -> None:
    here = str(alice.directory)
    ballast = alice.directory / "store" / "ballast"
    alice.rpc.options().start_flow("tests.e2e.flows.work", 30_000)
    fill(ballast)
    alice.wait_until(lambda: bool(alice.rpc.info().store.trouble), "the disk is full", SECONDS)

    info = sennit("node", "info", here)
    listed = sennit("flow", "list", here)
    started = sennit("flow", "start", here, "add", "1", "2")
    ballast.unlink()
    alice.wait_until(lambda: not alice.rpc.info().store.trouble, "the disk is well", SECONDS)
    again = sennit("flow", "start", here, "add", "1", "2")

    assert "store trouble: can't be written since" in info.stdout
    assert "can't be written" in listed.stderr
    assert started.returncode == 2
    assert "was not started: the store of this node can't be written" in started.stderr
    assert "Traceback" not in alice.output()
    assert again.returncode == 0, again.stderr


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return
