"""Tables of the vault's index, and criteria as SQL.

    states         one row a state: what `ledger.query.COLUMNS` names
    participants   ref, key
    custom         ref, name, and the value in ``text`` or ``number``, by its type
    reflects       one row: position and digest of the log entry up to which the tables are right

Standard SQL by SQLAlchemy Core; `SCHEMA_VERSION` changes whenever the tables do.
"""

from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Exists,
    LargeBinary,
    MetaData,
    String,
    Table,
    and_,
    exists,
    false,
    func,
    not_,
    or_,
    select,
    true,
)

from ledger.errors import QueryInvalid
from ledger.query import (
    COLUMNS,
    CUSTOM_PREFIX,
    And,
    AnyCriterion,
    Between,
    Compare,
    HasParticipant,
    IsNull,
    Like,
    Not,
    OneOf,
    Operator,
    Or,
    Query,
    Relevancy,
    Sort,
    Status,
    check_value,
)

SCHEMA_VERSION: Final = 1

# Every level is a level of SQL; nobody writes such a query by hand.
NESTING_MAX: Final = 50

# What SQLite takes in one statement is 32,766.
VALUES_MAX: Final = 10_000

Value = str | int

metadata: Final = MetaData()

states: Final = Table(
    "states",
    metadata,
    Column("ref", LargeBinary(36), primary_key=True),
    Column("state_type", String, nullable=False, index=True),
    Column("contract", String, nullable=False),
    Column("notary", String, nullable=False),
    Column("is_consumed", Boolean, nullable=False),
    Column("is_relevant", Boolean, nullable=False),
    Column("is_owned", Boolean, nullable=False),
    Column("recorded_ms", BigInteger, nullable=False, index=True),
    Column("consumed_ms", BigInteger),
    Column("lock", String, index=True),
    Column("owner", String, index=True),
    Column("quantity", BigInteger),
    Column("product", String, index=True),
    Column("issuer", String),
    Column("linear_id", String, index=True),
    Column("external_id", String, index=True),
)

participants: Final = Table(
    "participants",
    metadata,
    Column("ref", LargeBinary(36), primary_key=True),
    Column("key", String, primary_key=True, index=True),
)

custom: Final = Table(
    "custom",
    metadata,
    Column("ref", LargeBinary(36), primary_key=True),
    Column("name", String, primary_key=True),
    Column("text", String),
    Column("number", BigInteger),
)

