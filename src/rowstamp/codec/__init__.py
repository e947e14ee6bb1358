"""Values ↔ bytes, exactly: the same type and the same value come back, or the value is refused.

`encode`/`decode` take one value, `encode_rows`/`decode_rows` the rows of a cursor, `canonical` makes bytes to
compare and hash values by, `seal`/`unseal` guard what a store keeps. MessagePack by msgspec with extension
types; no pickle, and nothing in stored bytes can import a module or call a function of its choice.

All functions are pure and safe to call from any thread; a container must not be changed while it is encoded.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from msgspec import EncodeError

from rowstamp.codec._envelope import FORMAT_VERSION, Signer, seal, unseal
from rowstamp.codec._pack import KEYS, KEYS_CAREFUL, VALUES, VALUES_CAREFUL
from rowstamp.codec._unpack import ROOT
from rowstamp.codec._wire import MAX_DEPTH, encode_native, type_name
from rowstamp.errors import CorruptEntry, UncacheableValue

__all__ = [
    "FORMAT_VERSION",
    "MAX_DEPTH",
    "Signer",
    "canonical",
    "decode",
    "decode_rows",
    "encode",
    "encode_rows",
    "seal",
    "unseal",
]

_T = TypeVar("_T")


def encode(value: object) -> bytes:
    """Turn one value into bytes from which `decode` makes an equal value of the same type.

    Args:
        value: None, bool, int, float, text, binary, Decimal, dates and times, UUID, enum members, IP
            addresses, the value types of asyncpg and psycopg, and list, tuple, dict, set and frozenset of
            those. Subclasses are other types.

    Returns:
        MessagePack, without a header.

    Raises:
        UncacheableValue: some part of it would not come back exactly, or it nests beyond `MAX_DEPTH`.
    """
    return _encoded(value, VALUES.pack, VALUES_CAREFUL.pack)


def decode(data: bytes) -> Any:
    """Make the value that `encode` was given.

    Args:
        data: what `encode` returned.

    Returns:
        A new value that shares nothing with `data`.

    Raises:
        CorruptEntry: anything else than what `encode` returns, or a name in it that is unknown here.
    """
    return _decoded(data, ROOT.value.decode)


def encode_rows(rows: Sequence[Sequence[object]]) -> bytes:
    """Turn the rows of a cursor into bytes.

    Args:
        rows: tuples, lists, or a driver's own row type, of values that `encode` takes.

    Returns:
        MessagePack, without a header; not the same as `encode(rows)`.

    Raises:
        UncacheableValue: some value would not come back exactly, or a row is a mapping or text.
    """
    return _encoded(rows, VALUES.pack_rows, VALUES_CAREFUL.pack_rows)


def decode_rows(data: bytes) -> list[tuple[Any, ...]]:
    """Make the rows that `encode_rows` was given.

    Args:
        data: what `encode_rows` returned.

    Returns:
        One tuple per row, whatever type the rows had.

    Raises:
        CorruptEntry: anything else than what `encode_rows` returns, or a name in it that is unknown here.
    """
    return _decoded(data, ROOT.rows.decode)


def canonical(value: object) -> bytes:
    """Turn a value into bytes that are equal exactly for values of the same type and value.

    So `1`, `True`, `1.0`, `Decimal(1)`, `"1"` and `b"1"` all differ, as do `0.0` and `-0.0`, `Decimal("1")`
    and `Decimal("1.0")`, and one instant in two time zones; all float NaNs are one value; the order of
    dicts and sets does not count. The bytes are the same in every process and on every machine.

    Args:
        value: what `encode` takes.

    Returns:
        Bytes to compare or to hash; they cannot be decoded.

    Raises:
        UncacheableValue: as for `encode`.
    """
    return _encoded(value, KEYS.pack, KEYS_CAREFUL.pack)


def _encoded(value: _T, pack: Callable[[_T], object], pack_carefully: Callable[[_T], object]) -> bytes:
    try:
        try:
            return encode_native(pack(value))
        except (OverflowError, UnicodeEncodeError):
            return encode_native(pack_carefully(value))
    # Text that no encoding takes, a length beyond 32 bits, a released memoryview, a caller's stack that is full.
    except (OverflowError, ValueError, EncodeError, RecursionError) as exc:
        raise UncacheableValue(type_name(type(value)), str(exc)) from exc


def _decoded(data: bytes, decoder: Callable[[bytes], _T]) -> _T:
    try:
        return decoder(data)
    except CorruptEntry:
        raise
    # Whatever the bytes are, a reader sees a miss. The constructors that run on them (datetime, ZoneInfo,
    # Decimal, ipaddress, a driver's) have no closed list of exceptions, and a new one must not escape.
    except Exception as exc:
        raise CorruptEntry(f"{type(exc).__name__}: {exc}") from exc
