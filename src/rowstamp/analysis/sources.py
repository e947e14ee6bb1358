"""Where the values of key columns are found among the parameters of an INSERT, UPDATE or DELETE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import BindParameter, ClauseElement

from rowstamp._sqlalchemy import gives_several, has_no_type, is_anonymous, prefetched, values_given
from rowstamp.analysis.equality import NULL, bound_values, compares_alike, key_values

__all__ = ["GivenRow", "Part", "Source", "options_of", "rows_given", "source_values", "stored_part", "values_of"]


class Part(NamedTuple):
    """Where one column's value is found.

    Attributes:
        bind: the name of the parameter.
        expanding: whether it is a list (``IN``).
        stored: whether the column gets it, so that ``None`` is NULL; else rows are compared with it.
    """

    bind: str
    expanding: bool = False
    stored: bool = False


Source = tuple[Part | None, ...]
"""For each column of a key where its value is found; ``None``: not known."""

_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class GivenRow:
    """One row of VALUES, or what SET says.

    Attributes:
        values: what the statement itself gives, by column key.
        number: the row's place, if the statement has several.
    """

    values: Mapping[str, Any]
    number: int | None

    def name(self, column: Any) -> str:
        """Return what SQLAlchemy calls the parameter of a value given for a column."""
        return str(column.key) if self.number is None else f"{column.key}_m{self.number}"

    def default_name(self, column: Any) -> str:
        """Return what SQLAlchemy calls the parameter of a column's Python-side default."""
        return self.name(column) if self.number else str(column.key)


def rows_given(compiled: Any) -> list[GivenRow]:
    """Return the rows for which a statement gives values; one, perhaps empty, if they come with the call."""
    several = gives_several(compiled)
    return [GivenRow(values, number if several else None) for number, values in enumerate(values_given(compiled))]


def stored_part(compiled: Any, row: GivenRow, column: Any) -> Part | None:
    """Return where the value is found that a column gets in a row, or ``None`` if the database works it out."""
    value = row.values.get(column.key, _MISSING)
    if value is _MISSING:
        # A parameter that has the column's name may also be one of a subquery: only what is known to be for it counts.
        if column.key in (compiled.column_keys or ()) and row.number is None:
            return Part(column.key, stored=True)
        default = row.default_name(column)
        return Part(default, stored=True) if default in prefetched(compiled) else None
    if isinstance(value, BindParameter):
        name = _name_of(compiled, row, column, value)  # pyright: ignore[reportUnknownArgumentType]
        return None if name is None else Part(name, stored=True)
    literal = not isinstance(value, ClauseElement) and not hasattr(value, "__clause_element__")
    return Part(row.name(column), stored=True) if literal else None


def _name_of(compiled: Any, row: GivenRow, column: Any, value: BindParameter[Any]) -> str | None:
    if not (has_no_type(value) or compares_alike(value.type, column.type)):
        return None
    if is_anonymous(value):
        # In the further rows of VALUES such parameters get names that nobody can foretell.
        return row.name(column) if not row.number else None
    return value.key if value.key in compiled.binds else None


# ---------------------------------------------------------------------------------------------- per execution


def source_values(
    columns: Sequence[Any], source: Source, parameters: Mapping[str, Any], dialect: Dialect
) -> list[bytes] | None:
    """Return the canonical values of a key in one set of parameters, or ``None`` if they are not known."""
    options: list[Sequence[object]] = []
    for column, part in zip(columns, source, strict=True):
        found = None if part is None else options_of(column, part, parameters)
        if found is None:
            return None
        options.append(found)
    return key_values(columns, dialect, options)


def values_of(part: Part | None, parameters: Mapping[str, Any]) -> list[object]:
    """Return the values as they were given."""
    return [] if part is None else bound_values(parameters.get(part.bind), expanding=part.expanding)


def options_of(column: Any, part: Part, parameters: Mapping[str, Any]) -> Sequence[object] | None:
    """Return the values that a column may have in one set of parameters, or ``None`` if they are not known."""
    value = parameters.get(part.bind, _MISSING)
    if value is _MISSING:
        return None
    if not part.stored:
        return bound_values(value, expanding=part.expanding)
    if value is None:
        # In a column that cannot have it NULL asks for a generated key, or for a default, if it is no error.
        return [NULL] if column.nullable else None
    return [value]