reflects: Final = Table(
    "reflects",
    metadata,
    Column("one", BigInteger, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
)


def condition(query: Query) -> ColumnElement[bool]:
    """Return all that ``query`` demands of a row of ``states``."""
    return and_(_status(query.status), matching(query))


def matching(query: Query) -> ColumnElement[bool]:
    """Return what ``query`` demands, whatever the status."""
    criterion = true() if query.criterion is None else _sql(query.criterion, 0)
    return and_(_relevancy(query.relevancy), criterion)


def order(sort: Sequence[Sort]) -> list[ColumnElement[Value]]:
    """Return by what to sort, down to an order that is always the same."""
    wanted = [
        column.desc().nulls_last() if each.is_descending else column.asc().nulls_first()
        for each in sort
        for column in (_sortable(each.column),)
    ]
    return [*wanted, states.c.recorded_ms.asc(), states.c.ref.asc()]


def stored(value: Value) -> dict[str, Value]:
    """Return in which column of ``custom`` a value goes."""
    return {_value_column(value): value}


def _status(status: Status) -> ColumnElement[bool]:
    match status:
        case Status.UNCONSUMED:
            return states.c.is_consumed.is_(false())
        case Status.CONSUMED:
            return states.c.is_consumed.is_(true())
        case Status.ALL:
            return true()


def _relevancy(relevancy: Relevancy) -> ColumnElement[bool]:
    match relevancy:
        case Relevancy.RELEVANT:
            return states.c.is_relevant.is_(true())
        case Relevancy.NOT_RELEVANT:
            return states.c.is_relevant.is_(false())
        case Relevancy.ALL:
            return true()


def _sql(criterion: AnyCriterion, depth: int) -> ColumnElement[bool]:
    if depth > NESTING_MAX:
        raise QueryInvalid(f"criteria are nested more than {NESTING_MAX} deep")
    match criterion:
        case Compare():
            return _compare(criterion)
        case Between(column, low, high):
            check_value(high)
            return _on(column, low, lambda c: c.between(low, high))
        case Like(column, pattern, ignores_case):
            return _like(column, pattern, ignores_case=ignores_case)
        case OneOf(column, values):
            return _one_of(column, values)
        case IsNull(column):
            return _is_null(column)
        case HasParticipant(keys):
            _check_number(len(keys))
            return exists().where(participants.c.ref == states.c.ref, participants.c.key.in_(keys))
        case And(parts):
            return and_(true(), *(_sql(part, depth + 1) for part in parts))
        case Or(parts):
            return or_(false(), *(_sql(part, depth + 1) for part in parts))
        case Not(part):
            # Null is neither true nor false in SQL; here, what does not hold is negated.
            return not_(func.coalesce(_sql(part, depth + 1), false()))


def _compare(criterion: Compare) -> ColumnElement[bool]:
    value, ignores_case = criterion.value, criterion.ignores_case

    def compared(column: ColumnElement[Value]) -> ColumnElement[bool]:
        if ignores_case and isinstance(value, str):
            return _by_operator(criterion.operator, func.lower(column), value.lower())
        return _by_operator(criterion.operator, column, value)

    return _on(criterion.column, value, compared)


def _by_operator(
    operator: Operator, column: ColumnElement[Value], value: Value
) -> ColumnElement[bool]:
    match operator:
        case Operator.EQUAL:
            return column == value
        case Operator.NOT_EQUAL:
            return column != value
        case Operator.LESS:
            return column < value
        case Operator.AT_MOST:
            return column <= value
        case Operator.GREATER:
            return column > value
        case Operator.AT_LEAST:
            return column >= value


def _like(name: str, pattern: str, *, ignores_case: bool) -> ColumnElement[bool]:
    def fits(column: ColumnElement[Value]) -> ColumnElement[bool]:
        return func.lower(column).like(pattern.lower()) if ignores_case else column.like(pattern)

    return _on(name, pattern, fits)


def _one_of(name: str, values: Sequence[Value]) -> ColumnElement[bool]:
    _check_number(len(values))
    for value in values:
        check_value(value)
    by_type: dict[str, list[Value]] = {}
    for value in values:
        by_type.setdefault(_value_column(value), []).append(value)
    parts = [_among(name, same) for same in by_type.values()]
    return or_(false(), *parts)


def _among(name: str, values: list[Value]) -> ColumnElement[bool]:
    return _on(name, values[0], lambda column: column.in_(values))


def _is_null(name: str) -> ColumnElement[bool]:
    if name.startswith(CUSTOM_PREFIX):
        return not_(_custom_row(name))
    return _standard(name).is_(None)


def _on(
    name: str, value: Value, test: Callable[[ColumnElement[Value]], ColumnElement[bool]]
) -> ColumnElement[bool]:
    """Return ``test`` of the column called ``name``, wherever it is kept."""
    check_value(value)
    if name.startswith(CUSTOM_PREFIX):
        return _custom_row(name).where(test(custom.c[_value_column(value)]))
    return test(_standard(name))


def _custom_row(name: str) -> Exists:
    return exists().where(
        custom.c.ref == states.c.ref, custom.c.name == name.removeprefix(CUSTOM_PREFIX)
    )


def _standard(name: str) -> ColumnElement[Value]:
    if name not in COLUMNS:
        raise QueryInvalid(
            f"there is no column {name!r}; there are {', '.join(sorted(COLUMNS))}, "
            f"and those that a state declares, as {CUSTOM_PREFIX}NAME"
        )
    return states.c[name]


def _sortable(name: str) -> ColumnElement[Value]:
    if not name.startswith(CUSTOM_PREFIX):
        return _standard(name)
    # A state has its value in one of the two columns; the other is null.
    same = (
        custom.c.ref == states.c.ref,
        custom.c.name == name.removeprefix(CUSTOM_PREFIX),
    )
    value = func.coalesce(custom.c.number, custom.c.text)
    return select(value).where(*same).scalar_subquery()


def _value_column(value: Value) -> str:
    match value:
        case str():
            return "text"
        case int():
            return "number"


def _check_number(count: int) -> None:
    if count > VALUES_MAX:
        raise QueryInvalid(f"a criterion compares with {VALUES_MAX} values at most, not {count}")
