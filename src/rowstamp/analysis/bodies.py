"""The SELECT bodies that a statement is made of, and the tables that appear in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table
from sqlalchemy.sql.expression import FromClause, Select

from rowstamp.analysis.conditions import Source
from rowstamp.analysis.found import Showing
from rowstamp.analysis.pins import Pins, Scope, enter_select
from rowstamp.analysis.seen import RowsShown

__all__ = ["Body", "Occurrence"]


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
