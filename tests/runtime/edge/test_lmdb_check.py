"""Files that have lost something are refused before LMDB follows them into a crash."""

import os
import random
import re
import sys
from pathlib import Path

import lmdb
import pytest

from runtime.edge.lmdb_check import LEAVES_MAX, check_data_file
from runtime.edge.lmdb_store import LmdbStore
from runtime.errors import StoreUnusable
from tests.runtime.edge.store_damage import (
    PAGE,
    copy_store,
    last_page,
    make_original,
    overwrite,
    refusal,
)
from tests.runtime.edge.store_helpers import JOURNAL, all_rows, run_python


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_original(tmp_path_factory.mktemp("original") / "store")


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    return copy_store(original, tmp_path / "store")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999])
def test_a_truncated_file_is_torn(path: Path, share: float) -> None:
    used = (last_page(path) + 1) * PAGE
    os.truncate(path / "data.mdb", int(used * share))

    message = refusal(path)

    assert "torn" in message
    assert "bytes" in message
    assert "restore the newest backup" in message


def test_a_file_that_lost_its_last_byte_is_torn(path: Path) -> None:
    used = (last_page(path) + 1) * PAGE
    os.truncate(path / "data.mdb", used - 1)

    assert f"pages end at byte {used}" in refusal(path)


def test_a_file_cut_behind_its_last_page_is_whole(path: Path) -> None:
    os.truncate(path / "data.mdb", (last_page(path) + 1) * PAGE)

    with LmdbStore(path, owner="A") as store:
        assert len(all_rows(store, JOURNAL)) == 4_000


def test_an_empty_file_is_torn_and_not_begun_anew(path: Path) -> None:
    os.truncate(path / "data.mdb", 0)

    assert "torn" in refusal(path)


@pytest.mark.parametrize("page", [0, 1])
def test_a_zeroed_meta_page_is_torn(path: Path, page: int) -> None:
    overwrite(path, page * PAGE, bytes(PAGE))

    assert f"page {page} is not a meta page" in refusal(path)


def test_an_impossible_page_size_is_torn(path: Path) -> None:
    overwrite(path, 40, (12_345).to_bytes(4, sys.byteorder))

    assert "impossible page size of 12345" in refusal(path)


OPEN_AND_READ = """
import sys
from pathlib import Path
from runtime.edge.lmdb_store import LmdbStore
from runtime.errors import StoreUnusable
from runtime.ports import Batch, Space
try:
    with LmdbStore(Path(sys.argv[1]), owner="A") as store:
        for space in (Space("journal"), Space("flows")):
            list(store.scan(space, b"", None))
        store.submit(Batch({Space("flows"): {b"zz": b"1"}}), lambda: None)
    print("fine")
except StoreUnusable as error:
    print("refused", error)
"""


@pytest.mark.parametrize("kind", ["zeroed", "random"])
@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_page_never_takes_the_process_down(path: Path, kind: str, seed: int) -> None:
    # Break it: without the look through the pages, LMDB aborts the process at about one in ten.
    chance = random.Random(seed)
    page = chance.randrange(2, last_page(path) + 1)
    overwrite(path, page * PAGE, bytes(PAGE) if kind == "zeroed" else chance.randbytes(PAGE))

    done = run_python(OPEN_AND_READ, os.fspath(path))

    assert done.stderr == ""
    assert done.stdout.startswith(("fine", "refused"))


def test_every_zeroed_page_is_either_unused_or_noticed(original: Path, tmp_path: Path) -> None:
    content = bytearray((original / "data.mdb").read_bytes())
    damaged = tmp_path / "data.mdb"
    noticed = 0
    pages = last_page(original) + 1
    damaged.write_bytes(content[: pages * PAGE])
    for page in range(2, pages):
        with damaged.open("r+b") as file:
            file.seek(page * PAGE)
            file.write(bytes(PAGE))
        message = complaint(damaged)
        assert message is None or f"page {page}" in message
        noticed += message is not None
        with damaged.open("r+b") as file:
            file.seek(page * PAGE)
            file.write(content[page * PAGE : (page + 1) * PAGE])
    check_data_file(damaged)

    assert noticed > pages / 4


