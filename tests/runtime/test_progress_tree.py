"""The progress tree: moves, rewinds, children, ends, and what watchers are told."""

import pytest

from runtime.progress_tree import (
    CHILDREN_PER_STEP_MAX,
    LABEL_CHARACTERS_MAX,
    STEPS_MAX,
    Change,
    Ended,
    Position,
    ProgressEnded,
    ProgressRow,
    ProgressTree,
    Structure,
)


def drawn(tree: ProgressTree) -> list[str]:
    """Draw the snapshot, one short line a row."""
    return [f"{'  ' * row.depth}{row.label}: {row.status}" for row in tree.snapshot()]


# Moving


def test_a_new_tree_has_all_declared_steps_waiting() -> None:
    tree = ProgressTree(("A", "B"))

    assert tree.current is None
    assert tree.labels == ("A", "B")
    assert drawn(tree) == ["A: waiting", "B: waiting"]


def test_setting_a_step_makes_it_current_and_the_ones_before_it_done() -> None:
    tree = ProgressTree(("A", "B", "C"))

    tree.current = "A"
    tree.current = "B"

    assert tree.current == "B"
    assert drawn(tree) == ["A: done", "B: current", "C: waiting"]


def test_steps_may_be_discovered_on_the_way() -> None:
    tree = ProgressTree()

    tree.set("A")
    tree.set("B")

    assert drawn(tree) == ["A: done", "B: current"]


def test_an_undeclared_step_comes_right_behind_the_current_one() -> None:
    tree = ProgressTree(("A", "B"))

    tree.set("A")
    tree.set("X")

    assert drawn(tree) == ["A: done", "X: current", "B: waiting"]
    tree.set("B")
    assert drawn(tree) == ["A: done", "X: done", "B: current"]


def test_setting_an_earlier_step_rewinds() -> None:
    tree = ProgressTree(("A", "B", "C"))
    tree.set("C")

    tree.set("A")

    assert drawn(tree) == ["A: current", "B: waiting", "C: waiting"]


def test_a_rewind_drops_the_trees_of_sub_flows_from_the_step_on() -> None:
    tree = ProgressTree(("A", "B", "C"))
    tree.set("A")
    tree.child("first", ("a",))
    tree.set("B")
    tree.child("second", ("b",))
    tree.set("C")
    tree.child("third", ("c",))

    tree.set("B")

    assert drawn(tree) == ["A: done", "  a: waiting", "B: current", "C: waiting"]
    assert tree.children == ()


def test_setting_the_current_step_again_starts_it_afresh() -> None:
    tree = ProgressTree()
    tree.set("A")
    tree.child("sub", ("a",))

    tree.set("A")

    assert drawn(tree) == ["A: current"]


def test_declared_labels_must_differ_and_not_be_empty() -> None:
    with pytest.raises(ValueError, match="different"):
        ProgressTree(("A", "A"))
    with pytest.raises(ValueError, match="not empty"):
        ProgressTree(("",))


def test_an_empty_label_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        ProgressTree().set("")


def test_a_long_label_is_shortened_and_stays_one_step() -> None:
    tree = ProgressTree()

    tree.set("x" * 1_000)
    tree.set("x" * 1_000)

    assert len(tree.labels) == 1
    assert len(tree.labels[0]) == LABEL_CHARACTERS_MAX
    assert tree.labels[0].endswith("…")


def test_labels_without_end_stay_bounded() -> None:
    tree = ProgressTree()

    for number in range(STEPS_MAX + 50):
        tree.set(f"item {number}")

    assert len(tree.labels) == STEPS_MAX
    assert tree.current == f"item {STEPS_MAX + 49}"
    tree.set("item 5")
    assert tree.current == "item 5"


# Sub-flows


def test_the_tree_of_a_sub_flow_hangs_below_the_current_step() -> None:
    tree = ProgressTree(("A", "B"))
    tree.set("A")

    child = tree.child("sub", ("x", "y"))
    child.set("x")

    assert child.name == "sub"
    assert tree.children == (child,)
    assert drawn(tree) == ["A: current", "  x: current", "  y: waiting", "B: waiting"]


def test_a_sub_flow_before_the_first_step_shows_at_its_callers_depth() -> None:
    tree = ProgressTree(("A",))

    tree.child("sub", ("x",)).set("x")

    assert drawn(tree) == ["x: current", "A: waiting"]


