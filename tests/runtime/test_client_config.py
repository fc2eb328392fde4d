"""The files of users: keys that belong together, nodes by short or legal name."""

from pathlib import Path

import pytest

from runtime.client_config import ClientConfig, UserKey, load_users
from runtime.edge.files import write_private_file
from runtime.edge.keystore import new_curve_keys
from runtime.errors import ConfigurationError
from runtime.toml_file import quoted

CURVE = new_curve_keys()
PUBLIC = quoted(CURVE.public_key.decode())
SECRET = quoted(CURVE.secret_key.decode())
NODE = f"""\
[[node]]
name = "O=Bank A,L=London,C=GB"
short_name = "bank-a"
rpc_address = "tcp://127.0.0.1:10003"
curve_key = {PUBLIC}
"""
USER = f'[[user]]\nname = "admin"\nkey = {PUBLIC}\npermissions = ["ALL"]\n'


def write(directory: Path, text: str) -> Path:
    path = directory / "file"
    write_private_file(path, text.encode())
    return path


def test_a_user_key_is_read_if_it_is_private(tmp_path: Path) -> None:
    path = write(tmp_path, f'name = "admin"\npublic = {PUBLIC}\nsecret = {SECRET}\n')

    key = UserKey.load(path)

    assert (key.name, key.curve) == ("admin", CURVE)
    assert CURVE.secret_key.decode() not in repr(key)
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        UserKey.load(path)


def test_a_public_and_a_secret_key_of_different_pairs_are_refused(tmp_path: Path) -> None:
    other = quoted(new_curve_keys().public_key.decode())

    path = write(tmp_path, f'name = "admin"\npublic = {other}\nsecret = {SECRET}\n')

    with pytest.raises(ConfigurationError, match="public and secret are no pair"):
        UserKey.load(path)


def test_a_broken_secret_is_not_shown_in_the_error(tmp_path: Path) -> None:
    path = write(tmp_path, f'name = "admin"\npublic = {PUBLIC}\nsecret = "hush hush"\n')

    with pytest.raises(ConfigurationError) as caught:
        UserKey.load(path)

    assert "secret is no CURVE key" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_node_is_found_by_its_short_or_legal_name(tmp_path: Path) -> None:
    client = ClientConfig.load(write(tmp_path, NODE))

    node = client.node("bank-a")

    assert node.rpc_address == "tcp://127.0.0.1:10003"
    assert node.curve_key == CURVE.public_key
    assert client.node("C=GB, L=London, O=Bank A") == node


def test_an_unknown_node_is_answered_with_a_near_or_all_names(tmp_path: Path) -> None:
    second = NODE.replace("Bank A", "Zeta").replace("bank-a", "zeta")
    client = ClientConfig.load(write(tmp_path, NODE + second))

    with pytest.raises(ConfigurationError, match=r"lists no node 'bank_a'. Did you mean bank-a\?"):
        client.node("bank_a")
    with pytest.raises(ConfigurationError, match="Did you mean bank-a or zeta"):
        client.node("?")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("tcp://", "http://", "rpc_address: 'http://127.0.0.1:10003' is no address"),
        ("rpc_address", "address", "rpc_address is missing"),
        (PUBLIC, '"short"', "curve_key is no CURVE key"),
        (PUBLIC, '""', "curve_key is empty"),
        ("O=Bank A", "O=", "O is empty"),
        ("[[node]]", "[[nodes]]", "Did you mean node?"),
    ],
    # The keys are new in each process, and the processes of one test run must agree on the names.
    ids=lambda text: text if text.startswith(("curve", "rpc")) else "",
)
def test_a_wrong_list_of_nodes_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = write(tmp_path, NODE.replace(old, new))

    with pytest.raises(ConfigurationError) as caught:
        ClientConfig.load(path)

    assert words in str(caught.value)


def test_users_are_read_with_their_permissions(tmp_path: Path) -> None:
    (user,) = load_users(write(tmp_path, USER))

    assert (user.name, user.public_key) == ("admin", CURVE.public_key)
    assert user.permissions.may_start("any.flow")


def test_wrong_users_are_refused(tmp_path: Path) -> None:
    for text, words in [
        (USER + USER, "name 'admin' is there twice"),
        (USER.replace("ALL", "Everything"), "there is no permission 'Everything'"),
        (USER.replace("permissions", "permission"), "Did you mean permissions?"),
    ]:
        with pytest.raises(ConfigurationError) as caught:
            load_users(write(tmp_path, text))
        assert words in str(caught.value)


def test_a_file_of_users_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, USER)
    path.chmod(0o622)

    with pytest.raises(ConfigurationError, match="chmod 600"):
        load_users(path)
