"""Rows in the database that are not what was written: an error that names the row, never bad data.

The programs run in processes of their own, because LMDB may end the one that follows a wrong page.
"""

import contextlib
import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from runtime.edge.lmdb_store import LmdbStore
from runtime.errors import StoreDamaged
from runtime.ports import Batch
from tests.runtime.edge.store_damage import PAGE, copy_store, last_page, overwrite
from tests.runtime.edge.store_helpers import (
    FLOWS,
    JOURNAL,
    all_rows,
    commit,
    finish_merging,
    run_python,
    trees_of,
)

ROWS = 600


def key_of(number: int) -> bytes:
    return b"key-%06d" % (number * 10)


def value_of(number: int) -> bytes:
    return b"value %d " % number + b"." * (number % 100) + b"#" * (3_000 * (number % 50 == 7))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all its rows in trees."""
    path = tmp_path_factory.mktemp("original") / "store"
    with LmdbStore(path, owner="A", merge_rows=ROWS) as store:
        for space in (FLOWS, JOURNAL):
            batch = Batch()
            for number in range(ROWS):
                batch.put(space, key_of(number), value_of(number))
            commit(store, batch)
            finish_merging(store)
        commit(store, Batch({JOURNAL: {b"zzz": b"last"}}))
        finish_merging(store)
    with LmdbStore(path, owner="A", merge_rows=1) as store:
        for _ in range(2):
            commit(store, Batch({FLOWS: {b"zzz": b"last"}}))
            finish_merging(store)
    return path


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    return copy_store(original, tmp_path / "store")


def test_the_rows_are_in_the_trees(path: Path) -> None:
    with LmdbStore(path, owner="A") as store:
        assert len(all_rows(store, FLOWS)) == len(all_rows(store, JOURNAL)) == ROWS + 1
        assert not store.is_merging
        assert store.rows_unmerged < 5


class Place(NamedTuple):
    key: int
    value: int


def place_of(path: Path, number: int) -> list[Place]:
    """Return where the row stands in leaves of the file, in each of the two trees."""
    content = (path / "data.mdb").read_bytes()[: (last_page(path) + 1) * PAGE]
    whole = re.escape(key_of(number) + value_of(number))
    found = [match.start() for match in re.finditer(whole, content)]
    assert found
    return [Place(start, start + len(key_of(number))) for start in found]


@pytest.mark.parametrize("part", ["value", "checksum"])
def test_a_damaged_value_is_an_error_that_names_its_row(path: Path, part: str) -> None:
    for place in place_of(path, 200):
        offset = 0 if part == "value" else len(value_of(200)) + 3
        overwrite(path, place.value + offset, b"\xee")

    with LmdbStore(path, owner="A") as store:
        with pytest.raises(StoreDamaged) as by_get:
            store.get(FLOWS, key_of(200))
        with pytest.raises(StoreDamaged) as by_scan:
            list(store.scan(JOURNAL, key_of(100), key_of(300)))
        with pytest.raises(StoreDamaged) as by_latest:
            store.latest(JOURNAL, key_of(300), 200)
        assert store.get(FLOWS, key_of(199)) == value_of(199)

    assert (by_get.value.space, by_get.value.key) == ("flows", key_of(200))
    for caught in (by_scan, by_latest):
        assert (caught.value.space, caught.value.key) == ("journal", key_of(200))
    assert os.fspath(path) in str(by_get.value)
    assert f"in space 'flows', the row {key_of(200).hex()} is not what was written" in str(
        by_get.value
    )


@pytest.mark.parametrize("changed", [b"key-002005", b"key-001995", b"key-900000", b"aaa-000000"])
def test_a_damaged_key_does_not_make_its_row_or_others_missing(path: Path, changed: bytes) -> None:
    # Breaks when "not there" is believed without a look at what stands beside.
    for place in place_of(path, 200):
        overwrite(path, place.key, changed)

    with LmdbStore(path, owner="A") as store:
        for space in (FLOWS, JOURNAL):
            with pytest.raises(StoreDamaged) as caught:
                store.get(space, key_of(200))
            assert caught.value.key == changed
            for number in {*range(ROWS)} - {200}:
                with contextlib.suppress(StoreDamaged):
                    assert store.get(space, key_of(number)) == value_of(number)
            with pytest.raises(StoreDamaged):
                list(store.scan(space, key_of(100), key_of(300)))
            with pytest.raises(StoreDamaged):
                store.latest(space, key_of(300), 200)


def test_a_row_in_the_place_of_another_space_is_damaged(path: Path) -> None:
    # Breaks when a checksum says nothing about where a row belongs.
    with LmdbStore(path, owner="A") as store:
        trees = trees_of(store)
        flows, journal = trees.sealed("flows"), trees.sealed("journal")

    assert flows.open(b"key", flows.seal(b"key", b"value")) == b"value"
    for key, sealed in [
        (b"key", journal.seal(b"key", b"value")),
        (b"other", flows.seal(b"key", b"value")),
        (b"ke", flows.seal(b"key", b"value")),
        (b"keyv", flows.seal(b"key", b"value")[1:]),
        (b"key", b""),
        (b"key", b"\0\0\0"),
    ]:
        with pytest.raises(StoreDamaged):
            flows.open(key, sealed)


def test_what_is_not_there_is_none_at_both_ends_and_between(path: Path) -> None:
    with LmdbStore(path, owner="A") as store:
        for key in (b"a", b"key-000000x", b"key-003001", b"zzzz"):
            assert store.get(FLOWS, key) is None
            before = list(store.scan(FLOWS, b"", key))
            assert store.latest(FLOWS, key, 1) == before[-1:]


DAMAGES = """
import os, random, shutil, sys
from pathlib import Path
from runtime.edge.lmdb_store import LmdbStore
from runtime.errors import StoreDamaged, StoreUnusable
from runtime.ports import Batch, Space
original, path = Path(sys.argv[1]), Path(sys.argv[2])
seed, pages = int(sys.argv[3]), int(sys.argv[4])
FLOWS, JOURNAL = Space("flows"), Space("journal", write_once=True)

