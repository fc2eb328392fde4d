"""Read a TOML file, collect every mistake in it with its line, and report them all at once.

A reader asks each table for the keys it knows, by type; what nobody asked for is a mistake that
names the nearest known key. Wrong values are replaced by empty ones, so that reading goes on, and
`TomlFile.finish` raises. Lines are found by looking for headers and keys at the start of lines:
right for files as people write them, and only a hint.
"""

import difflib
import re
import tomllib
from pathlib import Path
from typing import Final

from runtime.edge.files import read_private_file, read_public_file
from runtime.errors import ConfigurationError

TOML_BYTES_MAX: Final = 1024 * 1024

_HEADER: Final = re.compile(r"\s*\[{1,2}\s*([\w.-]+)\s*\]{1,2}")
_KEY: Final = re.compile(r"""\s*["']?([\w-]+)["']?\s*=""")


class TomlFile:
    """One file, and what is wrong with it."""

    def __init__(self, path: Path, *, is_private: bool = False) -> None:
        """Parse the file; raises `ConfigurationError` if it can't be read or is no TOML."""
        self.path = path
        self._mistakes: list[tuple[int, str, str]] = []
        read = read_private_file if is_private else read_public_file
        try:
            text = read(path, bytes_max=TOML_BYTES_MAX).decode()
            values: dict[str, object] = tomllib.loads(text)
        except UnicodeDecodeError as error:
            raise ConfigurationError(str(path), "is not UTF-8", "Save it as UTF-8") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(str(path), f"is no TOML: {error}", "Correct it") from error
        self._lines = _lines(text)
        self.top = Table(self, values, "", 0)

    def mistake(self, table: str, index: int, key: str, what: str, do: str) -> None:
        """Note a mistake at ``key`` of the ``index``-th table of this name ("" and 0: the top)."""
        header = self._lines.get((table, index, ""), 1)
        self._mistakes.append((self._lines.get((table, index, key), header), what, do))

    def finish(self) -> None:
        """Raise one `ConfigurationError` for all mistakes, if there are any."""
        if not self._mistakes:
            return
        mistakes = sorted(self._mistakes, key=lambda mistake: mistake[0])
        if len(mistakes) == 1:
            line, what, do = mistakes[0]
            raise ConfigurationError(f"{self.path}:{line}", what, do)
        listed = "".join(f"\n  line {line}: {what}. {do}" for line, what, do in mistakes)
        what = f"has {len(mistakes)} mistakes:{listed}\n"
        raise ConfigurationError(str(self.path), what, "Correct them")


class Table:
    """A table of the file, read key by key."""

    def __init__(self, file: TomlFile, values: dict[str, object], name: str, index: int) -> None:
        self._file = file
        self._values = values
        self._name = name
        self._index = index
        self._asked: list[str] = []

    def text(self, key: str, default: str | None = None) -> str:
        """Return a string; without a default it is required, and not empty."""
        value = self._take(key)
        if value is None and default is not None:
            return default
        if value is None:
            self.mistake("", f"{key} is missing", f'Add {key} = "..."')
        elif not isinstance(value, str):
            self.mistake(key, f"{key} is not a text", 'Write it in "quotes"')
        elif not value and default is None:
            self.mistake(key, f"{key} is empty", "Fill it in")
        else:
            self._check_characters(key, value)
        return value if isinstance(value, str) else ""

    def _check_characters(self, key: str, *texts: str) -> None:
        # No path, address, program or name can have it; the system refuses it where nobody catches.
        if any("\0" in text for text in texts):
            self.mistake(key, f"{key} has a NUL character", "Remove it")

    def number(self, key: str, default: int) -> int:
        """Return an integer."""
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        self.mistake(key, f"{key} is not a whole number", f"Write it like {key} = {default}")
        return default

    def truth(self, key: str, *, default: bool) -> bool:
        """Return a boolean."""
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        self.mistake(key, f"{key} is neither true nor false", "Write true or false, no quotes")
        return default

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings, empty if there is none."""
        value = self._take(key)
        if value is None:
            return ()
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            self._check_characters(key, *value)
            return tuple(value)
        self.mistake(key, f"{key} is not a list of texts", f'Write it like {key} = ["a", "b"]')
        return ()

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        """Return one of ``choices``."""
        value = self.text(key, default)
        if value not in choices and value != default:
            near = _suggestion(value, choices)
            what = f"{key} is {value!r}"
            self.mistake(key, what, f"{near}Use one of: {', '.join(choices)}")
            return default
        return value

    def table(self, key: str) -> "Table":
        """Return a sub-table; an empty one if there is none."""
        value = self._take(key)
        if value is not None and not isinstance(value, dict):
            self.mistake(key, f"{key} is not a table", f"Write it as [{key}]")
        values = value if isinstance(value, dict) else {}
        return Table(self._file, values, key, 0)

    def tables(self, key: str) -> list["Table"]:
        """Return the tables of an array of them, empty if there is none."""
        value = self._take(key)
        items = value if isinstance(value, list) else []
        if value is not None and not (items and all(isinstance(item, dict) for item in items)):
            self.mistake(key, f"{key} is not an array of tables", f"Write each as [[{key}]]")
            return []
        return [Table(self._file, item, key, index) for index, item in enumerate(items)]

    def mistake(self, key: str, what: str, do: str) -> None:
        """Note a mistake at ``key`` ("": the whole table)."""
        where = f"[{self._name}] " if self._name else ""
        self._file.mistake(self._name, self._index, key, where + what, do)

    def done(self) -> None:
        """Note every key that was not asked for."""
        for key in self._values:
            if key not in self._asked:
                known = ", ".join(self._asked)
                do = _suggestion(key, tuple(self._asked)) or f"Known are: {known}"
                self.mistake(key, f"{key} is not a known key", do.rstrip())

    def _take(self, key: str) -> object:
        self._asked.append(key)
        return self._values.get(key)


def quoted(value: str) -> str:
    """Return a TOML string."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    assert escaped.isprintable(), "what we write was checked when it came in"
    return f'"{escaped}"'


def quoted_list(values: tuple[str, ...]) -> str:
    """Return a TOML array of strings."""
    return f"[{', '.join(map(quoted, values))}]"


def _suggestion(word: str, known: tuple[str, ...]) -> str:
    nearest = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {nearest[0]}? " if nearest else ""


def _lines(text: str) -> dict[tuple[str, int, str], int]:
    """Return the line of each (table, index among those of its name, key)."""
    lines: dict[tuple[str, int, str], int] = {}
    counts: dict[str, int] = {}
    table, index = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = header[1]
            index = counts.get(table, 0)
            counts[table] = index + 1
            lines[table, index, ""] = number
            lines.setdefault(("", 0, table), number)
        elif key := _KEY.match(line):
            lines.setdefault((table, index, key[1]), number)
    return lines
