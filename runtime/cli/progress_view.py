"""Draw the progress of one flow or several side by side, live in a terminal or as plain lines.

In a terminal the trees are drawn again in place; elsewhere (a file, a pipe, a log) each step is one
line, written when it is reached. What is drawn is always rows, so a tree may be of this process
(`ProgressView.follow`) or of a node far away (`ProgressView.update` with what the RPC brought).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from runtime.progress_tree import Change, Ended, ProgressRow, ProgressTree, StepStatus

# Narrower columns would cut most labels; then the trees stand below each other.
COLUMN_CHARACTERS_MIN: Final = 34

_MARKS: Final[dict[StepStatus, tuple[str, str, str]]] = {
    "done": ("✓", "+", "green"),
    "current": ("▶", ">", "bold yellow"),
    "waiting": ("·", ".", "dim"),
    "skipped": ("-", "-", "dim"),
    "failed": ("✗", "x", "bold red"),
}


@dataclass(slots=True)
class _Column:
    """What is drawn under one title."""

    title: str
    rows: Sequence[ProgressRow] = ()
    note: str = ""
    is_bad: bool = False
    reached: frozenset[str] = field(default_factory=frozenset)


class ProgressView:
    """One column for each title. A context manager; draw only inside."""

    def __init__(self, titles: Sequence[str], *, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._columns = {title: _Column(title) for title in titles}
        self._live: Live | None = None
        if self._console.is_terminal:
            self._live = Live(
                self._drawing(), console=self._console, auto_refresh=False, transient=False
            )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(
        self, title: str, rows: Sequence[ProgressRow], *, note: str = "", is_bad: bool = False
    ) -> None:
        """Draw ``rows`` and a line below them (a result, an error) under ``title``."""
        column = self._columns[title]
        before = column.note
        column.rows, column.note, column.is_bad = rows, note, is_bad
        if self._live is not None:
            self._live.update(self._drawing(), refresh=True)
            return
        self._write_what_is_new(column)
        if note and note != before:
            self._write(column, Text(note, "red" if is_bad else ""))

    def note(self, title: str, note: str, *, is_bad: bool = False) -> None:
        """Change only the line below the tree of ``title``."""
        self.update(title, self._columns[title].rows, note=note, is_bad=is_bad)

    def follow(self, title: str, tree: ProgressTree) -> Callable[[], None]:
        """Draw a tree of this process, now and whenever it changes; returns what ends that."""

        def draw(change: Change) -> None:
            match change:
                case Ended(path=(), error=error):
                    self.update(title, tree.snapshot(), note=error or "", is_bad=error is not None)
                case _:
                    self.update(title, tree.snapshot())

        return tree.watch(draw)

    def _drawing(self) -> RenderableType:
        columns = list(self._columns.values())
        is_wide = self._console.width // max(1, len(columns)) >= COLUMN_CHARACTERS_MIN
        is_ascii = self._console.options.ascii_only
        panels = [
            Panel(
                _column_drawing(column, is_ascii=is_ascii), title=column.title, title_align="left"
            )
            for column in columns
        ]
        if len(panels) == 1:
            return _column_drawing(columns[0], is_ascii=is_ascii)
        if not is_wide:
            return Group(*panels)
        grid = Table.grid(expand=True)
        for _ in panels:
            grid.add_column(ratio=1)
        grid.add_row(*panels)
        return grid

    def _write_what_is_new(self, column: _Column) -> None:
        reached: set[str] = set()
        for key, row in _keyed(column.rows):
            if row.status in ("waiting", "skipped"):
                continue
            reached.add(key)
            failed_key = f"{key}\n"
            if row.status == "failed":
                reached.add(failed_key)
                if failed_key not in column.reached:
                    self._write(column, row_text(row, is_ascii=self._console.options.ascii_only))
            elif key not in column.reached:
                self._write(column, row_text(row, is_ascii=self._console.options.ascii_only))
        column.reached = frozenset(reached)

    def _write(self, column: _Column, text: Text) -> None:
        title = Text(f"{column.title}: " if len(self._columns) > 1 else "")
        self._console.print(title + text, soft_wrap=True)


def row_text(row: ProgressRow, *, is_ascii: bool = False) -> Text:
    """Return one row: indentation, mark, label."""
    mark, ascii_mark, style = _MARKS[row.status]
    return Text.assemble(
        "  " * row.depth,
        (ascii_mark if is_ascii else mark, style),
        " ",
        (row.label, "" if row.status == "done" else style),
    )


def tree_text(rows: Sequence[ProgressRow], *, is_ascii: bool = False) -> Text:
    """Return all rows, a line each."""
    return Text("\n").join(row_text(row, is_ascii=is_ascii) for row in rows)


def _column_drawing(column: _Column, *, is_ascii: bool) -> RenderableType:
    drawn: list[RenderableType] = [_row_drawing(row, is_ascii=is_ascii) for row in column.rows]
    if column.note:
        drawn.append(Text(column.note, "bold red" if column.is_bad else "bold"))
    return Group(*drawn)


def _row_drawing(row: ProgressRow, *, is_ascii: bool) -> RenderableType:
    """Draw one row so that a label that is too long goes on below itself, not below the mark."""
    text = row_text(row, is_ascii=is_ascii)
    mark_end = 2 * row.depth + 2
    grid = Table.grid()
    grid.add_column(width=mark_end, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(text[:mark_end], text[mark_end:])
    return grid


def _keyed(rows: Sequence[ProgressRow]) -> list[tuple[str, ProgressRow]]:
    """Return each row with the labels that lead to it, told apart if they occur more than once."""
    path: list[str] = []
    seen: dict[str, int] = {}
    keyed = []
    for row in rows:
        path[row.depth :] = [row.label]
        key = "\x1f".join(path)
        seen[key] = seen.get(key, 0) + 1
        keyed.append((f"{key}\x1f{seen[key]}", row))
    return keyed
