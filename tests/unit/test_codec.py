"""The codec: what goes in comes out, type and value; or it is refused; and no bytes can do harm."""

import enum
import io
import ipaddress
import math
import mmap
import struct
import threading
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal, localcontext
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rowstamp.codec import MAX_DEPTH, canonical, decode, decode_rows, encode, encode_rows
from rowstamp.errors import UncacheableValue
from tests.unit.codec_values import (
    LOOKALIKES,
    NAMED_UTC,
    ROME,
    Access,
    MyBytes,
    MyDatetime,
    MyInt,
    MyList,
    MyStr,
    MyZone,
    Pair,
    keys,
    near_misses,
    plain_rows,
    scalars,
    shape,
    values,
)

pytestmark = pytest.mark.once

# --- round trips ------------------------------------------------------------------------------------------------------


@given(values)
@example(-0.0)
@example([math.inf, -math.inf, math.nan])
@example([2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 1 << 20_000, True, 1, 1.0])
@example(["\ud800", "\ud83d\ude00", "\N{GRINNING FACE}", {"\udfff": 1}])
@example({1: 1, None: 2, b"x": 3, 1.5: 4, (1, (2,)): 5, frozenset({1}): 6, "z": 7, "a": 8})
@example([(), [], {}, set[int](), frozenset[int](), [[1], (2,)], {"a": (1, [2])}])
def test_any_supported_value_comes_back_with_its_type(value: object) -> None:
    """Whatever is accepted is returned with the same type and value, at every level."""
    assert shape(decode(encode(value))) == shape(value)


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-0",
        "0E-10",
        "1.500",
        "1E+5",
        "-1E-999999",
        "1E+999999999",
        "NaN",
        "-NaN123",
        "sNaN45",
        "Infinity",
        "-Infinity",
    ],
)
def test_a_decimal_keeps_sign_digits_and_exponent(text: str) -> None:
    """No digit, sign, exponent or NaN payload of a Decimal is normalised."""
    assert shape(decode(encode(Decimal(text)))) == shape(Decimal(text))


def test_a_decimal_of_many_digits_is_not_rounded_by_the_context() -> None:
    """The precision and letter case of the current decimal context do not touch what is stored."""
    value = Decimal("1." + "7" * 500 + "E+777")
    expected = canonical(value)
    with localcontext(prec=3, capitals=0):
        assert decode(encode(value)).as_tuple() == value.as_tuple()
        assert canonical(value) == expected


@pytest.mark.parametrize(
    "zone", [None, UTC, NAMED_UTC, ROME, timezone(timedelta(hours=-3)), timezone(timedelta(0), "")]
)
@pytest.mark.parametrize("fold", [0, 1])
def test_moments_keep_zone_kind_and_fold(zone: tzinfo | None, fold: int) -> None:
    """A fixed offset stays one, a named zone keeps its key, and the second 02:30 stays the second."""
    moment = datetime(2024, 10, 27, 2, 30, 1, 5, zone, fold=fold)
    assert shape(decode(encode(moment))) == shape(moment)
    assert shape(decode(encode(moment.timetz()))) == shape(moment.timetz())


@pytest.mark.parametrize("moment", [datetime.min, datetime.max])  # noqa: DTZ901 - both ways are tried
def test_the_ends_of_the_calendar_come_back(moment: datetime) -> None:
    """The first and last moment survive, zoned and not."""
    for value in (moment, moment.replace(tzinfo=UTC), moment.date(), timedelta.min, timedelta.max):
        assert shape(decode(encode(value))) == shape(value)


@pytest.mark.parametrize(
    "value",
    [
        ipaddress.ip_interface("10.0.0.1/24"),
        ipaddress.ip_interface("fe80::1%eth0/64"),
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("2001:db8::/32"),
        ipaddress.ip_address("::ffff:1.2.3.4"),
        ipaddress.ip_address("fe80::1%eth0"),
    ],
)
def test_network_types_come_back(value: object) -> None:
    """Addresses, interfaces and networks keep kind, prefix and scope."""
    assert shape(decode(encode(value))) == shape(value)


def test_a_uuid_keeps_how_it_was_made() -> None:
    """`is_safe` survives, though `==` does not look at it."""
    for safety in uuid.SafeUUID:
        value = uuid.UUID(int=7, is_safe=safety)
        assert decode(encode(value)).is_safe is safety


def test_a_strided_memoryview_comes_back_as_its_bytes() -> None:
    """A view with gaps is stored as what it shows."""
    assert decode(encode(memoryview(b"abcdef")[::2])) == memoryview(b"ace")


def test_decoded_binary_does_not_hold_on_to_the_entry() -> None:
    """A memoryview that comes back looks at a copy of its own bytes."""
    entry = encode([memoryview(b"abc"), "x" * 1000])
    assert bytes(decode(entry)[0].obj) == b"abc"


