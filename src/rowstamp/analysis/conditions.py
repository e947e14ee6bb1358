"""What a condition says about the columns in it, in a form that can be combined: alternatives of facts.

A condition becomes a disjunction of conjunctions. Each conjunction holds *facts*: a column has one of some values, or a column equals
another. What is not understood says nothing: it adds no fact to a conjunction, so it widens and never narrows. Facts are taken
as they hold for rows that *pass* the condition (it is true, not merely not false).

**NOT and NULL.** What passes ``NOT x`` are the rows for which x is *false*; those for which it is unknown do not. So NOT is looked into
by asking what holds where a condition is false. ``a <> v`` is false where ``a = v`` is true, and nowhere else, for both are unknown where either
is NULL; likewise ``NOT IN`` and ``IN``, ``NOT BETWEEN`` and ``BETWEEN``. ``IS NOT NULL`` and ``IS DISTINCT FROM`` are never unknown, so they are
false where their opposites are true. AND is false where one of its parts is false, whatever the others are; OR where all are false: De Morgan's
laws hold in three values. Whatever else is false (``a = v``, EXISTS) leaves too many values to name them.

The number of alternatives is bounded. A conjunct that would multiply them beyond the bound is left out, as if it were not understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, TypeAlias, TypeGuard

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    AsBoolean,
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    ClauseList,
    ColumnClause,
    ExpressionClauseList,
    False_,
    Grouping,
    Label,
    Null,
    True_,
    Tuple,
    UnaryExpression,
)
from sqlalchemy.sql.expression import CompoundSelect, FromClause, ScalarSelect, Select
from sqlalchemy.sql.selectable import SelectStatementGrouping
from sqlalchemy.types import Boolean, Integer, TypeEngine

from rowstamp.analysis.equality import NULL, compares_alike

__all__ = [
    "ALTERNATIVE_LIMIT",
    "NOTHING_KNOWN",
    "Alternatives",
    "Between",
    "Bound",
    "Constant",
    "Fact",
    "Has",
    "HasRows",
    "Place",
    "Query",
    "Same",
    "SameAsSelected",
    "Source",
    "alternatives",
    "both",
    "either",
    "is_bind",
    "is_column",
    "is_query",
    "is_select",
    "place_of",
]

ALTERNATIVE_LIMIT: Final = 16
"""Most alternatives that the conditions of one SELECT are split into."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The value of a bound parameter, or each value of its list.

    Attributes:
        bind: the parameter; its name is given while the statement is rendered, so it is looked up afterwards.
        expanding: whether its value is a list (``IN``).
        position: if the list is one of tuples, which part of each.
    """

    bind: BindParameter[Any]
    expanding: bool = False
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that stands in the statement itself, or ``NULL`` for ``IS NULL``."""

    value: object

    @property
    def is_null(self) -> bool:
        """Whether it stands for ``IS NULL``."""
        return self.value is NULL


@dataclass(frozen=True, slots=True)
class Between:
    """What lies between two values; known if they are equal."""

    low: Bound | Constant
    high: Bound | Constant


Source: TypeAlias = Bound | Constant | Between
"""Where the values that a column may have come from, at each execution."""


@dataclass(frozen=True, slots=True)
class Place:
    """A column of a FROM element.

    Attributes:
        element: the table, alias, subquery or CTE.
        name: the column's name there.
        type: the column's type.
    """

    element: FromClause
    name: str
    type: TypeEngine[Any]

    @property
    def key(self) -> tuple[FromClause, str]:
        """What tells one place from another."""
        return self.element, self.name


@dataclass(frozen=True, slots=True)
class Has:
    """A column has one of some values."""

    place: Place
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Same:
    """Two columns are equal, and so neither is NULL."""

    left: Place
    right: Place


Query: TypeAlias = Select[Any] | CompoundSelect[Any]
"""What a subquery is: one SELECT, or several that UNION and its relatives join."""


@dataclass(frozen=True, slots=True)
class SameAsSelected:
    """A column equals the only column of a row of a subquery.

    Attributes:
        place: the column.
        select: the subquery.
        any_row: whether any row will do (``IN``); else it is the subquery's only row.
    """

    place: Place
    select: Query
    any_row: bool


@dataclass(frozen=True, slots=True)
class HasRows:
    """A subquery has a row (``EXISTS``)."""

    select: Query


Fact: TypeAlias = Has | Same | SameAsSelected | HasRows
Alternatives: TypeAlias = tuple[tuple[Fact, ...], ...]

