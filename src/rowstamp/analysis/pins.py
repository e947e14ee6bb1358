"""To which values a SELECT restricts the columns of what it reads.

A *pin* says: rows in which this column has another value cannot matter to the result. Where FROM puts a condition decides whose
rows it restricts:

* WHERE restricts every element of the FROM clause, the nullable side of an outer join included: a row
  extended with NULLs does not pass ``b.id = 5``. It does pass ``b.id IS NULL``, which therefore restricts no nullable side.
* ON of an inner join restricts both sides.
* ON of a LEFT JOIN restricts its right side only: every row of the left side comes through.
* ON of a FULL JOIN restricts nothing.
* ``a.x = b.y`` hands the values of one side to the other, under the same rules.
* What WHERE, or ON of inner joins alone, says of a column of an *enclosing* SELECT holds of every enclosing row for which this one
  finds a row. Whether there has to be one is for the enclosing SELECT to say (``EXISTS``, ``IN``).

Everything else is left out, which widens the dependency and never narrows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, TypeAlias

from sqlalchemy import Table
from sqlalchemy.sql.expression import FromClause, Select
from sqlalchemy.sql.selectable import FromGrouping, Join

from rowstamp._sqlalchemy.selects import where_criteria
from rowstamp.analysis.conditions import (
    ALTERNATIVE_LIMIT,
    Alternatives,
    Between,
    Bound,
    Constant,
    Fact,
    Has,
    HasRows,
    Place,
    Same,
    SameAsSelected,
    Source,
    alternatives,
)
from rowstamp.analysis.equality import compares_alike

__all__ = [
    "Column",
    "Condition",
    "Elements",
    "Pins",
    "Scope",
    "base_table",
    "enter_select",
    "has_null",
    "pinned_columns",
    "pins_of_rows",
    "solve",
]

Elements: TypeAlias = frozenset[FromClause]
Column: TypeAlias = tuple[FromClause, str]
"""A column of a FROM element, by name."""

Pins: TypeAlias = dict[Column, tuple[Source, ...]]
"""For each pinned column of each FROM element where its values come from."""

_NONE: Elements = frozenset()


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition at its place in the FROM clause.

    Attributes:
        says: what holds for the rows that pass it.
        restricts: the elements whose rows it restricts.
        nullable: those whose rows may be extended with NULLs before it is asked.
        of: what it is made of.
        outer: whether it is the ON of an outer join of one side, whose other side comes through whatever it says.
        everywhere: whether every row that comes out of the SELECT has passed it.
    """

    says: Alternatives
    restricts: Elements
    nullable: Elements
    of: Any
    outer: bool = False
    everywhere: bool = False


@dataclass(slots=True)
class Scope:
    """The FROM clause of one SELECT body and the conditions on it.

    Attributes:
        elements: the tables, aliases, subqueries and CTEs in it; joins are taken apart.
        conditions: in the order in which FROM and WHERE are read.
    """

    elements: list[FromClause] = field(default_factory=list[FromClause])
    conditions: list[Condition] = field(default_factory=list[Condition])

    def restrict(
        self,
        condition: Any,
        restricts: Elements,
        nullable: Elements,
        *,
        outer: bool = False,
        everywhere: bool = False,
    ) -> None:
        """Add a condition."""
        self.conditions.append(Condition(alternatives(condition), restricts, nullable, condition, outer, everywhere))


def enter_select(select: Select[Any], froms: Sequence[FromClause]) -> Scope:
    """Return the scope of a rendered SELECT body.

    Args:
        select: a Core select (the ORM's are compiled to such).
        froms: what is really rendered in FROM, after correlation.
    """
    scope = Scope()
    nullable = _NONE.union(*(_enter(element, scope, everywhere=True)[1] for element in froms))
    for criterion in where_criteria(select):
        scope.restrict(criterion, frozenset(scope.elements), nullable, everywhere=True)
    return scope


def _enter(element: FromClause, scope: Scope, *, everywhere: bool) -> tuple[Elements, Elements]:
    """Note the elements below a FROM element and the ON conditions on them.

    Args:
        element: what stands in FROM.
        scope: where they are noted.
        everywhere: whether every row that comes out has a row of it, not one extended with NULLs.

    Returns:
        Those elements, and those of them whose rows may be extended with NULLs.
    """
    if isinstance(element, FromGrouping):
        return _enter(element.element, scope, everywhere=everywhere)
    if isinstance(element, Join):
        return _enter_join(element, scope, everywhere=everywhere)
    scope.elements.append(element)
    return frozenset({element}), _NONE


def _enter_join(join: Join, scope: Scope, *, everywhere: bool) -> tuple[Elements, Elements]:
    # The left side's own ON conditions were noted for the left side's elements: what an outer join above does to
    # them (extend with NULLs) does not widen which of their rows matter.
    inner = everywhere and not join.isouter and not join.full
    left, null_left = _enter(join.left, scope, everywhere=everywhere and not join.full)
    right, null_right = _enter(join.right, scope, everywhere=inner)
    restricts = _NONE if join.full else right if join.isouter else left | right
    if join.onclause is not None:
        outer = join.isouter and not join.full
        scope.restrict(join.onclause, restricts, null_left | null_right, outer=outer, everywhere=inner)
    extended = left | right if join.full else right if join.isouter else _NONE
    return left | right, null_left | null_right | extended


