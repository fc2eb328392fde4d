"""Look through the pages of an LMDB file, before LMDB follows them into a crash.

LMDB trusts its file: a page that was zeroed or cut off ends the process by SIGABRT or SIGBUS, at
the first read or at the next write. So each page that a tree leads to is checked for being the page
it should be. Of the trees of rows, which may be large, leaves are checked up to `LEAVES_MAX`; what
is inside a leaf of theirs is not looked at. This reads and never writes.

The format (LMDB 0.9; native byte order; pages of equal size, numbered from 0)::

    page header   number u64 | pad u16 | flags u16 (1 branch, 2 leaf, 4 overflow, 8 meta)
                  | lower u16 | upper u16; of an overflow page lower and upper count its pages, u32
    page 0 and 1  header | magic u32 0xBEEFC0DE | version u32 1 | address u64 | map bytes u64
                  | tree of free pages | main tree | last page u64 | txn u64;
                  of the two the one with the greater txn counts
    tree          pad u32 (in a meta page: the page size) | flags u16 | depth u16 | branches u64
                  | leaves u64 | overflow pages u64 | entries u64 | root page u64 (all ones: empty)
    branch, leaf  header | offset u16 of each node, up to `lower` | room | nodes, from `upper` on
    node          low u16 | high u16 | flags u16 | key bytes u16 | key | data
                  in a branch low, high, flags make the number of the page below;
                  in a leaf low, high make the bytes of data,
                  and flags say: 1 the data is the number u64 of an overflow page, 2 it is a tree
"""

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from runtime.edge.lmdb_format import ROWS_PREFIX, torn
from runtime.errors import StoreUnusable

LEAVES_MAX: Final = 65_536
"""At most this many leaves of rows are read at a start: 256 MiB."""

_MAGIC: Final = 0xBEEFC0DE
_VERSION: Final = 1
_PAGE_BYTES: Final = frozenset(1 << bits for bits in range(9, 17))

_META: Final = struct.Struct("=QHHHHIIQQ48s48sQQ")
_TREE: Final = struct.Struct("=IHHQQQQQ")
_HEADER: Final = struct.Struct("=QHHHH")
_OVERFLOW: Final = struct.Struct("=QHHI")
_NODE: Final = struct.Struct("=HHHH")
_NUMBER: Final = struct.Struct("=Q")

_BRANCH: Final = 1
_LEAF: Final = 2
_OVERFLOW_FLAG: Final = 4
_META_FLAG: Final = 8
_KIND: Final = 15
_NODE_BIG: Final = 1
_NODE_TREE: Final = 2
_EMPTY: Final = 2**64 - 1


class _Meta(NamedTuple):
    page_bytes: int
    free: bytes
    main: bytes
    page_last: int
    txn: int


class _Node(NamedTuple):
    flags: int
    below: int
    key: bytes
    data: bytes


