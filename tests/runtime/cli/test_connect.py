"""How a command finds its node and the key of its user, and what it says when it doesn't."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from runtime.cli.main import cli
from runtime.network_bootstrap import create_network
from tests.runtime.cli.conftest import Demo


def sennit(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(cli, words, env=environment)


def test_the_node_is_the_first_word_an_option_or_in_the_environment(
    demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sennit("node", "info", demo.bank_a).exit_code == 0
    assert sennit("node", "info", "--node", demo.bank_a).exit_code == 0
    assert sennit("node", "info", SENNIT_NODE=demo.bank_a).exit_code == 0
    monkeypatch.chdir(demo.bank_a)
    assert sennit("node", "info").exit_code == 0


def test_the_first_word_wins_over_the_environment(demo: Demo) -> None:
    result = sennit("node", "info", demo.bank_a, SENNIT_NODE=demo.bank_b)

    assert result.exit_code == 0


def test_who_has_only_a_directory_of_users_names_the_node_in_it(demo: Demo) -> None:
    assert sennit("node", "info", str(demo.users / "bank-a")).exit_code == 0

    result = sennit("node", "info", str(demo.users / "bank-x"))
    assert result.exit_code == 2
    assert "lists no node 'bank-x'" in result.stderr


def test_without_a_node_it_is_said_how_to_name_one(demo: Demo) -> None:
    result = sennit("flow", "list")

    assert result.exit_code == 2
    assert "which node? Name its directory first, or with --node, or in SENNIT_NODE" in (
        result.stderr
    )


@pytest.mark.parametrize("option", [[], ["--node"]])
def test_a_directory_that_is_no_nodes_is_refused(
    demo: Demo, tmp_path: Path, option: list[str]
) -> None:
    result = sennit("flow", "list", *option, str(tmp_path))

    assert result.exit_code == 2
    assert f"{tmp_path}: is no directory of a node: it has no node.toml" in result.stderr


def test_a_node_that_does_not_run_is_said_with_the_command_that_runs_it(demo: Demo) -> None:
    result = sennit("node", "info", demo.bank_b)

    assert result.exit_code == 1
    assert result.stderr.startswith("sennit: no node answers at tcp://127.0.0.1:")
    assert f"Start it with: sennit node run {demo.bank_b}" in result.stderr


def test_a_user_without_a_key_is_told_who_has_one(demo: Demo) -> None:
    result = sennit("node", "info", demo.bank_a, "--user", "eve")

    assert result.exit_code == 2
    assert "there is no key of user 'eve'. It has keys of: admin, clerk" in result.stderr


@pytest.mark.parametrize(
    ("users", "is_clear"), [(["ann"], True), (["ann", "admin"], True), (["ann", "bob"], False)]
)
def test_the_only_user_or_admin_is_meant_when_nobody_is_named(
    tmp_path: Path, users: list[str], *, is_clear: bool
) -> None:
    spec = tmp_path / "demo.toml"
    spec.write_text(
        '[network]\nname = "demo"\n[[node]]\nname = "O=Bank A,L=London,C=GB"\n'
        + "".join(f'[[user]]\nname = "{user}"\npermissions = ["ALL"]\n' for user in users)
    )
    node = create_network(spec).nodes[0]

    result = sennit("node", "info", str(node.directory))

    assert ("Say with --user NAME whose to use" in result.stderr) is not is_clear
    assert ("no node answers" in result.stderr) is is_clear


def test_a_node_without_files_of_users_says_where_to_get_them(tmp_path: Path) -> None:
    spec = tmp_path / "demo.toml"
    spec.write_text('[network]\nname = "demo"\n[[node]]\nname = "O=Bank A,L=London,C=GB"\n')
    created = create_network(spec)
    created.client_file.unlink()

    result = sennit("node", "info", str(created.nodes[0].directory))

    assert result.exit_code == 2
    assert "there is no client.toml, which says how to reach the node" in result.stderr