def base_table(element: Any) -> Table[Any] | None:
    """Return the table whose rows a FROM element stands for, or ``None``.

    Exactly a table or an alias of one: an alias's relatives (a sample, a lateral, a table-valued function) are other
    sources of rows.
    """
    target: Any = element.element if getattr(element, "__visit_name__", "") == "alias" else element
    return target if isinstance(target, Table) else None  # pyright: ignore[reportUnknownVariableType]


def pins_of_rows(statement: Any, table: FromClause) -> list[Pins]:
    """Return to which values the WHERE of an UPDATE or DELETE restricts the rows of its target, in each of its alternatives."""
    if base_table(table) is None:
        return [{}]
    scope = Scope([table])
    for criterion in where_criteria(statement):
        scope.restrict(criterion, frozenset({table}), _NONE)
    return solve(scope)


def pinned_columns(statement: Any, table: FromClause) -> dict[str, Bound]:
    """Return the columns of the target of an UPDATE or DELETE that have the value of a parameter, by name.

    Only parameters are returned that hold for every row: alternatives are left out.
    """
    found: dict[str, Bound] = {}
    (pins, *others) = pins_of_rows(statement, table)
    for (_, name), sources in pins.items():
        source = sources[0]
        if not others and len(sources) == 1 and isinstance(source, Bound) and source.position is None:
            found[name] = source
    return found


# --------------------------------------------------------------------------------------------------- solving


Lookup: TypeAlias = Callable[[Place], "tuple[Source, ...] | None"]
Following: TypeAlias = Callable[[SameAsSelected | HasRows], Iterable[tuple[Column, tuple[Source, ...]]]]


def _nothing(_: object) -> None:
    """Return ``None``: nothing is known."""


def _none_follow(_: object) -> tuple[()]:
    """Return no pins."""
    return ()


@dataclass(frozen=True, slots=True)
class _Placed:
    """A fact at its place."""

    fact: Fact
    at: Condition


def solve(
    scope: Scope,
    *,
    given: Mapping[Column, tuple[Source, ...]] | None = None,
    elsewhere: Lookup = _nothing,
    following: Following = _none_follow,
) -> list[Pins]:
    """Return the pins of a scope: one set for each alternative of its conditions.

    Pins of columns that are not in the scope, of enclosing SELECTs, are among them: they hold where a row comes out.

    Args:
        scope: the FROM clause with its conditions.
        given: pins of its elements that are known from outside.
        elsewhere: the values of a column that is not in the scope, if they are known.
        following: the pins that follow from what a condition says of a subquery.
    """
    choices: list[tuple[_Placed, ...]] = [()]
    for condition in scope.conditions:
        if len(choices) * len(condition.says) <= ALTERNATIVE_LIMIT:
            placed = [tuple(_Placed(fact, condition) for fact in facts) for facts in condition.says]
            choices = [left + right for left, right in product(choices, placed)]
    return [_Solver(scope, elsewhere, following).run(facts, dict(given or {})) for facts in choices]


class _Solver:
    """Finds the pins that follow from one conjunction of facts."""

    def __init__(self, scope: Scope, elsewhere: Lookup, following: Following) -> None:
        self._inside = frozenset(scope.elements)
        self._elsewhere = elsewhere
        self._following = following
        self._pins: Pins = {}

    def run(self, facts: Iterable[_Placed], given: Pins) -> Pins:
        self._pins = given
        equalities: list[tuple[Same, Condition]] = []
        for each in facts:
            if isinstance(each.fact, Same):
                equalities.append((each.fact, each.at))
            elif isinstance(each.fact, Has):
                self._pin(each.fact.place.key, each.fact.sources, each.at)
            else:
                for column, sources in self._following(each.fact):
                    self._pin(column, sources, each.at)
        while any(self._hand_on(fact, at) for fact, at in equalities):
            pass
        return self._pins

    def _pin(self, column: Column, sources: tuple[Source, ...], at: Condition) -> bool:
        """Pin a column, unless it has as good a pin already; return whether something is new."""
        if not self._restricts(at, column[0]) or (column[0] in at.nullable and has_null(sources)):
            return False
        known = self._pins.get(column)
        if known is not None and _cost(known) <= _cost(sources):
            return False
        self._pins[column] = sources
        return True

    def _restricts(self, at: Condition, element: FromClause) -> bool:
        return element in at.restricts if element in self._inside else at.everywhere

    def _hand_on(self, fact: Same, at: Condition) -> bool:
        if not compares_alike(fact.left.type, fact.right.type):
            return False
        ways = ((fact.left, fact.right), (fact.right, fact.left))
        return any(self._hand(self._known(source), target, at) for source, target in ways)

    def _hand(self, sources: tuple[Source, ...] | None, target: Place, at: Condition) -> bool:
        # Equality is never true of NULL, so its source is not handed on.
        return sources is not None and not has_null(sources) and self._pin(target.key, sources, at)

    def _known(self, place: Place) -> tuple[Source, ...] | None:
        known = self._pins.get(place.key)
        return known if known is not None or place.element in self._inside else self._elsewhere(place)


def has_null(sources: tuple[Source, ...]) -> bool:
    """Whether NULL is among the values, which no equality hands on."""
    return any(isinstance(source, Constant) and source.is_null for source in sources)


def _cost(sources: tuple[Source, ...]) -> int:
    """Return about how many values these are; a list counts as a few, and what lies between two values as more, for it may be any number."""
    return sum(map(_cost_of, sources))


def _cost_of(source: Source) -> int:
    if isinstance(source, Between):
        return 8
    return 4 if isinstance(source, Bound) and source.expanding else 1
