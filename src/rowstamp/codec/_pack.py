"""Python values → objects that msgspec's encoder writes without losing their types.

msgspec would take most of these values itself and return another type for them: a tuple becomes a list, an
`IntEnum` an int, a Decimal text, a `str` subclass text. So every value passes a scan by *exact* type first.
What MessagePack holds exactly stays as it is, and a container of nothing else is passed whole after a scan
that runs in C; the rest becomes an extension.
"""

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import isnan
from types import NoneType
from typing import Any, Final
from uuid import UUID

from msgspec.msgpack import Ext

from rowstamp.codec import _drivers, _scalars, _temporal
from rowstamp.codec import _wire as wire
from rowstamp.errors import UncacheableValue

__all__ = ["KEYS", "KEYS_CAREFUL", "VALUES", "VALUES_CAREFUL", "Packer"]

_Scalars = Mapping[type[Any], Callable[[Any], object]]
_Containers = Mapping[type[Any], Callable[["Packer", Any, int], object]]


@dataclass(frozen=True, slots=True)
class Packer:
    """One way of packing: the types it passes through, and what it does to the others."""

    native: frozenset[type[Any]]
    scalars: _Scalars
    containers: _Containers

    def pack(self, value: object, depth: int = 0) -> object:
        """Return `value`, or what stands for it.

        Args:
            value: anything.
            depth: the number of containers around it.

        Raises:
            UncacheableValue: a type that would not come back exactly, or nesting beyond `MAX_DEPTH`.
        """
        kind = type(value)
        if kind in self.native:
            return value
        scalar = self.scalars.get(kind)
        if scalar is not None:
            return scalar(value)
        container = self.containers.get(kind)
        if container is not None:
            return container(self, value, _deeper(kind, depth))
        return self._pack_foreign(value, depth)

    def pack_rows(self, rows: Sequence[Sequence[object]]) -> Sequence[object]:
        """Return rows whose outer two levels are plain sequences and whose values are packed."""
        if type(rows) not in _ROWS or not _ROWS.issuperset(map(type, rows)):
            rows = [_plain_row(row) for row in rows]
        if self.native.issuperset(map(type, chain.from_iterable(rows))):
            return rows
        return [self.pack_all(row, 0) for row in rows]

    def pack_all(self, values: Iterable[object], depth: int) -> list[object]:
        """Pack each of `values`; they lie inside `depth` containers."""
        native, pack = self.native, self.pack
        return [value if type(value) in native else pack(value, depth) for value in values]

    def pack_inside(self, values: Iterable[object], depth: int) -> bytes:
        """The bytes of an array of `values`, to be the body of an extension."""
        return wire.encode_native(self.pack_all(values, depth))

    def _pack_foreign(self, value: object, depth: int) -> Ext:
        kind = type(value)
        entry = _drivers.find(kind)
        if entry is not None:
            parts = (entry.number, *entry.parts(value))
            return Ext(wire.DRIVER, self.pack_inside(parts, _deeper(kind, depth)))
        if isinstance(value, enum.Enum):
            return _scalars.pack_enum(value)
        raise UncacheableValue(wire.type_name(kind))


_ROWS: Final = frozenset[type[Any]]((tuple, list))


def _deeper(kind: type[Any], depth: int) -> int:
    if depth >= wire.MAX_DEPTH:
        raise UncacheableValue(wire.type_name(kind), f"more than {wire.MAX_DEPTH} levels deep")
    return depth + 1


def _plain_row(row: Sequence[object]) -> Sequence[object]:
    """A driver's own row type as a tuple; things that iterate, but not over column values, are refused."""
    if isinstance(row, str | bytes | bytearray | memoryview | Mapping | set | frozenset):
        raise UncacheableValue(wire.type_name(type(row)), "as a row")
    return tuple(row)


def _pack_list(packer: Packer, value: list[object], depth: int) -> object:
    return value if packer.native.issuperset(map(type, value)) else packer.pack_all(value, depth)


def _pack_tuple(packer: Packer, value: tuple[object, ...], depth: int) -> Ext:
    return Ext(wire.TUPLE, packer.pack_inside(value, depth))


def _pack_dict(packer: Packer, value: dict[object, object], depth: int) -> object:
    if packer.native.issuperset(map(type, value)):
        return dict(zip(value, packer.pack_all(value.values(), depth), strict=True))
    return Ext(wire.DICT, packer.pack_inside(chain.from_iterable(value.items()), depth))


def _pack_set(packer: Packer, value: set[object], depth: int) -> Ext:
    return Ext(wire.SET, packer.pack_inside(value, depth))


def _pack_frozenset(packer: Packer, value: frozenset[object], depth: int) -> Ext:
    return Ext(wire.FROZENSET, packer.pack_inside(value, depth))


def _each(packer: Packer, values: Iterable[object], depth: int) -> list[bytes]:
    return [wire.encode_native(packer.pack(value, depth)) for value in values]


def _sorted_dict(packer: Packer, value: dict[object, object], depth: int) -> Ext:
    keys = _each(packer, value, depth)
    pairs = sorted(zip(keys, _each(packer, value.values(), depth), strict=True))
    return Ext(wire.DICT, wire.encode_native(pairs))


def _sorted_set(packer: Packer, value: set[object], depth: int) -> Ext:
    return Ext(wire.SET, wire.encode_native(sorted(_each(packer, value, depth))))


def _sorted_frozenset(packer: Packer, value: frozenset[object], depth: int) -> Ext:
    return Ext(wire.FROZENSET, wire.encode_native(sorted(_each(packer, value, depth))))


def _one_nan(value: float) -> object:
    return Ext(wire.NAN, b"") if isnan(value) else value


def _uuid_number(value: UUID) -> Ext:
    # is_safe says how a UUID was generated, and is no part of its value: == and databases ignore it.
    return Ext(wire.UUID, value.bytes)


_NATIVE: Final = frozenset[type[Any]]((NoneType, bool, int, float, str, bytes))
_NOT_ALWAYS_NATIVE: Final = frozenset[type[Any]]((int, str))
_SCALARS: Final[_Scalars] = {**_scalars.PACK, **_temporal.PACK}
_CAREFUL: Final[_Scalars] = {int: _scalars.pack_int, str: _scalars.pack_str}
_KEY_SCALARS: Final[_Scalars] = {**_SCALARS, float: _one_nan, UUID: _uuid_number}
_CONTAINERS: Final[_Containers] = {
    list: _pack_list,
    tuple: _pack_tuple,
    dict: _pack_dict,
    set: _pack_set,
    frozenset: _pack_frozenset,
}
_KEY_CONTAINERS: Final[_Containers] = {
    **_CONTAINERS,
    dict: _sorted_dict,
    set: _sorted_set,
    frozenset: _sorted_frozenset,
}

# Ints beyond 64 bits and lone surrogates are rare, and msgspec refuses both loudly: so the first attempt
# takes every int and str as native, and only after a refusal does the careful one look at each of them.
# Both give the same bytes to a value that both accept, which canonical() needs.
VALUES: Final = Packer(_NATIVE, _SCALARS, _CONTAINERS)
VALUES_CAREFUL: Final = Packer(_NATIVE - _NOT_ALWAYS_NATIVE, {**_SCALARS, **_CAREFUL}, _CONTAINERS)
KEYS: Final = Packer(_NATIVE - {float}, _KEY_SCALARS, _KEY_CONTAINERS)
KEYS_CAREFUL: Final = Packer(_NATIVE - {float} - _NOT_ALWAYS_NATIVE, {**_KEY_SCALARS, **_CAREFUL}, _KEY_CONTAINERS)