def read(store):
    rows = []
    for space in (FLOWS, JOURNAL):
        rows.append(list(store.scan(space, b"", None)))
        rows.append([store.get(space, b"key-%06d" % (n * 10)) for n in range(0, 600, 7)])
        rows.append([store.get(space, b"key-%06d" % (n * 10 + 5)) for n in range(0, 600, 7)])
        rows.append(store.latest(space, b"key-004000", 300))
    return rows

with LmdbStore(original, owner="A") as store:
    expected = read(store)
content = (original / "data.mdb").read_bytes()[: pages * 4096]
shutil.copytree(original, path)
chance = random.Random(seed)
counts = {"same": 0, "refused": 0, "damaged": 0}
for turn in range(90):
    for name in ("log.0", "log.1", "log.marks"):
        shutil.copy(original / name, path / name)
    damaged = bytearray(content)
    at = chance.randrange(len(content))
    kind = chance.randrange(4)
    if kind == 0:
        damaged[at] ^= 1 << chance.randrange(8)
    elif kind == 1:
        damaged[at : at + 2] = b"\\xff\\xff"
    elif kind == 2:
        damaged[at : at + 16] = chance.randbytes(16)
    else:
        at -= at % 512
        damaged[at : at + 512] = bytes(512)
    del damaged[len(content):]
    (path / "data.mdb").write_bytes(damaged)
    os.write(2, b"%d %d\\n" % (kind, at))
    try:
        with LmdbStore(path, owner="A", merge_rows=2) as store:
            found = read(store)
            for number in range(6):
                store.submit(Batch({FLOWS: {b"new-%d" % number: b"v"}}), lambda: None)
        counts["same" if found == expected else "WRONG DATA"] = 1 + counts.get(
            "same" if found == expected else "WRONG DATA", 0)
    except StoreDamaged:
        counts["damaged"] += 1
    except StoreUnusable:
        counts["refused"] += 1
print(sorted(counts))
assert counts["damaged"] > 10, counts
"""


@pytest.mark.parametrize("seed", range(4))
def test_no_damage_gives_wrong_data_or_ends_the_process(
    original: Path, tmp_path: Path, seed: int
) -> None:
    # Break it: without checksums a tenth of these give wrong data, and some end the process.
    pages = str(last_page(original) + 1)
    done = run_python(DAMAGES, os.fspath(original), os.fspath(tmp_path / "s"), str(seed), pages)

    assert (done.returncode, done.stdout) == (0, "['damaged', 'refused', 'same']\n"), done.stderr