NOTHING_KNOWN: Final[Alternatives] = ((),)


def alternatives(condition: Any, *, true: bool = True) -> Alternatives:
    """Return what holds for the rows for which a condition is true, or false: one of these conjunctions of facts."""
    condition = _bare(condition)
    if isinstance(condition, BooleanClauseList):
        parts = [alternatives(part, true=true) for part in condition.clauses]
        joined = condition.operator if true else _NEGATED.get(condition.operator)
        if joined is operators.and_:
            return both(parts)
        return either(parts) if joined is operators.or_ else NOTHING_KNOWN
    if isinstance(condition, UnaryExpression) and condition.operator is operators.inv:
        return alternatives(condition.element, true=not true)
    if isinstance(condition, BinaryExpression) and isinstance(condition.left, Tuple):
        wanted = operators.in_op if true else operators.not_in_op
        return _tuples(condition.left, condition.right) if condition.operator is wanted else NOTHING_KNOWN
    fact = _fact(condition, true=true)
    return NOTHING_KNOWN if fact is None else ((fact,),)


def both(conditions: Iterable[Alternatives]) -> Alternatives:
    """Join conditions by AND."""
    found = NOTHING_KNOWN
    for each in conditions:
        if len(found) * len(each) <= ALTERNATIVE_LIMIT:
            found = tuple(left + right for left, right in product(found, each))
    return found


def either(conditions: Sequence[Alternatives]) -> Alternatives:
    """Join conditions by OR. One of which nothing is known leaves nothing known."""
    found: list[tuple[Fact, ...]] = []
    # `k = 1 OR k = 2 OR …` is one list of values, however long.
    listed: dict[tuple[FromClause, str], Has] = {}
    for facts in (facts for each in conditions for facts in each):
        if not facts:
            return NOTHING_KNOWN
        fact = facts[0]
        if len(facts) == 1 and isinstance(fact, Has):
            known = listed.get(fact.place.key)
            listed[fact.place.key] = Has(fact.place, (*known.sources, *fact.sources)) if known else fact
        else:
            found.append(facts)
    result = (*((each,) for each in listed.values()), *found)
    return result if len(result) <= ALTERNATIVE_LIMIT else NOTHING_KNOWN


# ----------------------------------------------------------------------------------------------------- facts


def _fact(condition: Any, *, true: bool) -> Fact | None:
    if isinstance(condition, BinaryExpression):
        read = (_READERS if true else _READERS_OF_FALSE).get(condition.operator)
        return read(condition.left, condition.right) if read is not None else None
    if isinstance(condition, UnaryExpression) and condition.operator is operators.exists:
        selected = _query_inside(condition.element) if true else None
        return None if selected is None else HasRows(selected)
    if isinstance(condition, AsBoolean):
        return _is_boolean(condition.element, value=true is (condition.operator is operators.is_true))
    return _is_boolean(condition, value=true)


def place_of(expression: Any) -> Place | None:
    """Return the column that an expression is, or ``None``."""
    bare = _bare(expression)
    if not is_column(bare) or bare.is_literal or bare.table is None:
        return None
    return Place(bare.table, str(bare.name), bare.type)


def _bare(expression: Any) -> Any:
    """Return an expression without labels and parentheses."""
    while isinstance(expression, Label | Grouping):
        inner: Any = expression.element  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        expression = inner
    return expression


# SQLAlchemy's classes are generic, and isinstance() alone leaves their parameter unknown.


def is_column(expression: object) -> TypeGuard[ColumnClause[Any]]:
    """Return whether an expression is a column, by name or of a table."""
    return isinstance(expression, ColumnClause)


def is_bind(expression: object) -> TypeGuard[BindParameter[Any]]:
    """Return whether an expression is a bound parameter."""
    return isinstance(expression, BindParameter)


def is_select(statement: object) -> TypeGuard[Select[Any]]:
    """Return whether a statement is a SELECT, and no union of them."""
    return isinstance(statement, Select)


def is_query(statement: object) -> TypeGuard[Query]:
    """Return whether a statement is a SELECT or a union of them."""
    return isinstance(statement, Select | CompoundSelect)


def _is_boolean(expression: Any, *, value: bool) -> Has | None:
    """Return what ``WHERE flag`` says. NULL does not pass, and neither does it pass ``NOT flag``."""
    place = place_of(expression)
    if place is None or not isinstance(place.type, Boolean):
        return None
    return Has(place, (Constant(value),))


