"""Vault queries as values: what states to find, in which order, how many at a time.

    Query(
        of_type(CashState) & PRODUCT.equals("USD") & unlocked(),
        sort=(Sort("quantity", is_descending=True),),
        paging=Paging(page=1, size=50),
    )

Criteria combine with ``&``, ``|`` and ``~``. They are messages, so that a query can be journaled
and can come over RPC. A state's own columns are ``custom("name")``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, TypeVar

from ledger.errors import QueryInvalid
from ledger.hashing import SecureHash
from ledger.states import ColumnValue, ContractState, LinearId, StateAndRef
from ledger.stores.rows import key_text
from runtime.codec import message, wire_name
from runtime.errors import MisuseError
from runtime.ids import FlowId
from runtime.party import AbstractParty

# More than this comes only to those who ask for pages.
PAGE_SIZE_DEFAULT: Final = 200
PAGE_SIZE_MAX: Final = 10_000

CUSTOM_PREFIX: Final = "custom."

COLUMNS: Final = frozenset(
    {
        "state_type",
        "contract",
        "notary",
        "recorded_ms",
        "consumed_ms",
        "lock",
        "is_owned",
        "owner",
        "quantity",
        "product",
        "issuer",
        "linear_id",
        "external_id",
    }
)
"""What every state can be found by, as far as it has it; else the column is null."""


@message(name="ledger.Criterion")
class Criterion:
    """A condition on a state."""

    def __and__(self, other: "Criterion") -> "And":
        return And((self, other))  # type: ignore[arg-type]

    def __or__(self, other: "Criterion") -> "Or":
        return Or((self, other))  # type: ignore[arg-type]

    def __invert__(self) -> "Not":
        return Not(self)  # type: ignore[arg-type]


@message(name="ledger.Operator")
class Operator(Enum):
    """How a column is compared."""

    EQUAL = "="
    NOT_EQUAL = "<>"
    LESS = "<"
    AT_MOST = "<="
    GREATER = ">"
    AT_LEAST = ">="


@message(name="ledger.Compare")
class Compare(Criterion):
    """A column against a value. Null is equal to nothing and different from nothing."""

    column: str
    operator: Operator
    value: str | int | bool
    ignores_case: bool = False


@message(name="ledger.Between")
class Between(Criterion):
    """A column between two values, both included."""

    column: str
    low: str | int
    high: str | int


@message(name="ledger.Like")
class Like(Criterion):
    """A text column against a pattern, where ``%`` is any text and ``_`` any character."""

    column: str
    pattern: str
    ignores_case: bool = False


@message(name="ledger.OneOf")
class OneOf(Criterion):
    """A column that has one of some values."""

    column: str
    values: tuple[str | int | bool, ...]


@message(name="ledger.IsNull")
class IsNull(Criterion):
    """A column that has no value."""

    column: str


@message(name="ledger.HasParticipant")
class HasParticipant(Criterion):
    """A state in which one of some keys takes part."""

    keys: tuple[str, ...]


@message(name="ledger.And")
class And(Criterion):
    """All of the parts hold."""

    parts: "tuple[AnyCriterion, ...]"


@message(name="ledger.Or")
class Or(Criterion):
    """One of the parts holds."""

    parts: "tuple[AnyCriterion, ...]"


@message(name="ledger.Not")
class Not(Criterion):
    """The part does not hold."""

    part: "AnyCriterion"


AnyCriterion = Compare | Between | Like | OneOf | IsNull | HasParticipant | And | Or | Not


@message(name="ledger.Status")
class Status(Enum):
    """Whether a state was consumed."""

    UNCONSUMED = "unconsumed"
    CONSUMED = "consumed"
    ALL = "all"


@message(name="ledger.Relevancy")
class Relevancy(Enum):
    """Whether a state is ours, or only observed."""

    RELEVANT = "relevant"
    NOT_RELEVANT = "not_relevant"
    ALL = "all"


@message(name="ledger.Paging")
class Paging:
    """Which part of the result: pages count from 1."""

    page: int = 1
    size: int = PAGE_SIZE_DEFAULT


@message(name="ledger.Sort")
class Sort:
    """A column to sort by. Null comes first; equal ones stay in order of recording."""

    column: str
    is_descending: bool = False


@message(name="ledger.Query")
class Query:
    """What to find. Without ``paging``, more than `PAGE_SIZE_DEFAULT` states are an error."""

    criterion: AnyCriterion | None = None
    status: Status = Status.UNCONSUMED
    relevancy: Relevancy = Relevancy.ALL
    sort: tuple[Sort, ...] = ()
    paging: Paging | None = None


T = TypeVar("T", bound=ContractState)


@message(name="ledger.Facts")
class Facts:
    """What the vault knows of a found state beside the state itself."""

    status: Status
    is_relevant: bool
    recorded_ms: int
    consumed_ms: int | None
    consumer: SecureHash | None
    lock: FlowId | None


@message(name="ledger.Page")
class Page(Generic[T]):
    """A part of a result; ``total`` counts all of it. ``facts`` go with the states, one by one."""

    states: tuple[StateAndRef[T], ...]
    facts: tuple[Facts, ...]
    total: int
    position: int
    """The change of the vault that the result reflects."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column to make criteria of."""

    name: str

    def equals(self, value: str | int, *, ignores_case: bool = False) -> Compare:
        """Find states with this value."""
        return Compare(self.name, Operator.EQUAL, value, ignores_case)

    def differs(self, value: str | int) -> Compare:
        """Find states with another value, and one at all."""
        return Compare(self.name, Operator.NOT_EQUAL, value)

    def less_than(self, value: str | int) -> Compare:
        """Find states with a smaller value."""
        return Compare(self.name, Operator.LESS, value)

    def at_most(self, value: str | int) -> Compare:
        """Find states with this value or a smaller one."""
        return Compare(self.name, Operator.AT_MOST, value)

    def greater_than(self, value: str | int) -> Compare:
        """Find states with a larger value."""
        return Compare(self.name, Operator.GREATER, value)

    def at_least(self, value: str | int) -> Compare:
        """Find states with this value or a larger one."""
        return Compare(self.name, Operator.AT_LEAST, value)

    def between(self, low: str | int, high: str | int) -> Between:
        """Find states with a value from ``low`` to ``high``."""
        return Between(self.name, low, high)

    def like(self, pattern: str, *, ignores_case: bool = False) -> Like:
        """Find states whose text fits ``pattern`` (``%``: any text; ``_``: any character)."""
        return Like(self.name, pattern, ignores_case)

    def one_of(self, *values: str | int) -> OneOf:
        """Find states with one of ``values``."""
        return OneOf(self.name, values)

    def is_null(self) -> IsNull:
        """Find states that have no value here."""
        return IsNull(self.name)