@pytest.mark.parametrize("seed", range(8))
def test_the_check_survives_any_bytes(original: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    pages = last_page(original) + 1
    content = (original / "data.mdb").read_bytes()[: pages * PAGE]
    damaged = tmp_path / "data.mdb"
    damaged.write_bytes(content)
    complaints = set()
    for _ in range(400):
        offset = chance.randrange(pages) * PAGE
        offset += chance.randrange(8, chance.choice([20, 60, PAGE]))
        bad = chance.choice([b"\0", b"\xff\xff", chance.randbytes(2), chance.randbytes(9)])
        with damaged.open("r+b", buffering=0) as file:
            file.seek(offset)
            file.write(bad)
            message = complaint(damaged)
            file.seek(offset)
            file.write(content[offset : offset + len(bad)])
        assert message is None or "torn" in message or "generation" in message
        complaints.add(message)
    assert complaint(damaged) is None

    assert len(complaints) > 10


def patched_tree(path: Path, name: bytes, changed: bytes) -> None:
    """Overwrite what follows on the name of a tree in the main tree: its record."""
    content = (path / "data.mdb").read_bytes()[: (last_page(path) + 1) * PAGE]
    for found in re.finditer(re.escape(name), content):
        overwrite(path, found.end(), changed)


def test_a_tree_record_of_a_wrong_size_is_torn(path: Path) -> None:
    content = (path / "data.mdb").read_bytes()[: (last_page(path) + 1) * PAGE]
    for found in re.finditer(b"rows.journal", content):
        overwrite(path, found.start() - 8, (47).to_bytes(2, sys.byteorder))

    assert "has a root of 47 bytes" in refusal(path)


def large_values(path: Path) -> list[tuple[int, int]]:
    """Return for each value with pages of its own where they begin, and where they are referred to.

    The keys of these rows have one to three bytes.
    """
    used = (last_page(path) + 1) * PAGE
    content = (path / "data.mdb").read_bytes()[:used]
    found = []
    for page in range(0, used, PAGE):
        number = (page // PAGE).to_bytes(8, "little")
        if content[page + 10] == 4 and content[page : page + 8] == number:
            for reference in re.finditer(re.escape(number), content):
                start = reference.start()
                if any(
                    content[start - n - 4 : start - n] == bytes([1, 0, n, 0]) for n in (1, 2, 3)
                ):
                    found.append((page, start))
    assert len(found) > 100
    return found


@pytest.mark.skipif(sys.byteorder != "little", reason="it looks for little-endian numbers")
def test_a_large_value_of_an_impossible_length_is_torn(path: Path) -> None:
    for page, _ in large_values(path):
        overwrite(path, page + 12, bytes(4))

    assert "has impossible bounds" in refusal(path)


@pytest.mark.skipif(sys.byteorder != "little", reason="it looks for little-endian numbers")
def test_a_large_value_beyond_the_file_is_torn(path: Path) -> None:
    for _, reference in large_values(path):
        overwrite(path, reference, (10**9).to_bytes(8, "little"))

    assert "leads to page 1000000000 of" in refusal(path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            b"\0" * 6 + b"\1" + b"\0" * 33 + (10**9).to_bytes(8, sys.byteorder),
            "leads to page 1000000000 of",
        ),
        (
            b"\0" * 6 + b"\x09" + b"\0" * 33 + (3).to_bytes(8, sys.byteorder),
            "does not belong to the tree of rows.journal",
        ),
    ],
    ids=["beyond the file", "deeper than it is"],
)
def test_a_wrong_root_is_torn(path: Path, changed: bytes, message: str) -> None:
    patched_tree(path, b"rows.journal", changed)

    assert message in refusal(path)


def complaint(file: Path, leaves_max: int | None = LEAVES_MAX) -> str | None:
    """Return what the check has against a file."""
    try:
        check_data_file(file, leaves_max=leaves_max)
    except StoreUnusable as error:
        return str(error)
    return None


def test_leaves_of_rows_beyond_the_bound_are_not_read(original: Path, tmp_path: Path) -> None:
    # Breaks when a start reads a whole large store, or when it looks at less than it says.
    damaged = tmp_path / "data.mdb"
    content = (original / "data.mdb").read_bytes()[: (last_page(original) + 1) * PAGE]
    noticed_by_bound = []
    for leaves_max in (1, 3, None):
        noticed = 0
        for page in pages_of(original, 2):
            damaged.write_bytes(content)
            overwrite(tmp_path, page + 18, b"\xff\xff")
            noticed += complaint(damaged, leaves_max) is not None
        noticed_by_bound.append(noticed)

    # Besides the leaves of rows, those of the main tree and of our own are read whatever the bound.
    always = noticed_by_bound[0] - 1
    assert noticed_by_bound[1] == always + 3
    assert noticed_by_bound[2] > always + 20


@pytest.mark.parametrize("seed", range(3))
def test_a_database_that_nothing_has_damaged_passes_whatever_was_done_to_it(
    tmp_path: Path, seed: int
) -> None:
    # Breaks when the check knows LMDB's pages less well than LMDB, and refuses a sound store.
    chance = random.Random(seed)
    keys = [chance.randbytes(chance.choice([1, 3, 8, 20, 90, 500])) for _ in range(700)]
    with lmdb.open(os.fspath(tmp_path), max_dbs=4, map_size=64 << 20, sync=False) as environment:
        trees = [environment.open_db(name) for name in (b"rows.a", b"rows.b", b"meta")]
        for _ in range(120):
            with environment.begin(write=True) as txn:
                weight = chance.random()
                for _ in range(chance.choice([1, 5, 60, 400])):
                    key, tree = chance.choice(keys), chance.choice(trees)
                    if chance.random() < weight:
                        size = chance.choice([0, 1, 7, 50, 300, 1_900, 2_100, 9_000])
                        txn.put(key, chance.randbytes(size), db=tree)
                    else:
                        txn.delete(key, db=tree)
            check_data_file(tmp_path / "data.mdb")


