"""How the SELECT bodies of one statement hand pins to each other.

* A correlated subquery takes the pins of the enclosing rows: it is evaluated for others too, but what it finds for them
  does not matter.
* A subquery in FROM, a CTE and the operand of ``IN`` hand out the pins of the columns they select. What holds for their rows holds for
  the rows made of them. Of a UNION all parts have to pin the column.
* What ``EXISTS``, ``IN`` and ``=`` find to be true of a subquery has taken a row that passed its conditions; so what these say of
  columns of the enclosing SELECT holds of the enclosing row. Not so if a row comes out although none has passed: ``SELECT count(*)``
  has one in any case.
* They take the pins of the enclosing SELECT if each of their rows is made of one row of their own FROM clause, or of a group that the
  pinned column names. A LIMIT or a window function looks at other rows as well. Each part of UNION, INTERSECT or EXCEPT takes them by itself:
  rows of other values in that column are no rows of the result, nor equal to one.

A recursive CTE does neither: its rows are made of its own rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import Table
from sqlalchemy.sql.expression import FromClause

from rowstamp._sqlalchemy.selects import is_cut_off
from rowstamp.analysis.bodies import Body, Occurrence
from rowstamp.analysis.conditions import HasRows, Place, Query, SameAsSelected, Source, is_select
from rowstamp.analysis.equality import compares_alike
from rowstamp.analysis.found import Showing
from rowstamp.analysis.pins import Column, Pins, base_table, has_null, solve
from rowstamp.analysis.seen import RowsShown
from rowstamp.analysis.subqueries import (
    behind,
    parts,
    rows_have_passed,
    selected_place,
    source_places,
    takes,
    ungrouped,
)

__all__ = ["occurrences"]

ROUNDS: Final = 6
"""How often pins are handed on between bodies: about how deep they may be nested for it."""


def occurrences(
    bodies: Sequence[Body],
    shown: Mapping[FromClause, RowsShown] | None = None,
    showing: Mapping[FromClause, Showing] | None = None,
) -> list[Occurrence]:
    """Return every appearance of a table in a FROM clause, with its pins.

    Args:
        bodies: every SELECT of a statement.
        shown: how the result tells rows of the outermost one.
        showing: what it shows of them.
    """
    links = _Links(bodies)
    for _ in range(ROUNDS):
        changed = [links.solve(body) for body in bodies]
        if not any(changed):
            break
    return [_occurrence(*each, shown or {}, showing or {}) for each in _tables(bodies)]


def _tables(bodies: Iterable[Body]) -> Iterator[tuple[Body, FromClause, Table[Any]]]:
    for body in bodies:
        for element in body.scope.elements:
            table = base_table(element)
            if table is not None:
                yield body, element, table


def _occurrence(
    body: Body,
    element: FromClause,
    table: Table[Any],
    shown: Mapping[FromClause, RowsShown],
    showing: Mapping[FromClause, Showing],
) -> Occurrence:
    pins = [{name: sources for (where, name), sources in each.items() if where == element} for each in body.solution]
    if body.within is not None:
        return Occurrence(element, table, tuple(pins))  # an element of the outermost may stand in others, too
    return Occurrence(element, table, tuple(pins), shown.get(element), showing.get(element))


class _Links:
    """Which body stands for which subquery, and what they hand to each other."""

    def __init__(self, bodies: Sequence[Body]) -> None:
        self._bodies: dict[int, list[Body]] = {}
        # Who reads a subquery's rows, as functions that tell to which values.
        self._readers: dict[int, list[Callable[[Body], Pins]]] = {}
        for body in bodies:
            self._bodies.setdefault(id(body.statement), []).append(body)
            for element in body.scope.elements:
                self._read_by(behind(element), partial(_asked_of, body, element))
            for condition in body.scope.conditions:
                for fact in (fact for facts in condition.says for fact in facts):
                    if isinstance(fact, SameAsSelected):
                        sure = fact.any_row and len(condition.says) == 1
                        reader = partial(_asked_of_operand, body, fact) if sure else _nothing_asked
                        self._read_by(fact.select, reader)

    def _read_by(self, query: Any, reader: Callable[[Body], Pins]) -> None:
        """Note who reads the rows of a subquery. A union with a LIMIT does not leave it to its parts which rows there are."""
        query = ungrouped(query)
        if is_select(query):
            self._readers.setdefault(id(query), []).append(reader)
        elif query is not None:
            for part in query.selects:
                self._read_by(part, _nothing_asked if is_cut_off(query) else reader)

    def solve(self, body: Body) -> bool:
        """Find the pins of a body from what is known of the others; return whether something is new."""
        solution = solve(
            body.scope,
            given=self._handed_out(body) | self._handed_in(body),
            elsewhere=lambda place: _outer_values(body, place),
            following=lambda fact: self._following(body, fact),
        )
        changed = [set(pins) for pins in solution] != [set(pins) for pins in body.solution]
        body.solution = solution
        return changed

    def _body_of(self, statement: Any, reader: Body) -> Body | None:
        """Return the one body that was rendered for a subquery where it is read."""
        found = self._bodies.get(id(statement), [])
        inside = [each for each in found if each.within is reader]
        return inside[0] if len(inside) == 1 else found[0] if len(found) == 1 else None

    def _bodies_of(self, query: Query | None, reader: Body) -> list[Body]:
        """Return the bodies that were rendered for the parts of a subquery where it is read; none if one is not known."""
        found = [self._body_of(part, reader) for part in parts(query)]
        known = [each for each in found if each is not None]
        return known if len(known) == len(found) else []

    # -- from the inside out

    def _handed_out(self, body: Body) -> Pins:
        """Return the pins of the columns that the subqueries in FROM select."""
        found: Pins = {}
        for element in body.scope.elements:
            values = [_values_given_out(element, each) for each in self._bodies_of(behind(element), body)]
            for name in values[0] if values else ():
                sources = _of_all(each.get(name) for each in values)
                if sources is not None:
                    found[element, name] = sources
        return found

    def _following(self, body: Body, fact: SameAsSelected | HasRows) -> Iterator[tuple[Column, tuple[Source, ...]]]:
        """Yield the pins that follow from what a condition says of a subquery."""
        inner = self._bodies_of(fact.select, body)
        if isinstance(fact, SameAsSelected):
            sources = _of_all(_selected_values(each, fact.place) for each in inner)
            if sources is not None and not has_null(sources):
                yield fact.place.key, sources
        if inner and all(map(rows_have_passed, inner)):
            for column in _columns_outside(inner[0]):
                sources = _of_all(each.values(*column) for each in inner)
                if sources is not None:
                    yield column, sources

    # -- from the outside in

    def _handed_in(self, body: Body) -> Pins:
        """Return the pins of what a subquery selects, if it is read in one place alone."""
        readers = self._readers.get(id(body.statement), ())
        if len(readers) != 1 or len(self._bodies[id(body.statement)]) != 1:
            return {}
        asked = readers[0](body)
        return {key: sources for key, sources in asked.items() if takes(body, key) and not has_null(sources)}


def _outer_values(body: Body, place: Place) -> tuple[Source, ...] | None:
    """Return the values of a column of an enclosing SELECT."""
    outer = body.outer
    while outer is not None:
        if place.element in frozenset(outer.scope.elements):
            return outer.values(*place.key)
        outer = outer.outer
    return None


def _nothing_asked(_: Body) -> Pins:
    return {}


def _values_given_out(element: FromClause, inner: Body) -> dict[str, tuple[Source, ...] | None]:
    """Return to which values a body restricts the columns of the subquery it is a part of."""
    return {name: inner.values(*place.key) for name, place in source_places(element, inner).items()}


def _asked_of(reader: Body, element: FromClause, inner: Body) -> Pins:
    """Return to which values a SELECT restricts what a subquery in its FROM clause selects."""
    found: Pins = {}
    for name, place in source_places(element, inner).items():
        sources = reader.values(element, name)
        if sources is not None:
            found[place.key] = sources
    return found


def _asked_of_operand(reader: Body, fact: SameAsSelected, inner: Body) -> Pins:
    """Return to which values ``column IN (SELECT …)`` restricts what is selected."""
    place = selected_place(inner)
    sources = reader.values(*fact.place.key)
    if place is None or sources is None or not compares_alike(fact.place.type, place.type):
        return {}
    return {place.key: sources}


def _of_all(found: Iterable[tuple[Source, ...] | None]) -> tuple[Source, ...] | None:
    """Return what all of these may be, or ``None`` if one is not known."""
    each_part = list(found)
    known = [each for each in each_part if each is not None]
    if len(known) < len(each_part):
        return None
    return tuple(dict.fromkeys(source for each in known for source in each)) or None


def _selected_values(inner: Body, compared: Place) -> tuple[Source, ...] | None:
    """Return the values of the one column that a body selects, if they mean the same under the column they are compared with."""
    place = selected_place(inner)
    return None if place is None or not compares_alike(compared.type, place.type) else inner.values(*place.key)


def _columns_outside(inner: Body) -> list[Column]:
    """Return the pinned columns that are not of a body itself but of the bodies around it."""
    inside = frozenset(inner.scope.elements)
    return [column for column in inner.solution[0] if column[0] not in inside]