def check_data_file(path: Path) -> None:
    """Raise `StoreUnusable` if LMDB could not read the file at ``path`` without harm."""
    where = str(path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < _META.size:
            raise torn(where, f"the file has {size} bytes and ends inside page 0")
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as content:
            _Check(where, content, size).run()


class _Check:
    def __init__(self, where: str, content: mmap.mmap, size: int) -> None:
        self._where = where
        self._content = content
        self._size = size
        self._leaves_left = LEAVES_MAX
        self._page_bytes = 0
        self._page_last = 0

    def run(self) -> None:
        meta = self._read_metas()
        self._page_bytes = meta.page_bytes
        self._page_last = meta.page_last
        needed = (meta.page_last + 1) * meta.page_bytes
        if self._size < needed:
            raise self._torn(f"the file has {self._size} bytes, but its pages end at byte {needed}")
        if meta.page_last < LEAVES_MAX:
            self._content.madvise(mmap.MADV_WILLNEED, 0, needed)
        self._walk(meta.free, "the tree of free pages")
        for node in self._walk(meta.main, "the main tree"):
            if node.flags & _NODE_TREE:
                name = f"the tree of {node.key.decode(errors='replace')}"
                if node.key.startswith(ROWS_PREFIX):
                    self._walk_rows(node.data, name)
                else:
                    self._walk(node.data, name)

    def _read_metas(self) -> _Meta:
        first = self._read_meta(0, 0)
        second = self._read_meta(1, first.page_bytes)
        return max(first, second, key=lambda meta: meta.txn)

    def _read_meta(self, page: int, offset: int) -> _Meta:
        if self._size < offset + _META.size:
            raise self._torn(f"the file has {self._size} bytes and ends inside page {page}")
        number, _, flags, _, _, magic, version, _, _, free, main, page_last, txn = (
            _META.unpack_from(self._content, offset)
        )
        if magic != _MAGIC or flags & _KIND != _META_FLAG or number != page:
            raise self._torn(f"page {page} is no meta page of LMDB")
        if version != _VERSION:
            raise StoreUnusable(
                f"the store at {self._where} was written by another generation of LMDB (format "
                f"{version}; this one reads {_VERSION}). Nothing was changed. "
                "Install the version that wrote it"
            )
        page_bytes = _TREE.unpack(free)[0]
        if page_bytes not in _PAGE_BYTES:
            raise self._torn(f"page {page} gives an impossible page size of {page_bytes}")
        return _Meta(page_bytes, free, main, page_last, txn)

    def _walk(self, tree: bytes, name: str) -> list[_Node]:
        """Check all pages of a tree; return the nodes of its leaves."""
        found = []
        for page in self._leaf_pages(tree, name):
            self._check_header(page, _LEAF, name)
            for node in self._nodes(page, name):
                if node.flags & _NODE_BIG:
                    self._check_overflow(node, name)
                found.append(node)
        return found

    def _walk_rows(self, tree: bytes, name: str) -> None:
        """Check the branches of a tree, and the first of its leaves for being leaves."""
        for page in self._leaf_pages(tree, name):
            if self._leaves_left == 0:
                return
            self._leaves_left -= 1
            self._check_header(page, _LEAF, name)

    def _leaf_pages(self, tree: bytes, name: str) -> Iterator[int]:
        if len(tree) != _TREE.size:
            raise self._torn(f"{name} has a root of {len(tree)} bytes")
        _, _, depth, _, _, _, _, root = _TREE.unpack(tree)
        if root != _EMPTY:
            yield from self._below(root, depth, name)

    def _below(self, page: int, depth: int, name: str) -> Iterator[int]:
        if depth <= 1:
            yield page
        else:
            self._check_header(page, _BRANCH, name)
            for node in self._nodes(page, name):
                yield from self._below(node.below, depth - 1, name)

    def _check_header(self, page: int, kind: int, name: str) -> None:
        if not 2 <= page <= self._page_last:
            raise self._torn(f"{name} leads to page {page} of {self._page_last + 1}")
        number, _, flags, lower, upper = _HEADER.unpack_from(self._content, page * self._page_bytes)
        if number != page or flags & _KIND != kind:
            raise self._torn(f"page {page} does not belong to {name}, which leads there")
        if not _HEADER.size < lower <= upper <= self._page_bytes or lower % 2:
            raise self._torn(f"page {page} of {name} has impossible bounds")

    def _nodes(self, page: int, name: str) -> Iterator[_Node]:
        content = self._content
        base = page * self._page_bytes
        _, _, flags, lower, upper = _HEADER.unpack_from(content, base)
        for (offset,) in struct.iter_unpack("=H", content[base + _HEADER.size : base + lower]):
            if not upper <= offset <= self._page_bytes - _NODE.size:
                raise self._torn(f"page {page} of {name} has a node outside of it")
            low, high, node_flags, key_bytes = _NODE.unpack_from(content, base + offset)
            key_start = base + offset + _NODE.size
            data_start = key_start + key_bytes
            if flags & _BRANCH:
                below, data_bytes = low | high << 16 | node_flags << 32, 0
            else:
                below, data_bytes = 0, low | high << 16
                if node_flags & _NODE_BIG:
                    data_bytes = _NUMBER.size
            if data_start + data_bytes > base + self._page_bytes:
                raise self._torn(f"page {page} of {name} has a node that leaves it")
            key = content[key_start:data_start]
            data = content[data_start : data_start + data_bytes]
            yield _Node(node_flags, below, key, data)

    def _check_overflow(self, node: _Node, name: str) -> None:
        page = _NUMBER.unpack(node.data)[0]
        if not 2 <= page <= self._page_last:
            raise self._torn(f"{name} leads to page {page} of {self._page_last + 1}")
        number, _, flags, count = _OVERFLOW.unpack_from(self._content, page * self._page_bytes)
        if number != page or flags & _KIND != _OVERFLOW_FLAG:
            raise self._torn(f"page {page} does not belong to {name}, which leads there")
        if not 0 < count <= self._page_last + 1 - page:
            raise self._torn(f"page {page} of {name} has impossible bounds")

    def _torn(self, what: str) -> StoreUnusable:
        return torn(self._where, what)
