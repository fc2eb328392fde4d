"""What no linter knows about the style of the code: each test names the files that break it."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from tests.source_files import PACKAGES, ROOT, name, python_files, text_files

LINES_MAX: Final = 500
# Longer for a reason that stands beside the name.
LONG_FILES: Final[dict[str, str]] = {}

# Put together here, so that this file does not find itself.
OPEN_ENDS: Final = re.compile(r"\b(?:" + "TO" + "DO|FIX" + "ME|XX" + "X)\\b")
MACHINE_PATH: Final = re.compile(r"(?<![\w.~$}/-])/(?:home|root|Users|work|tmp|mnt|private)/\w")


LOGGER: Final = re.compile(r"getLogger\((.*?)\)")


@pytest.fixture(scope="module")
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(), name(path)) for path in python_files()}


def lines_matching(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name(path)}:{number}: {line.strip()}"
        for path in text_files()
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if pattern.search(line)
    ]


def test_nothing_is_left_to_do() -> None:
    found = lines_matching(OPEN_ENDS)

    assert found == []


def test_no_path_of_somebodys_machine_is_written_down() -> None:
    found = lines_matching(MACHINE_PATH)

    assert found == []


def test_every_logger_is_one_of_sennit() -> None:
    named = {
        (name(path), logger)
        for path in python_files()
        if name(path).startswith(("runtime/", "ledger/"))
        for logger in LOGGER.findall(path.read_text())
    }

    assert len(named) > 10
    assert [it for it in named if not re.fullmatch(r'"sennit(\.\w+)?"', it[1])] == []


def test_the_first_line_of_each_module_states_its_job(trees: dict[Path, ast.Module]) -> None:
    found = [name(path) for path, tree in trees.items() if not states_its_job(tree)]

    assert found == []


def states_its_job(tree: ast.Module) -> bool:
    """Tell whether the docstring starts with a whole sentence on the file's first line."""
    docstring = ast.get_docstring(tree, clean=False)
    if not docstring or docstring.startswith("\n"):
        return False
    return docstring.splitlines()[0].endswith(".")


def test_no_function_imports(trees: dict[Path, ast.Module]) -> None:
    found = [
        f"{name(path)}:{line}"
        for path, tree in trees.items()
        for line in imports_in_functions(tree)
    ]

    assert found == []


def imports_in_functions(tree: ast.Module) -> Iterator[int]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    yield node.lineno


@pytest.mark.parametrize("package", ["runtime", "ledger"])
def test_no_module_of_a_package_imports_its_facade(
    package: str, trees: dict[Path, ast.Module]
) -> None:
    found = [
        f"{name(path)}:{node.lineno}"
        for path, tree in trees.items()
        if path.relative_to(ROOT).parts[0] in ("runtime", "ledger")
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom) and imports_facade(node, package)
    ]

    assert found == []


def imports_facade(node: ast.Import | ast.ImportFrom, package: str) -> bool:
    """Tell whether a name is taken from ``package`` itself and not from one of its modules."""
    if isinstance(node, ast.ImportFrom):
        folder = ROOT / package
        return node.module == package and not all(
            (folder / f"{alias.name}.py").exists() or (folder / alias.name).is_dir()
            for alias in node.names
        )
    return any(alias.name == package for alias in node.names)


def test_a_file_can_be_read_in_one_sitting() -> None:
    lengths = {name(path): len(path.read_text().splitlines()) for path in python_files()}

    too_long = {path for path, lines in lengths.items() if lines > LINES_MAX}
    assert too_long == set(LONG_FILES)


def test_setup_cfg_has_no_sign_that_setuptools_would_interpolate() -> None:
    text = (ROOT / "setup.cfg").read_text()

    assert "%" not in text


@pytest.mark.parametrize("package", ["runtime", "ledger"])
def test_what_a_package_shows_is_sorted_and_complete(package: str) -> None:
    module = importlib.import_module(package)
    shown = list(getattr(module, "__all__", ()))

    here = {
        public
        for public, value in vars(module).items()
        if not public.startswith("_") and not isinstance(value, ModuleType)
    }
    assert shown == sorted(shown)
    assert set(shown) == here


def test_every_folder_of_a_package_is_a_package() -> None:
    folders = {path.parent for path in python_files()}

    assert [name(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_every_package_is_looked_at() -> None:
    top = {path.parent.name for path in ROOT.glob("*/__init__.py")}

    assert top == set(PACKAGES)
