"""The progress of one flow as a tree of labelled steps: pure, in memory, cheap to move.

    tree                     rows
    ├─ "Verifying"    done       (0, "Verifying", "done")
    ├─ "Signing"      current    (0, "Signing", "current")
    │   └─ child                 (1, "Asking the bank", "current")
    └─ "Recording"    waiting    (0, "Recording", "waiting")

What always holds: at most one step of a tree is current, every step before it is done or was
skipped, every step after it waits. At the end, what was never reached was skipped.
The tree of a sub-flow hangs below the step that was current when it was called.
A tree that ended never moves again. A watcher first gets the whole tree, then each change.
"""

# ruff: noqa: SLF001  a tree looks into its own children and parents, which are of its class

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from runtime.codec import message
from runtime.error_codec import well_formed
from runtime.errors import MisuseError

StepStatus = Literal["done", "current", "waiting", "failed", "skipped"]

# A flow that invents labels in a loop must not fill the memory; the newest replaces the last.
STEPS_MAX: Final = 1_000

# Sub-flows called in a loop below one step; the oldest one that ended makes room.
CHILDREN_PER_STEP_MAX: Final = 100

LABEL_CHARACTERS_MAX: Final = 200

log = logging.getLogger("sennit.flow")


class ProgressEnded(MisuseError):
    """A tree that has ended was asked to move; the flow's author keeps a handle too long."""

    def __init__(self, name: str, asked: str) -> None:
        super().__init__(name, asked)
        self.name = name
        self.asked = asked

    def __str__(self) -> str:
        return (
            f"the progress of {self.name or 'this flow'} has ended, so it can't {self.asked}; "
            "report progress only from inside the flow that it belongs to"
        )


@message
class ProgressRow:
    """One line of a drawn tree. ``depth`` counts from 0."""

    depth: int
    label: str
    status: StepStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A tree moved to the step ``label``. ``path`` names the sub-flows from the watched tree."""

    path: tuple[str, ...]
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """Steps or children came or went, or the watcher is new; ``rows`` is the whole tree now."""

    rows: tuple[ProgressRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A tree ended, with an error or (``None``) well."""

    path: tuple[str, ...]
    error: str | None


Change = Position | Structure | Ended
Watcher = Callable[[Change], None]


