"""Find the files of the project, for the tests that read them."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ("sennit", "runtime", "ledger", "samples", "benchmarks", "tests")
TEXT_SUFFIXES: Final = {".cfg", ".css", ".html", ".js", ".md", ".py", ".sh", ".toml", ".txt"}


def python_files() -> list[Path]:
    """Return every Python file, in order of its path."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def text_files() -> list[Path]:
    """Return every file that a person wrote, in order of its path."""
    of_packages = (path for package in PACKAGES for path in (ROOT / package).rglob("*"))
    of_docs = (ROOT / "docs").rglob("*")
    readable = [
        path
        for path in [*of_packages, *of_docs, *ROOT.iterdir()]
        if path.is_file() and path.suffix in TEXT_SUFFIXES
    ]
    return sorted([*readable, ROOT / "Makefile", ROOT / ".ci" / "run"])


def name(path: Path) -> str:
    """Return the path as seen from the top of the project."""
    return path.relative_to(ROOT).as_posix()
