"""Values for the tests of the codec: types, strategies, and what it means to be exactly the same."""

import enum
import ipaddress
import math
import struct
import uuid
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

ROME = ZoneInfo("Europe/Rome")
NAMED_UTC = timezone(timedelta(0), "UTC")


class Color(enum.Enum):
    RED = 1
    CRIMSON = RED
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


class Kind(enum.StrEnum):
    A = "a"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Outer:
    class Inner(enum.Enum):
        ONE = 1


class MyStr(str):
    __slots__ = ()


class MyInt(int):
    pass


class MyBytes(bytes):
    pass


class MyDatetime(datetime):
    """A subclass as pandas.Timestamp is one."""


class MyList(list[object]):
    pass


class MyZone(tzinfo):
    def utcoffset(self, dt: datetime | None, /) -> timedelta:
        return timedelta(hours=1)

    def dst(self, dt: datetime | None, /) -> None:
        return None

    def tzname(self, dt: datetime | None, /) -> str:
        return "mine"


class Pair(NamedTuple):
    a: int
    b: object


def shape(value: Any, *, ordered: bool = True) -> object:
    """Everything that makes a value what it is, in hashable terms that `==` compares exactly."""
    kind = kind_of(value)
    if kind is float:
        return kind, "nan" if math.isnan(value) else struct.pack(">d", value)
    if kind is Decimal:
        return kind, value.as_tuple()
    if kind in {datetime, time}:
        return kind, str(value.replace(tzinfo=None)), value.fold, zone_shape(value.tzinfo)
    if kind in {list, tuple}:
        return kind, tuple(shape(item, ordered=ordered) for item in value)
    if kind in {set, frozenset}:
        return kind, bag(shape(item) for item in value)
    if kind is dict:
        pairs = [(shape(key), shape(item, ordered=ordered)) for key, item in value.items()]
        return kind, tuple(pairs) if ordered else bag(pairs)
    return kind, bytes(value) if kind in {bytearray, memoryview} else value


def kind_of(value: object) -> type[object]:
    return type(value)


def zone_shape(zone: tzinfo | None) -> object:
    return zone if zone is None or zone is UTC or isinstance(zone, ZoneInfo) else repr(zone)


def bag(items: Iterable[object]) -> object:
    return frozenset(Counter(items).items())


def moment(value: datetime, fold: int) -> datetime:
    return value.replace(fold=fold)


def clock(value: time, zone: tzinfo | None, fold: int) -> time:
    return value.replace(tzinfo=zone, fold=fold)


def view(data: bytes) -> memoryview:
    return memoryview(data)


micros = st.integers(-86_399_999_999, 86_399_999_999).map(lambda us: timedelta(microseconds=us))
zones = st.one_of(
    st.sampled_from([None, UTC, NAMED_UTC, ROME, ZoneInfo("UTC"), ZoneInfo("America/New_York")]),
    st.builds(timezone, micros),
    st.builds(timezone, micros, st.text()),
)
hashable_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**80), 2**80),
    st.floats(),
    st.text(st.characters(codec="utf-8")),
    st.text(st.characters()),
    st.binary(),
    st.decimals().filter(lambda number: not number.is_snan()),
    st.builds(moment, st.datetimes(timezones=zones), st.integers(0, 1)),
    st.dates(),
    st.builds(clock, st.times(), zones, st.integers(0, 1)),
    st.timedeltas(),
    st.uuids(),
    st.ip_addresses(),
    st.sampled_from([*Color, *Level, *Kind, *Access, Outer.Inner.ONE]),
)
scalars: st.SearchStrategy[object] = (
    hashable_scalars | st.binary().map(bytearray) | st.binary().map(view) | st.just(Decimal("sNaN"))
)
keys = hashable_scalars | st.tuples(hashable_scalars, hashable_scalars) | st.frozensets(hashable_scalars, max_size=3)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.sets(keys, max_size=4),
    ),
    max_leaves=12,
)
plain_rows = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.text(st.characters(codec="utf-8")), st.none()))

NAIVE = datetime(2024, 1, 1)  # noqa: DTZ001 - as TIMESTAMP columns return it

LOOKALIKES: list[object] = [
    *(1, True, 1.0, Decimal(1), "1", b"1", bytearray(b"1"), memoryview(b"1"), Level.LOW, timedelta(1)),
    *(0, False, 0.0, -0.0, Decimal(0), Decimal("-0"), Decimal("0.0"), None, "", b"", [], (), {}, set[int]()),
    *(frozenset[int](), [1], (1,), {1}, frozenset({1}), {1: 1}, {True: 1}, {1: True}, [[1], 1], [[1, 1]], [1, [1]]),
    *("a", Kind.A, Color.RED, Color.BLUE, "blue", Access.READ, Outer.Inner.ONE, math.nan, Decimal("NaN"), "nan"),
    *(NAIVE, NAIVE.replace(tzinfo=UTC), NAIVE.replace(tzinfo=NAMED_UTC), NAIVE.replace(tzinfo=ZoneInfo("UTC"))),
    *(NAIVE.replace(fold=1), NAIVE.replace(tzinfo=UTC, fold=1), NAIVE.date(), NAIVE.isoformat()),
    *(time(0), time(0, tzinfo=UTC), time(0, fold=1)),
    *(uuid.UUID(int=1), uuid.UUID(int=1).bytes, uuid.UUID(int=1).hex),
    *(ipaddress.ip_address("1.2.3.4"), "1.2.3.4", ipaddress.ip_interface("1.2.3.4"), ipaddress.ip_network("1.2.3.4")),
    *(2**64, float(2**64), -(2**64), 2**64 - 1),
    *("\ud83d\ude00", "\N{GRINNING FACE}", {"a": 1, "b": 2}, ["a", 1, "b", 2]),
]
near_misses = st.recursive(
    st.sampled_from(LOOKALIKES),
    lambda inner: st.lists(inner, max_size=2) | st.tuples(inner) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=3,
)
