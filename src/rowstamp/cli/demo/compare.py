"""Compare two results whole: values, types, names, and what is loaded of each entity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Row, inspect
from sqlalchemy.orm import InstanceState

__all__ = ["Plain", "difference", "plain"]


@dataclass(frozen=True, slots=True)
class Plain:
    """A part of a result, without sessions and identities.

    Attributes:
        kind: the type of a value, the class of an entity, or what sort of container it is.
        value: the value; of a container its length.
        parts: the parts of a container, by name or number.
    """

    kind: str
    value: object = None
    parts: Mapping[str, Plain] | None = None

    def __str__(self) -> str:
        text = f"{self.kind} of {self.value}" if self.parts is not None else f"{self.value!r} ({self.kind})"
        return text if len(text) <= 60 else f"{text[:57]}..."


def plain(value: object) -> Plain:
    """Return a result so that two are equal only if all their values, types, names and loaded relationships are.

    An entity becomes its class, each column's value, and each relationship that is loaded; what is not loaded is said to be so.
    """
    return _plain(value, {})


def _plain(value: object, seen: dict[int, int]) -> Plain:
    state: InstanceState[Any] | None = inspect(value, raiseerr=False)  # anything else is inspected below
    if isinstance(state, InstanceState):
        return _entity(value, state, seen)
    if isinstance(value, Row):
        names = [f"{place} {name}" for place, name in enumerate(value._fields)]
        return _container("row", list(zip(names, cast("Sequence[object]", value), strict=True)), seen)
    if isinstance(value, list | tuple):
        parts = cast("Sequence[object]", value)
        return _container("list", [(str(place), part) for place, part in enumerate(parts)], seen)
    return Plain(type(value).__qualname__, value)


def _container(kind: str, parts: Sequence[tuple[str, object]], seen: dict[int, int]) -> Plain:
    return Plain(kind, len(parts), {name: _plain(part, seen) for name, part in parts})


def _entity(entity: object, state: InstanceState[Any], seen: dict[int, int]) -> Plain:
    if id(entity) in seen:
        return Plain("seen before", seen[id(entity)])
    seen[id(entity)] = len(seen)
    loaded = state.dict
    names = sorted(state.mapper.attrs.keys())
    parts = {name: _plain(loaded[name], seen) if name in loaded else Plain("not loaded") for name in names}
    return Plain(state.mapper.class_.__name__, None, parts)


def difference(cached: Plain, fresh: Plain, path: str = "result") -> str:
    """Return where two results first differ, or an empty string if they are equal."""
    if cached == fresh:
        return ""
    if cached.parts is not None and fresh.parts is not None and cached.parts.keys() == fresh.parts.keys():
        for name, part in cached.parts.items():
            if found := difference(part, fresh.parts[name], f"{path}.{name}"):
                return found
    return f"{path}: cached {cached}, database {fresh}"
