"""The password of the keys: from one place, which is named when it fails, and left nowhere else."""

import sys
from pathlib import Path

import pytest

from runtime.edge import key_password
from runtime.edge.files import write_private_file
from runtime.edge.key_password import PasswordReader, PasswordSource
from runtime.errors import ConfigurationError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    write_private_file(path, b"from file\n")
    return path


def python(code: str, directory: Path = Path()) -> PasswordSource:
    return PasswordSource(command=(sys.executable, "-c", code), directory=directory)


def refused(source: PasswordSource, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        PasswordReader(environment or {}).read(source)
    return str(caught.value)


def test_the_environment_goes_before_what_node_toml_says(file: Path) -> None:
    source = PasswordSource(file=file)

    assert PasswordReader({"SENNIT_KEY_PASSWORD": "variable"}).read(source) == b"variable"
    assert PasswordReader({"SENNIT_KEY_PASSWORD": ""}).read(source) == b"from file"
    assert PasswordReader({"SENNIT_KEY_PASSWORD": "x"}).read(PasswordSource()) == b"x"


def test_the_variable_is_gone_once_it_was_read_and_remembered_for_a_second_start() -> None:
    # Breaks when child processes, or a flow, find the password in the environment.
    environment = {"SENNIT_KEY_PASSWORD": "secret", "LANG": "C"}
    reader = PasswordReader(environment)

    first = reader.read(PasswordSource())

    assert environment == {"LANG": "C"}
    assert first == reader.read(PasswordSource()) == b"secret"


def test_a_file_that_is_empty_or_open_to_others_is_refused(file: Path) -> None:
    write_private_file(file, b"\n")
    assert "is empty" in refused(PasswordSource(file=file))
    file.chmod(0o644)

    assert "chmod 600" in refused(PasswordSource(file=file))


def test_no_place_at_all_is_refused_with_all_that_there_are() -> None:
    message = refused(PasswordSource())

    assert "SENNIT_KEY_PASSWORD" in message
    assert "key_password_command" in message


def test_a_command_is_run_in_the_directory_of_the_node_without_a_shell(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd(), sys.argv[1:])"
    source = PasswordSource(
        command=(sys.executable, "-c", code, "$HOME; rm"), directory=tmp_path.resolve()
    )

    password = PasswordReader({}).read(source)

    assert password.decode() == f"{tmp_path.resolve()} ['$HOME; rm']"


def test_a_command_that_fails_is_named_with_what_it_said() -> None:
    message = refused(python("import sys; sys.exit('first\\nno such entry')"))

    assert f"key_password_command ({sys.executable})" in message
    assert "ended with exit code 1: no such entry" in message


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("pass", "is empty"),
        ("print()", "is empty"),
        ("print('x' * 2000)", "printed more than 1024 bytes"),
    ],
)
def test_a_command_that_gives_no_password_is_refused(code: str, what: str) -> None:
    assert what in refused(python(code))


def test_a_command_that_is_not_there_is_refused() -> None:
    message = refused(PasswordSource(command=("/nowhere/pass",)))

    assert "can't be run (no such file or directory)" in message


def test_a_command_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_password, "COMMAND_SECONDS", 0.1)

    assert "had not ended after" in refused(python("import time; time.sleep(60)"))


def test_a_credential_of_systemd_is_read_though_its_mode_shows_an_acl(tmp_path: Path) -> None:
    credential = tmp_path / "node-keys"
    credential.write_bytes(b"from systemd\n")
    credential.chmod(0o440)
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}

    assert PasswordReader(environment).read(PasswordSource(credential="node-keys")) == (
        b"from systemd"
    )
    assert "missing" in refused(PasswordSource(credential="missing"), environment)


def test_a_credential_without_systemd_says_what_the_unit_needs() -> None:
    message = refused(PasswordSource(credential="node-keys"))

    assert "CREDENTIALS_DIRECTORY" in message
    assert "LoadCredential=node-keys:" in message
