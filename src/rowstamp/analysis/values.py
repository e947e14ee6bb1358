"""The values to which one execution pins a key, in the canonical form that names stamps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import BindParameter

from rowstamp.analysis.conditions import Between, Bound, Constant, Source
from rowstamp.analysis.equality import NULL, PIN_LIMIT, bound_values, key_value

__all__ = ["KeySource", "Named", "NamedSource", "Unknown", "Values", "named", "parameters_of", "values_of"]


@dataclass(frozen=True, slots=True)
class Named:
    """The value of a parameter, or each value of its list.

    Attributes:
        name: the parameter's name in the compiled statement.
        expanding: whether its value is a list (``IN``).
        position: if the list is one of tuples, which part of each.
    """

    name: str
    expanding: bool
    position: int | None


@dataclass(frozen=True, slots=True)
class NamedBetween:
    """What lies between two values; known if they are equal."""

    low: Named | Constant
    high: Named | Constant


NamedSource: TypeAlias = Named | Constant | NamedBetween
KeySource: TypeAlias = tuple[NamedSource, ...]
"""Where the values of one column of a key come from."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """That the values cannot be told, and why."""

    why: str


def named(sources: Sequence[Source], names: Mapping[BindParameter[Any], str]) -> KeySource | None:
    """Replace parameters by their names in the compiled statement; ``None`` if one was not rendered."""
    found = [_named(source, names) for source in sources]
    known = tuple(source for source in found if source is not None)
    return known if len(known) == len(found) else None


def _named(source: Source, names: Mapping[BindParameter[Any], str]) -> NamedSource | None:
    if isinstance(source, Between):
        low, high = _one(source.low, names), _one(source.high, names)
        return None if low is None or high is None else NamedBetween(low, high)
    return _one(source, names)


def _one(source: Bound | Constant, names: Mapping[BindParameter[Any], str]) -> Named | Constant | None:
    if isinstance(source, Constant):
        return source
    name = names.get(source.bind)
    return None if name is None else Named(name, source.expanding, source.position)


def parameters_of(sources: KeySource) -> Iterator[tuple[str, bool]]:
    """Yield the names of the parameters that decide the values, and whether each is a list."""
    for source in sources:
        parts = (source.low, source.high) if isinstance(source, NamedBetween) else (source,)
        for part in parts:
            if isinstance(part, Named):
                yield part.name, part.expanding


class Values(NamedTuple):
    """The values to which one execution pins a key.

    Attributes:
        canonical: their canonical forms.
        apart: whether a row with each of these is a row with each value that was named: none is NULL, and none stands for two
            that are spelled differently, which the database may tell apart.
    """

    canonical: tuple[bytes, ...]
    apart: bool


def values_of(
    columns: Sequence[Any], sources: Sequence[KeySource], parameters: Mapping[str, Any], dialect: Dialect
) -> Values | Unknown:
    """Return the canonical values that a key has in one execution, or why they cannot be told.

    Args:
        columns: the key's columns.
        sources: where the values of each come from.
        parameters: the value of each bound parameter.
        dialect: the database whose equality counts.
    """
    if any(name not in parameters for source in sources for name, _ in parameters_of(source)):
        return Unknown(
            "a value is written into the text of the statement"
        )  # `literal_execute`: no parameter is left of it
    total, combinations = _combinations(sources, parameters)
    if total > PIN_LIMIT:
        return Unknown(f"more than {PIN_LIMIT} values")
    found: dict[bytes, tuple[object, ...]] = {}
    apart = True
    for combination in combinations:
        if any(value is _NOT_EQUAL for value in combination):
            return Unknown("BETWEEN two different values")
        value = key_value(columns, dialect, combination)
        if value is None:
            shown = ", ".join(str(column.name) for column in columns)
            return Unknown(f"a value of {shown} does not compare exactly")
        spelled = found.setdefault(value, combination)
        apart = apart and spelled == combination and not any(part is NULL or part is None for part in combination)
    return Values(tuple(found), apart)


def _combinations(
    sources: Sequence[KeySource], parameters: Mapping[str, Any]
) -> tuple[int, Iterator[tuple[object, ...]]]:
    """Return how many combinations of values there are, and the combinations."""
    listed = _same_list(sources)
    if listed is not None:
        tuples = bound_values(parameters.get(listed[0].name), expanding=True)
        positions = [each.position for each in listed]
        return len(tuples), (tuple(_part(each, position) for position in positions) for each in tuples)
    options = [[value for source in column for value in _values(source, parameters)] for column in sources]
    total = 1
    for each in options:
        total *= len(each)
    return total, itertools.product(*options)


def _same_list(sources: Sequence[KeySource]) -> list[Named] | None:
    """Return the sources if all are parts of the tuples of one list, which belong together."""
    found = [column[0] for column in sources if len(column) == 1]
    named = [each for each in found if isinstance(each, Named) and each.position is not None]
    whole = len(named) == len(sources) and len({each.name for each in named}) == 1
    return named if whole else None


_NOT_EQUAL = object()


def _values(source: NamedSource, parameters: Mapping[str, Any]) -> list[object]:
    if isinstance(source, Constant):
        return [source.value]
    if isinstance(source, NamedBetween):
        low, high = _values(source.low, parameters)[0], _values(source.high, parameters)[0]
        return [low if type(low) is type(high) and low == high else _NOT_EQUAL]
    values = bound_values(parameters.get(source.name), expanding=source.expanding)
    return values if source.position is None else [_part(value, source.position) for value in values]


def _part(value: Any, position: int | None) -> object:
    return value[position] if isinstance(value, tuple | list) and position is not None else _NOT_EQUAL  # pyright: ignore[reportUnknownVariableType]
