"""Classes with fields: dataclasses, msgspec structs, Pydantic models, attrs classes and named tuples.

None of their packages is imported: an object of such a class can only exist where its package is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final, NamedTuple, cast, get_type_hints

import msgspec

from rowstamp.errors import UncacheableValue

__all__ = ["ObjectKind", "ObjectState", "kind_of"]


class ObjectState(NamedTuple):
    """What an object holds.

    Attributes:
        fields: value by field, those that are set.
        rest: what else there is to it, made of what the codec takes.
    """

    fields: Mapping[str, Any]
    rest: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class ObjectKind:
    """One way of having fields.

    Attributes:
        recognises: whether a class is of this kind.
        hints: the annotation of each field.
        state: what an object holds.
        make: a new object of a class from its fields and the rest.
    """

    recognises: Callable[[type[Any]], bool]
    hints: Callable[[Any], Mapping[str, Any]]
    state: Callable[[Any], ObjectState]
    make: Callable[[Any, dict[str, Any], Any], Any]


def kind_of(type_: type[Any]) -> ObjectKind | None:
    """Return in which way a class has fields, or ``None`` if it has none."""
    return next((kind for kind in _KINDS if kind.recognises(type_)), None)


def _without_more(value: Any, fields: Mapping[str, Any]) -> None:
    """Refuse an object that holds something besides its fields; what a ``cached_property`` keeps can be worked out again."""
    kind: Any = cast("Any", type(value))
    for name in getattr(value, "__dict__", {}):
        if name not in fields and not isinstance(getattr(kind, name, None), cached_property):
            raise UncacheableValue(f"{kind.__module__}.{kind.__qualname__}", f"it holds {name!r}, which is no field")


def _set_all(kind: Any, fields: Mapping[str, Any]) -> Any:
    """Make an object as it was, without its constructor: whatever that did has been done."""
    made = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


# ------------------------------------------------------------------------------------------------ dataclasses


def _dataclass_state(value: Any) -> ObjectState:
    names = [field.name for field in dataclasses.fields(value)]
    fields = {name: getattr(value, name) for name in names if _is_set(value, name)}
    _without_more(value, fields)
    return ObjectState(fields)


def _is_set(value: Any, name: str) -> bool:
    try:
        object.__getattribute__(value, name)
    except AttributeError:
        return False
    return True


def _dataclass_hints(kind: Any) -> Mapping[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


# ------------------------------------------------------------------------------------------------------ attrs


def _attrs_state(value: Any) -> ObjectState:
    names: list[str] = [field.name for field in value.__attrs_attrs__]
    fields = {name: getattr(value, name) for name in names if _is_set(value, name)}
    _without_more(value, fields)
    return ObjectState(fields)


def _attrs_hints(kind: Any) -> Mapping[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints.get(field.name, field.type or Any) for field in kind.__attrs_attrs__}


# ---------------------------------------------------------------------------------------------------- structs


def _struct_state(value: Any) -> ObjectState:
    names: tuple[str, ...] = value.__struct_fields__
    return ObjectState({name: getattr(value, name) for name in names})


def _struct_hints(kind: Any) -> Mapping[str, Any]:
    hints = get_type_hints(kind)
    return {name: hints[name] for name in kind.__struct_fields__}


def _make_struct(kind: Any, fields: dict[str, Any], _rest: Any) -> Any:
    # The one kind that cannot be made without its constructor. A __post_init__ that changes fields is found out when the
    # result is stored: it would not come back as it was.
    return kind(**fields)


# --------------------------------------------------------------------------------------------------- Pydantic


def _pydantic_state(value: Any) -> ObjectState:
    kind: Any = cast("Any", type(value))
    fields: dict[str, Any] = {name: vars(value)[name] for name in kind.__pydantic_fields__ if name in vars(value)}
    _without_more(value, fields)
    kept: dict[str, Any] = value.__pydantic_private__ or {}
    private = {name: each for name, each in kept.items() if name in kind.__private_attributes__}
    return ObjectState(fields, [sorted(value.__pydantic_fields_set__), value.__pydantic_extra__, private])


def _pydantic_hints(kind: Any) -> Mapping[str, Any]:
    return {name: field.annotation for name, field in kind.__pydantic_fields__.items()}


def _make_pydantic(kind: Any, fields: dict[str, Any], rest: Any) -> Any:
    names, extra, private = rest
    made = kind.__new__(kind)
    made.__setstate__(
        {
            "__dict__": fields,
            "__pydantic_fields_set__": set(names),
            "__pydantic_extra__": extra,
            "__pydantic_private__": private or None,
        }
    )
    return made


# ----------------------------------------------------------------------------------------------- named tuples


def _is_named_tuple(kind: Any) -> bool:
    return issubclass(kind, tuple) and hasattr(cast("Any", kind), "_fields")


def _named_hints(kind: Any) -> Mapping[str, Any]:
    hints = get_type_hints(kind)
    return {name: hints.get(name, Any) for name in kind._fields}


def _make_named(kind: Any, fields: dict[str, Any], _rest: Any) -> Any:
    return tuple.__new__(kind, [fields[name] for name in kind._fields])


_KINDS: Final = (
    ObjectKind(
        lambda kind: hasattr(kind, "__pydantic_fields__") and hasattr(kind, "__pydantic_validator__")
        and not dataclasses.is_dataclass(kind),
        _pydantic_hints,
        _pydantic_state,
        _make_pydantic,
    ),
    ObjectKind(
        dataclasses.is_dataclass,
        _dataclass_hints,
        _dataclass_state,
        lambda kind, fields, _rest: _set_all(kind, fields),
    ),
    ObjectKind(
        lambda kind: hasattr(kind, "__attrs_attrs__"),
        _attrs_hints,
        _attrs_state,
        lambda kind, fields, _rest: _set_all(kind, fields),
    ),
    ObjectKind(lambda kind: issubclass(kind, msgspec.Struct), _struct_hints, _struct_state, _make_struct),
    ObjectKind(
        _is_named_tuple,
        _named_hints,
        lambda value: ObjectState(dict(zip(value._fields, value, strict=True))),
        _make_named,
    ),
)  # fmt: skip
