"""Progress drawn live in a terminal, and as plain lines elsewhere."""

import io

import pytest
from rich.console import Console

from runtime.cli.progress_view import ProgressView, tree_text
from runtime.progress_tree import ProgressRow, ProgressTree


def plain_console() -> Console:
    return Console(file=io.StringIO(), width=200)


def terminal(width: int) -> Console:
    return Console(
        file=io.StringIO(), width=width, height=40, force_terminal=True, color_system=None
    )


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def trade() -> ProgressTree:
    return ProgressTree(("Verifying", "Signing", "Recording"), name="buy")


# Plain lines


def test_each_step_is_one_line_when_it_is_reached() -> None:
    console, tree = plain_console(), trade()

    with ProgressView(["buyer"], console=console) as view:
        view.follow("buyer", tree)
        tree.set("Verifying")
        tree.child("check", ("Asking",)).set("Asking")
        tree.set("Recording")
        tree.finish()

    assert written(console).splitlines() == [
        "▶ Verifying",
        "  ▶ Asking",
        "▶ Recording",
    ]


def test_several_flows_are_told_apart_by_their_titles() -> None:
    console, buyer, seller = plain_console(), trade(), trade()

    with ProgressView(["buyer", "seller"], console=console) as view:
        view.follow("buyer", buyer)
        view.follow("seller", seller)
        buyer.set("Verifying")
        seller.set("Verifying")
        seller.fail("no cash")

    assert written(console).splitlines() == [
        "buyer: ▶ Verifying",
        "seller: ▶ Verifying",
        "seller: ✗ Verifying",
        "seller: no cash",
    ]


def test_a_step_that_was_rewound_is_written_again() -> None:
    console, tree = plain_console(), trade()

    with ProgressView(["buyer"], console=console) as view:
        view.follow("buyer", tree)
        tree.set("Verifying")
        tree.set("Signing")
        tree.set("Verifying")
        tree.set("Signing")

    assert written(console).splitlines() == [
        "▶ Verifying",
        "▶ Signing",
        "▶ Signing",
    ]


def test_the_same_label_below_two_sub_flows_is_two_steps() -> None:
    console = plain_console()
    rows = [
        ProgressRow(0, "Signing", "current"),
        ProgressRow(1, "Asking", "done"),
        ProgressRow(1, "Asking", "current"),
    ]

    with ProgressView(["buyer"], console=console) as view:
        view.update("buyer", rows)
        view.update("buyer", rows)

    assert written(console).splitlines() == ["▶ Signing", "  ✓ Asking", "  ▶ Asking"]


def test_a_note_is_written_once() -> None:
    console = plain_console()

    with ProgressView(["buyer"], console=console) as view:
        view.note("buyer", "waits for the seller")
        view.note("buyer", "waits for the seller")
        view.note("buyer", "[bold]killed[/bold]", is_bad=True)

    assert written(console).splitlines() == ["waits for the seller", "[bold]killed[/bold]"]


def test_unsubscribing_ends_the_drawing() -> None:
    console, tree = plain_console(), trade()

    with ProgressView(["buyer"], console=console) as view:
        stop = view.follow("buyer", tree)
        stop()
        tree.set("Verifying")

    assert written(console) == ""


# A terminal


def test_a_wide_terminal_has_the_trees_side_by_side() -> None:
    console, buyer, seller = terminal(100), trade(), trade()

    with ProgressView(["buyer", "seller"], console=console) as view:
        view.follow("buyer", buyer)
        view.follow("seller", seller)
        buyer.set("Signing")
        seller.set("Signing")
        seller.set("Recording")

    last = written(console).splitlines()
    assert any("▶ Signing" in line and "✓ Signing" in line for line in last)
    assert any("─ buyer ─" in line and "─ seller ─" in line for line in last)


def test_a_narrow_terminal_has_them_below_each_other() -> None:
    console = terminal(50)

    with ProgressView(["buyer", "seller"], console=console) as view:
        view.follow("buyer", trade())
        view.follow("seller", trade())

    assert not any("buyer" in line and "seller" in line for line in written(console).splitlines())
    assert "─ seller ─" in written(console)


def test_one_tree_needs_no_frame_and_has_its_note_below() -> None:
    console, tree = terminal(60), trade()

    with ProgressView(["buyer"], console=console) as view:
        view.note("buyer", "starting")
        view.follow("buyer", tree)
        tree.set("Signing")
        view.note("buyer", "waits for the seller")

    assert "─" not in written(console)
    assert written(console).splitlines()[-2].strip() == "waits for the seller"


def test_an_error_below_a_tree_is_drawn() -> None:
    console, tree = terminal(60), trade()

    with ProgressView(["buyer"], console=console) as view:
        view.follow("buyer", tree)
        tree.set("Signing")
        tree.fail("no cash")

    assert "✗ Signing" in written(console)
    assert "no cash" in written(console)


@pytest.mark.parametrize(
    ("is_ascii", "expected"),
    [(False, "✓ A\n▶ B\n  ✗ C\n· D"), (True, "+ A\n> B\n  x C\n. D")],
)
def test_marks_without_unicode(is_ascii: bool, expected: str) -> None:
    rows = [
        ProgressRow(0, "A", "done"),
        ProgressRow(0, "B", "current"),
        ProgressRow(1, "C", "failed"),
        ProgressRow(0, "D", "waiting"),
    ]

    assert tree_text(rows, is_ascii=is_ascii).plain == expected
