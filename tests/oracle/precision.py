"""What a read needs and what a write touches, said apart from the cache, to judge which entries were lost without need.

Nobody has to foresee what a write touches. The tables are read before it and after it, in its own session: the rows that differ
are the ones it changed, by whatever way, cascades of the database included. What the write names is added, be there such a row or not.

A write whose rows *cannot* be known is one that says so: it returns `None`. Those are: SQL text; a table that the statement describes without
its keys; rows made of a SELECT or chosen by another table; conditions that name no key; an upsert that sets a key; and rows that replace
others. Of several new rows the primary key may be untold. They may be any rows that a read names by it, unless the result shows that those
were there before.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Connection, Table, select

__all__ = ["Content", "Need", "Shows", "Touch", "Touched", "all_touched", "concerned", "content_of"]

Key: TypeAlias = tuple[Any, ...]
Image: TypeAlias = Mapping[str, Any]
"""The values of columns of a row; of all of them, or of those that a write names."""


@dataclass(frozen=True)
class Touch:
    """A row that a write touched.

    Attributes:
        table: the table's name.
        image: the row as it was before or after, or what the write says of it.
        columns: the columns that it changes; `None` if the row came or went.
        untold: the columns whose values nobody is told, of a row that came.
    """

    table: str
    image: Image
    columns: frozenset[str] | None = None
    untold: frozenset[str] = frozenset()


Touched: TypeAlias = "tuple[Touch, ...] | None"
"""The rows that a write names; `None` if what it touches cannot be known."""


class Shows(enum.Enum):
    """When a result shows that the rows are there which a read names by a unique key, so that none that comes can be one of them."""

    IF_THERE = enum.auto()
    IF_IT_HAS_ROWS = enum.auto()
    NEVER = enum.auto()


@dataclass(frozen=True)
class Need:
    """Rows of a table on which a read depends.

    Attributes:
        table: the table's name.
        key: the columns by which the read names its rows; none: all rows.
        values: the values it names.
        columns: the columns that it reads; `None`: all.
        shows: when its result shows that they are there; never, if the key is not unique.
    """

    table: str
    key: tuple[str, ...]
    values: frozenset[Key]
    columns: frozenset[str] | None = None
    shows: Shows = Shows.IF_THERE


Content: TypeAlias = Mapping[str, Mapping[Key, Image]]
"""The rows of each table by primary key."""


def content_of(tables: Iterable[Table], connection: Connection) -> Content:
    """Read whole tables."""
    found: dict[str, dict[Key, Image]] = {}
    for table in tables:
        keys = [column.name for column in table.primary_key.columns]
        rows = connection.execute(select(table), execution_options={"rowstamp": False}).mappings().all()
        found[table.name] = {tuple(row[name] for name in keys): dict(row) for row in rows}
    return found


def all_touched(named: Iterable[Touch], before: Content, after: Content) -> tuple[Touch, ...]:
    """Add to what a write names the rows that it named so, as they were and are, and those that changed with it."""
    found = [*named]
    for touch in (each for each in found[:] if not each.untold):
        for key, row in before[touch.table].items():
            if touch.image.items() <= row.items():
                images = (row, after[touch.table].get(key))
                found += [Touch(touch.table, image, touch.columns) for image in images if image is not None]
    return (*found, *_changed(before, after))


def _changed(before: Content, after: Content) -> Iterator[Touch]:
    for table in before:
        for key in before[table].keys() | after[table].keys():
            old, new = before[table].get(key), after[table].get(key)
            if old is None or new is None:
                yield Touch(table, old or new or {})
            elif old != new:
                columns = frozenset(name for name in old if old[name] != new[name])
                yield Touch(table, old, columns)
                yield Touch(table, new, columns)


def concerned(needs: Iterable[Need], touched: Iterable[Touch], *, rows: bool) -> bool:
    """Whether a read that needs these rows may be changed by writes that touched those, for all that its result and they tell.

    Args:
        needs: what the read needs.
        touched: what the writes touched.
        rows: whether its result had rows.
    """
    return any(_meets(need, touch, rows=rows) for touch in touched for need in needs if need.table == touch.table)


def _meets(need: Need, touch: Touch, *, rows: bool) -> bool:
    if touch.untold.intersection(need.key):
        return need.shows is Shows.NEVER or (need.shows is Shows.IF_IT_HAS_ROWS and not rows)
    if any(name not in touch.image for name in need.key):
        return False  # what is named so may be no row; if it is one, its images are there, too
    if tuple(touch.image[name] for name in need.key) not in need.values:
        return False
    if touch.columns is None or need.columns is None or not touch.columns.isdisjoint(need.key):
        return True
    return not touch.columns.isdisjoint(need.columns)
