"""Which rows an UPDATE or DELETE chooses, where the database can be asked for just these beforehand.

That can be done if WHERE looks at nothing but the row itself: then a row that is locked stays chosen until the write comes, and
whatever else the write meets has come in between. A subquery, a function or an operator of which nothing is known may answer
otherwise the second time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.expression import FromClause
from sqlalchemy.sql.visitors import iterate, replacement_traverse

from rowstamp._sqlalchemy.selects import renamed, where_criteria
from rowstamp.analysis.conditions import is_bind, is_column
from rowstamp.analysis.pins import pins_of_rows
from rowstamp.analysis.schema import iterate_keys

__all__ = ["Chosen", "chosen_rows"]

_COMPARING: Final = frozenset({
    operators.eq, operators.ne, operators.lt, operators.le, operators.gt, operators.ge, operators.is_, operators.is_not,
    operators.in_op, operators.not_in_op, operators.between_op, operators.not_between_op, operators.and_, operators.or_,
    operators.inv, operators.is_true, operators.is_false, operators.comma_op,
    operators.is_distinct_from, operators.is_not_distinct_from, operators.like_op, operators.not_like_op, None,
})  # fmt: skip
"""Operators that always answer the same for the same values; what has none is a list."""

_PARTS: Final = frozenset({
    "binary", "unary", "clauselist", "expression_clauselist", "grouping", "tuple", "bindparam", "column", "null", "true",
    "false", "asboolean",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chosen:
    """The rows that a statement chooses by their own values.

    Attributes:
        where: the conditions, whose parameters have names of their own.
        parameters: for each of these names that of the parameter in the statement.
        columns: the names of the columns that the conditions look at.
    """

    where: tuple[Any, ...]
    parameters: Mapping[str, str]
    columns: frozenset[str]

    def values(self, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the parameters of the conditions in one execution, or ``None`` if one is not known."""
        if any(name not in parameters for name in self.parameters.values()):
            return None
        return {own: parameters[name] for own, name in self.parameters.items()}


def chosen_rows(statement: Any, table: FromClause, names: Mapping[BindParameter[Any], str]) -> Chosen | None:
    """Return the rows that an UPDATE or DELETE chooses, or ``None`` if it names no key or looks at more than the row.

    Args:
        statement: the statement, in Core form.
        table: its target.
        names: the name of each parameter in the compiled statement.
    """
    criteria = where_criteria(statement)
    parts: list[Any] = [part for criterion in criteria for part in iterate(criterion)]
    if not all(_looks_at_row(part, table) for part in parts) or not _names_key(statement, table):
        return None
    binds = [part for part in parts if is_bind(part)]
    if any(bind not in names for bind in binds):
        return None
    own = {bind: f"rowstamp_{number}" for number, bind in enumerate(dict.fromkeys(binds))}
    columns = frozenset(str(part.name) for part in parts if is_column(part))
    return Chosen(_renamed(criteria, own), {name: names[bind] for bind, name in own.items()}, columns)


def _looks_at_row(part: Any, table: FromClause) -> bool:
    if part.__visit_name__ not in _PARTS or getattr(part, "operator", None) not in _COMPARING:
        return False
    if is_bind(part):
        return not part.isoutparam
    return not is_column(part) or (not part.is_literal and part.table == table)


def _names_key(statement: Any, table: FromClause) -> bool:
    """Whether each alternative of WHERE names values of a key, by which the database finds the rows."""
    keys = [set(key) for key, _ in iterate_keys(table)]
    return all(any(key <= {name for _, name in pins} for key in keys) for pins in pins_of_rows(statement, table))


def _renamed(criteria: Sequence[Any], own: Mapping[BindParameter[Any], str]) -> tuple[Any, ...]:
    """Return conditions with parameters of names that no other statement of this shape has differently."""

    def replace(element: Any, **_: Any) -> Any:
        return renamed(element, own[element]) if is_bind(element) else None

    found: list[Any] = [replacement_traverse(criterion, {}, replace) for criterion in criteria]
    return tuple(found)