def _equals(left: Any, right: Any) -> Fact | None:
    one, other = place_of(left), place_of(right)
    if one and other:
        return Same(one, other)
    place, value = (one, right) if one else (other, left)
    if place is None:
        return None
    selected = _query_inside(value)
    if selected is not None:
        return SameAsSelected(place, selected, any_row=False)
    source = _source(value, place.type)
    return None if source is None else Has(place, (source,))


def _query_inside(expression: Any) -> Query | None:
    """Return the subquery that is an operand, or ``None``."""
    kinds: Any = (ScalarSelect, Grouping, SelectStatementGrouping)
    element: Any = expression
    while isinstance(element, kinds):
        element = element.element
    return element if element is not expression and is_query(element) else None


def _is(left: Any, right: Any) -> Fact | None:
    place = place_of(left)
    if place is None:
        return None
    if isinstance(right, Null):
        return Has(place, (Constant(NULL),))
    source = _source(right, place.type) if isinstance(right, True_ | False_) else None
    return None if source is None else Has(place, (source,))


def _is_same(left: Any, right: Any) -> Fact | None:
    """Return what ``IS NOT DISTINCT FROM`` says: equality, of which NULL is a case. Of two columns it says nothing here."""
    if isinstance(right, Null):
        return _is(left, right)
    place = place_of(left)
    # A parameter may be None: that is no exact value, and widens when its value is known.
    source = None if place is None else _source(right, place.type)
    return None if place is None or source is None else Has(place, (source,))


def _in(left: Any, right: Any) -> Fact | None:
    place = place_of(left)
    if place is None:
        return None
    selected = _query_inside(right)
    if selected is not None:
        return SameAsSelected(place, selected, any_row=True)
    bind: Any = _bare(right)
    if is_bind(bind):
        fits = bind.expanding and not bind.isoutparam and compares_alike(bind.type, place.type)
        return Has(place, (Bound(bind, expanding=True),)) if fits else None
    if not isinstance(bind, ClauseList):
        return None
    sources = [_source(each, place.type) for each in bind.clauses]
    known = tuple(source for source in sources if source is not None)
    return Has(place, known) if len(known) == len(sources) else None


def _between(left: Any, right: Any) -> Fact | None:
    place = place_of(left)
    if place is None or not isinstance(right, ExpressionClauseList) or len(right.clauses) != 2:
        return None
    low, high = (_source(each, place.type) for each in right.clauses)
    return None if low is None or high is None else Has(place, (Between(low, high),))


_READERS: Final[dict[Any, Any]] = {
    operators.eq: _equals,
    operators.is_: _is,
    operators.in_op: _in,
    operators.between_op: _between,
    operators.is_not_distinct_from: _is_same,
}
_READERS_OF_FALSE: Final[dict[Any, Any]] = {
    operators.ne: _equals,
    operators.is_not: _is,
    operators.not_in_op: _in,
    operators.not_between_op: _between,
    operators.is_distinct_from: _is_same,
}
_NEGATED: Final[dict[Any, Any]] = {operators.and_: operators.or_, operators.or_: operators.and_}

_NUMBER: Final = re.compile(r"-?\d{1,18}")


def _source(value: Any, type_: TypeEngine[Any]) -> Bound | Constant | None:
    """Return where the value of an expression comes from, if it compares with a column of this type as we compare."""
    value = _bare(value)
    if is_bind(value):
        fits = not value.expanding and not value.isoutparam and compares_alike(value.type, type_)
        return Bound(value) if fits else None
    if isinstance(value, True_ | False_):
        return Constant(isinstance(value, True_)) if isinstance(type_, Boolean) else None
    if is_column(value) and value.is_literal and isinstance(type_, Integer):
        text = str(value.name)
        return Constant(int(text)) if _NUMBER.fullmatch(text) else None
    return None


def _tuples(columns: Tuple, bind: Any) -> Alternatives:
    """Return what ``(a, b) IN (…)`` says: the columns have the parts of one of the tuples."""
    if not is_bind(bind) or not bind.expanding:
        return NOTHING_KNOWN
    types: Sequence[Any] = getattr(bind.type, "types", ())
    facts: list[Fact] = []
    for position, (column, type_) in enumerate(zip(columns.clauses, types, strict=False)):
        place = place_of(column)
        if place is not None and compares_alike(type_, place.type):
            facts.append(Has(place, (Bound(bind, expanding=True, position=position),)))
    return (tuple(facts),)
