"""A store to be damaged, and ways to damage it."""

import hashlib
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from runtime.edge.lmdb_log import LOGS, META
from runtime.edge.lmdb_store import LmdbStore
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
    return hashlib.sha256((path / "data.mdb").read_bytes()).hexdigest()


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
        handles = {name: environment.open_db(name) for name in (META, *LOGS)}
        assert handles
        with environment.begin(write=True) as txn:
            change(txn, environment)


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with (path / "data.mdb").open("r+b") as file:
        file.seek(offset)
        file.write(content)


def last_page(path: Path) -> int:
    with lmdb.open(os.fspath(path), readonly=True, lock=False) as environment:
        return environment.info()["last_pgno"]
