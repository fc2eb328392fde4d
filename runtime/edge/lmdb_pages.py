"""Read the pages of an LMDB file, each within its bounds, without LMDB.

The format (LMDB 0.9; native byte order; pages of equal size, numbered from 0)::

    page header   number u64 | pad u16 | flags u16 (1 branch, 2 leaf, 4 overflow, 8 meta)
                  | lower u16 | upper u16; of an overflow page lower and upper count its pages, u32
    page 0 and 1  header | magic u32 0xBEEFC0DE | version u32 1 | address u64 | map bytes u64
                  | tree of free pages | main tree | last page u64 | txn u64;
                  of the two the one with the greater txn counts; txn n is in page n modulo 2
    tree          pad u32 (in a meta page: the page size) | flags u16 | depth u16 | branches u64
                  | leaves u64 | overflow pages u64 | entries u64 | root page u64 (all ones: empty)
    branch, leaf  header | offset u16 of each node, up to `lower` | room
                  | nodes without a gap, from `upper` to the end
    node          low u16 | high u16 | flags u16 | key bytes u16 | key | data, at an even offset
                  in a branch low, high, flags make the number of the page below;
                  in a leaf low, high make the bytes of data,
                  and flags say: 1 the data is the number u64 of an overflow page, 2 it is a tree
    free pages    key: txn u64; data: count u64 | so many numbers u64, the greatest first
"""

import mmap
import struct
from typing import Final, NamedTuple

from runtime.edge.lmdb_format import torn
from runtime.errors import StoreUnusable

BRANCH: Final = 1
LEAF: Final = 2
NODE_BIG: Final = 1
NODE_TREE: Final = 2
EMPTY: Final = 2**64 - 1
HEADER_BYTES: Final = 16

FREE_TREE_FLAGS: Final = 8
"""Its keys are integers."""

DEPTH_MAX: Final = 32

_MAGIC: Final = 0xBEEFC0DE
_VERSION: Final = 1
_PAGE_BYTES: Final = frozenset(1 << bits for bits in range(9, 17))
_OVERFLOW_FLAG: Final = 4
_META_FLAG: Final = 8

_META: Final = struct.Struct("=QHHHHIIQQ48s48sQQ")
_TREE: Final = struct.Struct("=IHHQQQQQ")
_HEADER: Final = struct.Struct("=QHHHH")
_OVERFLOW: Final = struct.Struct("=QHHI")
_NODE: Final = struct.Struct("=HHHH")
_NUMBER: Final = struct.Struct("=Q")
_NODE_BYTES: Final = _NODE.size
_NUMBER_BYTES: Final = _NUMBER.size
_NODE_FLAGS: Final = frozenset({0, NODE_BIG, NODE_TREE})


class Meta(NamedTuple):
    """What a meta page says."""

    page_bytes: int
    free: bytes
    main: bytes
    page_last: int
    txn: int


class Node(NamedTuple):
    """One entry of a page: in a branch what is ``below`` a key, in a leaf a key and its data."""

    flags: int
    below: int
    key: bytes
    data: bytes
    data_bytes: int
    """Of the whole value; ``data`` has the number of a page if it is large."""