STATE_TYPE: Final = Column("state_type")
CONTRACT: Final = Column("contract")
NOTARY: Final = Column("notary")
RECORDED_MS: Final = Column("recorded_ms")
CONSUMED_MS: Final = Column("consumed_ms")
LOCK: Final = Column("lock")
IS_OWNED: Final = Column("is_owned")
OWNER: Final = Column("owner")
QUANTITY: Final = Column("quantity")
PRODUCT: Final = Column("product")
ISSUER: Final = Column("issuer")
LINEAR_ID: Final = Column("linear_id")
EXTERNAL_ID: Final = Column("external_id")


def custom(name: str) -> Column:
    """Return a column that a state class declares itself."""
    return Column(CUSTOM_PREFIX + name)


def of_type(*kinds: type[ContractState]) -> OneOf:
    """Find states of these classes and of those derived from them."""
    names = dict.fromkeys(name for kind in kinds for name in _names(kind))
    return STATE_TYPE.one_of(*names)


def owned_by(*parties: AbstractParty) -> OneOf:
    """Find states whose owner is one of ``parties``."""
    return OWNER.one_of(*(key_text(party.key) for party in parties))


def with_participant(*parties: AbstractParty) -> HasParticipant:
    """Find states in which one of ``parties`` takes part."""
    return HasParticipant(tuple(key_text(party.key) for party in parties))


def with_linear_id(*ids: LinearId) -> OneOf:
    """Find the versions of linear states."""
    return LINEAR_ID.one_of(*(str(linear_id.id) for linear_id in ids))


def unlocked() -> IsNull:
    """Find states that no flow has locked."""
    return LOCK.is_null()


def locked() -> Not:
    """Find states that some flow has locked."""
    return ~LOCK.is_null()


def locked_by(flow_id: FlowId) -> Compare:
    """Find states that a flow has locked."""
    return LOCK.equals(flow_id)


def value_columns(values: "dict[str, ColumnValue]") -> Iterator[tuple[str, str | int]]:
    """Yield the custom columns that have a value; a truth value is the number 0 or 1.

    Raises `QueryInvalid` for what no index can hold.
    """
    for name, value in values.items():
        if value is not None:
            if not isinstance(name, str):
                raise QueryInvalid(f"a column's name is text, not {type(name)}")
            yield check_value(name), check_value(int(value) if isinstance(value, bool) else value)


V = TypeVar("V", str, int, str | int)


def check_value(value: V) -> V:
    """Return a value that can be stored and compared with; raises `QueryInvalid` otherwise."""
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise QueryInvalid(f"a number in a column has 64 bits at most, not {value.bit_length()}")
    if not isinstance(value, str | int):
        raise QueryInvalid(f"a column holds text, a number or a truth value, no {type(value)}")
    try:
        str(value).encode()
    except UnicodeEncodeError as error:
        raise QueryInvalid(f"text in a column has to be valid Unicode: {error.reason}") from error
    return value


def _names(kind: type[ContractState]) -> Iterator[str]:
    yield from _name(kind)
    for derived in kind.__subclasses__():
        yield from _names(derived)


def _name(kind: type[ContractState]) -> Iterator[str]:
    try:
        yield wire_name(kind)
    except MisuseError:
        # Making a message of a derived class leaves the class that it was made of behind.
        return
