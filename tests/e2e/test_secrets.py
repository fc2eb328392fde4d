"""The password of a real node: from where one says, and no longer in the environment."""

import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from runtime.cli.main import cli
from runtime.edge.key_password import PasswordReader
from runtime.network_bootstrap import create_network
from runtime.node import Node
from runtime.testing.driver import NetworkDriver
from tests.e2e.flows import add
from tests.e2e.networks import EMBEDDED


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "network.toml").write_text(EMBEDDED)
    return create_network(tmp_path / "network.toml").nodes[0].directory


def say(directory: Path, line: str) -> bytes:
    """Have node.toml say ``line`` in place of the file, which is removed; return the password."""
    toml = directory / "node.toml"
    lines = [each for each in toml.read_text().splitlines() if "key_password" not in each]
    toml.write_text("\n".join([line, *lines]) + "\n")
    password = (directory / "password").read_bytes()
    (directory / "password").unlink()
    return password


def test_a_node_takes_its_password_out_of_the_environment_and_starts_twice(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = say(directory, "").decode().strip()
    monkeypatch.setattr("runtime.node._passwords", PasswordReader(os.environ))
    monkeypatch.setenv("SENNIT_KEY_PASSWORD", password)
    node = Node(directory)

    for number in range(2):
        with node:
            assert "SENNIT_KEY_PASSWORD" not in os.environ
            assert node.start_flow(add, number, 1).result() == number + 1


def test_a_node_asks_a_command_for_its_password(directory: Path) -> None:
    password = say(
        directory,
        f'key_password_command = ["{sys.executable}", "-c", "print(open(\'../kept\').read())"]',
    )
    (directory.parent / "kept").write_bytes(password.strip())

    with Node(directory) as node:
        assert node.start_flow(add, 1, 1).result() == 2


def test_a_node_takes_its_password_from_a_credential(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = say(directory, 'key_password_credential = "alice"')
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "alice").write_bytes(password)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))

    with Node(directory) as node:
        assert node.start_flow(add, 1, 1).result() == 2


def test_a_node_of_a_development_network_warns_that_its_keys_lie_open() -> None:
    with NetworkDriver.create(EMBEDDED) as network:
        alice = network.node("alice")
        alice.start()
        found = alice.output()

    assert "WARNING sennit.node: THE KEYS OF THIS NODE LIE OPEN" in found


def test_making_a_development_network_says_that_its_keys_lie_open(tmp_path: Path) -> None:
    (tmp_path / "network.toml").write_text(EMBEDDED)

    made = CliRunner().invoke(cli, ["network", "create", str(tmp_path / "network.toml"), "--json"])

    assert made.exit_code == 0
    assert made.stdout.startswith("{")
    assert "Its keys lie open" in made.stderr
    assert "Don't use it in production" in made.stderr
