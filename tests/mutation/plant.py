"""Small faults for a source file, one at a time: a guard removed, a write dropped, two swapped.

A mutant is the whole text of a file with one fault in it. Only code inside functions is changed,
and never logging, assertions or ``repr``, which no behaviour depends on.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

# Of calls with these names, nothing but a text for people depends.
SPOKEN: Final = ("log.", "logging.", "warnings.", "print(", "click.")

SWAPPED_COMPARISONS: Final[dict[type[ast.cmpop], str]] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One fault: what it does, in which function, at which line, and the file that has it."""

    kind: str
    function: str
    line: int
    was: str
    text: str


@dataclass(frozen=True, slots=True)
class _Span:
    """A piece of the text, as byte offsets."""

    start: int
    end: int


class _Source:
    """A file's bytes and where its nodes lie in them."""

    def __init__(self, text: str) -> None:
        self.data = text.encode()
        self._starts = [0]
        for line in self.data.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def span(self, node: ast.stmt | ast.expr) -> _Span:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return _Span(
            self._starts[node.lineno - 1] + node.col_offset,
            self._starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def piece(self, span: _Span) -> bytes:
        return self.data[span.start : span.end]

    def with_changes(self, changes: list[tuple[_Span, bytes]]) -> str:
        """Return the text with pieces replaced."""
        data = self.data
        for span, new in sorted(changes, key=lambda change: -change[0].start):
            data = data[: span.start] + new + data[span.end :]
        return data.decode()


def mutants_of(text: str) -> list[Mutant]:
    """Return every fault that can be planted in a file, in order of the lines."""
    source = _Source(text)
    found: list[Mutant] = []
    for name, function in _functions(ast.parse(text), ""):
        if function.name not in ("__repr__", "__str__"):
            found.extend(
                replace(mutant, function=name) for mutant in _in_function(source, function)
            )
    return sorted(found, key=lambda mutant: (mutant.line, mutant.kind))


def _functions(parent: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield all functions with their names as seen from the file: ``Box.put``."""
    for node in ast.iter_child_nodes(parent):
        name = prefix
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name = f"{prefix}.{node.name}" if prefix else node.name
        if isinstance(node, ast.FunctionDef):
            yield name, node
        yield from _functions(node, name)


def _in_function(source: _Source, function: ast.FunctionDef) -> Iterator[Mutant]:
    for block in _blocks(function):
        for statement in block:
            yield from _in_statement(source, statement, is_init=function.name == "__init__")
        for first, second in pairwise(block):
            if _is_write(source, first) and _is_write(source, second):
                yield _swapped(source, first, second)


def _blocks(function: ast.FunctionDef) -> Iterator[list[ast.stmt]]:
    """Yield the lists of statements of a function, not of functions inside it."""
    ahead: list[ast.AST] = [function]
    while ahead:
        node = ahead.pop()
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                yield block
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.ClassDef | ast.Lambda):
                ahead.append(child)


def _in_statement(source: _Source, statement: ast.stmt, *, is_init: bool) -> Iterator[Mutant]:
    if isinstance(statement, ast.If | ast.While):
        yield from _in_condition(source, statement)
    elif _is_write(source, statement):
        yield _replaced(source, statement, "dropped call", b"pass")
    elif not is_init and isinstance(statement, ast.Assign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        if all(isinstance(target, ast.Attribute | ast.Subscript) for target in targets):
            yield _replaced(source, statement, "dropped assignment", b"pass")
    elif isinstance(statement, ast.Return) and isinstance(statement.value, ast.Constant):
        if isinstance(statement.value.value, bool):
            other = str(not statement.value.value).encode()
            yield _replaced(source, statement.value, "other answer", other)
    elif isinstance(statement, ast.Return) and isinstance(statement.value, ast.Compare):
        yield from _in_comparison(source, statement.value)


def _in_condition(source: _Source, statement: ast.If | ast.While) -> Iterator[Mutant]:
    if source.piece(source.span(statement.test)) == b"TYPE_CHECKING":
        return
    if isinstance(statement, ast.If):
        kind = "guard removed" if isinstance(statement.body[-1], ast.Raise) else "never"
        yield _replaced(source, statement.test, kind, b"False")
        if kind == "never":
            yield _replaced(source, statement.test, "always", b"True")
    for part in _parts(statement.test):
        if isinstance(part, ast.Compare):
            yield from _in_comparison(source, part)
        if part is not statement.test:
            neutral = (
                b"True"
                if isinstance(statement.test, ast.BoolOp) and isinstance(statement.test.op, ast.And)
                else b"False"
            )
            yield _replaced(source, part, "part of a condition ignored", neutral)


def _parts(test: ast.expr) -> list[ast.expr]:
    return test.values if isinstance(test, ast.BoolOp) else [test]


def _in_comparison(source: _Source, comparison: ast.Compare) -> Iterator[Mutant]:
    other = SWAPPED_COMPARISONS.get(type(comparison.ops[0]))
    if other is None or len(comparison.ops) != 1:
        return
    left = source.piece(source.span(comparison.left))
    right = source.piece(source.span(comparison.comparators[0]))
    yield _replaced(source, comparison, "comparison", b"%s %s %s" % (left, other.encode(), right))


def _is_write(source: _Source, statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return False
    called = source.piece(source.span(statement)).decode()
    return not called.startswith(SPOKEN)


def _replaced(source: _Source, node: ast.stmt | ast.expr, kind: str, new: bytes) -> Mutant:
    span = source.span(node)
    return Mutant(
        kind=kind,
        function="",
        line=node.lineno,
        was=" ".join(source.piece(span).decode().split())[:120],
        text=source.with_changes([(span, new)]),
    )


def _swapped(source: _Source, first: ast.stmt, second: ast.stmt) -> Mutant:
    spans = source.span(first), source.span(second)
    pieces = [source.piece(span) for span in spans]
    return Mutant(
        kind="swapped",
        function="",
        line=first.lineno,
        was=" ".join(b" ; ".join(pieces).decode().split())[:120],
        text=source.with_changes([(spans[0], pieces[1]), (spans[1], pieces[0])]),
    )
