"""Joined rows that a result shows: it depends on these, and not on the whole table that they are in.

Of ``product LEFT JOIN category AS e ON e.id = product.category_id`` the rows of e that can matter are those with ``e.id = v``, where v is
a ``category_id`` of a product that matters; and if each such product is in the result with its ``category_id``, the
result tells all v. What is needed:

* A key of e is made of columns that conditions on e's rows set equal to columns outside, and these are in the select list of the
  outermost SELECT.
* **Nothing that e holds decides which of the outer rows are in the result.** Then e hangs on the right side of a LEFT JOIN; neither WHERE nor an inner
  join above it mentions e, nor what is joined by what e holds; nor do ORDER BY and LIMIT together. No row of e, then, is looked for in
  vain without a trace: an outer row without match shows its v all the same, and an insert of that row touches ``e.id=v``.

Where the second does not hold (an inner join drops a product without category; WHERE asks for the category's name) rows of e may matter
that the result does not show. They matter by the columns that are mentioned outside the select list alone. So the result then depends on these
columns in *any* row, on rows that come and go, and by its other columns on the rows seen.

**What an outer join has found no insert can change**, if the key is unique: where a row of the result shows v and beside it the columns of the
key of e, not NULL, the row with ``e.id = v`` is there, and a row that comes has another value (compare :mod:`rowstamp.analysis.found`). Only of types whose
values are equal in one way alone: text is compared by the collation of either column, so that a second spelling might match as well.

``GROUP BY``, functions in the select list and whatever else makes one row of several show no rows: nothing is told then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import ColumnClause
from sqlalchemy.sql.expression import FromClause, FunctionElement, ScalarSelect, Select
from sqlalchemy.sql.selectable import CTE, Lateral, Subquery

from rowstamp._sqlalchemy.selects import group_by, is_cut_off, is_distinct, order_by, picks_rows
from rowstamp.analysis.columns import ColumnsRead
from rowstamp.analysis.conditions import Same
from rowstamp.analysis.equality import compares_alike, is_equal_in_one_way
from rowstamp.analysis.pins import Condition, Elements, Scope, base_table
from rowstamp.analysis.schema import Key, is_unique_key, iterate_keys

__all__ = ["RowsShown", "is_column", "rows_shown", "shows_rows"]

_Key: TypeAlias = tuple[FromClause, str]


@dataclass(frozen=True, slots=True)
class RowsShown:
    """How the result of a statement tells the rows of one appearance of a table.

    Attributes:
        key: the key that tells them.
        columns: its columns.
        places: where the value of each stands in a row of the result.
        if_null: whether a row may matter although NULL stands there: the key itself is shown, and there is no row.
        asked: the columns that matter in any row of the table, besides rows that come and go; ``None``: only the rows shown matter.
        own: where the columns of the key itself stand, if a row that is found so cannot be one that comes; empty if it can.
    """

    key: Key
    columns: tuple[Any, ...]
    places: tuple[int, ...]
    if_null: bool
    asked: frozenset[str] | None
    own: tuple[int, ...] = ()

    def has_all(self, rows: Sequence[Sequence[Any]]) -> bool:
        """Return whether each row of a result that names a row has found it."""
        if not self.own:
            return False
        try:
            return all(
                None not in [row[place] for place in self.own] or None in [row[place] for place in self.places]
                for row in rows
            )
        except LookupError:  # other rows than the statement says
            return False


def rows_shown(
    select: Select[Any], scope: Scope, selected: Sequence[Any], columns: ColumnsRead
) -> dict[FromClause, RowsShown]:
    """Return which appearances of tables are told by the rows of the result, and how.

    Args:
        select: the outermost SELECT, in its Core form.
        scope: its FROM clause and the conditions on it.
        selected: what stands at each place of a row of the result; ``None`` where that is not known.
        columns: the columns that the whole statement mentions.
    """
    if not shows_rows(select, scope):
        return {}
    sorted_by = mentioned(order_by(select))
    if is_cut_off(select) and (sorted_by is None or is_distinct(select)):
        return {}
    finder = _Finder(select, scope, selected, columns, sorted_by or frozenset())
    found = {element: finder.find(element) for element in scope.elements}
    return {element: shown for element, shown in found.items() if shown is not None}


def shows_rows(select: Select[Any], scope: Scope) -> bool:
    """Return whether the rows of a result are rows of FROM, and none is made of several.

    Args:
        select: the SELECT.
        scope: its FROM clause.
    """
    if group_by(select) or picks_rows(select):
        return False
    elements = frozenset(scope.elements)
    return not any(_may_aggregate(each, elements) for each in select.selected_columns)


class _Finder:
    """Looks for what tells the rows of each element of one SELECT.

    Args:
        select: the SELECT.
        scope: its FROM clause.
        selected: what stands at each place of a row of the result.
        columns: the columns that the whole statement mentions.
        sorted_by: the elements that ORDER BY mentions.
    """

    def __init__(
        self, select: Select[Any], scope: Scope, selected: Sequence[Any], columns: ColumnsRead, sorted_by: Elements
    ) -> None:
        self._select = select
        self._scope = scope
        self._columns = columns
        self._sorted_by = sorted_by
        self._plain = [each for each in selected if is_column(each)]
        self._at: dict[_Key, int] = {}
        for place, each in enumerate(selected):
            if is_column(each):
                self._at.setdefault((each.table, str(each.name)), place)
        self._no_laterals = all(_is_plain(each) for each in scope.elements)

    def find(self, element: FromClause) -> RowsShown | None:
        """Return how the rows of an element are told, or ``None``."""
        table = base_table(element)
        if table is None:
            return None
        for join in self._scope.conditions:
            if join.outer and element in join.restricts:
                shown = self._all_shown(element, table, join)
                if shown is not None:
                    return shown
        return self._some_shown(element, table)

    def _all_shown(self, element: FromClause, table: FromClause, join: Condition) -> RowsShown | None:
        """Return how the outer rows of a join tell every row of its right side that can matter."""
        hanging = self._hanging_on(join)
        if hanging is None:
            return None
        same = self._equalities(element, join.restricts)
        for key, columns in iterate_keys(table):
            alike = [_reached(same, (element, name)) for name in key]
            outside = [{each for each in group if each[0] not in hanging} for group in alike]
            if all(outside):
                places = self._places(outside)
                if places is not None:
                    own = self._own_places(element, table, key, columns)
                    return RowsShown(key, tuple(columns), places, if_null=False, asked=None, own=own)
                places = self._places(alike)
                if places is not None:
                    return RowsShown(key, tuple(columns), places, if_null=True, asked=None)
        return None

    def _some_shown(self, element: FromClause, table: FromClause) -> RowsShown | None:
        """Return how the result tells those rows of a to-one join that it shows."""
        asked = self._asked(element)
        if asked is None:
            return None
        same = self._equalities(element, None)
        for key, columns in iterate_keys(table):
            alike = [_reached(same, (element, name)) for name in key]
            if is_unique_key(table, key) and all(len(group) > 1 for group in alike):
                places = self._places(alike)
                if places is not None:
                    return RowsShown(key, tuple(columns), places, if_null=False, asked=asked)
        return None

    # -- what hangs on a join

    def _hanging_on(self, join: Condition) -> Elements | None:
        """Return what is joined by what the right side of an outer join holds, if nothing of it decides which outer rows there are."""
        hanging = join.restricts
        others = [(each, mentioned([each.of])) for each in self._scope.conditions if each is not join]
        grown = True
        while grown:
            grown = False
            for each, mentions in others:
                if mentions is None:
                    return None
                if mentions.isdisjoint(hanging) or each.restricts <= hanging:
                    continue
                if not each.outer or not each.restricts.isdisjoint(hanging):
                    return None
                hanging, grown = hanging | each.restricts, True
        if not self._no_laterals or (is_cut_off(self._select) and not self._keeps_places(hanging)):
            return None
        return hanging

    def _keeps_places(self, hanging: Elements) -> bool:
        """Whether each outer row has one place in the order of rows, and the same whatever hangs on it."""
        return self._sorted_by.isdisjoint(hanging) and all(map(self._is_to_one, hanging))

    def _is_to_one(self, element: FromClause) -> bool:
        table = base_table(element)
        joins = [each for each in self._scope.conditions if each.outer and each.restricts == frozenset({element})]
        if table is None or len(joins) != 1:
            return False
        same = self._equalities(element, joins[0].restricts)
        return any(
            is_unique_key(table, key) and all(len(_reached(same, (element, name))) > 1 for name in key)
            for key, _ in iterate_keys(table)
        )

    # -- equal columns, and where they stand

    def _equalities(self, element: FromClause, within: Elements | None) -> dict[_Key, set[_Key]]:
        """Return which columns are equal wherever a row of an element takes part, by conditions on no more than these elements."""
        found: dict[_Key, set[_Key]] = {}
        for each in self._scope.conditions:
            if (
                element not in each.restricts
                or len(each.says) != 1
                or (within is not None and not each.restricts <= within)
            ):
                continue
            for fact in each.says[0]:
                if isinstance(fact, Same) and compares_alike(fact.left.type, fact.right.type):
                    found.setdefault(fact.left.key, set()).add(fact.right.key)
                    found.setdefault(fact.right.key, set()).add(fact.left.key)
        return found

    def _places(self, groups: Iterable[Iterable[_Key]]) -> tuple[int, ...] | None:
        """Return for each group of equal columns where one of them stands in the result."""
        found: list[int] = []
        for group in groups:
            places = [self._at[each] for each in group if each in self._at]
            if not places:
                return None
            found.append(min(places))
        return tuple(found)

    def _own_places(self, element: FromClause, table: FromClause, key: Key, columns: Sequence[Any]) -> tuple[int, ...]:
        """Return where the columns of a key stand, if they prove that no row that comes has the same values."""
        if not is_unique_key(table, key) or not all(is_equal_in_one_way(column.type) for column in columns):
            return ()
        return self._places([(element, name)] for name in key) or ()

    def _asked(self, element: FromClause) -> frozenset[str] | None:
        """Return the columns that are mentioned outside the select list, unless that is all of them."""
        read = self._columns.of([element])
        asked = self._columns.of([element], self._plain)
        if read is None or asked is None:
            return None
        # ORDER BY may name a column by its label alone, which is no mention of the column where it is rendered.
        asked |= {str(each.name).lower() for each in _columns_in(order_by(self._select)) if each.table == element}
        return asked if asked < read else None


def is_column(selected: Any) -> bool:
    """Return whether what is selected is a column of a FROM element, as it is."""
    return isinstance(selected, ColumnClause) and not selected.is_literal and selected.table is not None


def _is_plain(element: FromClause) -> bool:
    """Whether the rows of a FROM element are its own, whatever stands beside it."""
    return base_table(element) is not None or (isinstance(element, Subquery | CTE) and not isinstance(element, Lateral))


def _reached(same: Mapping[_Key, set[_Key]], start: _Key) -> set[_Key]:
    """Return the columns that are equal to one, itself among them."""
    found, left = {start}, [start]
    while left:
        for each in same.get(left.pop(), ()):
            if each not in found:
                found.add(each)
                left.append(each)
    return found


def mentioned(expressions: Iterable[Any]) -> Elements | None:
    """Return the FROM elements whose columns are mentioned, however deep; ``None``: possibly others."""
    found: set[FromClause] = set()
    for part in _parts(expressions):
        if part.__visit_name__ == "textual_label_reference":
            return None
        if is_column(part):
            found.add(part.table)
    return frozenset(found)


def _columns_in(expressions: Iterable[Any]) -> list[Any]:
    return [part for part in _parts(expressions) if is_column(part)]


def _parts(expressions: Iterable[Any]) -> Iterable[Any]:
    return (part for expression in expressions for part in visitors.iterate(expression))


def _may_aggregate(expression: Any, elements: Elements) -> bool:
    """Whether an expression has a function that may make one row of several rows of these elements.

    An aggregate in a subquery belongs to the SELECT around it if it is made of columns of that one alone.
    """
    # SQLAlchemy's classes are generic, and isinstance() alone leaves their parameter unknown.
    function, subquery = cast("tuple[Any, Any]", (FunctionElement, ScalarSelect))
    parts: list[Any] = list(visitors.iterate(expression))
    inside = {id(part) for each in parts if isinstance(each, subquery) for part in visitors.iterate(each.element)}
    functions = [each for each in parts if isinstance(each, function)]
    return any(id(each) not in inside or any(of.table in elements for of in _columns_in([each])) for each in functions)
