"""To which values a select restricts the columns of the tables it reads.

Only what holds for every row that can matter is taken: conditions joined by AND in WHERE, and in the ON clauses of joins in the
directions that are sound. Everything else is left out, which widens the dependency and never narrows it.

* WHERE restricts every table of the FROM clause, the nullable side of an outer join included: a row
  extended with NULLs does not pass ``b.id = 5``.
* ON of an inner join restricts both sides.
* ON of a LEFT JOIN restricts its right side only: every row of the left side comes through.
* ON of a FULL JOIN restricts nothing.
* ``a.x = b.y`` hands the values of one side to the other, under the same rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from sqlalchemy import Column, Table
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    ColumnElement,
    Grouping,
)
from sqlalchemy.sql.expression import FromClause, Select
from sqlalchemy.sql.selectable import FromGrouping, Join

from rowstamp._sqlalchemy import where_criteria
from rowstamp.analysis.equality import compares_alike

__all__ = ["Occurrence", "Pin", "pinned_columns", "pinned_occurrences"]


@dataclass(frozen=True, slots=True)
class Pin:
    """The values of a column are among those of a bound parameter.

    Attributes:
        bind: the parameter; its name is given while the statement is rendered, so it is looked up afterwards.
        expanding: whether its value is a list (``IN``).
    """

    bind: BindParameter[Any]
    expanding: bool


@dataclass(slots=True)
class Occurrence:
    """One appearance of a table in a FROM clause, with the columns that are pinned there.

    Attributes:
        table: the table itself.
        pins: the pin of each pinned column, by column name.
    """

    table: Table[Any]
    pins: dict[str, Pin] = field(default_factory=dict[str, Pin])


@dataclass(slots=True)
class _Scope:
    """The occurrences that a condition restricts; conditions elsewhere see it as nothing."""

    occurrences: dict[FromClause, Occurrence]
    conditions: list[tuple[ColumnElement[Any], frozenset[FromClause]]]


def pinned_occurrences(select: Select[Any], froms: Sequence[FromClause]) -> list[Occurrence]:
    """Return the tables that a select names in its FROM clause, with their pinned columns.

    Args:
        select: a Core select (the ORM's are compiled to such).
        froms: what is really rendered in FROM, after correlation.
    """
    scope = _Scope({}, [])
    for element in froms:
        _enter(element, scope)
    everywhere = frozenset(scope.occurrences)
    for criterion in where_criteria(select):
        scope.conditions.extend((part, everywhere) for part in _conjuncts(criterion))
    _apply(scope)
    return list(scope.occurrences.values())


def pinned_columns(statement: Any, table: FromClause) -> dict[str, Pin]:
    """Return the columns to which the WHERE of an UPDATE or DELETE restricts the rows of its target, by name."""
    target = _table_of(table)
    if target is None:
        return {}
    scope = _Scope({table: Occurrence(target)}, [])
    for criterion in where_criteria(statement):
        scope.conditions.extend((part, frozenset({table})) for part in _conjuncts(criterion))
    _apply(scope)
    return scope.occurrences[table].pins


def _enter(element: FromClause, scope: _Scope) -> frozenset[FromClause]:
    """Note the tables below a FROM element and the ON conditions that restrict them; return those tables."""
    if isinstance(element, FromGrouping):
        return _enter(element.element, scope)
    if isinstance(element, Join):
        return _enter_join(element, scope)
    table = _table_of(element)
    if table is None:
        return frozenset()
    scope.occurrences[element] = Occurrence(table)
    return frozenset({element})


def _enter_join(join: Join, scope: _Scope) -> frozenset[FromClause]:
    # The left side's own ON conditions were noted for the left side's tables: what an outer join above does to
    # them (extend with NULLs) does not widen which of their rows matter.
    left, right = _enter(join.left, scope), _enter(join.right, scope)
    restricted = frozenset[FromClause]() if join.full else right if join.isouter else left | right
    if join.onclause is not None:
        scope.conditions.extend((part, restricted) for part in _conjuncts(join.onclause))
    return left | right


def _table_of(element: Any) -> Table[Any] | None:
    # Exactly an alias: its relatives (a sample, a lateral, a table-valued function) are other sources of rows.
    target: Any = element.element if getattr(element, "__visit_name__", "") == "alias" else element
    return target if isinstance(target, Table) else None  # pyright: ignore[reportUnknownVariableType]


def _conjuncts(condition: Any) -> Iterator[ColumnElement[Any]]:
    if isinstance(condition, Grouping):
        yield from _conjuncts(condition.element)
    elif isinstance(condition, BooleanClauseList) and condition.operator is operators.and_:
        for part in condition.clauses:
            yield from _conjuncts(part)
    else:
        yield condition


def _apply(scope: _Scope) -> None:
    """Pin columns from the conditions, then hand pins across equalities until nothing changes."""
    equalities: list[tuple[_Place, _Place, frozenset[FromClause]]] = []
    for condition, restricted in scope.conditions:
        if not isinstance(condition, BinaryExpression):
            continue
        if condition.operator is operators.eq:
            left, right = _place(condition.left, scope), _place(condition.right, scope)
            if left and right:
                equalities.append((left, right, restricted))
            else:
                _pin(left, condition.right, restricted, expanding=False)
                _pin(right, condition.left, restricted, expanding=False)
        elif condition.operator is operators.in_op:
            _pin(_place(condition.left, scope), condition.right, restricted, expanding=True)
    _propagate(equalities)


@dataclass(frozen=True, slots=True)
class _Place:
    """A column of an occurrence."""

    element: FromClause
    occurrence: Occurrence
    column: Column[Any]


def _place(expression: Any, scope: _Scope) -> _Place | None:
    if not isinstance(expression, Column):
        return None
    occurrence = scope.occurrences.get(expression.table)
    if occurrence is None:
        return None
    return _Place(expression.table, occurrence, expression)  # pyright: ignore[reportUnknownArgumentType]


def _pin(place: _Place | None, value: Any, restricted: Iterable[FromClause], *, expanding: bool) -> None:
    bind: object = value.element if value.__visit_name__ == "grouping" else value
    if place is None or place.element not in restricted or not _is_bind(bind):
        return
    if bind.expanding is not expanding or bind.isoutparam or not compares_alike(bind.type, place.column.type):
        return
    place.occurrence.pins.setdefault(place.column.name, Pin(bind, expanding))


def _is_bind(element: object) -> TypeGuard[BindParameter[Any]]:
    return isinstance(element, BindParameter)


def _propagate(equalities: Sequence[tuple[_Place, _Place, frozenset[FromClause]]]) -> None:
    changed = True
    while changed:
        changed = False
        for left, right, restricted in equalities:
            for source, target in ((left, right), (right, left)):
                pin = source.occurrence.pins.get(source.column.name)
                if pin is None or target.element not in restricted or target.column.name in target.occurrence.pins:
                    continue
                if compares_alike(source.column.type, target.column.type):
                    target.occurrence.pins[target.column.name] = pin
                    changed = True
