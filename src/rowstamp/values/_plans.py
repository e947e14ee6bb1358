"""Annotation → plan: how values of a type are taken apart and put together again."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NewType,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from sqlalchemy.engine import Row, RowMapping
from sqlalchemy.orm import Mapper

from rowstamp.codec import canonical
from rowstamp.errors import UncacheableValue
from rowstamp.values._entities import PackedEntities, UnpackedEntities
from rowstamp.values._objects import ObjectKind, kind_of
from rowstamp.values._rows import pack_row, unpack_row

__all__ = ["Plan", "plan_of"]


class Plan(Protocol):
    """How values of one annotation are kept."""

    def fits(self, value: object) -> bool:
        """Return whether the value, by its own type, is one of this plan's."""
        ...

    def pack(self, value: Any, entities: PackedEntities) -> object:
        """Return what stands for the value, made of what the codec takes."""
        ...

    def unpack(self, stored: Any, entities: UnpackedEntities) -> Any:
        """Return the value."""
        ...


def _length(value: Any) -> int:
    return len(value)


def _has_only(value: Any, keys: Collection[str]) -> bool:
    return all(key in keys for key in value)


def misfit(value: object, wanted: str) -> UncacheableValue:
    """Return the error that says that a value is not of the type its annotation promises."""
    kind = type(value)
    return UncacheableValue(f"{kind.__module__}.{kind.__qualname__}", f"the annotation says {wanted}")


@dataclasses.dataclass(frozen=True, slots=True)
class _Leaf:
    """A value without parts of its own, or of which nothing is known: the codec keeps it exactly or refuses."""

    kinds: tuple[type[Any], ...]
    name: str

    def fits(self, value: object) -> bool:
        return not self.kinds or isinstance(value, self.kinds)

    def pack(self, value: Any, entities: PackedEntities) -> object:  # noqa: ARG002 - plans are called alike
        if not self.fits(value):
            raise misfit(value, self.name)
        return value

    def unpack(self, stored: Any, entities: UnpackedEntities) -> Any:  # noqa: ARG002
        return stored


@dataclasses.dataclass(frozen=True, slots=True)
class _EnumMember:
    """A member by its name; the class is the annotation's, so that it may be local to a function."""

    kind: type[enum.Enum]

    def fits(self, value: object) -> bool:
        return type(value) is self.kind

    def pack(self, value: Any, entities: PackedEntities) -> object:  # noqa: ARG002
        # A combination of flags has a name of its own making, or none.
        name: str | None = getattr(value, "name", None)
        if not self.fits(value) or name is None or self.kind.__members__.get(name) is not value:
            raise misfit(value, f"a named member of {self.kind.__qualname__}")
        return name

    def unpack(self, stored: Any, entities: UnpackedEntities) -> Any:  # noqa: ARG002
        return self.kind.__members__[stored]


@dataclasses.dataclass(frozen=True, slots=True)
class _Items:
    """A list, tuple or set whose items are alike. What it is is kept, for an annotation may allow several."""

    kinds: tuple[type[Any], ...]
    item: Plan
    name: str

    def fits(self, value: object) -> bool:
        return type(value) in self.kinds

    def pack(self, value: Any, entities: PackedEntities) -> object:
        if not self.fits(value):
            raise misfit(value, self.name)
        packed = [self.item.pack(each, entities) for each in value]
        if type(value) not in {list, tuple}:
            packed.sort(key=canonical)
        return packed if len(self.kinds) == 1 else [self.kinds.index(type(value)), packed]

    def unpack(self, stored: Any, entities: UnpackedEntities) -> Any:
        number, packed = (0, stored) if len(self.kinds) == 1 else stored
        return self.kinds[number](self.item.unpack(each, entities) for each in packed)


@dataclasses.dataclass(frozen=True, slots=True)
class _FixedTuple:
    """A tuple with a plan for each place."""

    places: tuple[Plan, ...]
    name: str

    def fits(self, value: object) -> bool:
        return type(value) is tuple and _length(value) == len(self.places)

    def pack(self, value: Any, entities: PackedEntities) -> object:
        if not self.fits(value):
            raise misfit(value, self.name)
        return [plan.pack(each, entities) for plan, each in zip(self.places, value, strict=True)]

    def unpack(self, stored: Any, entities: UnpackedEntities) -> Any:
        return tuple(plan.unpack(each, entities) for plan, each in zip(self.places, stored, strict=True))


@dataclasses.dataclass(frozen=True, slots=True)
class _Mapping:
    """A dict, in its order."""

    key: Plan
    value: Plan
    name: str

    def fits(self, value: object) -> bool:
        return type(value) is dict

    def pack(self, value: Any, entities: PackedEntities) -> object:
        if not self.fits(value):
            raise misfit(value, self.name)
        return [[self.key.pack(key, entities), self.value.pack(each, entities)] for key, each in value.items()]

    def unpack(self, stored: Any, entities: UnpackedEntities) -> Any:
        return {self.key.unpack(key, entities): self.value.unpack(each, entities) for key, each in stored}