def test_dict_order_is_kept() -> None:
    """Keys come back in the order they went in, whichever form the dict takes."""
    for value in ({"z": 1, "a": 2}, {(2,): 1, (1,): 2, "m": 3}):
        assert list(decode(encode(value))) == list(value)


# --- rows -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(scalars, max_size=4).map(tuple), max_size=5))
def test_rows_come_back_as_tuples_of_the_same_values(rows: list[tuple[object, ...]]) -> None:
    """Rows of any scalars come back with types and values."""
    assert shape(decode_rows(encode_rows(rows))) == shape(rows)


@given(plain_rows)
def test_plain_rows_are_written_by_msgspec_alone(rows: list[tuple[object, ...]]) -> None:
    """Rows of native values cost no extension: they are exactly what msgspec writes."""
    assert encode_rows(rows) == msgspec.msgpack.encode(rows)


@pytest.mark.parametrize("rows", [[[1, "a"]], deque([(1, "a")]), [Pair(1, "a")], ((1, "a"),), [deque([1, "a"])]])
def test_rows_of_other_sequence_types_become_tuples(rows: Any) -> None:
    """A driver's own row type is not part of the result."""
    assert shape(decode_rows(encode_rows(rows))) == shape([(1, "a")])


@pytest.mark.parametrize("row", [{"a": 1}, "ab", b"ab", {1}])
def test_rows_that_do_not_iterate_over_columns_are_refused(row: Any) -> None:
    """A dict row would silently become its keys."""
    with pytest.raises(UncacheableValue, match=type(row).__name__):
        encode_rows([(1,), row])


def test_a_row_value_that_is_a_row_is_kept_apart_from_it() -> None:
    """Lists and tuples inside a row stay what they are, though rows themselves become tuples."""
    rows = [([1, 2], (1, 2), {"a": [(1,)]})]
    assert shape(decode_rows(encode_rows(rows))) == shape(rows)


# --- refusals ---------------------------------------------------------------------------------------------------------


def local_enum_member() -> enum.Enum:
    class Local(enum.Enum):
        X = 1

    return Local.X


def impostor() -> object:
    return type("Range", (), {"__module__": "asyncpg.types"})()


def released_view() -> memoryview:
    view = memoryview(b"abc")
    view.release()
    return view


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: MyStr("a"), "MyStr"),
    (lambda: MyInt(1), "MyInt"),
    (lambda: MyBytes(b"a"), "MyBytes"),
    (lambda: MyDatetime(2024, 1, 1), "MyDatetime"),
    (lambda: MyList([1]), "MyList"),
    (lambda: OrderedDict({"a": 1}), "OrderedDict"),
    (lambda: Pair(1, 2), "Pair"),
    (lambda: {MyStr("a"): 1}, "MyStr"),
    (lambda: Access.READ | Access.WRITE, "Access"),
    (local_enum_member, "Local"),
    (impostor, "Range"),
    (lambda: datetime(2024, 1, 1, tzinfo=MyZone()), "MyZone"),
    (lambda: memoryview(bytearray(8)).cast("i"), "memoryview"),
    (released_view, "memoryview"),
    (lambda: ipaddress.ip_address("fe80::1%\ud800"), "IPv6Address"),
    (object, "object"),
    (io.BytesIO, "BytesIO"),
    (lambda: 1j, "complex"),
    (threading.Lock, "lock"),
]


@pytest.mark.parametrize(("make", "name"), REFUSED, ids=[name for _, name in REFUSED])
def test_what_would_not_come_back_exactly_is_refused_by_name(make: Callable[[], object], name: str) -> None:
    """Neither a subclass nor an unknown type is turned into something near it, however deep it lies."""
    for value in (make(), [1, {"a": (make(),)}]):
        for function in (encode, canonical):
            with pytest.raises(UncacheableValue):
                function(value)
    with pytest.raises(UncacheableValue) as caught:
        encode(make())
    assert name in caught.value.reason


@pytest.mark.parametrize("key", ["Europe/Rome", "Not/Known", None])
def test_a_zone_read_from_a_file_is_refused(key: str | None) -> None:
    """A key given to `from_file` does not say which rules were in the file."""
    rules = b"TZif2" + bytes(15) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + bytes(6) + b"XXX\0"
    zone = ZoneInfo.from_file(io.BytesIO(rules + rules + b"\nXXX0\n"), key=key)
    with pytest.raises(UncacheableValue, match="ZoneInfo"):
        encode(time(1, tzinfo=zone))


def test_a_zone_that_is_not_the_shared_one_is_refused() -> None:
    """Two objects of one zone compare differently from one: what comes back must be the same object."""
    with pytest.raises(UncacheableValue, match="ZoneInfo"):
        encode(time(1, tzinfo=ZoneInfo.no_cache("Europe/Rome")))
    assert decode(encode(time(1, tzinfo=ROME))).tzinfo is ROME