class Pages:
    """The pages of a file. All methods raise `StoreUnusable`, which names the page."""

    def __init__(self, where: str, content: mmap.mmap, size: int) -> None:
        self._where = where
        self._content = content
        self._size = size
        self.meta = self._newest_meta()
        self.page_bytes = self.meta.page_bytes
        needed = (self.meta.page_last + 1) * self.page_bytes
        if size < needed:
            raise self.torn(f"the file has {size} bytes, but its pages end at byte {needed}")
        self._claimed = bytearray(self.meta.page_last + 1)

    def root(self, tree: bytes, flags_expected: int, name: str) -> tuple[int, int]:
        """Return the root page of a tree and how deep it is; depth 0: it is empty."""
        if len(tree) != _TREE.size:
            raise self.torn(f"{name} has a root of {len(tree)} bytes")
        _, flags, depth, _, _, _, _, root = _TREE.unpack(tree)
        if root == EMPTY:
            return root, 0
        if not 1 <= depth <= DEPTH_MAX or flags != flags_expected:
            raise self.torn(f"{name} has a damaged root")
        return root, depth

    def claim(self, page: int, name: str, count: int = 1) -> None:
        """Note that the pages belong to ``name``, to which nothing else may lead."""
        if not 2 <= page <= page + count - 1 <= self.meta.page_last:
            raise self.torn(f"{name} leads to page {page} of {self.meta.page_last + 1}")
        if any(self._claimed[page : page + count]):
            raise self.torn(f"{name} leads to page {page}, which belongs to something else")
        self._claimed[page : page + count] = b"\1" * count

    def nodes(self, page: int, kind: int, name: str) -> list[Node]:
        """Return the nodes of a branch or leaf, which must be where and what they should be."""
        body, offsets, upper = self._open(page, kind, name)
        found = [self._node(body, offset, kind, page, name) for offset in offsets]
        taken = sum((_NODE.size + len(node.key) + len(node.data) + 1) & ~1 for node in found)
        self._check_room(len(body) - upper, taken, offsets, page, name)
        return found

    def check_rows(self, page: int, name: str) -> None:
        """Check a leaf of rows, as `nodes` does, and its large values; in a fifth of the time."""
        body, offsets, upper = self._open(page, LEAF, name)
        unpack = _NODE.unpack_from
        end, taken = len(body), 0
        for offset in offsets:
            low, high, flags, key_bytes = unpack(body, offset)
            if flags:
                node = self._node(body, offset, LEAF, page, name)
                if flags == NODE_TREE:
                    raise self.torn(f"{name} has a tree in place of a row")
                self.check_large(node, name)
                size = _NODE_BYTES + key_bytes + _NUMBER_BYTES
            else:
                size = _NODE_BYTES + key_bytes + (low | high << 16)
            if offset + size > end:
                raise self.torn(f"page {page} of {name} has a node that leaves it")
            taken += (size + 1) & ~1
        self._check_room(end - upper, taken, offsets, page, name)

    def check_large(self, node: Node, name: str) -> int:
        """Check the overflow pages of a large value; return where its data begins."""
        page: int = _NUMBER.unpack(node.data)[0]
        if not 2 <= page <= self.meta.page_last:
            raise self.torn(f"{name} leads to page {page} of {self.meta.page_last + 1}")
        number, _, flags, count = _OVERFLOW.unpack_from(self._content, page * self.page_bytes)
        if number != page or flags != _OVERFLOW_FLAG:
            raise self.torn(f"page {page} does not belong to {name}, which leads there")
        if (
            not 0 < count <= self.meta.page_last + 1 - page
            or HEADER_BYTES + node.data_bytes > count * self.page_bytes
        ):
            raise self.torn(f"page {page} of {name} has impossible bounds")
        self.claim(page, name, count)
        return page * self.page_bytes + HEADER_BYTES

    def large_data(self, node: Node, name: str) -> bytes:
        """Return a large value."""
        start = self.check_large(node, name)
        return self._content[start : start + node.data_bytes]

    def will_need_all(self) -> None:
        """Have the system read the file ahead."""
        self._content.madvise(mmap.MADV_WILLNEED, 0, (self.meta.page_last + 1) * self.page_bytes)

    def torn(self, what: str) -> StoreUnusable:
        """Return the error."""
        return torn(self._where, what)

    def _open(self, page: int, kind: int, name: str) -> tuple[bytes, tuple[int, ...], int]:
        """Return the bytes of a branch or leaf, where its nodes are, and where they begin."""
        self.claim(page, name)
        base = page * self.page_bytes
        body = self._content[base : base + self.page_bytes]
        number, _, flags, lower, upper = _HEADER.unpack_from(body)
        if number != page or flags != kind:
            raise self.torn(f"page {page} does not belong to {name}, which leads there")
        if not HEADER_BYTES < lower <= upper <= len(body) or lower % 2:
            raise self.torn(f"page {page} of {name} has impossible bounds")
        offsets = struct.unpack_from(f"={(lower - HEADER_BYTES) // 2}H", body, HEADER_BYTES)
        if min(offsets) < upper or max(offsets) > len(body) - _NODE_BYTES:
            raise self.torn(f"page {page} of {name} has a node outside of it")
        return body, offsets, upper

    def _check_room(
        self, room: int, taken: int, offsets: tuple[int, ...], page: int, name: str
    ) -> None:
        # LMDB leaves no room between nodes. Else one is missing, or they lie across one another.
        if taken != room or len(set(offsets)) < len(offsets):
            raise self.torn(f"page {page} of {name} has {len(offsets)} nodes, and not those it had")

    def _node(self, body: bytes, offset: int, kind: int, page: int, name: str) -> Node:
        low, high, flags, key_bytes = _NODE.unpack_from(body, offset)
        key_start = offset + _NODE.size
        data_start = key_start + key_bytes
        if kind == BRANCH:
            below, data_bytes, stored = low | high << 16 | flags << 32, 0, 0
        else:
            below, data_bytes = 0, low | high << 16
            if flags not in _NODE_FLAGS:
                raise self.torn(f"page {page} of {name} has a node of an unknown kind")
            stored = _NUMBER.size if flags == NODE_BIG else data_bytes
        data_end = data_start + stored
        if data_end > len(body):
            raise self.torn(f"page {page} of {name} has a node that leaves it")
        return Node(flags, below, body[key_start:data_start], body[data_start:data_end], data_bytes)

    def _newest_meta(self) -> Meta:
        first = self._read_meta(0, 0)
        second = self._read_meta(1, first.page_bytes)
        if first.txn % 2 or (second.txn and not second.txn % 2) or abs(first.txn - second.txn) > 1:
            raise self.torn(f"pages 0 and 1 have transactions {first.txn} and {second.txn}")
        return max(first, second, key=lambda meta: meta.txn)

    def _read_meta(self, page: int, offset: int) -> Meta:
        if self._size < offset + _META.size:
            raise self.torn(f"the file has {self._size} bytes and ends inside page {page}")
        number, _, flags, _, _, magic, version, address, _, free, main, page_last, txn = (
            _META.unpack_from(self._content, offset)
        )
        if magic != _MAGIC or flags != _META_FLAG or number != page or address:
            raise self.torn(f"page {page} is not a meta page of LMDB")
        if version != _VERSION:
            raise StoreUnusable(
                f"the store at {self._where} was written by another generation of LMDB (format "
                f"{version}; this one reads {_VERSION}). Nothing was changed. "
                "Install the version that wrote it"
            )
        page_bytes = _TREE.unpack(free)[0]
        if page_bytes not in _PAGE_BYTES:
            raise self.torn(f"page {page} gives an impossible page size of {page_bytes}")
        return Meta(page_bytes, free, main, page_last, txn)
