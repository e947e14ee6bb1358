"""Lookups by a unique key that found every row they name: no row that comes can change their results.

A row that comes has a value of the key that no other row has. So if each value that a statement names is that of a row which its result
shows, what comes later has another value, and cannot matter: an INSERT of which the key is not known leaves such a result valid. Only
if that row goes, or gets another value, may a new one have its value, and this the stamp of the value tells. NULL is no such value:
any number of rows may have it.

A row is shown if the columns of the key, of one appearance of the table, stand in a row of the result, none of them NULL: that a row of the
result may be extended by an outer join, sorted, cut off or restricted further does not matter then. Where FROM is one table, and one
value is named, any row of the result shows it, whatever columns are selected. Where several rows are made one, nothing is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Dialect
from sqlalchemy.sql.expression import FromClause, Select

from rowstamp.analysis.equality import stored_value
from rowstamp.analysis.pins import Scope, base_table
from rowstamp.analysis.seen import is_column, shows_rows

__all__ = ["Finding", "Showing", "rows_showing"]


@dataclass(frozen=True, slots=True)
class Showing:
    """What a result shows of the rows of one appearance of a table.

    Attributes:
        places: where the value of each column stands in a row of the result.
        always: whether each row of the result is made of one of them.
    """

    places: Mapping[str, int]
    always: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """How a result tells which values of a unique key it has found.

    Attributes:
        columns: the columns of the key.
        places: where the value of each stands in a row of the result; ``None`` if not all are shown.
        always: whether each row of the result has a value that the statement names.
    """

    columns: tuple[Any, ...]
    places: tuple[int, ...] | None
    always: bool

    def has_all(self, values: Sequence[bytes], rows: Sequence[Sequence[Any]], dialect: Dialect) -> bool:
        """Return whether the rows of a result show each of these canonical values; none is NULL."""
        if self.always and len(values) <= 1:
            return bool(rows) or not values
        missing = set(values)
        if self.places is None or len(rows) < len(missing):
            return not missing
        for row in rows:
            if not missing:
                break
            try:
                shown = [row[place] for place in self.places]
            except (LookupError, TypeError):  # other rows than the statement says
                return False
            if None not in shown:
                missing.discard(stored_value(self.columns, dialect, shown) or b"")
        return not missing


def rows_showing(select: Select[Any], scope: Scope, selected: Sequence[Any]) -> dict[FromClause, Showing]:
    """Return what the result of a statement shows of each appearance of a table in its FROM clause.

    Args:
        select: the outermost SELECT, in its Core form.
        scope: its FROM clause and the conditions on it.
        selected: what stands at each place of a row of the result; ``None`` where that is not known.
    """
    if not shows_rows(select, scope):
        return {}
    places: dict[FromClause, dict[str, int]] = {element: {} for element in scope.elements}
    for place, each in enumerate(selected):
        if is_column(each) and each.table in places:
            places[each.table].setdefault(str(each.name), place)
    always = len(places) == 1 and all(map(is_column, selected))
    return {element: Showing(at, always) for element, at in places.items() if base_table(element) is not None}
