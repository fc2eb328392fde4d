"""Commands of other packages: found by their entry points, imported when they are used."""

import re
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from runtime.cli.main import cli
from runtime.cli.plugins import GROUP
from tests.source_files import ROOT

ENTRY_POINTS = """
[sennit.commands]
greet = plugin_of_a_test:greet
broken = plugin_of_a_test_that_fails:greet
number = plugin_of_a_test:NUMBER
node = plugin_of_a_test:greet
"""

GREET = """
import click
from runtime.errors import MisuseError

NUMBER = 3

@click.command()
@click.argument("name")
def greet(name):
    "Say hello."
    if name == "nobody":
        raise MisuseError("there is nobody")
    click.echo(f"hello {name}")
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a package with commands."""
    information = tmp_path / "plugin_of_a_test-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "plugin_of_a_test.py").write_text(GREET)
    (tmp_path / "plugin_of_a_test_that_fails.py").write_text("raise RuntimeError('out of order')")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("plugin_of_a_test", None)


@pytest.mark.usefixtures("installed")
def test_a_command_of_another_package_is_one_of_sennit_and_so_are_its_errors() -> None:
    said = CliRunner().invoke(cli, ["greet", "ann"])
    refused = CliRunner().invoke(cli, ["greet", "nobody"])

    assert (said.exit_code, said.stdout) == (0, "hello ann\n")
    assert (refused.exit_code, refused.stderr) == (2, "sennit: there is nobody\n")


@pytest.mark.usefixtures("installed")
def test_it_is_imported_only_when_it_is_used() -> None:
    CliRunner().invoke(cli, ["flow", "--help"])

    assert "plugin_of_a_test" not in sys.modules


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "reason"), [("broken", "RuntimeError: out of order"), ("number", "no click.Command")]
)
def test_one_that_can_not_be_loaded_says_why_and_leaves_the_others_alone(
    name: str, reason: str
) -> None:
    listed = CliRunner().invoke(cli, ["--help"])
    used = CliRunner().invoke(cli, [name, "--with", "words"])

    assert listed.exit_code == 0
    for line in (r"greet +Say hello\.", rf"{name} +.*can't be used", "journal"):
        assert re.search(line, listed.stdout)
    assert used.exit_code == 2
    assert "can't be used" in used.stderr
    assert reason in used.stderr


@pytest.mark.usefixtures("installed")
def test_nobody_takes_the_name_of_a_command_of_sennit() -> None:
    text = CliRunner().invoke(cli, ["node", "--help"]).stdout

    assert "drain" in text


def test_what_is_no_command_at_all_is_refused_with_2() -> None:
    refused = CliRunner().invoke(cli, ["dance"])

    assert refused.exit_code == 2
    assert "No such command 'dance'" in refused.stderr


def test_the_commands_that_this_distribution_declares_exist() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    declared = setup["options.entry_points"][GROUP].split("\n")

    for line in filter(None, declared):
        name, module, attribute = line.replace(" = ", ":").split(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        assert command.name == name
