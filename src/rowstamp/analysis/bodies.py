"""How the SELECT bodies of one statement hand pins to each other.

* A correlated subquery takes the pins of the enclosing rows: it is evaluated for others too, but what it finds for them
  does not matter.
* A subquery in FROM, a CTE and the operand of ``IN`` hand out the pins of the columns they select. What holds for their rows holds for
  the rows made of them.
* They take the pins of the enclosing SELECT if each of their rows is made of one row of their own FROM clause, or of a group that the
  pinned column names. A LIMIT or a window function looks at other rows as well.

A recursive CTE does neither: its rows are made of its own rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from sqlalchemy import Table
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import Over
from sqlalchemy.sql.expression import CTE, FromClause, FunctionElement, Select
from sqlalchemy.sql.selectable import AliasedReturnsRows

from rowstamp._sqlalchemy.selects import group_by, source_columns, takes_some_rows
from rowstamp.analysis.conditions import Place, SameAsSelected, Source, is_select, place_of
from rowstamp.analysis.equality import compares_alike
from rowstamp.analysis.found import Showing
from rowstamp.analysis.pins import Pins, Scope, base_table, enter_select, has_null, solve
from rowstamp.analysis.seen import RowsShown

__all__ = ["Body", "Occurrence", "occurrences"]

ROUNDS: Final = 6
"""How often pins are handed on between bodies: about how deep they may be nested for it."""


@dataclass(slots=True, eq=False)
class Body:
    """A SELECT body as it is rendered.

    Attributes:
        statement: the select it was rendered for, as it stands in the enclosing statement.
        within: the body it is rendered in, if any.
        outer: the body whose rows it may refer to, if any.
        tests: whether it is asked for its rows only, by EXISTS, and so its star reads nothing.
        select: the Core form.
        scope: its FROM clause and the conditions on it.
        solution: its pins, for each alternative of its conditions.
    """

    statement: Any
    within: Body | None
    outer: Body | None
    tests: bool = False
    select: Select[Any] | None = None
    scope: Scope = field(default_factory=Scope)
    solution: list[Pins] = field(default_factory=lambda: [{}])

    def rendered(self, select: Select[Any], froms: Sequence[FromClause]) -> None:
        """Note the Core form and what is really rendered in FROM."""
        self.select, self.scope = select, enter_select(select, froms)

    def values(self, element: FromClause, name: str) -> tuple[Source, ...] | None:
        """Return where the values of a column come from, if each alternative pins it."""
        found: list[Source] = []
        for pins in self.solution:
            sources = pins.get((element, name))
            if sources is None:
                return None
            found.extend(source for source in sources if source not in found)
        return tuple(found) or None


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One appearance of a table in a FROM clause.

    Attributes:
        element: the table or its alias there.
        table: the table itself.
        pins: for each alternative of the conditions the columns that are pinned, with where their values come from.
        shown: how the result of the statement tells its rows, if it does.
        showing: what the result shows of its rows, if anything.
    """

    element: FromClause
    table: Table[Any]
    pins: tuple[Mapping[str, tuple[Source, ...]], ...]
    shown: RowsShown | None = None
    showing: Showing | None = None


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
                self._readers.setdefault(id(_inner(element)), []).append(partial(_asked_of, body, element))
            for condition in body.scope.conditions:
                for fact in (fact for facts in condition.says for fact in facts):
                    if isinstance(fact, SameAsSelected):
                        sure = fact.any_row and len(condition.says) == 1
                        reader = partial(_asked_of_operand, body, fact) if sure else _nothing_asked
                        self._readers.setdefault(id(fact.select), []).append(reader)

    def solve(self, body: Body) -> bool:
        """Find the pins of a body from what is known of the others; return whether something is new."""
        solution = solve(
            body.scope,
            given=self._handed_out(body) | self._handed_in(body),
            elsewhere=lambda place: _outer_values(body, place),
            selected=lambda fact: self._selected_values(body, fact),
        )
        changed = [set(pins) for pins in solution] != [set(pins) for pins in body.solution]
        body.solution = solution
        return changed

    def _body_of(self, statement: Any, reader: Body) -> Body | None:
        """Return the one body that was rendered for a subquery where it is read."""
        found = self._bodies.get(id(statement), [])
        inside = [each for each in found if each.within is reader]
        return inside[0] if len(inside) == 1 else found[0] if len(found) == 1 else None

    # -- from the inside out

    def _handed_out(self, body: Body) -> Pins:
        """Return the pins of the columns that the subqueries in FROM select."""
        found: Pins = {}
        for element in body.scope.elements:
            inner = self._body_of(_inner(element), body)
            for name, place in _sources(element, inner).items():
                sources = inner.values(*place.key) if inner is not None else None
                if sources is not None:
                    found[element, name] = sources
        return found

    def _selected_values(self, body: Body, fact: SameAsSelected) -> tuple[Source, ...] | None:
        """Return the values of the column that an operand of ``IN`` or ``=`` selects."""
        inner = self._body_of(fact.select, body)
        place = _selected_place(inner)
        return inner.values(*place.key) if inner is not None and place is not None else None

    # -- from the outside in

    def _handed_in(self, body: Body) -> Pins:
        """Return the pins of what a subquery selects, if it is read in one place alone."""
        readers = self._readers.get(id(body.statement), ())
        if len(readers) != 1 or len(self._bodies[id(body.statement)]) != 1:
            return {}
        asked = readers[0](body)
        return {key: sources for key, sources in asked.items() if _takes(body, key) and not has_null(sources)}


def _inner(element: FromClause) -> Select[Any] | None:
    """Return the SELECT behind a subquery, a CTE or an alias of one, if its rows are its own."""
    inner: Any = element
    while isinstance(inner, AliasedReturnsRows):
        if isinstance(inner, CTE) and inner.recursive:
            return None
        inner = inner.element
    return inner if is_select(inner) else None


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


def _asked_of(reader: Body, element: FromClause, inner: Body) -> Pins:
    """Return to which values a SELECT restricts what a subquery in its FROM clause selects."""
    found: Pins = {}
    for name, place in _sources(element, inner).items():
        sources = reader.values(element, name)
        if sources is not None:
            found[place.key] = sources
    return found


def _asked_of_operand(reader: Body, fact: SameAsSelected, inner: Body) -> Pins:
    """Return to which values ``column IN (SELECT …)`` restricts what is selected."""
    place = _selected_place(inner)
    sources = reader.values(*fact.place.key)
    if place is None or sources is None or not compares_alike(fact.place.type, place.type):
        return {}
    return {place.key: sources}


def _sources(element: FromClause, inner: Body | None) -> dict[str, Place]:
    """Return of which column of its FROM clause each column of a subquery is made, by name."""
    if inner is None:
        return {}
    columns = list(element.c)
    names = Counter(str(column.name) for column in columns)
    found = {str(column.name): _source_place(column, inner) for column in columns}
    return {name: place for name, place in found.items() if place is not None and names[name] == 1}


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


def _selected_place(inner: Body | None) -> Place | None:
    """Return the one column that a body selects, if it is a column of its FROM clause."""
    if inner is None or inner.select is None:
        return None
    columns = list(inner.select.selected_columns)
    place = place_of(columns[0]) if len(columns) == 1 else None
    return place if place is not None and place.element in frozenset(inner.scope.elements) else None


def _takes(body: Body, key: tuple[FromClause, str]) -> bool:
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
    columns: list[Any] = list(select.selected_columns)
    return any(isinstance(part, kind) for column in columns for part in visitors.iterate(column))