@dataclasses.dataclass(frozen=True, slots=True)
class _OneOf:
    """A Union: the first member that the value fits by its own type."""

    members: tuple[Plan, ...]
    name: str

    def fits(self, value: object) -> bool:
        return any(member.fits(value) for member in self.members)

    def pack(self, value: Any, entities: PackedEntities) -> object:
        refused: UncacheableValue | None = None
        for number, member in enumerate(self.members):
            if member.fits(value):
                try:
                    return [number, member.pack(value, entities)]
                except UncacheableValue as exc:  # list[int] | list[str]: fits by its type, not by its items
                    refused = exc
        raise refused or misfit(value, self.name)

    def unpack(self, stored: Any, entities: UnpackedEntities) -> Any:
        number: int = stored[0]
        return self.members[number].unpack(stored[1], entities)


@dataclasses.dataclass(frozen=True, slots=True)
class _TypedDict:
    """A dict with a plan for each key."""

    hints: Mapping[str, Any]
    name: str

    def fits(self, value: object) -> bool:
        return type(value) is dict and _has_only(value, self.hints)

    def pack(self, value: Any, entities: PackedEntities) -> object:
        if not self.fits(value):
            raise misfit(value, self.name)
        return {key: plan_of(self.hints[key]).pack(each, entities) for key, each in value.items()}

    def unpack(self, stored: Any, entities: UnpackedEntities) -> Any:
        return {key: plan_of(self.hints[key]).unpack(each, entities) for key, each in stored.items()}


class _Object:
    """An object of a class with fields. Its fields' plans are made when they are first needed: classes may hold themselves."""

    __slots__ = ("_arguments", "_kind", "_plans", "_type")

    def __init__(self, type_: type[Any], kind: ObjectKind, arguments: Mapping[Any, Any]) -> None:
        self._type = type_
        self._kind = kind
        self._arguments = arguments
        self._plans: dict[str, Plan] | None = None

    def _fields(self) -> dict[str, Plan]:
        if self._plans is None:
            hints = self._kind.hints(self._type)
            self._plans = {name: plan_of(_substituted(hint, self._arguments)) for name, hint in hints.items()}
        return self._plans

    def fits(self, value: object) -> bool:
        return type(value) is self._type

    def pack(self, value: Any, entities: PackedEntities) -> object:
        if not self.fits(value):
            raise misfit(value, self._type.__qualname__)
        plans = self._fields()
        state = self._kind.state(value)
        fields = {name: plans[name].pack(each, entities) for name, each in state.fields.items()}
        return [fields, state.rest]

    def unpack(self, stored: Any, entities: UnpackedEntities) -> Any:
        packed, rest = stored
        plans = self._fields()
        fields = {name: plans[name].unpack(each, entities) for name, each in packed.items()}
        return self._kind.make(self._type, fields, rest)


@dataclasses.dataclass(frozen=True, slots=True)
class _Row:
    """A row of a result, with its names."""

    places: tuple[Plan, ...]
    mapping: bool

    def fits(self, value: object) -> bool:
        return isinstance(value, RowMapping if self.mapping else Row)

    def pack(self, value: Any, entities: PackedEntities) -> object:
        if not self.fits(value):
            raise misfit(value, "RowMapping" if self.mapping else "Row")
        return pack_row(value, lambda number, each: self._place(number).pack(each, entities))

    def unpack(self, stored: Any, entities: UnpackedEntities) -> Any:
        row = unpack_row(stored, lambda number, each: self._place(number).unpack(each, entities))
        return row._mapping if self.mapping else row  # noqa: SLF001 - public, the underscore keeps it apart from columns

    def _place(self, number: int) -> Plan:
        return self.places[number] if self.places else _ANYTHING


@dataclasses.dataclass(frozen=True, slots=True)
class _Entity:
    """An entity: kept once for all its appearances, made again in the session of the call."""

    mapper: Mapper[Any]

    def fits(self, value: object) -> bool:
        return isinstance(value, self.mapper.class_)

    def pack(self, value: Any, entities: PackedEntities) -> object:
        if not self.fits(value):
            raise misfit(value, self.mapper.class_.__qualname__)
        return entities.add(value)

    def unpack(self, stored: Any, entities: UnpackedEntities) -> Any:
        return entities.get(stored, self.mapper)


_ANYTHING: Final = _Leaf((), "")

