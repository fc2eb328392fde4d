"""Look through the pages of an LMDB file, before LMDB follows them into a crash.

LMDB trusts its file: a page that was zeroed or cut off ends the process by SIGABRT or SIGBUS, a
length inside of a page by SIGSEGV, at the first read or at the next write; and a wrong number in
the list of free pages has it write over a page that is in use. So each page that a tree leads to is
checked for being the page it should be, with nothing in it that leads out of it. Of the trees of
rows, which may be large, leaves are checked up to `LEAVES_MAX`. That the rows are those that were
written is checked when they are read (`runtime.edge.sealed_rows`). This reads and never writes.
"""

import mmap
import os
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

from runtime.edge.lmdb_format import ROWS_PREFIX, torn
from runtime.edge.lmdb_pages import (
    BRANCH,
    FREE_TREE_FLAGS,
    LEAF,
    NODE_BIG,
    NODE_TREE,
    Node,
    Pages,
)

LEAVES_MAX: Final = 65_536
"""At most this many leaves of rows are read at a start: 256 MiB."""

_META_BYTES: Final = 152
_FREE_PAGES: Final = "the tree of free pages"


def check_data_file(path: Path, *, leaves_max: int | None = LEAVES_MAX) -> None:
    """Raise `StoreUnusable` if LMDB could not read the file at ``path`` without harm.

    Args:
        path: The data file.
        leaves_max: How many leaves of rows to look at; None: all.
    """
    where = str(path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < _META_BYTES:
            raise torn(where, f"the file has {size} bytes and ends inside page 0")
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as content:
            pages = Pages(where, content, size)
            _Check(pages, pages.meta.page_last if leaves_max is None else leaves_max).run()


class _Check:
    def __init__(self, pages: Pages, leaves_max: int) -> None:
        self._pages = pages
        self._leaves_left = leaves_max

    def run(self) -> None:
        pages = self._pages
        meta = pages.meta
        if meta.page_last < self._leaves_left:
            pages.will_need_all()
        free = list(self._free_pages(meta.free))
        for node in self._walk(meta.main, 0, "the main tree"):
            if node.flags == NODE_TREE:
                name = f"the tree of {node.key.decode(errors='replace')}"
                self._walk_rows(node.data, name, is_counted=node.key.startswith(ROWS_PREFIX))
        for page in free:
            pages.claim(page, "the list of free pages")

    def _free_pages(self, tree: bytes) -> Iterator[int]:
        name = _FREE_PAGES
        pages = self._pages
        for node in self._walk(tree, FREE_TREE_FLAGS, name):
            data = pages.large_data(node, name) if node.flags == NODE_BIG else node.data
            numbers = struct.unpack_from(f"={len(data) // 8}Q", data)
            count = numbers[0] if numbers else -1
            listed = numbers[1 : 1 + max(count, 0)]
            # Each page once: LMDB does not sort them again.
            is_sorted = all(a > b for a, b in pairwise(listed))
            if len(node.key) != 8 or len(listed) != count or not is_sorted:
                raise pages.torn(f"{name} has a damaged list")
            yield from listed

    def _walk(self, tree: bytes, flags: int, name: str) -> Iterator[Node]:
        """Yield the nodes of all leaves of a tree, having checked its pages."""
        for page in self._leaf_pages(tree, flags, name):
            yield from self._pages.nodes(page, LEAF, name)

    def _walk_rows(self, tree: bytes, name: str, *, is_counted: bool) -> None:
        """Check the branches of a tree, and its leaves, or the first of them if it may be large."""
        for page in self._leaf_pages(tree, 0, name):
            if is_counted:
                if self._leaves_left <= 0:
                    return
                self._leaves_left -= 1
            self._pages.check_rows(page, name)

    def _leaf_pages(self, tree: bytes, flags: int, name: str) -> Iterator[int]:
        root, depth = self._pages.root(tree, flags, name)
        if depth:
            yield from self._below(root, depth, name)

    def _below(self, page: int, depth: int, name: str) -> Iterator[int]:
        if depth == 1:
            yield page
            return
        nodes = self._pages.nodes(page, BRANCH, name)
        # The keys of the free pages are numbers in the order of the machine's bytes.
        if name != _FREE_PAGES:
            # The first key of a branch stands for all that are less than the second one.
            keys = [node.key for node in nodes[1:]]
            if not keys or any(a >= b for a, b in pairwise(keys)):
                raise self._pages.torn(f"page {page} of {name} is not in order")
        for node in nodes:
            yield from self._below(node.below, depth - 1, name)
