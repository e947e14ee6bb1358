"""Types that database drivers define come back as themselves, and only those on the whitelist."""

import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from msgspec.msgpack import Ext
from msgspec.msgpack import encode as pack

from rowstamp.codec import MAX_DEPTH, canonical, decode, decode_rows, encode, encode_rows
from rowstamp.codec._drivers import _WHITELIST, DriverType, _resolve
from rowstamp.errors import CorruptEntry, UncacheableValue
from tests.unit.codec_values import kind_of

pytestmark = pytest.mark.once

DRIVER = 5


def asyncpg_values() -> list[Any]:
    types = pytest.importorskip("asyncpg.types")
    pgproto = pytest.importorskip("asyncpg.pgproto.pgproto")
    one, two = types.Point(1, 2.5), types.Point(-0.0, float("inf"))
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    return [
        pgproto.UUID(bytes(range(16))),
        types.Range(1, 5),
        types.Range(Decimal("1.50"), None, lower_inc=False),
        types.Range(None, moment, upper_inc=True),
        types.Range(1, 2, lower_inc=True, upper_inc=True),
        types.Range(),
        types.Range(empty=True),
        types.BitString("1010 1"),
        types.BitString(),
        types.BitString.frombytes(b"\xff\x00", 16),
        one,
        types.Box(one, two),
        types.Circle(one, 3.5),
        types.Line(1.0, 2.0, 3.0),
        types.LineSegment(one, two),
        types.Path(one, two, is_closed=True),
        types.Path(one, two, is_closed=False),
        types.Path(),
        types.Polygon(one, two, one),
    ]


def psycopg_values() -> list[Any]:
    ranges = pytest.importorskip("psycopg.types.range")
    multi = pytest.importorskip("psycopg.types.multirange")
    return [
        ranges.Range(1, 5),
        ranges.Range(Decimal("1.50"), None, "(]"),
        ranges.Range(None, datetime(2024, 1, 1, tzinfo=UTC), "(]"),
        ranges.Range(empty=True),
        ranges.Range(),
        multi.Multirange(),
        multi.Multirange([ranges.Range(1, 2), ranges.Range(5, None)]),
    ]


def parts(value: Any) -> object:
    """A driver's value taken apart by the attributes its users see, with the type of each."""
    kind = kind_of(value)
    if issubclass(kind, tuple):
        return kind.__name__, [parts(item) for item in value]
    names = ("lower", "upper", "lower_inc", "upper_inc", "isempty", "bounds", "bytes", "points", "is_closed", "is_safe")
    found: list[Any] = [getattr(value, name) for name in names if hasattr(value, name)]
    return kind.__name__, [(kind_of(part).__name__, repr(part)) for part in found]


@pytest.mark.parametrize("make", [asyncpg_values, psycopg_values])
def test_driver_values_come_back_as_their_own_type(make: Callable[[], list[Any]]) -> None:
    """Every value type of a driver keeps its class, its parts and their types."""
    for value in make():
        for back in (
            decode(encode(value)),
            decode_rows(encode_rows([(value,)]))[0][0],
            decode(encode([{"a": value}]))[0]["a"],
        ):
            assert type(back) is type(value)
            assert parts(back) == parts(value)
            assert back == value


@pytest.mark.parametrize("make", [asyncpg_values, psycopg_values])
def test_driver_values_have_distinct_canonical_bytes(make: Callable[[], list[Any]]) -> None:
    """No two of them share a key, and a copy has the same one."""
    made = make()
    assert len({canonical(value) for value in made}) == len(made)
    assert [canonical(value) for value in make()] == [canonical(value) for value in made]


def test_the_uuid_of_asyncpg_is_not_that_of_the_standard_library() -> None:
    """They are equal for `==`, and still come back and are keyed apart."""
    fast = asyncpg_values()[0]
    plain = uuid.UUID(bytes=fast.bytes)
    assert fast == plain
    assert canonical(fast) != canonical(plain)
    assert type(decode(encode(plain))) is uuid.UUID


def test_the_ranges_of_two_drivers_are_apart() -> None:
    """The same interval from asyncpg and from psycopg is two values."""
    assert canonical(asyncpg_values()[1]) != canonical(psycopg_values()[0])


def test_a_subclass_of_a_driver_type_is_refused() -> None:
    """psycopg's Int4Range is not what a cursor returns, and would lose its class."""
    ranges = pytest.importorskip("psycopg.types.range")
    multi = pytest.importorskip("psycopg.types.multirange")
    for value in (ranges.Int4Range(1, 2), multi.Multirange([ranges.Int4Range(1, 2)]), multi.Int4Multirange()):
        with pytest.raises(UncacheableValue, match=r"psycopg\.types"):
            encode(value)


def test_a_part_that_cannot_be_kept_makes_the_whole_uncacheable() -> None:
    """The bounds of a range pass the same scan as any value."""
    types = pytest.importorskip("asyncpg.types")
    with pytest.raises(UncacheableValue, match="complex"):
        encode(types.Range(1j, None))


def test_a_driver_value_counts_as_a_level() -> None:
    """A range at the depth limit is refused when encoded, rather than lost when decoded."""
    types = pytest.importorskip("asyncpg.types")
    value: object = types.Range(1, 2)
    for _ in range(MAX_DEPTH - 1):
        value = (value,)
    assert decode(encode(value)) == value
    with pytest.raises(UncacheableValue, match="levels deep"):
        encode((value,))


@pytest.mark.parametrize(
    "body", [[99, 1], [], [[1], 1], {"a": 1}, 7, [2, 1], [3, b"", 5], [1, b"short"], [4, "x", "y"]]
)
def test_a_driver_value_that_cannot_be_rebuilt_is_corrupt(body: object) -> None:
    """An unknown number, missing parts and impossible parts are misses."""
    with pytest.raises(CorruptEntry):
        decode(pack(Ext(DRIVER, pack(body))))


@pytest.mark.parametrize("entry", _WHITELIST, ids=lambda entry: f"{entry.module}.{entry.name}")
def test_a_driver_that_is_not_installed_makes_the_entry_corrupt(
    entry: DriverType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the driver cannot be imported, its values are misses: not an ImportError, not another type."""
    _resolve.cache_clear()
    monkeypatch.setitem(sys.modules, entry.module, None)
    monkeypatch.setitem(sys.modules, entry.module.partition(".")[0], None)
    with pytest.raises(CorruptEntry, match=f"{entry.module}.{entry.name} is not installed here"):
        decode(pack(Ext(DRIVER, pack([entry.number]))))


def test_the_codec_imports_no_driver() -> None:
    """A service pays for the driver it uses, not for those the codec knows."""
    script = (
        "import sys, rowstamp.codec as c\n"
        "c.decode(c.encode([(1, {'a'})]))\n"
        "assert not {'asyncpg', 'psycopg'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_whitelist_names_each_type_once() -> None:
    """Numbers are the stored format: unique, and pinned here so that nobody renumbers them."""
    assert {entry.number: entry.name for entry in _WHITELIST} == {
        1: "UUID",
        2: "Range",
        3: "BitString",
        4: "Point",
        5: "Box",
        6: "Circle",
        7: "Line",
        8: "LineSegment",
        9: "Path",
        10: "Polygon",
        11: "Range",
        12: "Multirange",
        13: "Binary",
    }
