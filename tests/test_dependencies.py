"""What we depend on: all of it is used, pinned, and pinned with its content."""

import ast
import re
import sys
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

from tests.source_files import ROOT

HASH: Final = re.compile(r" +--hash=sha256:[0-9a-f]{64}")
PIN: Final = re.compile(r"([\w.-]+)(?:\[[\w,-]+\])?==[\w.]+")
OURS: Final = {"runtime", "ledger"}
# The suites of tests that adapters inherit from are for people who have it.
SUITES: Final = {"pytest": ROOT / "runtime" / "testing"}


def normal(name: str) -> str:
    """Return the name of a distribution as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def setup() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def names_in(text: str) -> set[str]:
    return {normal(re.split(r"[<>=!~ ;\[]", line)[0]) for line in text.split("\n") if line.strip()}


def required() -> set[str]:
    return names_in(setup()["options"]["install_requires"])


def pins() -> dict[str, list[str]]:
    """Return the lines that belong to each pinned distribution; a backslash joins them."""
    text = (ROOT / "constraints.txt").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = [entry.split(" \\\n") for entry in re.split(r"\n(?=\S)", "\n".join(lines))]
    return {entry[0].strip(): entry[1:] for entry in joined}


def imported(path: Path) -> set[str]:
    """Return the top names of what a module imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def distributions_imported() -> set[str]:
    """Return the distributions from which the packages import something."""
    names = {
        name
        for top in OURS
        for path in (ROOT / top).rglob("*.py")
        for name in imported(path)
        if SUITES.get(name) != path.parent
    }
    distributions = packages_distributions()
    return {
        normal(distribution)
        for name in names - OURS - sys.stdlib_module_names
        for distribution in distributions[name]
    }


def test_what_a_user_has_to_install_is_exactly_what_the_packages_import() -> None:
    assert required() == distributions_imported()


def test_everything_pinned_is_pinned_with_its_content_and_does_not_say_where_it_is_from() -> None:
    # Breaks when an index could give us other content under the same version.
    strange = {
        pin: lines
        for pin, lines in pins().items()
        if not PIN.fullmatch(pin) or not lines or not all(HASH.fullmatch(each) for each in lines)
    }

    assert strange == {}


def test_everything_that_is_needed_is_pinned() -> None:
    pinned = {normal(match[1]) for pin in pins() if (match := PIN.fullmatch(pin))}
    development = names_in(setup()["options.extras_require"]["dev"])

    assert required() <= pinned
    assert development <= pinned
    # Sennit itself is built without an isolated environment, with the pinned one.
    assert "setuptools" in pinned
