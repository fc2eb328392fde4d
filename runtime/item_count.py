"""How many values are in MessagePack bytes, told without making any of them.

An empty list takes one byte on the wire and eighty in memory, so bytes alone bound too little. Each
value but the outermost stands in an array or a map, so the lengths in their headers add up to the
number of all. What stands between two headers is skipped by one regular expression. Bytes of no
more than `MESSAGE_ITEMS_MAX` can't hold more values than that and are not looked at.
"""

import re
from typing import Final

from runtime.limits import MESSAGE_ITEMS_MAX

# By their first byte: how many bytes follow.
_FIXED: Final = {
    0xCC: 1, 0xD0: 1, 0xCD: 2, 0xD1: 2, 0xCE: 4, 0xD2: 4, 0xCA: 4, 0xCF: 8, 0xD3: 8, 0xCB: 8,
    0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,
}  # fmt: skip
_SHORT_TEXTS: Final = {0xA0 + size: size for size in range(1, 32)}
# Small integers, nil, truth values, the empty text, array and map.
_SINGLE: Final = rb"[\x00-\x7f\xe0-\xff\xc0\xc2\xc3\xa0\x90\x80]++"
# By their first byte: how many bytes the length has, and how many more come with what it counts.
_TEXTS: Final = {
    0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0),
    0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0),
    0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1),
}  # fmt: skip
# By their first byte: how many bytes the length has. Of a map, the values count and not the keys.
_CONTAINERS: Final = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
# Hashes and signatures, of which messages have many.
_BYTES_32: Final = rb"\xc4\x20.{32}"
_BYTES_64: Final = rb"\xc4\x40.{64}"


def _sized(first: int, size: int) -> bytes:
    return re.escape(bytes([first])) + b".{%d}" % size


_skip: Final = re.compile(
    b"(?:"
    + b"|".join(
        [
            _SINGLE,
            _BYTES_32,
            _BYTES_64,
            *(_sized(*each) for each in (_FIXED | _SHORT_TEXTS).items()),
        ]
    )
    + b")*+",
    re.DOTALL,
).match


def has_too_many_items(body: bytes, items_max: int = MESSAGE_ITEMS_MAX) -> bool:
    """Tell whether a value has more than so many parts; also of bytes that are torn."""
    return len(body) > items_max and _counts_beyond(body, items_max)


def _counts_beyond(body: bytes, items_max: int) -> bool:
    size = len(body)
    items = at = 0
    # Of the parts that are looked at one by one. Keys are not counted, so there may be twice as
    # many as items; if there are more, they stand behind the value, and no decoder reads them.
    seen = 0
    while items <= items_max:
        seen += 1
        if seen > 2 * items + 2:
            return False
        skipped = _skip(body, at)
        assert skipped is not None
        at = skipped.end()
        if at >= size:
            return False
        first = body[at]
        at += 1
        if 0x80 < first <= 0x9F:
            items += first & 0x0F
        elif first in _TEXTS:
            length_bytes, more = _TEXTS[first]
            at += length_bytes + more + int.from_bytes(body[at : at + length_bytes], "big")
        elif first in _CONTAINERS:
            length_bytes = _CONTAINERS[first]
            items += int.from_bytes(body[at : at + length_bytes], "big")
            at += length_bytes
        else:
            return False  # torn, or no MessagePack: the decoder says so
    return True
