"""TOML files: every mistake at once, each with its line."""

from pathlib import Path

import pytest

from runtime.errors import ConfigurationError
from runtime.toml_file import TomlFile, quoted, quoted_list

TEXT = """\
# A comment.
title = "x"
count = "three"
flag = 1
words = ["a", 1]
kind = "gren"
empty = ""

[inner]
valuu = 1

[[item]]
name = "one"
[[item]]
namm = "two"
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "file.toml"
    path.write_text(text)
    return path


def test_all_mistakes_are_reported_at_once_in_order_of_their_lines(tmp_path: Path) -> None:
    file = TomlFile(write(tmp_path, TEXT))
    top = file.top

    answers = (
        top.text("title"),
        top.number("count", 3),
        top.truth("flag", default=True),
        top.texts("words"),
        top.choice("kind", ("red", "green"), "red"),
        top.text("empty"),
        top.text("missing"),
    )
    inner = top.table("inner")
    inner.number("value", 1)
    inner.done()
    names = []
    for item in top.tables("item"):
        names.append(item.text("name"))
        item.done()
    top.done()

    assert answers == ("x", 3, True, (), "red", "", "")
    assert names == ["one", ""]
    with pytest.raises(ConfigurationError) as caught:
        file.finish()
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{tmp_path}/file.toml: has 9 mistakes:"
    assert lines[1:-1] == [
        '  line 1: missing is missing. Add missing = "..."',
        "  line 3: count is not a whole number. Write it like count = 3",
        "  line 4: flag is neither true nor false. Write true or false, no quotes",
        '  line 5: words is not a list of texts. Write it like words = ["a", "b"]',
        "  line 6: kind is 'gren'. Did you mean green? Use one of: red, green",
        "  line 7: empty is empty. Fill it in",
        "  line 10: [inner] valuu is not a known key. Did you mean value?",
        '  line 14: [item] name is missing. Add name = "..."',
        "  line 15: [item] namm is not a known key. Did you mean name?",
    ]


def test_one_mistake_is_reported_at_its_line(tmp_path: Path) -> None:
    file = TomlFile(write(tmp_path, "\n\ntitle = 3\n"))

    file.top.text("title")

    with pytest.raises(ConfigurationError) as caught:
        file.finish()
    assert str(caught.value) == (
        f'{tmp_path}/file.toml:3: title is not a text. Write it in "quotes"'
    )


def test_defaults_stand_for_what_is_not_there(tmp_path: Path) -> None:
    top = TomlFile(write(tmp_path, "")).top

    assert top.text("a", "x") == "x"
    assert top.number("b", 7) == 7
    assert top.truth("c", default=False) is False
    assert top.texts("d") == ()
    assert top.choice("e", ("y",), "") == ""
    assert top.tables("f") == []
    assert top.table("g").text("h", "z") == "z"


def test_a_key_far_from_all_known_ones_is_answered_with_these(tmp_path: Path) -> None:
    file = TomlFile(write(tmp_path, "zzzzzz = 1\n"))
    file.top.text("name", "")
    file.top.text("store", "")

    file.top.done()

    with pytest.raises(ConfigurationError, match="Known are: name, store"):
        file.finish()


@pytest.mark.parametrize(
    "text", ["table = 1\ntables = 1\n", "table = [1]\ntables = [1]\n", "table = 1\ntables = []\n"]
)
def test_values_where_tables_belong_are_mistakes(tmp_path: Path, text: str) -> None:
    file = TomlFile(write(tmp_path, text))

    assert file.top.tables("tables") == []
    assert file.top.table("table").text("x", "") == ""

    with pytest.raises(ConfigurationError) as caught:
        file.finish()
    assert "table is not a table. Write it as [table]" in str(caught.value)
    assert "tables is not an array of tables. Write each as [[tables]]" in str(caught.value)


def test_a_file_without_mistakes_finishes(tmp_path: Path) -> None:
    file = TomlFile(write(tmp_path, 'name = "x"\n'))

    file.top.text("name")
    file.top.done()

    file.finish()


def test_what_is_no_toml_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a = = 1\n")

    with pytest.raises(ConfigurationError, match=r"is no TOML: .*line 1"):
        TomlFile(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="is not UTF-8"):
        TomlFile(path)
    path.unlink()
    with pytest.raises(ConfigurationError, match="no such file"):
        TomlFile(path)


def test_a_private_file_open_to_others_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.chmod(0o644)

    with pytest.raises(ConfigurationError, match="chmod 600"):
        TomlFile(path, is_private=True)


@pytest.mark.parametrize("text", ["plain", 'with "quotes"', "back\\slash", "Société", ""])
def test_what_is_quoted_is_read_back(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, f"one = {quoted(text)}\nmany = {quoted_list((text, text))}\n")

    top = TomlFile(path).top

    assert top.text("one", "") == text
    assert top.texts("many") == (text, text)
