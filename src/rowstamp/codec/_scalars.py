"""Values without parts, each with its way out and its way back."""

import enum
import ipaddress
import sys
from collections.abc import Callable
from decimal import Context, Decimal, InvalidOperation
from types import ModuleType
from typing import Any, Final
from uuid import UUID, SafeUUID

import msgspec
from msgspec.msgpack import Ext

from rowstamp.codec import _wire as wire
from rowstamp.errors import CorruptEntry, UncacheableValue

__all__ = ["PACK", "UNPACK", "pack_enum", "pack_int", "pack_str"]

# A context of our own: under one that does not trap, Decimal("rubbish") is silently NaN.
_STRICT: Final = Context(traps=[InvalidOperation])
_ENUM_PARTS: Final = msgspec.msgpack.Decoder(tuple[str, str, str])
_UUID_SIZE: Final = 16
_SAFETY: Final = {SafeUUID.safe: b"\x01", SafeUUID.unsafe: b"\x02", SafeUUID.unknown: b""}
_SAFETY_BACK: Final = {tail: safety for safety, tail in _SAFETY.items()}


def pack_int(value: int) -> object:
    """An int as it is within MessagePack's 64 bits, else as its two's complement."""
    if -(1 << 63) <= value < 1 << 64:
        return value
    return Ext(wire.BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _unpack_int(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def pack_str(value: str) -> object:
    """Text as it is where UTF-8 can hold it, else with its lone surrogates let through."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return Ext(wire.SURROGATES, value.encode("utf-8", "surrogatepass"))
    return value


def _unpack_str(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _pack_bytearray(value: bytearray) -> Ext:
    return Ext(wire.BYTEARRAY, bytes(value))


def _pack_memoryview(value: memoryview) -> Ext:
    # Other formats and shapes compare by their elements; a view over plain bytes would not be equal to them.
    if value.format != "B" or value.ndim != 1:
        raise UncacheableValue("memoryview", f"format {value.format!r}, {value.ndim} dimensions")
    return Ext(wire.MEMORYVIEW, value if value.contiguous else value.tobytes())


def _pack_decimal(value: Decimal) -> Ext:
    # str() of a Decimal is lossless but for one thing: the *current context* chooses between e and E.
    return Ext(wire.DECIMAL, str(value).lower().encode())


def _unpack_decimal(data: bytes) -> Decimal:
    return Decimal(data.decode(), _STRICT)


def _pack_uuid(value: UUID) -> Ext:
    return Ext(wire.UUID, value.bytes + _SAFETY[value.is_safe])


def _unpack_uuid(data: bytes) -> UUID:
    return UUID(bytes=data[:_UUID_SIZE], is_safe=_SAFETY_BACK[data[_UUID_SIZE:]])


def _pack_text_of(code: int) -> Callable[[object], Ext]:
    return lambda value: Ext(code, str(value).encode())


def _unpack_text_of(kind: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: kind(data.decode())


def pack_enum(value: enum.Enum) -> Ext:
    """An enum member by module, qualified name and member name.

    Raises:
        UncacheableValue: the member could not be found again by those names.
    """
    kind = type(value)
    parts = (kind.__module__, kind.__qualname__, value.name)
    if _find_member(*parts) is not value:
        raise UncacheableValue(wire.type_name(kind), f"{value!r} cannot be found by its name")
    return Ext(wire.ENUM, wire.encode_native(parts))


def _unpack_enum(data: bytes) -> enum.Enum:
    parts = _ENUM_PARTS.decode(data)
    member = _find_member(*parts)
    if member is None:
        raise CorruptEntry(f"enum member {'.'.join(parts)} is not known here")
    return member


def _find_member(module: str, qualname: str, name: str) -> enum.Enum | None:
    """Follow names through `__dict__`s only.

    Names come from stored bytes. `import` or `getattr` would let them run code: a module that is not loaded
    yet, a module's `__getattr__`, a descriptor. A member of a composite flag is not found, and so refused.
    """
    found: object = sys.modules.get(module)
    if not isinstance(found, ModuleType):
        return None
    for part in qualname.split("."):
        found = vars(found).get(part) if isinstance(found, ModuleType | type) else None
    if not isinstance(found, enum.EnumMeta):
        return None
    member: object = found.__members__.get(name)
    return member if isinstance(member, enum.Enum) else None


_TEXTUAL: Final[dict[type[Any], int]] = {
    ipaddress.IPv4Address: wire.IPV4_ADDRESS,
    ipaddress.IPv6Address: wire.IPV6_ADDRESS,
    ipaddress.IPv4Interface: wire.IPV4_INTERFACE,
    ipaddress.IPv6Interface: wire.IPV6_INTERFACE,
    ipaddress.IPv4Network: wire.IPV4_NETWORK,
    ipaddress.IPv6Network: wire.IPV6_NETWORK,
}

PACK: Final[dict[type[Any], Callable[[Any], object]]] = {
    bytearray: _pack_bytearray,
    memoryview: _pack_memoryview,
    Decimal: _pack_decimal,
    UUID: _pack_uuid,
    **{kind: _pack_text_of(code) for kind, code in _TEXTUAL.items()},
}

UNPACK: Final[dict[int, Callable[[bytes], object]]] = {
    wire.BIG_INT: _unpack_int,
    wire.SURROGATES: _unpack_str,
    wire.BYTEARRAY: bytearray,
    wire.MEMORYVIEW: memoryview,
    wire.DECIMAL: _unpack_decimal,
    wire.UUID: _unpack_uuid,
    wire.ENUM: _unpack_enum,
    **{code: _unpack_text_of(kind) for kind, code in _TEXTUAL.items()},
}
