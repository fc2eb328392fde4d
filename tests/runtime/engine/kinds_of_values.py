"""Values of every kind that can be written, each beside the type that code declares for it."""

import datetime
import decimal
import enum
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, Generic, Literal, TypeVar, get_type_hints
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import strategies as st

from runtime import message

T = TypeVar("T")

BERLIN: Final = ZoneInfo("Europe/Berlin")


@message
class Suit(enum.Enum):
    HEARTS = "hearts"
    SPADES = "spades"


@message
class Rank(enum.IntEnum):
    LOW = 1
    HIGH = 9


@message
class Reading:
    value: float
    at: datetime.datetime
    parts: tuple[float, ...] = ()


@message
class Batch:
    readings: list[Reading]
    names: dict[str, set[int]] = {}
    anything: object = None


@message
class Rated(Reading):
    rank: Rank = Rank.LOW


@message
class Pair(Generic[T]):
    first: T
    second: T | None = None


class Text(str):
    """As the str of many a library is."""


class Count(int):
    """As the int of many a library is."""


def exact(value: object) -> str:
    """Return a text that differs whenever two values differ, also in type, zone or order."""
    match value:
        case list() | tuple():
            return f"{type(value).__name__}({', '.join(map(exact, value))})"
        case set() | frozenset():
            return f"{type(value).__name__}({', '.join(sorted(map(exact, value)))})"
        case dict():
            pairs = (f"{exact(key)}: {exact(part)}" for key, part in value.items())
            return f"dict({', '.join(pairs)})"
        case memoryview():
            return f"memoryview({bytes(value)!r})"
        case msgspec.Struct():
            parts = (exact(getattr(value, name)) for name in get_type_hints(type(value)))
            return f"{type(value).__name__}({', '.join(parts)})"
        case BaseException():
            return f"{type(value).__qualname__}({exact(value.args)}, {exact(vars(value))}, {value})"
        case _:
            return f"{type(value).__name__} {value!r}"


numbers = st.integers(-(2**70), 2**70) | st.floats() | st.booleans()
zoned = st.datetimes(
    datetime.datetime(1970, 1, 2), datetime.datetime(2200, 1, 1), timezones=st.just(BERLIN)
)
suits = st.sampled_from(Suit)
ranks = st.sampled_from(Rank)
readings = st.builds(
    Reading,
    value=st.integers(-1000, 1000) | st.floats(),
    at=zoned,
    parts=st.tuples(st.integers(0, 9)) | st.lists(st.floats(), max_size=2),
)
rated = st.builds(Rated, value=st.integers(0, 9), at=zoned, rank=ranks)
subclassed = st.text(max_size=3).map(Text) | st.integers(-9, 9).map(Count)
byteslike = st.binary(max_size=5).flatmap(
    lambda data: st.sampled_from([data, bytearray(data), memoryview(data)])
)
scalars = st.one_of(
    st.none(),
    numbers,
    st.text(max_size=5),
    byteslike,
    st.decimals(),
    st.uuids(),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.datetimes(),
    zoned,
    suits,
    ranks,
)
described = st.recursive(
    scalars | readings | rated | subclassed,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers() | suits, inner, max_size=3)
        | st.frozensets(st.integers() | st.text(max_size=2) | suits, max_size=3)
        | st.sets(st.uuids() | st.dates(), max_size=2)
    ),
    max_leaves=8,
)
batches = st.builds(
    Batch,
    readings=st.lists(readings, max_size=2),
    names=st.dictionaries(st.text(max_size=2), st.frozensets(st.integers(0, 9)), max_size=2),
    anything=st.none() | st.integers(0, 9) | st.lists(st.text(max_size=2), max_size=2),
)

KINDS: Final[list[tuple[object, st.SearchStrategy[Any]]]] = [
    (float, numbers),
    (int, st.integers(-(2**70), 2**70) | st.booleans() | ranks),
    (bool, st.booleans()),
    (None, st.none()),
    (float | None, st.none() | numbers),
    (int | str, st.integers() | st.text()),
    (str, st.text() | st.text().map(Text)),
    (int, st.integers().map(Count)),
    (bytes, byteslike),
    (datetime.datetime, zoned | st.datetimes()),
    (datetime.date, st.dates()),
    (datetime.time, st.times()),
    (datetime.timedelta, st.timedeltas()),
    (decimal.Decimal, st.decimals() | st.integers()),
    (uuid.UUID, st.uuids()),
    (Suit, suits),
    (Rank, ranks | st.sampled_from([1, 9])),
    (Suit | None, st.none() | suits),
    (Literal["a", "b"], st.sampled_from(["a", "b"])),
    (list[float], st.lists(numbers) | st.tuples(numbers, numbers)),
    (tuple[float, ...], st.lists(numbers) | st.tuples(numbers)),
    (tuple[int, decimal.Decimal], st.tuples(st.integers(), st.decimals(allow_nan=False))),
    (Sequence[int], st.lists(st.integers()) | st.tuples(st.integers())),
    (set[int], st.sets(st.integers()) | st.frozensets(st.integers()) | st.lists(st.integers())),
    (frozenset[Suit], st.sets(suits) | st.frozensets(suits)),
    (dict[str, float], st.dictionaries(st.text(max_size=3), numbers)),
    (dict[Suit, uuid.UUID], st.dictionaries(suits, st.uuids())),
    (Mapping[str, int], st.dictionaries(st.text(max_size=3), st.integers())),
    (dict[int, list[float]], st.dictionaries(st.integers(), st.lists(numbers, max_size=2))),
    (
        list[dict[str, tuple[set[int], ...]]],
        st.lists(
            st.dictionaries(
                st.text(max_size=2), st.lists(st.frozensets(st.integers(0, 9)), max_size=2)
            ),
            max_size=2,
        ),
    ),
    (Reading, readings | rated),
    (Reading | Batch | None, readings | batches | st.none()),
    (Batch, batches),
    (list[Reading], st.lists(readings | rated, max_size=3)),
    (Pair[int], st.builds(Pair, st.integers(), st.none() | st.integers())),
    (Pair[float], st.builds(Pair, st.integers(0, 9), st.none() | st.integers(0, 9))),
    (Pair[Reading], st.builds(Pair, readings)),
    (object, described),
    (Any, described),
    (list, st.lists(described, max_size=3)),
    (tuple, st.lists(described, max_size=3).map(tuple)),
    (dict, st.dictionaries(st.text(max_size=3), described, max_size=3)),
]


def in_words(kind: tuple[object, st.SearchStrategy[Any]]) -> str:
    """Return how a test of a kind is called."""
    return f"{kind[0]}"[:40]
