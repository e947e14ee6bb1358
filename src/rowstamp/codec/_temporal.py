"""Dates, times and their time zones."""

import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from msgspec.msgpack import Ext

from rowstamp.codec import _wire as wire
from rowstamp.errors import UncacheableValue

__all__ = ["PACK", "UNPACK"]

# The fields; after them the fold bit and the zone, and nothing where there is neither, which is the usual case.
_DATETIME: Final = struct.Struct(">HBBBBBI")
_TIME: Final = struct.Struct(">BBBI")
_DATE: Final = struct.Struct(">I")
_TIMEDELTA: Final = struct.Struct(">iII")
_MICROSECOND: Final = timedelta(microseconds=1)
_UTC_MARK: Final = b"\xc3"  # MessagePack's true: unlike any other zone
_ZONE: Final = msgspec.msgpack.Decoder(int | str | tuple[int, str])


def _pack_datetime(value: datetime) -> object:
    zone = value.tzinfo
    # msgspec writes this one kind itself, exactly, in C; it is also what asyncpg returns for timestamptz.
    if zone is UTC and not value.fold:
        return value
    day = value.year, value.month, value.day
    fields = _DATETIME.pack(*day, value.hour, value.minute, value.second, value.microsecond)
    return Ext(wire.DATETIME, fields + _pack_tail(zone, value.fold))


def _unpack_datetime(data: bytes) -> datetime:
    moment = datetime(*_DATETIME.unpack_from(data))  # noqa: DTZ001 - the zone follows
    if len(data) == _DATETIME.size:
        return moment
    zone, fold = _unpack_tail(data[_DATETIME.size :])
    return moment.replace(tzinfo=zone, fold=fold)


def _pack_time(value: time) -> Ext:
    fields = _TIME.pack(value.hour, value.minute, value.second, value.microsecond)
    return Ext(wire.TIME, fields + _pack_tail(value.tzinfo, value.fold))


def _unpack_time(data: bytes) -> time:
    clock = time(*_TIME.unpack_from(data))
    if len(data) == _TIME.size:
        return clock
    zone, fold = _unpack_tail(data[_TIME.size :])
    return clock.replace(tzinfo=zone, fold=fold)


def _pack_date(value: date) -> Ext:
    return Ext(wire.DATE, _DATE.pack(value.toordinal()))


def _unpack_date(data: bytes) -> date:
    (ordinal,) = _DATE.unpack(data)
    return date.fromordinal(ordinal)


def _pack_timedelta(value: timedelta) -> Ext:
    return Ext(wire.TIMEDELTA, _TIMEDELTA.pack(value.days, value.seconds, value.microseconds))


def _unpack_timedelta(data: bytes) -> timedelta:
    return timedelta(*_TIMEDELTA.unpack(data))


def _pack_tail(zone: tzinfo | None, fold: int) -> bytes:
    if zone is None:
        return b"\x01" if fold else b""
    return bytes((fold,)) + _pack_zone(zone)


def _unpack_tail(data: bytes) -> tuple[tzinfo | None, int]:
    return _unpack_zone(data[1:]) if len(data) > 1 else None, data[0]


def _pack_zone(zone: tzinfo) -> bytes:
    """A zone as one MessagePack value: True is UTC, a number an offset, text a key, a pair a named offset."""
    if zone is UTC:
        return _UTC_MARK
    if type(zone) is timezone:
        # What it was made from: tzname() cannot tell a name that was given from one made up.
        reduced: tuple[Any, ...] = tuple(zone.__reduce__())
        offset, *name = reduced[1]
        micros = offset // _MICROSECOND
        return wire.encode_native((micros, *name) if name else micros)
    if type(zone) is ZoneInfo:
        return wire.encode_native(_zone_key(zone))
    raise UncacheableValue(wire.type_name(type(zone)), "as a time zone")


def _zone_key(zone: ZoneInfo) -> str:
    """The key by which the very same object can be had again.

    Datetimes of one zone *object* are compared by the clock on the wall, those of two by the instant. So a zone
    made by `no_cache` or from a file, or from before `clear_cache`, is not the one that its key brings back.
    """
    try:
        same = ZoneInfo(zone.key) is zone
    except (LookupError, OSError, TypeError, ValueError):  # no key, or one that is unknown here
        same = False
    if not same:
        raise UncacheableValue("zoneinfo.ZoneInfo", "not the one that its key stands for")
    return zone.key


def _unpack_zone(data: bytes) -> tzinfo:
    if data == _UTC_MARK:
        return UTC
    stored = _ZONE.decode(data)
    if isinstance(stored, str):
        return ZoneInfo(stored)
    if isinstance(stored, int):
        return timezone(timedelta(microseconds=stored))
    micros, name = stored
    return timezone(timedelta(microseconds=micros), name)


PACK: Final[dict[type[Any], Callable[[Any], object]]] = {
    datetime: _pack_datetime,
    date: _pack_date,
    time: _pack_time,
    timedelta: _pack_timedelta,
}

UNPACK: Final[dict[int, Callable[[bytes], object]]] = {
    wire.DATETIME: _unpack_datetime,
    wire.DATE: _unpack_date,
    wire.TIME: _unpack_time,
    wire.TIMEDELTA: _unpack_timedelta,
}