def test_one_step_may_have_several_sub_flows() -> None:
    tree = ProgressTree()
    tree.set("A")

    first = tree.child("one", ("x",))
    first.set("x")
    first.finish()
    tree.child("two", ("x",)).set("x")

    assert drawn(tree) == ["A: current", "  x: done", "  x: current"]


def test_sub_flows_called_in_a_loop_stay_bounded() -> None:
    tree = ProgressTree()
    tree.set("A")
    running = tree.child("runs on")

    for number in range(CHILDREN_PER_STEP_MAX + 10):
        tree.child(f"sub {number}").finish()

    assert len(tree.children) == CHILDREN_PER_STEP_MAX
    assert tree.children[0] is running
    assert tree.children[-1].name == f"sub {CHILDREN_PER_STEP_MAX + 9}"


def test_a_dropped_sub_flow_is_not_heard_any_more() -> None:
    tree = ProgressTree()
    tree.set("A")
    child = tree.child("sub")
    tree.set("A")
    changes: list[Change] = []
    tree.watch(changes.append)
    changes.clear()

    child.set("x")

    assert changes == []


# Ending


def test_a_step_that_was_never_reached_is_skipped_and_not_done() -> None:
    tree = ProgressTree(("A", "B", "C", "D"))
    tree.set("B")

    tree.set("D")
    assert drawn(tree) == ["A: skipped", "B: done", "C: skipped", "D: current"]
    tree.set("C")
    assert drawn(tree) == ["A: skipped", "B: done", "C: current", "D: waiting"]
    tree.finish()
    assert drawn(tree) == ["A: skipped", "B: done", "C: done", "D: skipped"]


def test_finishing_makes_the_last_step_done() -> None:
    tree = ProgressTree(("A", "B"))
    tree.set("A")
    tree.set("B")

    tree.finish()

    assert tree.is_ended
    assert tree.error is None
    assert drawn(tree) == ["A: done", "B: done"]


def test_failing_marks_the_current_step() -> None:
    tree = ProgressTree(("A", "B", "C"))
    tree.set("A")
    tree.set("B")

    tree.fail("no cash")

    assert tree.error == "no cash"
    assert drawn(tree) == ["A: done", "B: failed", "C: waiting"]


def test_the_end_of_a_flow_ends_the_sub_flows_that_still_ran() -> None:
    tree = ProgressTree()
    tree.set("A")
    child = tree.child("sub")
    child.set("x")

    tree.fail("killed")

    assert drawn(tree) == ["A: failed", "  x: failed"]
    assert child.is_ended


def test_only_the_first_end_counts() -> None:
    tree = ProgressTree()
    changes: list[Change] = []
    tree.watch(changes.append)

    tree.fail("first")
    tree.finish()
    tree.fail("second")

    assert tree.error == "first"
    assert [change for change in changes if isinstance(change, Ended)] == [
        Ended(path=(), error="first")
    ]


def test_a_tree_cannot_move_once_it_has_ended() -> None:
    tree = ProgressTree(("A",), name="samples.trade.buy")
    tree.finish()

    with pytest.raises(
        ProgressEnded, match=r"samples.trade.buy has ended, so it can't move to 'A'"
    ):
        tree.set("A")
    with pytest.raises(ProgressEnded, match="take the sub-flow sub"):
        tree.child("sub")


# Watching


def test_a_watcher_is_told_each_move_as_a_value() -> None:
    tree = ProgressTree(("A", "B"))
    changes: list[Change] = []
    tree.watch(changes.append)

    tree.set("A")
    tree.set("B")
    tree.finish()

    assert changes[1:] == [
        Position(path=(), label="A"),
        Position(path=(), label="B"),
        Ended(path=(), error=None),
    ]


def test_a_late_watcher_gets_the_tree_as_it_is() -> None:
    tree = ProgressTree(("A", "B"))
    tree.set("A")
    tree.set("B")
    tree.fail("broken")
    changes: list[Change] = []

    tree.watch(changes.append)

    assert changes == [
        Structure(
            rows=(
                ProgressRow(depth=0, label="A", status="done"),
                ProgressRow(depth=0, label="B", status="failed"),
            )
        ),
        Ended(path=(), error="broken"),
    ]


