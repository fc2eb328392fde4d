"""How deeply MessagePack nests, found out without building anything.

Whether a decoder copes with nested bytes depends on how deep its caller's stack is. So what nests
deeper than a fixed bound is refused first, and what was read once can always be read again.
"""

from typing import Final

import msgspec

# An extension of ours whose content nests, see `runtime.value_tree`. Code 4 is an int.
_NESTING_CODES: Final = frozenset({1, 2, 3, 5, 6, 7})
_EXT_HEADERS: Final = frozenset({*range(0xC7, 0xCA), *range(0xD4, 0xD9)})

# Bytes that begin an array, a map or an extension. Others hold them too, by chance.
_OPENING: Final = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0), *sorted(_EXT_HEADERS)])

# Beyond it, to walk over the parts is quicker than to look at every byte.
_COUNTED_BYTES_MAX: Final = 16 * 1024


def _sizes() -> tuple[int, ...]:
    """Return by first byte how long a part is, with its header; 0 if that is not all to know."""
    sizes = [1] * 256
    for head in range(0xA0, 0xC0):
        sizes[head] = head - 0xA0 + 1
    for head in (*range(0x80, 0xA0), *range(0xC4, 0xCA), *range(0xD4, 0xE0)):
        sizes[head] = 0
    fixed = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
    fixed |= {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
    for head, size in fixed.items():
        sizes[head] = 1 + size
    return tuple(sizes)


_SIZES: Final = _sizes()
# How many bytes behind the header tell the length: of bin, str and ext.
_LENGTH_BYTES: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_EXT_LENGTH_BYTES: Final = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_FIXED_EXT_BYTES: Final = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_COUNT_BYTES: Final = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
_MAPS: Final = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})
_ARRAYS: Final = frozenset({*range(0x90, 0xA0), 0xDC, 0xDD})

# To cut a nest into parts again and again takes longer than to walk over it once.
_SPLITS_MAX: Final = 4

_split_array: Final = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_map: Final = msgspec.msgpack.Decoder(dict[str | int, msgspec.Raw]).decode


def nests_deeper(body: bytes, levels: int) -> bool:
    """Tell whether arrays, maps and extensions stand in each other on more than ``levels`` levels.

    Bytes that are no MessagePack don't, as far as they can be read: a decoder refuses them anyway.
    """
    size = len(body)
    if size <= levels:
        return False
    if size <= _COUNTED_BYTES_MAX and size - len(body.translate(None, _OPENING)) <= levels:
        return False
    return _in_parts(memoryview(body), levels, _SPLITS_MAX)


def _in_parts(body: memoryview, levels: int, splits: int) -> bool:
    """Look only at the parts that have enough bytes; msgspec cuts them off in no time."""
    if len(body) <= levels:
        return False
    split = _split_array if body[0] in _ARRAYS else _split_map if body[0] in _MAPS else None
    if split is not None and levels <= 0:
        return True
    try:
        if split is None or not splits:
            return _is_found_walking(body, levels)
        parts = split(body)
    # It may be anything, and our stack may be too deep for it.
    except Exception:
        return _is_found_walking(body, levels)
    return any(
        _in_parts(memoryview(part), levels - 1, splits - 1) for part in parts if len(part) >= levels
    )


def _split_map(body: memoryview) -> list[msgspec.Raw]:
    return list(_decode_map(body).values())


def _is_found_walking(body: memoryview, levels: int) -> bool:
    ahead = [(0, len(body), 0)]
    try:
        while ahead:
            if _walk(body, *ahead.pop(), levels, ahead):
                return True
    except IndexError:
        pass
    return False


def _walk(
    body: memoryview,
    position: int,
    end: int,
    depth: int,
    levels: int,
    ahead: list[tuple[int, int, int]],
) -> bool:
    """Go over one value; the contents of its extensions are added to ``ahead``."""
    sizes = _SIZES
    remaining, outer = 1, list[int]()
    while position < end:
        while not remaining:
            if not outer:
                return False
            remaining = outer.pop()
        remaining -= 1
        head = body[position]
        size = sizes[head]
        if size:
            position += size
        elif head in _LENGTH_BYTES:
            start = position + 1 + _LENGTH_BYTES[head]
            position = start + int.from_bytes(body[position + 1 : start], "big")
        elif head in _EXT_HEADERS:
            if depth + len(outer) >= levels:
                return True
            start, position = _ext(body, position, head)
            if body[start - 1] in _NESTING_CODES:
                # The array in it stands for it.
                ahead.append((start, position, depth + len(outer)))
        else:
            outer.append(remaining)
            if depth + len(outer) > levels:
                return True
            remaining, position = _children(body, position, head)
    return False


def _ext(body: memoryview, position: int, head: int) -> tuple[int, int]:
    """Return where the content of an extension begins and ends; its code stands before it."""
    fixed = _FIXED_EXT_BYTES.get(head)
    if fixed is not None:
        return position + 2, position + 2 + fixed
    after = position + 1 + _EXT_LENGTH_BYTES[head]
    return after + 1, after + 1 + int.from_bytes(body[position + 1 : after], "big")


def _children(body: memoryview, position: int, head: int) -> tuple[int, int]:
    """Return how many values an array or a map has, and where the first one is."""
    if head in _COUNT_BYTES:
        after = position + 1 + _COUNT_BYTES[head]
        count = int.from_bytes(body[position + 1 : after], "big")
    else:
        after, count = position + 1, head & 0x0F
    return (2 * count if head in _MAPS else count), after
