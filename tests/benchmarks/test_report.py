"""The figures as they are printed."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks.report import Result, percentile_ms, readable, show

RESULT = Result(
    name="steps",
    settings={"flows": 1_000, "steps": 10},
    value=120_000.0,
    unit="steps/s",
    limit=400_000.0,
    p50_ms=8.25,
    p99_ms=12.5,
    fsync=True,
    machine={"cpu": "Model Q", "cores": 2},
)


def test_json_has_one_object_a_run_with_the_promised_keys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show([RESULT, RESULT], as_json=True)

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    keys = "name settings value unit limit ratio p50_ms p99_ms fsync machine"
    assert set(json.loads(lines[0])) == set(keys.split())
    assert json.loads(lines[0])["ratio"] == pytest.approx(0.3)
    assert json.loads(lines[0])["machine"] == {"cpu": "Model Q", "cores": 2}


def test_the_table_shows_the_figure_beside_its_limit_and_the_machine() -> None:
    written = io.StringIO()

    show([RESULT], as_json=False, console=Console(file=written, width=160))

    text = written.getvalue()
    for part in ("steps", "flows 1000", "120,000", "400,000", "0.30", "8.25", "12.5", "Model Q"):
        assert part in text


def test_settings_that_all_figures_share_stand_below_the_table() -> None:
    written = io.StringIO()
    more = replace(RESULT, settings={"flows": 10_000, "steps": 10, "commits": 7})

    show([RESULT, more], as_json=False, console=Console(file=written, width=160))

    above, _, below = written.getvalue().partition("All:")
    assert "flows 1000 " in above
    assert "flows 10000 " in above
    assert "commits 7" in above
    assert "steps 10" not in above
    assert below.startswith(" steps 10, fsync on\n")


def test_a_table_of_nothing_names_no_machine() -> None:
    written = io.StringIO()

    show([], as_json=False, console=Console(file=written, width=160))

    assert "Measured on" not in written.getvalue()


def test_no_fsync_is_said() -> None:
    written = io.StringIO()
    unsafe = Result(
        name="steps", settings={}, value=1.0, unit="steps/s", limit=1.0, p50_ms=1.0, p99_ms=1.0,
        fsync=False, machine={},
    )  # fmt: skip

    show([unsafe], as_json=False, console=Console(file=written, width=160))

    assert "off" in written.getvalue()


@pytest.mark.parametrize(
    ("percent", "expected_ms"), [(1, 1.0), (50, 50.0), (99, 99.0), (100, 100.0)]
)
def test_a_percentile_is_a_sample(percent: int, expected_ms: float) -> None:
    seconds = [number / 1000 for number in range(100, 0, -1)]

    assert percentile_ms(seconds, percent) == pytest.approx(expected_ms)


def test_a_percentile_of_one_sample_is_that_sample() -> None:
    assert percentile_ms([0.25], 99) == 250.0


@pytest.mark.parametrize(
    ("number", "text"), [(123_456.7, "123,457"), (99.94, "99.9"), (0.2345, "0.234")]
)
def test_numbers_are_short(number: float, text: str) -> None:
    assert readable(number) == text
