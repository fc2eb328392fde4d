"""Move the rows of a frozen generation into the trees, a few at a time.

Each step is part of a transaction that may fail and be tried again: `write` does not move the
merge, `advance` does, after the commit. The last step declares the generation's log void in the
very transaction that completes the trees. A crash in between repeats the whole merge, which does
no harm.
"""

from collections.abc import Callable
from typing import Final

import lmdb

from runtime.edge.lmdb_format import GENERATIONS, MERGED, encode_number
from runtime.edge.lmdb_tree import Trees
from runtime.memtable import Generation

# Between two pieces the writer looks whether somebody waits for a commit.
PIECE_ROWS: Final = 32


def never() -> bool:
    """Tell that nobody waits."""
    return False


class Merge:
    """The merge of one generation; used by the writer only."""

    def __init__(self, trees: Trees, generation: Generation) -> None:
        self.is_done = False
        self._trees = trees
        self._generation = generation
        self._names = sorted(name for name, table in generation.tables.items() if table.rows)
        self._keys: list[bytes] = []
        self._keys_of = -1
        self._at = (0, 0)
        self._next = (0, 0)
        self._rows_written = 0

    def prepare(self) -> None:
        """Create the trees that are missing, each by a commit of its own."""
        for name in self._names:
            self._trees.ensure_space(name)

    def write(
        self, txn: "lmdb.Transaction[bytes]", count: int, *, until: Callable[[], bool] = never
    ) -> None:
        """Write some ``count`` rows, fewer if ``until`` comes true."""
        space, offset = self._at
        written = 0
        while space < len(self._names):
            keys = self._sorted_keys(space)
            if offset == len(keys):
                space, offset = space + 1, 0
            elif written >= count or (written and until()):
                break
            else:
                piece = keys[offset : offset + PIECE_ROWS]
                self._write_piece(txn, self._names[space], piece)
                offset += len(piece)
                written += len(piece)
        else:
            meta = self._trees.meta
            merged = encode_number(MERGED, self._generation.batch_last + 1)
            generations = encode_number(GENERATIONS, self._generation.number + 1)
            txn.put(MERGED, merged, db=meta)
            txn.put(GENERATIONS, generations, db=meta)
        self._next = (space, offset)
        self._rows_written = written

    def advance(self) -> int:
        """Count what was written last as done; return how many rows it was."""
        self._at = self._next
        self.is_done = self._at[0] == len(self._names)
        return self._rows_written

    def _write_piece(
        self, txn: "lmdb.Transaction[bytes]", space_name: str, piece: list[bytes]
    ) -> None:
        database = self._trees.databases[space_name]
        rows = self._generation.tables[space_name].rows
        seal = self._trees.sealed(space_name).seal
        puts = [(key, seal(key, value)) for key in piece if (value := rows[key]) is not None]
        txn.cursor(db=database).putmulti(puts)
        if len(puts) < len(piece):
            for key in piece:
                if rows[key] is None:
                    txn.delete(key, db=database)

    def _sorted_keys(self, space: int) -> list[bytes]:
        if self._keys_of != space:
            self._keys = sorted(self._generation.tables[self._names[space]].rows)
            self._keys_of = space
        return self._keys
