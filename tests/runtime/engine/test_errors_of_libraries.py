"""What libraries raise in a step is caught by its class and its bases, live and replayed."""

from pathlib import Path

import pytest

from runtime import StepFailed
from runtime.outcome_codec import decode_step_error, encode_outcome
from runtime.testing.network import SimulatedNetwork
from tests.runtime.engine.library_errors import LIBRARY_ERRORS
from tests.runtime.engine.library_flows import use_libraries

CAUGHT = [
    f"{kind} by {cls.__name__}: True "
    for kind, expected in LIBRARY_ERRORS.items()
    for cls in (StepFailed if expected.is_stood_in_for else expected.cls, *expected.bases)
]


@pytest.mark.parametrize("in_thread", [False, True])
def test_an_error_of_a_library_is_caught_by_its_class_and_its_bases(
    network: SimulatedNetwork, tmp_path: Path, in_thread: bool
) -> None:
    seen, gate = tmp_path / "seen", tmp_path / "gate"
    alice = network.node("Alice", apps=[use_libraries])
    handle = alice.start_flow(use_libraries, in_thread, str(seen), str(gate))
    network.run_for(1)
    alice.restart()
    gate.touch()

    lines = alice.handle(handle.id).result()

    assert isinstance(lines, list)
    assert [line[: len(start)] for line, start in zip(lines, CAUGHT, strict=True)] == CAUGHT
    written = seen.read_text().splitlines()
    assert len(written) >= 2
    assert set(written) == {repr(lines)}


@pytest.mark.parametrize("kind", LIBRARY_ERRORS)
def test_an_error_of_a_library_comes_back_with_its_text_or_something_stands_in(kind: str) -> None:
    expected = LIBRARY_ERRORS[kind]
    try:
        expected.fail()
    except expected.cls as error:
        raised: Exception = error

    arrived = decode_step_error(encode_outcome(raised))

    if expected.is_stood_in_for:
        assert isinstance(arrived, StepFailed)
        assert arrived.message == str(raised)
        assert arrived.class_name.endswith(f".{expected.cls.__name__}")
    else:
        assert type(arrived) is type(raised)
        assert str(arrived) == str(raised)