def test_a_free_page_that_is_in_use_is_torn(path: Path) -> None:
    # Breaks when LMDB is let to write a new page over one that has rows.
    content = (path / "data.mdb").read_bytes()[: (last_page(path) + 1) * PAGE]

    def number(offset: int) -> int:
        return int.from_bytes(content[offset : offset + 8], sys.byteorder)

    newest = max((0, PAGE), key=lambda meta: number(meta + 144))
    leaf = number(newest + 80) * PAGE
    list_at = leaf + int.from_bytes(content[leaf + 16 : leaf + 18], sys.byteorder) + 16
    count = number(list_at)
    assert count > 0
    page_in_use = number(newest + 128)
    overwrite(path, list_at, (1).to_bytes(8, sys.byteorder))
    overwrite(path, list_at + 8, page_in_use.to_bytes(8, sys.byteorder))

    assert f"the list of free pages leads to page {page_in_use}, which belongs" in refusal(path)


def test_a_damaged_list_of_free_pages_is_torn(path: Path) -> None:
    content = (path / "data.mdb").read_bytes()[: (last_page(path) + 1) * PAGE]
    for meta in (0, PAGE):
        leaf = int.from_bytes(content[meta + 80 : meta + 88], sys.byteorder) * PAGE
        node = int.from_bytes(content[leaf + 16 : leaf + 18], sys.byteorder)
        overwrite(path, leaf + node + 16, b"\xff\xff")

    assert "the tree of free pages has a damaged list" in refusal(path)


def pages_of(path: Path, flags: int) -> list[int]:
    """Return where pages of a kind begin, used or not."""
    content = (path / "data.mdb").read_bytes()[: (last_page(path) + 1) * PAGE]
    return [
        page
        for page in range(2 * PAGE, len(content), PAGE)
        if int.from_bytes(content[page + 10 : page + 12], sys.byteorder) == flags
    ]


def u16(content: bytes, offset: int) -> int:
    return int.from_bytes(content[offset : offset + 2], sys.byteorder)


def test_impossible_numbers_of_transactions_are_torn(path: Path) -> None:
    # Breaks when LMDB reads an older meta page, whose pages were written over since.
    overwrite(path, 144, (10**6).to_bytes(8, sys.byteorder))

    assert "pages 0 and 1 have transactions 1000000 and" in refusal(path)


def test_a_tree_of_another_kind_is_torn(path: Path) -> None:
    patched_tree(path, b"rows.journal", b"\0\0\0\0" + (4).to_bytes(2, sys.byteorder))

    assert "the tree of rows.journal has a damaged root" in refusal(path)


def test_a_branch_that_is_not_in_order_is_torn(path: Path) -> None:
    content = (path / "data.mdb").read_bytes()
    for page in pages_of(path, 1):
        second = page + u16(content, page + 18)
        overwrite(path, second + 8, b"\xff" * u16(content, second + 6))

    assert "is not in order" in refusal(path)


@pytest.mark.skipif(sys.byteorder != "little", reason="it looks for little-endian numbers")
def test_a_large_value_that_is_longer_than_its_pages_is_torn(path: Path) -> None:
    # Breaks when LMDB is let to read beyond the end of its map.
    content = (path / "data.mdb").read_bytes()[: (last_page(path) + 1) * PAGE]
    for _, reference in large_values(path):
        key_bytes = next(n for n in (1, 2, 3) if content[reference - n - 2] == n)
        overwrite(path, reference - key_bytes - 6, b"\xff\x7f")

    assert "has impossible bounds" in refusal(path)


def test_a_node_that_leaves_its_page_is_torn_though_the_sum_of_all_is_right(path: Path) -> None:
    content = (path / "data.mdb").read_bytes()
    for page in pages_of(path, 2):
        count = (u16(content, page + 12) - 16) // 2
        nodes = sorted(page + u16(content, page + 16 + 2 * n) for n in range(count))
        rows = [node for node in nodes if u16(content, node) == 104 and not u16(content, node + 4)]
        if len(rows) > 20 and rows[-1] == nodes[-1]:
            for node in rows[:20]:
                overwrite(path, node, (4).to_bytes(2, sys.byteorder))
            overwrite(path, rows[-1], (2_104).to_bytes(2, sys.byteorder))

    assert "has a node that leaves it" in refusal(path)
