"""Arguments ↔ keys: equal arguments have equal keys, and different ones different keys, whatever they are made of.

A value becomes a tree of tagged tuples that the codec makes canonical bytes of. Every node carries its tag, so that no value can be
built that looks like another kind of value: a tuple never looks like a dataclass, nor a list like a set.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import msgspec
from sqlalchemy import inspect

from rowstamp.codec import canonical
from rowstamp.errors import UncacheableValue, UnsupportedArgument

__all__ = ["MAX_ARGUMENT_DEPTH", "canonical_arguments", "fields_of", "type_path"]

MAX_ARGUMENT_DEPTH: Final = 24
"""Containers within containers; beyond it an argument is a mistake, or holds itself."""


def canonical_arguments(arguments: Mapping[str, object], where: str) -> bytes:
    """Return bytes that are equal exactly for equal arguments.

    Args:
        arguments: value by parameter, defaults filled in; their order does not count.
        where: the function, for messages.

    Raises:
        UnsupportedArgument: a value has no exact, stable representation; the message names its parameter.
    """
    tree: dict[str, object] = {}
    for name, value in arguments.items():
        try:
            tree[name] = _tree(value, 0)
            canonical(tree[name])
        except UncacheableValue as exc:
            msg = (
                f"{where}: the argument {name}={_shown(value)} cannot be part of a key ({exc.reason}): "
                f"pass a plain value such as its id, or leave it out with ignore=[{name!r}]"
            )
            raise UnsupportedArgument(msg) from exc
    return canonical(tree)


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a message about a strange value must not fail over its repr
        text = f"<{type_path(type(value))}>"
    return text if len(text) <= 80 else text[:77] + "..."


def type_path(kind: type[Any]) -> str:
    """Return the module and qualified name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _tree(value: Any, depth: int) -> object:
    """Return what stands for a value in a key."""
    kind: Any = cast("Any", type(value))
    if depth > MAX_ARGUMENT_DEPTH:
        raise UncacheableValue(type_path(kind), f"more than {MAX_ARGUMENT_DEPTH} levels deep")
    make = _CONTAINERS.get(kind)
    if make is not None:
        return make(value, depth + 1)
    if issubclass(kind, type):
        return ("class", _findable(value))
    if isinstance(value, enum.Enum):
        return ("value", value)
    entity = _entity(value)
    if entity is not None:
        return entity
    fields = fields_of(value)
    if fields is not None:
        return (
            "object",
            type_path(kind),
            tuple((name, _tree(each, depth + 1)) for name, each in sorted(fields.items())),
        )
    return ("value", value)


def _findable(kind: type[Any]) -> str:
    found: Any = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is not kind:
        raise UncacheableValue("builtins.type", f"the class {type_path(kind)} cannot be found by its name")
    return type_path(kind)


def _entity(value: Any) -> object | None:
    """Return an ORM entity as its identity: what it holds is not part of the key, for the function may load it anew."""
    kind: Any = cast("Any", type(value))
    if not hasattr(kind, "__mapper__"):
        return None
    state: Any = inspect(value, raiseerr=False)
    if not hasattr(state, "key"):
        return None
    key: Any = state.key
    if key is None:
        raise UncacheableValue(type_path(kind), "it has no identity yet; flush it first")
    return ("entity", type_path(key[0]), tuple(_tree(each, 0) for each in key[1]), ("value", key[2]))


def fields_of(value: Any) -> dict[str, object] | None:
    """Return the fields of a dataclass, Pydantic model, struct, attrs object or named tuple; ``None`` of anything else."""
    kind: Any = cast("Any", type(value))
    names: Any
    if hasattr(kind, "__pydantic_fields__") and not dataclasses.is_dataclass(value):
        return {**{name: vars(value)[name] for name in kind.__pydantic_fields__}, **(value.__pydantic_extra__ or {})}
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    elif issubclass(kind, msgspec.Struct):
        names = value.__struct_fields__
    elif hasattr(kind, "__attrs_attrs__"):
        names = [field.name for field in kind.__attrs_attrs__]
    elif hasattr(kind, "_fields") and issubclass(kind, tuple):
        names = value._fields
    else:
        return None
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _tuple(value: Any, depth: int) -> object:
    return ("tuple", tuple(_tree(each, depth) for each in value))


def _list(value: Any, depth: int) -> object:
    return ("list", tuple(_tree(each, depth) for each in value))


def _unordered(tag: str) -> Callable[[Any, int], object]:
    return lambda value, depth: (tag, sorted(canonical(_tree(each, depth)) for each in value))


def _mapping(value: Any, depth: int) -> object:
    return ("dict", sorted(canonical((_tree(key, depth), _tree(each, depth))) for key, each in value.items()))


_CONTAINERS: Final[Mapping[type[Any], Callable[[Any, int], object]]] = {
    tuple: _tuple,
    list: _list,
    set: _unordered("set"),
    frozenset: _unordered("frozenset"),
    dict: _mapping,
}
