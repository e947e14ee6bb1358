"""One read of a program: what executes it, what its result looks like when it is compared, and which rows it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Table
from sqlalchemy.orm import Session

from rowstamp import cached
from tests.harness import plain
from tests.oracle.precision import Need

OPTIONS: Final = {"rowstamp": cached()}


@dataclass(frozen=True)
class Read:
    """One read of the pool.

    Attributes:
        name: its shape.
        run: executes it in a session.
        needs: the rows on which alone the result depends, if it names them by keys.
    """

    name: str
    run: Callable[[Session], Any]
    needs: tuple[Need, ...] | None = None


def need(table: Table, *keys: tuple[Any, ...], columns: Iterable[str] | None = None) -> Need:
    """Name rows by primary key."""
    names = tuple(column.name for column in table.primary_key.columns)
    return Need(table.name, names, frozenset(keys), None if columns is None else frozenset(columns))


def typed(value: Any) -> Any:
    """Return a value with the types of all its parts, so that equal means equal and of one type."""
    whole: Any = value
    if isinstance(value, list | tuple):
        return type(whole).__name__, tuple(typed(each) for each in whole)
    if isinstance(value, dict):
        return tuple((name, typed(each)) for name, each in sorted(whole.items()))
    return type(value).__name__, value


def unordered(rows: Any) -> list[Any]:
    """Return values that are comparable although the database may return them in any order."""
    return sorted((_sorted_lists(typed(row)) for row in rows), key=repr)


def _sorted_lists(value: Any) -> Any:
    whole: Any = value
    if isinstance(value, tuple) and len(whole) == 2 and whole[0] == "list":
        return "list", tuple(sorted((_sorted_lists(each) for each in whole[1]), key=repr))
    return tuple(_sorted_lists(each) for each in whole) if isinstance(value, tuple) else whole


def rows(
    name: str, statement: Any, parameters: Any = None, *, ordered: bool = False, core: bool = False, needs: Any = None
) -> Read:
    def run(session: Session) -> Any:
        where: Any = session.connection() if core else session
        result = where.execute(statement, parameters, execution_options=OPTIONS)
        found = [tuple(plain(each) for each in row) for row in (result if core else result.unique())]
        return [typed(row) for row in found] if ordered else unordered(found)

    return Read(name + (" (core)" if core else ""), run, needs)
