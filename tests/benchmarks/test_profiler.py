"""The sampling profiler: samples are counted where they fell."""

import io
import time

from rich.console import Console

from benchmarks.profiler import Profiler, show_profile


def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_a_function_that_takes_all_the_time_has_nearly_all_of_it() -> None:
    with Profiler() as profiler:
        burn(0.2)

    place, own, total = profiler.rows(seconds=0.2, count=10)[0]
    assert profiler.samples > 0
    assert place.endswith(" burn")
    assert 0 < own <= total <= 20_001


def test_nothing_is_noted_after_the_end() -> None:
    with Profiler() as profiler:
        pass
    samples = profiler.samples

    burn(0.05)

    assert profiler.samples == samples


def test_a_profile_without_samples_is_an_empty_table() -> None:
    written = io.StringIO()

    show_profile("nothing", Profiler().rows(1.0, 1), Console(file=written))

    assert "nothing" in written.getvalue()
