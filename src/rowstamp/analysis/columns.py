"""Which columns a statement reads, noted as they are rendered.

Every mention counts, wherever it stands: in the select list, WHERE, ON, GROUP BY, ORDER BY, inside functions and subqueries. Columns of
subqueries and CTEs are no columns of tables; what those read is rendered, and noted, inside of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.sql.expression import FromClause, SelectBase, TableClause
from sqlalchemy.sql.selectable import AliasedReturnsRows, Values

__all__ = ["ColumnsRead"]

_SYSTEM: Final = frozenset({"xmin", "xmax", "cmin", "cmax", "ctid", "tableoid", "oid", "rowid", "_rowid_"})
"""Columns that databases keep with each row; some change with every UPDATE."""


@dataclass(slots=True)
class ColumnsRead:
    """The columns that were rendered.

    Attributes:
        everything: why any column of any table may be read as well; empty if not.
    """

    everything: str = ""
    _mentions: dict[FromClause, Counter[str]] = field(default_factory=dict[FromClause, Counter[str]])

    def saw(self, column: Any) -> None:
        """Note a rendered column."""
        element: Any = column.table
        if element is None:
            self.everything = self.everything or f"{column} names no table"
        elif getattr(column, "system", False) or str(column.name).lower() in _SYSTEM:
            self.everything = self.everything or f"{column} changes with the whole row"
        elif _is_table(element):
            self._mentions.setdefault(element, Counter())[str(column.name).lower()] += 1
        elif not isinstance(element, SelectBase | AliasedReturnsRows | Values):
            self.everything = self.everything or f"{column} is of no table known"

    def of(self, elements: Iterable[FromClause], loaded: Iterable[Any] = ()) -> frozenset[str] | None:
        """Return the columns of these tables or aliases that are read, in lower case; ``None``: possibly all.

        Args:
            elements: the tables or aliases.
            loaded: columns one mention of which does not count.
        """
        if self.everything:
            return None
        mentions: Counter[tuple[FromClause, str]] = Counter()
        wanted = list(elements)
        for element in wanted:
            for name, times in self._mentions.get(element, Counter[str]()).items():
                mentions[element, name] += times
        for column in loaded:
            mentions[column.table, str(column.name).lower()] -= 1
        return frozenset(name for (_, name), times in mentions.items() if times > 0)

    def elements_of(self, table: tuple[str | None, str]) -> list[FromClause]:
        """Return the table of this schema and name, and its aliases, as far as columns of them are read."""
        return [element for element in self._mentions if _name(element) == table]


def _name(element: Any) -> tuple[str | None, str]:
    while isinstance(element, AliasedReturnsRows):
        element = element.element
    return getattr(element, "schema", None), str(getattr(element, "name", ""))


def _is_table(element: Any) -> bool:
    """Whether a FROM element is a table or, however often, an alias of one."""
    while isinstance(element, AliasedReturnsRows):
        element = element.element
    return isinstance(element, TableClause)