_SEQUENCES: Final[Mapping[Any, tuple[type[Any], ...]]] = {
    list: (list,),
    set: (set,),
    frozenset: (frozenset,),
    collections.abc.Sequence: (list, tuple),
    collections.abc.MutableSequence: (list,),
    collections.abc.Collection: (list, tuple, set, frozenset),
    collections.abc.Iterable: (list, tuple, set, frozenset),
    collections.abc.Set: (set, frozenset),
    collections.abc.MutableSet: (set,),
}
_MAPPINGS: Final = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_UNWRAPPED: Final = (typing.Required, typing.NotRequired, typing.Final, typing.ClassVar, dataclasses.InitVar)

_plans: dict[Any, Plan] = {}


def plan_of(annotation: Any) -> Plan:
    """Return the plan for an annotation, made once.

    Raises:
        UncacheableValue: values of that type cannot be kept: coroutines, results that are read once, protocols.
    """
    try:
        known = _plans.get((type(annotation), annotation))
    except TypeError:  # an annotation that cannot be hashed, such as Annotated with a list
        return _make(annotation)
    if known is None:
        known = _plans[type(annotation), annotation] = _make(annotation)
    return known


def _make(annotation: Any) -> Plan:
    if annotation is Any or annotation is object or isinstance(annotation, TypeVar):
        return _ANYTHING
    if annotation is None:
        return _Leaf((type(None),), "None")
    if isinstance(annotation, NewType):
        return plan_of(annotation.__supertype__)
    if hasattr(annotation, "__value__"):  # type X = ...
        return plan_of(annotation.__value__)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated or origin in _UNWRAPPED:
        return plan_of(arguments[0])
    if origin is Literal:
        kinds: set[Any] = {type(each) for each in arguments}
        return _Leaf(tuple(kinds), str(annotation))
    if origin in (Union, types.UnionType):
        return _OneOf(tuple(plan_of(each) for each in arguments), str(annotation))
    return _make_of_class(annotation, origin or annotation, arguments)


def _make_of_class(annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Plan:
    name = getattr(annotation, "__qualname__", None) or str(annotation)
    if origin in _SEQUENCES:
        return _Items(_SEQUENCES[origin], plan_of(arguments[0] if arguments else Any), name)
    if origin is tuple:
        return _tuple_plan(arguments, name)
    if origin in _MAPPINGS:
        key, value = arguments or (Any, Any)
        return _Mapping(plan_of(key), plan_of(value), name)
    if origin is Row or origin is RowMapping:
        return _Row(_row_places(arguments), origin is RowMapping)
    if typing.is_typeddict(origin):
        return _TypedDict(get_type_hints(origin), name)
    if not isinstance(origin, type):
        raise UncacheableValue(str(annotation), "results of this annotation cannot be kept")
    return _plan_of_type(origin, arguments, name)


def _plan_of_type(kind: type[Any], arguments: tuple[Any, ...], name: str) -> Plan:
    mapper: Any = getattr(kind, "__mapper__", None)
    if getattr(mapper, "class_", None) is kind:
        return _Entity(mapper)
    object_kind = kind_of(kind)
    if object_kind is not None:
        return _Object(kind, object_kind, _type_arguments(kind, arguments))
    if issubclass(kind, enum.Enum):
        return _EnumMember(kind)
    if kind is float:
        return _Leaf((float, int), name)  # as type checkers see it
    if inspect.isabstract(kind) or getattr(kind, "_is_protocol", False):
        raise UncacheableValue(name, "an abstract type does not say what is to be made again")
    return _Leaf((kind,), name)


def _tuple_plan(arguments: tuple[Any, ...], name: str) -> Plan:
    if not arguments:
        return _Items((tuple,), _ANYTHING, name)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return _Items((tuple,), plan_of(arguments[0]), name)
    places = () if arguments == ((),) else arguments
    return _FixedTuple(tuple(plan_of(each) for each in places), name)


def _row_places(arguments: tuple[Any, ...]) -> tuple[Plan, ...]:
    """Return a plan for each column: ``Row[tuple[int, str]]`` on SQLAlchemy 2.0, ``Row[int, str]`` on 2.1."""
    if len(arguments) == 1 and get_origin(arguments[0]) is tuple:
        arguments = get_args(arguments[0])
    if not arguments or Ellipsis in arguments or arguments == (Any,):
        return ()
    return tuple(plan_of(each) for each in arguments)


def _type_arguments(kind: type[Any], arguments: tuple[Any, ...]) -> dict[Any, Any]:
    return dict(zip(getattr(kind, "__parameters__", ()), arguments, strict=False))


def _substituted(hint: Any, arguments: Mapping[Any, Any]) -> Any:
    """Return a field's annotation with the type variables of a generic class filled in."""
    if not arguments:
        return hint
    if hint in arguments:
        return arguments[hint]
    parameters: Sequence[Any] = getattr(hint, "__parameters__", ())
    return hint[tuple(arguments.get(each, each) for each in parameters)] if parameters else hint
