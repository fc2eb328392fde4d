"""The benchmark of sessions, with hardly any: two real processes, and what is printed."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import __main__ as everything
from benchmarks import limits, pingpong, steps
from benchmarks.options import Options

KEYS = "name settings value unit limit ratio p50_ms p99_ms fsync machine"


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pingpong, "LIMIT_MESSAGES", 10)
    monkeypatch.setattr(limits, "round_trip_ms", lambda: 0.1)


def test_each_figure_is_one_json_object_and_nothing_stays_behind(tmp_path: Path) -> None:
    into = ["--dir", str(tmp_path)]

    done = CliRunner().invoke(
        pingpong.main,
        ["--pairs", "1", "--pairs", "3", "--rounds", "2", "--repeat", "1", "--json", *into],
    )

    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(set(each) == set(KEYS.split()) for each in found)
    assert [each["settings"]["pairs"] for each in found] == [1, 3]
    assert all(each["value"] > 0 and each["unit"] == "messages/s" for each in found)
    assert all(150 < each["settings"]["message_bytes"] < 250 for each in found)
    assert list(tmp_path.iterdir()) == []


def test_a_profile_names_functions_of_both_sides(tmp_path: Path) -> None:
    into = ["--dir", str(tmp_path)]

    done = CliRunner().invoke(
        pingpong.main,
        ["--pairs", "5", "--rounds", "9", "--seconds", "0.5", "--no-fsync", "--profile", *into],
    )

    assert done.exit_code == 0, done.output
    for part in ("O=Ping", "O=Pong", "runtime/engine/"):
        assert part in done.stdout


def test_a_process_that_ends_is_reported(tmp_path: Path) -> None:
    with (
        pingpong.two_sides(Options(folder=tmp_path, fsync=False)) as (left, _),
        pytest.raises(RuntimeError, match="has ended"),
    ):
        left.ask("nonsense")


def test_sessions_have_many_exchanges_so_that_their_opening_does_not_count() -> None:
    assert pingpong.rounds_of(1) == 200
    assert pingpong.rounds_of(2) == 20


def test_everything_is_measured_by_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "FLOWS", (1,))
    monkeypatch.setattr(steps, "LATENCIES", 4)
    monkeypatch.setattr(steps, "LIMIT_RECORDS_MIN", 1)
    monkeypatch.setattr(pingpong, "PAIRS", (1,))
    monkeypatch.setattr(pingpong, "ROUNDS_OF_ONE_PAIR", 2)

    done = CliRunner().invoke(
        everything.main,
        ["--json", "--repeat", "1", "--seconds", "0", "--no-fsync", "--dir", str(tmp_path)],
    )

    assert done.exit_code == 0, done.output
    names = [json.loads(line)["name"] for line in done.stdout.splitlines()]
    assert names == ["steps", "file alone", "pingpong"]
