"""The configuration of a node: read once, complete, absolute, and strict."""

import dataclasses
from pathlib import Path

import pytest

from runtime.config import NodeConfig
from runtime.edge.key_password import PasswordSource
from runtime.errors import ConfigurationError
from runtime.limits import PeerLimits

MINIMAL = """\
name = "O=Bank A, L=London, C=GB"
p2p_address = "tcp://127.0.0.1:10002"
rpc_address = "tcp://[::1]:10003"
network = "../network"
"""


def load(directory: Path, text: str) -> NodeConfig:
    (directory / "node").mkdir(exist_ok=True)
    (directory / "node" / "node.toml").write_text(text)
    return NodeConfig.load(directory / "node")


def refused(directory: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(directory, text)
    return str(caught.value)


def test_what_is_left_out_has_its_default_and_paths_are_absolute(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL)

    node = tmp_path / "node"
    assert config == NodeConfig(
        directory=node,
        name=config.name,
        p2p_address="tcp://127.0.0.1:10002",
        rpc_address="tcp://[::1]:10003",
        apps=(),
        network_directory=tmp_path / "network",
        keys_directory=node / "keys",
        certificates_directory=node / "certificates",
        store_directory=node / "store",
        users_file=node / "users.toml",
        notary=None,
        key_password=PasswordSource(directory=node),
        log_level="info",
        hold_unexpected=False,
    )
    assert config.name == "O=Bank A,L=London,C=GB"


def test_everything_can_be_set(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        MINIMAL
        + """\
apps = ["samples.trade", "mine"]
keys = "/elsewhere/keys"
certificates = "certs"
store = "data"
users = "people.toml"
notary = "validating"
key_password_file = "password"
log_level = "debug"
hold_unexpected = true
journal_events_max = 5_000
step_threads = 3
hold_after_crashes = 0

[limits]
sessions_per_peer_max = 7
""",
    )

    node = tmp_path / "node"
    assert config.apps == ("samples.trade", "mine")
    assert config.keys_directory == Path("/elsewhere/keys")
    assert config.certificates_directory == node / "certs"
    assert config.store_directory == node / "data"
    assert config.users_file == node / "people.toml"
    assert config.key_password == PasswordSource(file=node / "password", directory=node)
    assert (config.notary, config.log_level, config.hold_unexpected) == (
        "validating",
        "debug",
        True,
    )
    assert config.journal_events_max == 5_000
    assert config.step_threads == 3
    assert config.hold_after_crashes == 0
    assert config.peer_limits == PeerLimits(sessions_per_peer_max=7)


def test_a_configuration_is_frozen(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL)

    with pytest.raises(dataclasses.FrozenInstanceError):
        config.log_level = "debug"  # type: ignore[misc]


def test_a_relative_directory_is_taken_from_where_the_process_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(tmp_path, MINIMAL)
    monkeypatch.chdir(tmp_path)

    assert NodeConfig.load("node").directory == tmp_path / "node"


def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    message = refused(tmp_path, MINIMAL + "hold_unexpectd = true\n")

    assert message == (
        f"{tmp_path}/node/node.toml:5: hold_unexpectd is not a known key. "
        "Did you mean hold_unexpected?"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MINIMAL.replace("C=GB", "C=ZZ"), "node.toml:1: name 'O=Bank A, L=London, C=ZZ': C is"),
        (MINIMAL.replace("10002", "99999"), "node.toml:2: p2p_address: 'tcp://127.0.0.1:99999'"),
        (MINIMAL.replace("tcp://[", "ipc://["), "node.toml:3: rpc_address: 'ipc://[::1]:10003'"),
        (MINIMAL + 'notary = "yes"\n', "Use one of: non-validating, validating"),
        (MINIMAL + 'log_level = "warn"\n', "Did you mean warning?"),
        (MINIMAL + "hold_after_crashes = -1\n", "hold_after_crashes is less than 0"),
        (MINIMAL + "step_threads = 0\n", "step_threads is not a number from 1 to 1000"),
        (MINIMAL + "step_threads = 1_001\n", "step_threads is not a number from 1 to 1000"),
        (MINIMAL + "journal_events_max = 0\n", "journal_events_max is no number of events"),
        (MINIMAL + "[limits]\nunread_bytes_max = 0\n", "unread_bytes_max is less than 1"),
        (MINIMAL + "[limits]\nunread_max = 9\n", "Did you mean unread_bytes_max?"),
        (MINIMAL + 'apps = ["a b"]\n', "apps has 'a b', which is no name of a module"),
        (
            MINIMAL.replace("[::1]:10003", "127.0.0.1:10002"),
            "rpc_address is the same as p2p_address. Use another port",
        ),
        (MINIMAL + 'store = "a\\u0000b"\n', "node.toml:5: store has a NUL character. Remove it"),
        (MINIMAL + 'key_password_command = ["a\\u0000"]\n', "has a NUL character"),
        (MINIMAL.replace("../network", "a\\u0000b"), "node.toml:4: network has a NUL character"),
        ("", "has 4 mistakes"),
    ],
)
def test_a_wrong_value_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    assert words in refused(tmp_path, text)


def test_a_directory_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file or directory"):
        NodeConfig.load(tmp_path)


def test_the_password_has_one_place(tmp_path: Path) -> None:
    command = load(tmp_path, MINIMAL + 'key_password_command = ["pass", "show", "node"]\n')
    credential = load(tmp_path, MINIMAL + 'key_password_credential = "node-keys"\n')
    both = MINIMAL + 'key_password_command = ["pass"]\nkey_password_credential = "node"\n'

    assert command.key_password.command == ("pass", "show", "node")
    assert credential.key_password.credential == "node-keys"
    assert "more than one key_password_... place" in refused(tmp_path, both)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", " "])
def test_a_credential_is_a_name_and_no_path(tmp_path: Path, name: str) -> None:
    text = MINIMAL + f'key_password_credential = "{name}"\n'

    assert "is not the name of a credential" in refused(tmp_path, text)


def test_keys_lie_open_when_their_password_is_beside_them(tmp_path: Path) -> None:
    beside = load(tmp_path, MINIMAL + 'key_password_file = "password"\n')
    apart = load(tmp_path, MINIMAL + 'key_password_file = "/run/secrets/node"\n')

    assert beside.keys_lie_open
    assert not apart.keys_lie_open
    assert not load(tmp_path, MINIMAL).keys_lie_open
