"""The vocabulary of the ports: spaces and batches."""

from runtime.ports import Batch, Space


def test_equal_spaces_are_one_so_that_a_batch_has_one_place_for_their_rows() -> None:
    # Breaks when two modules that name the same space write beside each other.
    batch = Batch()

    batch.put(Space("test-ports"), b"a", b"1")
    batch.delete(Space("test-ports"), b"a")

    assert Space("test-ports") is Space("test-ports")
    assert batch.writes == {Space("test-ports"): {b"a": None}}


def test_spaces_that_are_written_in_another_way_are_others() -> None:
    assert Space("test-ports") is not Space("test-ports", write_once=True)
    assert repr(Space("test-ports", write_once=True)) == "Space('test-ports', write_once=True)"