def test_a_watcher_is_told_of_sub_flows_with_the_path_to_them() -> None:
    tree = ProgressTree(("A",))
    tree.set("A")
    changes: list[Change] = []
    tree.watch(changes.append)
    changes.clear()

    child = tree.child("sub", ("x",))
    grandchild = child.child("deeper", ("y",))
    grandchild.set("y")

    assert [type(change) for change in changes] == [Structure, Structure, Position]
    assert changes[-1] == Position(path=("sub", "deeper"), label="y")


def test_a_rewind_that_drops_sub_flows_is_told_as_a_structure() -> None:
    tree = ProgressTree(("A", "B"))
    tree.set("B")
    tree.child("sub", ("x",))
    changes: list[Change] = []
    tree.watch(changes.append)
    changes.clear()

    tree.set("A")

    assert [type(change) for change in changes] == [Structure, Position]


def test_a_discovered_step_is_told_as_a_structure_and_a_position() -> None:
    tree = ProgressTree()
    changes: list[Change] = []
    tree.watch(changes.append)
    changes.clear()

    tree.set("A")

    assert changes == [
        Structure(rows=(ProgressRow(depth=0, label="A", status="current"),)),
        Position(path=(), label="A"),
    ]


def test_an_unsubscribed_watcher_hears_nothing() -> None:
    tree = ProgressTree(("A",))
    changes: list[Change] = []
    unsubscribe = tree.watch(changes.append)
    changes.clear()

    unsubscribe()
    unsubscribe()
    tree.set("A")

    assert changes == []


def test_the_same_callback_may_watch_twice_and_leave_once() -> None:
    tree = ProgressTree(("A",))
    changes: list[Change] = []
    unsubscribe = tree.watch(changes.append)
    tree.watch(changes.append)
    changes.clear()

    unsubscribe()
    tree.set("A")

    assert changes == [Position(path=(), label="A")]


def test_a_watcher_that_fails_is_dropped_and_does_not_disturb_the_flow() -> None:
    tree = ProgressTree(("A", "B"))
    calls: list[Change] = []

    def failing(change: Change) -> None:
        calls.append(change)
        raise OSError("the terminal is gone")

    tree.watch(failing)
    tree.set("A")
    tree.set("B")

    assert tree.current == "B"
    assert len(calls) == 1


# Replay


def test_a_replay_keeps_the_watchers_and_tells_them_only_where_it_arrived() -> None:
    tree = ProgressTree(("A", "B"))
    tree.set("B")
    changes: list[Change] = []
    tree.watch(changes.append)
    changes.clear()

    tree.begin_again(is_replay=True)
    tree.set("A")
    child = tree.child("sub", ("x",))
    child.set("x")
    tree.end_replay()

    assert changes == [
        Structure(
            rows=(
                ProgressRow(depth=0, label="A", status="current"),
                ProgressRow(depth=1, label="x", status="current"),
                ProgressRow(depth=0, label="B", status="waiting"),
            )
        )
    ]


def test_a_failed_flow_that_is_retried_moves_again() -> None:
    tree = ProgressTree(("A",))
    tree.fail("once")

    tree.begin_again(is_replay=True)
    tree.end_replay()
    tree.set("A")

    assert drawn(tree) == ["A: current"]


def test_the_tree_of_an_unwound_sub_flow_is_not_heard_during_the_replay() -> None:
    tree = ProgressTree()
    tree.set("A")
    old_child = tree.child("sub", ("x",))
    tree.begin_again(is_replay=True)
    tree.end_replay()
    changes: list[Change] = []
    tree.watch(changes.append)
    changes.clear()

    old_child.set("x")

    assert changes == []


def test_its_repr_names_the_flow_and_the_step() -> None:
    tree = ProgressTree(("A",), name="buy")
    tree.set("A")

    assert repr(tree) == "<ProgressTree buy at 'A' of ['A']>"


def test_a_watcher_is_told_of_an_end_that_comes_within_a_replay() -> None:
    tree = ProgressTree(("A",))
    changes: list[Change] = []
    tree.watch(changes.append)
    changes.clear()

    tree.begin_again(is_replay=True)
    tree.set("A")
    tree.finish()

    assert changes[-1] == Ended(path=(), error=None)
