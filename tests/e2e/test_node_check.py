"""`sennit node check`: everything that a real node has stored is read, and damage is told."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from runtime.cli.main import cli
from runtime.config import NodeConfig
from runtime.edge.lmdb_store import LmdbStore
from runtime.edge.log_file import LOG_NAMES
from runtime.errors import StoreDamaged
from runtime.network_bootstrap import create_network
from runtime.node import Node
from runtime.ports import Batch, Space
from tests.e2e.flows import add
from tests.e2e.networks import EMBEDDED
from tests.runtime.edge.store_helpers import commit, finish_merging

RESULTS = Space("results")
FOREIGN = Space("somebody.elses")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A node that ran five flows and was stopped; some of its rows are in trees."""
    (tmp_path / "network.toml").write_text(EMBEDDED)
    directory = create_network(tmp_path / "network.toml").nodes[0].directory
    with Node(directory) as node:
        for number in range(5):
            assert (
                node.options(client_id=f"c-{number}").start_flow(add, number, 1).result()
                == number + 1
            )
    config = NodeConfig.load(directory)
    with LmdbStore(config.store_directory, owner=config.name, merge_rows=1) as store:
        for _ in range(2):
            commit(store, Batch({FOREIGN: {b"key": b"value"}}))
            finish_merging(store)
        commit(store, Batch({FOREIGN: {b"another": b"value"}}))
    return directory


def check(directory: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["node", "check", str(directory), *options])


def change(directory: Path, found: bytes, replaced: bytes) -> None:
    path = directory / "store" / "data.mdb"
    content = path.read_bytes()
    assert found in content
    path.write_bytes(content.replace(found, replaced))


def test_a_sound_store_is_said_to_be_sound_space_by_space(directory: Path) -> None:
    found = check(directory, "--json")

    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout)
    rows = {space["name"]: space["rows"] for space in report["spaces"]}
    assert rows.items() >= {"results": 5, "client_ids": 5, "somebody.elses": 2}.items()
    assert report["damaged"] == 0
    decoded = {space["name"]: space["decoded"] for space in report["spaces"]}
    assert (decoded["results"], decoded["somebody.elses"]) == (True, False)


def test_the_same_is_shown_as_a_table(directory: Path) -> None:
    found = check(directory)

    assert found.exit_code == 0, found.output
    assert "the store is sound" in found.stdout
    assert "somebody.elses" in found.stdout


def test_a_check_changes_nothing_and_the_node_runs_afterwards(directory: Path) -> None:
    store = directory / "store"
    names = ("data.mdb", "log.marks", *LOG_NAMES)
    before = {name: (store / name).read_bytes() for name in names}

    check(directory)

    assert {name: (store / name).read_bytes() for name in names} == before
    with Node(directory) as node:
        assert node.options(client_id="c-0").start_flow(add, 0, 1).result() == 1


def test_a_damaged_row_is_named_and_the_rest_is_read(directory: Path) -> None:
    change(directory, b"c-3", b"c-9")

    found = check(directory, "--json")

    assert found.exit_code == 1
    report = json.loads(found.stdout)
    damaged = {space["name"]: space["damaged_rows"] for space in report["spaces"]}
    assert {"key": b"c-9".hex(), "what": "it is not what was written"} in damaged["client_ids"]
    rows = {space["name"]: space["rows"] for space in report["spaces"]}
    assert rows["client_ids"] == 4


def test_a_damaged_row_is_told_to_a_person_too(directory: Path) -> None:
    change(directory, b"c-3", b"c-9")

    found = check(directory)

    assert found.exit_code == 1
    assert f"damaged: space 'client_ids', row {b'c-9'.hex()}" in found.stderr
    assert "restore the newest backup" in found.stderr


def test_a_row_that_nobody_can_decode_is_damaged(directory: Path) -> None:
    config = NodeConfig.load(directory)
    with LmdbStore(config.store_directory, owner=config.name) as store:
        commit(store, Batch({RESULTS: {b"k" * 16: b"\xc1"}}))

    found = check(directory, "--json")

    assert found.exit_code == 1
    (space,) = [each for each in json.loads(found.stdout)["spaces"] if each["damaged"]]
    assert space["name"] == "results"
    assert space["damaged_rows"][0]["key"] == (b"k" * 16).hex()
    assert "it can't be decoded" in space["damaged_rows"][0]["what"]


def test_many_damaged_rows_are_counted_and_some_are_named(directory: Path) -> None:
    config = NodeConfig.load(directory)
    with LmdbStore(config.store_directory, owner=config.name) as store:
        commit(store, Batch({RESULTS: {b"%016d" % n: b"\xc1" for n in range(50)}}))

    found = check(directory)

    assert found.exit_code == 1
    assert found.stderr.count("can't be decoded") == 20
    assert "30 more" in found.stderr


def test_a_log_that_lost_its_tail_is_refused(directory: Path) -> None:
    log = max(
        (directory / "store" / name for name in LOG_NAMES), key=lambda path: path.stat().st_size
    )
    os.truncate(log, 5_000)

    found = check(directory)

    assert found.exit_code == 2
    assert "the end is missing" in found.stderr


def test_a_running_node_is_not_checked(directory: Path) -> None:
    with Node(directory):
        found = check(directory)

    assert found.exit_code == 2
    assert f"in use by process {os.getpid()}" in found.stderr


def test_a_node_that_never_ran_has_no_store(tmp_path: Path) -> None:
    (tmp_path / "network.toml").write_text(EMBEDDED)
    directory = create_network(tmp_path / "network.toml").nodes[0].directory

    found = check(directory)

    assert found.exit_code == 2
    assert "there is no store at" in found.stderr
    assert not (directory / "store").exists()


def test_a_damaged_row_that_is_asked_for_is_an_error_and_no_wrong_answer(directory: Path) -> None:
    # Breaks when a client id whose row is damaged counts as new, and its flow runs again.
    change(directory, b"c-3", b"c-9")

    with Node(directory) as node:
        assert node.options(client_id="c-2").start_flow(add, 2, 1).result() == 3
        with pytest.raises(StoreDamaged, match="in space 'client_ids'"):
            node.options(client_id="c-3").start_flow(add, 3, 1)
