"""What the documents show works: their code runs, their commands exist, their links lead somewhere.

Each block of code is run as a person would run it: in a process of its own, in a directory that has
the files that the document has shown so far. A comment in the first line names a block's file:

    # trades.py         a module, for the blocks behind it
    # test_trades.py    is run by pytest
    # demo.toml         the network ``demo`` is made of it

A block without a name is a script. ``<!-- with bob -->`` before a block has the node of this name
run meanwhile.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

import click
import pytest

import ledger
import runtime
from runtime.cli.main import cli
from runtime.network_bootstrap import create_network
from tests.source_files import ROOT, name

BLOCK: Final = re.compile(
    r"^(?:<!-- with (?P<node>[\w-]+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
FILE_NAME: Final = re.compile(r"# (\w+\.(?:py|toml))\n")
LINK: Final = re.compile(r"\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)")
CODE: Final = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
SECONDS_MAX: Final = 90


@dataclass(frozen=True, slots=True)
class Block:
    """Some code that a document shows."""

    language: str
    text: str
    node: str | None
    line: int

    @property
    def file_name(self) -> str:
        """What the first line calls the block, or a name that nobody else has."""
        named = FILE_NAME.match(self.text)
        return named[1] if named else f"snippet_at_line_{self.line}.py"


def documents() -> list[Path]:
    of_packages = (
        path
        for part in ("docs", "runtime", "ledger", "samples", "tests")
        for path in (ROOT / part).rglob("*.md")
    )
    return sorted([*ROOT.glob("*.md"), *of_packages])


def blocks(path: Path) -> list[Block]:
    text = path.read_text()
    return [
        Block(
            language=found["language"],
            text=found["text"],
            node=found["node"],
            line=text.count("\n", 0, found.start()) + 1,
        )
        for found in BLOCK.finditer(text)
    ]


def runnable() -> list[object]:
    """Return each document that has code, to be run block by block."""
    return [
        pytest.param(path, id=name(path))
        for path in documents()
        if any(block.language == "python" for block in blocks(path))
    ]


@pytest.mark.parametrize("path", runnable())
def test_the_code_in_a_document_runs(path: Path, tmp_path: Path) -> None:
    for block in blocks(path):
        if block.language not in ("python", "toml"):
            continue
        file = tmp_path / block.file_name
        file.write_text(block.text)
        if block.file_name == "demo.toml":
            create_network(file)
        elif block.language == "python":
            run(block, file)


def run(block: Block, file: Path) -> None:
    """Run a block that lies in ``file``; what it prints is in the error if it fails."""
    is_test = file.name.startswith("test_")
    command = (
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        if is_test
        else [sys.executable]
    )
    with node_running(block.node, file.parent):
        ended = subprocess.run(
            [*command, file.name],
            cwd=file.parent,
            env=environment(file.parent),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
    assert ended.returncode == 0, f"the block at line {block.line}:\n{ended.stdout}"


@contextmanager
def node_running(node: str | None, directory: Path) -> Iterator[None]:
    """Run a node of the network in ``directory``, if one is named."""
    if node is None:
        yield
        return
    command = [sys.executable, "-m", "runtime.cli", "node", "run", f"demo/nodes/{node}"]
    with subprocess.Popen(
        command,
        cwd=directory,
        env=environment(directory),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert "is up" in process.stdout.readline()
            yield
        finally:
            process.kill()


def environment(directory: Path) -> dict[str, str]:
    """Return the environment of a process that finds the project and the document's modules."""
    path = os.pathsep.join((str(directory), str(ROOT)))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def commands(program: str) -> list[tuple[str, list[str]]]:
    """Return where documents show a command of this program, and its words."""
    found = []
    for path in documents():
        for block in blocks(path):
            for offset, line in enumerate(block.text.splitlines(), start=1):
                if block.language == "console" and line.startswith(f"$ {program} "):
                    words = shlex.split(line.removeprefix("$ "), comments=True)
                    found.append((f"{name(path)}:{block.line + offset}", words[1:]))
    return found


def test_every_command_that_is_shown_exists() -> None:
    wrong = [
        f"{where}: {problem}"
        for where, words in commands("sennit")
        if (problem := problem_of(words)) is not None
    ]

    assert wrong == []
    assert len(commands("sennit")) > 10


def problem_of(words: list[str]) -> str | None:
    """Return what ``sennit`` would not understand."""
    command: click.Command = cli
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(click.Context(command), rest.pop(0))
        if found is None:
            return f"there is no command in {' '.join(words)!r}"
        command = found
    options = {
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    options |= {"-h", "--help"}
    strange = [word for word in rest if word.startswith("-") and word.split("=")[0] not in options]
    return f"{command.name} has no option {strange[0]}" if strange else None


def test_every_target_of_make_that_is_shown_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    wrong = [where for where, words in commands("make") if not set(words) <= targets]
    assert wrong == []


def test_every_link_in_a_document_leads_somewhere() -> None:
    broken = [
        f"{name(path)}: {target}"
        for path in documents()
        for target in LINK.findall(CODE.sub("", path.read_text()))
        if not (path.parent / target).exists()
    ]

    assert broken == []


@pytest.mark.parametrize("package", [ledger, runtime])
def test_every_public_name_is_in_the_reference(package: ModuleType) -> None:
    reference = (ROOT / "docs" / "reference.md").read_text()

    shown = set(re.findall(r"\b\w+\b", " ".join(CODE.findall(reference))))
    assert set(package.__all__) - shown == set()