class ProgressTree:
    """The steps of one flow, with the trees of its sub-flows below them."""

    __slots__ = (
        "_children",
        "_declared",
        "_index",
        "_is_muted",
        "_labels",
        "_parent",
        "_position",
        "_skipped",
        "_watchers",
        "error",
        "is_ended",
        "name",
    )

    def __init__(self, labels: Sequence[str] = (), *, name: str = "") -> None:
        """Make a tree with ``labels`` declared in order; others are found on the way."""
        self._declared = _checked(labels) if labels else ()
        self.name = name
        self.is_ended = False
        self.error: str | None = None
        self._parent: ProgressTree | None = None
        self._watchers: tuple[Watcher, ...] = ()
        self._is_muted = False
        self._clear()

    def _clear(self) -> None:
        declared = self._declared
        self._labels = list(declared) if declared else []
        self._index = dict(zip(declared, range(len(declared)), strict=True)) if declared else {}
        self._position = -1
        # Labels before the current one that never were the current one.
        self._skipped: set[str] | None = None
        # By the step they hang below; -1 is before the first step.
        self._children: dict[int, list[ProgressTree]] = {}

    def __repr__(self) -> str:
        return f"<ProgressTree {self.name or '-'} at {self.current!r} of {self._labels}>"

    # Reading

    @property
    def labels(self) -> tuple[str, ...]:
        """The steps known so far, in order."""
        return tuple(self._labels)

    @property
    def current(self) -> str | None:
        """The label of the current step; ``None`` before the first one. Assigning it moves."""
        return self._labels[self._position] if self._position >= 0 else None

    @current.setter
    def current(self, label: str) -> None:
        self.set(label)

    @property
    def children(self) -> tuple["ProgressTree", ...]:
        """The trees below the current step, oldest first."""
        return tuple(self._children.get(self._position, ()))

    def snapshot(self) -> list[ProgressRow]:
        """Return the whole tree, a row for each step, children below their step."""
        rows: list[ProgressRow] = []
        self._draw(rows, 0)
        return rows

    def _draw(self, rows: list[ProgressRow], depth: int) -> None:
        for child in self._children.get(-1, ()):
            child._draw(rows, depth)
        for number, label in enumerate(self._labels):
            rows.append(ProgressRow(depth, label, self._status(number)))
            for child in self._children.get(number, ()):
                child._draw(rows, depth + 1)

    def _status(self, number: int) -> StepStatus:
        if number == self._position:
            if self.is_ended:
                return "done" if self.error is None else "failed"
            return "current"
        if number > self._position:
            return "skipped" if self.is_ended and self.error is None else "waiting"
        skipped = self._skipped is not None and self._labels[number] in self._skipped
        return "skipped" if skipped else "done"

    # Moving

    def set(self, label: str) -> None:
        """Move to the step ``label``.

        An earlier step (or the current one again) rewinds: the trees of sub-flows below it and
        below the steps after it are dropped. An unknown label becomes a step right behind the
        current one. Raises `ProgressEnded` once the tree has ended.
        """
        if self.is_ended:
            raise ProgressEnded(self.name, f"move to {label!r}")
        number = self._index.get(label)
        if number is None:
            self._discover(label)
        elif number > self._position:
            if number > self._position + 1:
                passed = self._labels[self._position + 1 : number]
                self._skipped = (self._skipped or set()).union(passed)
            self._position = number
            self._announce_position()
        else:
            self._rewind(number)

    def _discover(self, label: str) -> None:
        label = _shortened(label)
        if not label:
            raise ValueError("a progress label must not be empty")
        if label in self._index:
            self.set(label)
            return
        number = self._position + 1
        if len(self._labels) >= STEPS_MAX:
            number = min(number, STEPS_MAX - 1)
            del self._index[self._labels[number]]
            if self._skipped:
                self._skipped.discard(self._labels[number])
            self._labels[number] = label
            self._index[label] = number
            self._drop_children(number)
        else:
            # No children hang behind the current step, so only the labels move.
            self._labels.insert(number, label)
            for moved in range(number, len(self._labels)):
                self._index[self._labels[moved]] = moved
        self._position = number
        self._announce_structure()
        self._announce_position()

    def _rewind(self, number: int) -> None:
        had_children = self._drop_children(number)
        was_there = number == self._position
        self._position = number
        if self._skipped:
            self._skipped.difference_update(self._labels[number:])
        if had_children:
            self._announce_structure()
        if not was_there:
            self._announce_position()

    def _drop_children(self, first: int) -> bool:
        dropped = [number for number in self._children if number >= first]
        for number in dropped:
            for child in self._children.pop(number):
                child._parent = None
        return bool(dropped)

    def child(self, name: str, labels: Sequence[str] = ()) -> "ProgressTree":
        """Hang the tree of a sub-flow called ``name`` below the current step, and return it."""
        if self.is_ended:
            raise ProgressEnded(self.name, f"take the sub-flow {name}")
        tree = ProgressTree(labels, name=name)
        tree._parent = self
        siblings = self._children.setdefault(self._position, [])
        if len(siblings) >= CHILDREN_PER_STEP_MAX:
            oldest_ended = next((old for old in siblings if old.is_ended), siblings[0])
            oldest_ended._parent = None
            siblings.remove(oldest_ended)
        siblings.append(tree)
        if tree._labels:
            self._announce_structure()
        return tree

    # Ending

    def finish(self) -> None:
        """End well: no step is current any more. Idempotent; does nothing after `fail`."""
        self._end(None)

    def fail(self, message: str) -> None:
        """End with an error: the current step is the failed one. Idempotent."""
        self._end(message)

    def _end(self, error: str | None) -> None:
        if self.is_ended:
            return
        self.end_replay()
        for children in self._children.values():
            for child in children:
                child._end(error)
        self.is_ended = True
        self.error = error
        if self._watchers or self._parent is not None:
            self._announce(lambda path: Ended(path=path, error=error))

    # Running again from the journal

    def begin_again(self, *, is_replay: bool) -> None:
        """Forget the progress but keep the watchers; a replay tells nothing until `end_replay`."""
        if self._labels or self._children:
            self._drop_children(-1)
            self._clear()
        self.is_ended = False
        self.error = None
        self._is_muted = True
        if not is_replay:
            self.end_replay()

    def end_replay(self) -> None:
        """Tell the watchers where the replay has arrived, then each change. Idempotent."""
        if not self._is_muted:
            return
        self._is_muted = False
        if self._watchers or self._parent is not None:
            self._announce_structure()

    # Watching

    def watch(self, callback: Watcher) -> Callable[[], None]:
        """Call ``callback`` with the whole tree now, then with each change of it or below it.

        Returns what ends that; calling it again does no harm. A callback that raises is dropped:
        nobody who looks on may disturb a flow.
        """

        def watcher(change: Change) -> None:
            callback(change)

        self._watchers = (*self._watchers, watcher)
        self._tell(watcher, Structure(rows=tuple(self.snapshot())))
        if self.is_ended:
            self._tell(watcher, Ended(path=(), error=self.error))
        return lambda: self._forget(watcher)

    def _forget(self, watcher: Watcher) -> None:
        self._watchers = tuple(other for other in self._watchers if other is not watcher)

    def _announce_position(self) -> None:
        label = self._labels[self._position]
        self._announce(lambda path: Position(path=path, label=label))

    def _announce_structure(self) -> None:
        tree: ProgressTree | None = self
        while tree is not None and not tree._is_muted:
            if tree._watchers:
                change = Structure(rows=tuple(tree.snapshot()))
                for watcher in tree._watchers:
                    tree._tell(watcher, change)
            tree = tree._parent

    def _announce(self, change_at: Callable[[tuple[str, ...]], Change]) -> None:
        path: tuple[str, ...] = ()
        tree: ProgressTree | None = self
        while tree is not None and not tree._is_muted:
            for watcher in tree._watchers:
                tree._tell(watcher, change_at(path))
            path = (tree.name, *path)
            tree = tree._parent

    def _tell(self, watcher: Watcher, change: Change) -> None:
        try:
            watcher(change)
        except Exception:  # the failure of somebody who looks on is not the flow's
            log.exception("progress watcher failed and is dropped", extra={"flow": self.name})
            self._forget(watcher)


def _checked(labels: Sequence[str]) -> tuple[str, ...]:
    declared = tuple(_shortened(label) for label in labels)
    if len(set(declared)) < len(declared) or "" in declared:
        raise ValueError(
            f"progress labels must be different and not empty, got {list(labels)}; "
            "to report the same step again, set it again"
        )
    return declared


def _shortened(label: str) -> str:
    if not label.isascii():
        label = well_formed(label)
    if len(label) <= LABEL_CHARACTERS_MAX:
        return label
    return label[: LABEL_CHARACTERS_MAX - 1] + "…"
