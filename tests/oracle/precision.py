"""What a read needs and what a write touches, said apart from the cache, to judge which entries were lost without need.

The rows that a write touched are named by primary key; what their other keys were is looked up in the tables themselves, as they
were before the commit and after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Connection, Table, select

__all__ = ["Content", "Need", "Touch", "Touched", "concerned", "content_of", "is_known"]

Key: TypeAlias = tuple[Any, ...]


class Touch(NamedTuple):
    """A row that a write touched.

    Attributes:
        table: the table's name.
        key: the row's primary key.
        columns: the columns that an UPDATE sets; `None` if the row came or went.
    """

    table: str
    key: Key
    columns: frozenset[str] | None = None


Touched: TypeAlias = "frozenset[Touch] | None"
"""The rows a write touched; `None` if there may be others."""


@dataclass(frozen=True)
class Need:
    """Rows of a table on which a read depends.

    Attributes:
        table: the table's name.
        key: the columns by which the read names its rows; none: all rows.
        values: the values it names.
        columns: the columns that it reads; `None`: all.
    """

    table: str
    key: tuple[str, ...]
    values: frozenset[Key]
    columns: frozenset[str] | None = None


Content: TypeAlias = Mapping[str, Mapping[Key, Mapping[str, Any]]]
"""The rows of each table by primary key."""


def content_of(tables: Iterable[Table], connection: Connection) -> Content:
    """Read whole tables."""
    found: dict[str, dict[Key, Mapping[str, Any]]] = {}
    for table in tables:
        keys = [column.name for column in table.primary_key.columns]
        rows = connection.execute(select(table), execution_options={"rowstamp": False}).mappings().all()
        found[table.name] = {tuple(row[name] for name in keys): dict(row) for row in rows}
    return found


def is_known(writes: Iterable[Touched]) -> bool:
    """Whether these writes of one transaction say all about what they touched.

    A row that was touched twice may have had a value in between that neither state of the tables shows.
    """
    known = list(writes)
    times = Counter((touch.table, touch.key) for each in known if each is not None for touch in each)
    return None not in known and all(number == 1 for number in times.values())


def concerned(needs: Iterable[Need], touched: Iterable[Touch], before: Content, after: Content) -> bool:
    """Whether a read that needs these rows may be changed by writes that touched those."""
    return any(_meets(need, touch, before, after) for touch in touched for need in needs if need.table == touch.table)


def _meets(need: Need, touch: Touch, before: Content, after: Content) -> bool:
    images = [row for content in (before, after) if (row := content[touch.table].get(touch.key)) is not None]
    values = {tuple(row[name] for name in need.key) for row in images}
    if len(need.key) == len(touch.key):
        values.add(touch.key)  # what the write named, even if there is no such row
    if values.isdisjoint(need.values):
        return False
    if touch.columns is None or need.columns is None or not touch.columns.isdisjoint(need.key):
        return True
    return not touch.columns.isdisjoint(need.columns)