def test_a_value_too_long_for_the_format_is_refused() -> None:
    """Four GiB (here of untouched memory) do not fit MessagePack's lengths."""
    with mmap.mmap(-1, 2**32) as memory, memoryview(memory) as view, pytest.raises(UncacheableValue):
        encode(view)


def nested(levels: int, wrap: Callable[[object], object]) -> object:
    value: object = 1
    for _ in range(levels):
        value = wrap(value)
    return value


WRAPS: dict[str, Callable[[object], object]] = {
    "list": lambda inner: [inner],
    "tuple": lambda inner: (inner,),
    "dict": lambda inner: {"a": inner},
    "keys": lambda inner: {(1,): inner},
    "frozenset": lambda inner: frozenset([inner]),
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_nesting_is_kept_up_to_the_limit_and_refused_beyond(wrap: Callable[[object], object]) -> None:
    """The limit holds at encoding, so that whatever was encoded can be decoded."""
    assert shape(decode(encode(nested(MAX_DEPTH - 1, wrap)))) == shape(nested(MAX_DEPTH - 1, wrap))
    for function in (encode, canonical):
        with pytest.raises(UncacheableValue, match="levels deep"):
            function(nested(MAX_DEPTH + 2, wrap))


def test_a_list_that_contains_itself_is_refused() -> None:
    """A cycle ends at the depth limit."""
    cycle: list[object] = [(1,)]
    cycle.append(cycle)
    with pytest.raises(UncacheableValue):
        encode(cycle)


def test_a_full_stack_is_an_uncacheable_value() -> None:
    """Called with hardly any stack left, encoding refuses rather than raise RecursionError."""
    value = nested(MAX_DEPTH, lambda inner: (inner,))

    def descend() -> None:
        try:
            descend()
        except RecursionError:
            encode(value)

    with pytest.raises(UncacheableValue):
        descend()


# --- canonical --------------------------------------------------------------------------------------------------------


def test_lookalikes_have_different_canonical_bytes() -> None:
    """Values that Python or a careless encoding calls equal are kept apart."""
    assert len({canonical(value) for value in LOOKALIKES}) == len(LOOKALIKES)


@given(near_misses | values, near_misses | values)
def test_canonical_bytes_are_equal_exactly_for_the_same_value(one: object, other: object) -> None:
    """Injective: different values never share a key."""
    assert (canonical(one) == canonical(other)) == (shape(one, ordered=False) == shape(other, ordered=False))


@given(values)
def test_a_copy_has_the_same_canonical_bytes(value: object) -> None:
    """Deterministic: bytes depend on type and value only, not on the object."""
    assert canonical(decode(encode(value))) == canonical(value)


@given(st.dictionaries(keys, scalars, max_size=5), st.sets(keys, max_size=5), st.randoms())
def test_the_order_of_dicts_and_sets_does_not_count(mapping: dict[Any, Any], items: set[Any], random: Any) -> None:
    """Dicts and sets have the same canonical bytes in whatever order they were filled."""
    pairs, members = list(mapping.items()), list(items)
    random.shuffle(pairs)
    random.shuffle(members)
    assert canonical([mapping, items, frozenset(items)]) == canonical([dict(pairs), set(members), frozenset(members)])


def test_all_nans_of_a_type_are_one() -> None:
    """The sign and payload bits of a NaN are not part of its value."""
    (odd,) = struct.unpack(">d", bytes.fromhex("fff8000000000001"))
    assert canonical([odd]) == canonical([math.nan])


def test_how_a_uuid_was_made_is_not_part_of_its_key() -> None:
    """A key generated here and the same key read back must meet."""
    assert canonical(uuid.UUID(int=7, is_safe=uuid.SafeUUID.safe)) == canonical(uuid.UUID(int=7))


def test_a_neighbour_beyond_64_bits_does_not_change_the_others_bytes() -> None:
    """The careful path, taken for one value, gives the rest the bytes of the fast one."""
    assert canonical([1, "a", {"k": 2}])[1:] in canonical([1, "a", {"k": 2}, 1 << 70])


def test_canonical_bytes_are_pinned() -> None:
    """A change of these bytes changes every key: raise FORMAT_VERSION with it."""
    value = (1, "a", None, 1.5, Decimal("1.50"), {"b": {2}, "a": b"x"}, uuid.UUID(int=1))
    assert canonical(value).hex() == PINNED


PINNED = (
    "c741019701a161c0cb3ff8000000000000d60e312e3530c718049292c402a161c403c4017892c402a162c406d60291c40102"
    "d81300000000000000000000000000000001"
)
