"""A process that was killed after a step failed finds the class of the error again."""

from pathlib import Path
from typing import Final

import pytest

from runtime.operations import Arguments
from runtime.testing.driver import NetworkDriver
from tests.runtime.engine.test_errors_of_libraries import CAUGHT

SECONDS: Final = 60.0

LIBRARIES: Final = """\
[network]
name = "libraries"

[[node]]
name = "O=Alice,L=London,C=GB"
apps = ["tests.runtime.engine.library_flows"]
"""


@pytest.mark.parametrize("in_thread", ["false", "true"])
def test_errors_of_libraries_are_caught_by_their_classes_after_kill_9(
    tmp_path: Path, in_thread: str
) -> None:
    seen, gate = tmp_path / "seen", tmp_path / "gate"
    with NetworkDriver.create(LIBRARIES) as network:
        network.start()
        alice = network.node("alice")
        started = alice.rpc.options().start_text(
            "tests.runtime.engine.library_flows.use_libraries",
            Arguments([in_thread, str(seen), str(gate)]),
        )
        alice.wait_until(seen.exists, "met all errors", SECONDS)
        first = alice.pid
        alice.kill()
        alice.start()
        alice.wait_until(lambda: len(lives_in(seen)) == 2, "met them again", SECONDS)
        gate.touch()

        alice.rpc.result(started.id, SECONDS)
        second = alice.pid

    live, replayed = lives_in(seen)
    assert first != second
    assert replayed == live
    assert all(start in live for start in CAUGHT)


def lives_in(seen: Path) -> list[str]:
    """Return what each life of the node has seen, each in one whole line."""
    return seen.read_text().split("\n")[:-1]
