"""The benchmark of steps, with hardly any: it runs, and prints what it promises."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import steps
from benchmarks.options import Options

KEYS = "name settings value unit limit ratio p50_ms p99_ms fsync machine"


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "LATENCIES", 4)
    monkeypatch.setattr(steps, "LIMIT_RECORDS_MIN", 1)


def arguments(folder: Path, *more: str) -> list[str]:
    return ["--steps", "2", "--repeat", "1", "--seconds", "0", "--dir", str(folder), *more]


def test_each_figure_is_one_json_object_and_nothing_stays_behind(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        steps.main, arguments(tmp_path, "--flows", "1", "--flows", "3", "--json")
    )

    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["name"] for each in found] == ["steps", "file alone"] * 2
    assert all(set(each) == set(KEYS.split()) for each in found)
    assert [each["settings"]["flows"] for each in found] == [1, 1, 3, 3]
    assert all(each["ratio"] == each["value"] / each["limit"] for each in found)
    assert all(each["p99_ms"] >= each["p50_ms"] > 0 for each in found)
    assert list(tmp_path.iterdir()) == []


def test_the_records_of_the_limit_are_as_large_as_those_of_the_journal(tmp_path: Path) -> None:
    figure, _ = steps.measure(1, 2, Options(folder=tmp_path, repeat=1, seconds=0.0, fsync=False))

    record_bytes = figure.settings["record_bytes"]
    assert isinstance(record_bytes, int)
    assert steps.KEY_BYTES + len("benchmarks.flows.add") < record_bytes < 100
    assert not figure.fsync
    assert figure.settings["commits"] in (2, 3)


def test_the_limit_is_one_commit_for_each_step_of_all_flows(tmp_path: Path) -> None:
    options = Options(folder=tmp_path, fsync=False)

    database = steps.database_limit(5, 3, b"value", options)
    file = steps.file_limit(5, 3, b"value", options)

    for limit in (database, file):
        assert len(limit.commit_seconds) == 3
        assert limit.records_per_second == pytest.approx(15 / sum(limit.commit_seconds))


def test_a_profile_names_functions(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        steps.main,
        ["--flows", "20", "--seconds", "0.2", "--no-fsync", "--dir", str(tmp_path), "--profile"],
    )

    assert done.exit_code == 0, done.output
    assert "20 flows" in done.stdout
    assert "runtime/engine/" in done.stdout
