"""What the rows of a subquery are made of: which SELECTs, of which columns, and of how many of their rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import Over
from sqlalchemy.sql.expression import CTE, FromClause, FunctionElement, Select
from sqlalchemy.sql.selectable import AliasedReturnsRows, SelectStatementGrouping

from rowstamp._sqlalchemy.selects import group_by, order_by, picks_rows, source_columns, takes_some_rows
from rowstamp.analysis.bodies import Body
from rowstamp.analysis.conditions import Place, Query, is_query, is_select, place_of
from rowstamp.analysis.equality import compares_alike
from rowstamp.analysis.pins import base_table

__all__ = ["behind", "parts", "rows_have_passed", "selected_place", "source_places", "takes", "ungrouped"]


def behind(element: FromClause) -> Query | None:
    """Return what is behind a subquery, a CTE or an alias of one, if its rows are its own."""
    inner: Any = element
    while isinstance(inner, AliasedReturnsRows):
        if isinstance(inner, CTE) and inner.recursive:
            return None
        inner = inner.element
    inner = ungrouped(inner)
    return inner if is_query(inner) else None


def ungrouped(query: Any) -> Any:
    """Return a query without parentheses."""
    kind: Any = SelectStatementGrouping
    while isinstance(query, kind):
        query = query.element
    return query


def parts(query: Any) -> list[Any]:
    """Return the SELECTs that a query is made of."""
    query = ungrouped(query)
    if query is None or is_select(query):
        return [] if query is None else [query]
    return [part for each in query.selects for part in parts(each)]


def source_places(element: FromClause, inner: Body | None) -> dict[str, Place]:
    """Return of which column of its FROM clause each column of a subquery is made, by name."""
    if inner is None:
        return {}
    columns = list(element.c)
    names = Counter(str(column.name) for column in columns)
    union = not is_select(behind(element))
    places = _places_in_union(columns, inner) if union else [_source_place(column, inner) for column in columns]
    found = zip((str(column.name) for column in columns), places, strict=True)
    return {name: place for name, place in found if place is not None and names[name] == 1}


def _places_in_union(columns: Sequence[Any], inner: Body) -> list[Place | None]:
    """Return of which column of one part of a union its columns are made: they stand in the same order in each."""
    selected = list(inner.statement.selected_columns)
    if len(selected) != len(columns):
        return [None for _ in columns]
    places = [_place_inside(each, inner) for each in selected]
    # The union compares, and gives out, values of all parts as one type.
    return [
        place if place is not None and compares_alike(column.type, place.type) else None
        for column, place in zip(columns, places, strict=True)
    ]


def _place_inside(column: Any, inner: Body) -> Place | None:
    place = place_of(column)
    return place if place is not None and place.element in frozenset(inner.scope.elements) else None


def _source_place(column: Any, inner: Body) -> Place | None:
    inside = frozenset(inner.scope.elements)
    found: dict[tuple[FromClause, str] | None, Place | None] = {}
    for source in source_columns(column):
        place = place_of(source)
        if place is not None and place.element not in inside:
            # A column of an alias of the subquery leads on; one of a table is of an enclosing SELECT.
            place = None if base_table(place.element) is not None else _source_place(source, inner)
        found[place.key if place is not None else None] = place
    return next(iter(found.values())) if len(found) == 1 else None


def selected_place(inner: Body) -> Place | None:
    """Return the one column that a body selects, if it is a column of its FROM clause."""
    columns: list[Any] = [] if inner.select is None else list(inner.select.selected_columns)
    return _place_inside(columns[0], inner) if len(columns) == 1 else None


def rows_have_passed(inner: Body) -> bool:
    """Whether a row that comes out of a body is made of at least one that has passed its conditions."""
    select = inner.select
    if select is None or picks_rows(select):
        return False
    groups = group_by(select)
    if groups:
        # GROUPING SETS and ROLLUP may have a group of nothing.
        return all(place_of(each) is not None for each in groups)
    return not _has(select, FunctionElement) and not _calls(order_by(select), FunctionElement)


def takes(body: Body, key: tuple[FromClause, str]) -> bool:
    """Whether a condition on a selected column may as well be asked of the rows in FROM."""
    select = body.select
    if select is None or takes_some_rows(select):
        return False
    groups = group_by(select)
    if groups:
        places = [place_of(each) for each in groups]
        return any(place is not None and place.key == key for place in places) and not _has(select, Over)
    return not _has(select, FunctionElement)


def _has(select: Select[Any], kind: type[Any]) -> bool:
    return _calls(select.selected_columns, kind)


def _calls(expressions: Iterable[Any], kind: type[Any]) -> bool:
    return any(isinstance(part, kind) for each in expressions for part in visitors.iterate(each))
