"""A store to be damaged, and ways to damage it."""

import hashlib
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import lmdb
import pytest

from runtime.edge.lmdb_format import META, WRITTEN, encode_number
from runtime.edge.lmdb_store import LmdbStore
from runtime.edge.log_file import FIRST_RECORD, LOG_NAMES
from runtime.edge.log_marks import SLOT_OFFSETS, LogMarks
from runtime.edge.log_records import HEAD_BYTES, decode_head
from runtime.errors import StoreUnusable
from runtime.ports import Batch
from tests.runtime.edge.store_helpers import FLOWS, JOURNAL, commit, finish_merging

PAGE = 4096


def make_original(path: Path) -> Path:
    """Make a store with rows in its trees and in its log, large ones too."""
    chance = random.Random(1)
    with LmdbStore(path, owner="A", merge_rows=1_500) as store:
        for number in range(200):
            batch = Batch()
            for row in range(20):
                key = b"%08d" % ((number * 20 + row) * 7_919 % 1_000_003)
                batch.put(JOURNAL, key, chance.randbytes(100))
            batch.put(FLOWS, b"%d" % number, chance.randbytes(3_000))
            commit(store, batch)
            finish_merging(store)
    return path


def copy_store(original: Path, path: Path) -> Path:
    """Make a copy that may be damaged."""
    subprocess.run(["cp", "-r", "--sparse=always", original, path], check=True)
    return path


def digest(path: Path) -> str:
    """Return a digest of all that a store must not change before it knows that it is sound."""
    files = sorted(file for file in path.iterdir() if file.name in {"data.mdb", *LOG_NAMES})
    whole = b"".join(file.name.encode() + file.read_bytes() for file in files)
    return hashlib.sha256(whole).hexdigest()


def refusal(path: Path, owner: str = "A") -> str:
    """Open the store; return the message of the refusal, having checked that nothing changed."""
    before = digest(path)
    with pytest.raises(StoreUnusable) as caught:
        LmdbStore(path, owner=owner)
    assert digest(path) == before
    return str(caught.value)


def edit(
    path: Path, change: Callable[["lmdb.Transaction[bytes]", lmdb.Environment], object]
) -> None:
    with lmdb.open(os.fspath(path), max_dbs=16, map_size=256 << 20) as environment:
        assert environment.open_db(META)
        with environment.begin(write=True) as txn:
            change(txn, environment)


def log_id_of(path: Path) -> bytes:
    return (path / LOG_NAMES[0]).read_bytes()[8:16]


def forget_the_count(path: Path) -> None:
    """Make it a store that lost power before it noted durably how many batches there are."""
    none = encode_number(WRITTEN, 0)
    edit(path, lambda txn, env: txn.put(WRITTEN, none, db=env.open_db(META, txn)))
    marks = LogMarks(path, log_id_of(path), sync=True)
    for _ in SLOT_OFFSETS:
        marks.note_batches(0)
    marks.close()


class Record(NamedTuple):
    """Where a record of the log stands."""

    file: str
    start: int
    end: int
    number: int


def newest_records(path: Path) -> list[Record]:
    """Return the records of the newest generation in the log, in order."""
    found: dict[int, list[Record]] = {}
    for name in LOG_NAMES:
        content = (path / name).read_bytes()
        offset = FIRST_RECORD
        first = decode_head(content[offset:].ljust(HEAD_BYTES, b"\0"))
        while content[offset : offset + 16] == content[8:16] + first.generation.to_bytes(8):
            head = decode_head(content[offset:])
            end = offset + HEAD_BYTES + head.length
            found.setdefault(head.generation, []).append(Record(name, offset, end, head.number))
            offset = end
    return found[max(found)]


def overwrite(path: Path, offset: int, content: bytes, name: str = "data.mdb") -> None:
    with (path / name).open("r+b") as file:
        file.seek(offset)
        file.write(content)


def last_page(path: Path) -> int:
    with lmdb.open(os.fspath(path), readonly=True, lock=False) as environment:
        return environment.info()["last_pgno"]
