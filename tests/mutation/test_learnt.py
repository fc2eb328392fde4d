"""The map names each test as pytest does."""

from coverage import CoverageData

from tests.mutation.learnt import Map


def test_a_test_whose_arguments_have_a_bar_keeps_its_whole_name() -> None:
    # Breaks when pytest is asked for half a name, which it does not find.
    data = CoverageData(no_disk=True)
    data.set_context("tests/test_x.py::test_of[int | None]|run")
    data.add_lines({"runtime/x.py": {3}})

    assert Map(data).through("runtime/x.py", 3) == ["tests/test_x.py::test_of[int | None]"]
