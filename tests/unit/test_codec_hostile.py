"""Bytes that the codec did not write, or not like this: they are corrupt, and do no harm."""

import contextlib
import sys
from datetime import datetime
from decimal import Context, localcontext
from types import ModuleType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.msgpack import Ext
from msgspec.msgpack import encode as pack

from rowstamp.codec import FORMAT_VERSION, MAX_DEPTH, decode, decode_rows, encode, seal, unseal
from rowstamp.errors import CorruptEntry
from tests.unit.codec_values import ROME, Color, values

pytestmark = pytest.mark.once

# --- hostile bytes ----------------------------------------------------------------------------------------------------


def harmless(data: bytes) -> None:
    for function in (decode, decode_rows):
        with contextlib.suppress(CorruptEntry):
            function(data)


@given(st.binary())
@example(b"\x91" * 100_000)
@example(b"\xdd\xff\xff\xff\xff" * 3)
@example(b"\xd6\xff\x00\x00\x00\x01")
@example(b"\x81\x80\x01")
@example(b"\x01\x01")
def test_random_bytes_decode_or_are_corrupt(data: bytes) -> None:
    """No bytes raise anything but CorruptEntry."""
    harmless(data)


@given(st.integers(-128, 127), st.binary(max_size=40) | values.map(encode))
def test_random_extensions_decode_or_are_corrupt(code: int, body: bytes) -> None:
    """No body of any extension code, known or not, raises anything but CorruptEntry."""
    for data in (Ext(code, body), [(Ext(code, body),)]):
        harmless(pack(data))


@given(values.map(encode), st.data())
def test_damaged_values_decode_or_are_corrupt(good: bytes, data: st.DataObject) -> None:
    """Flipped, cut and doubled bytes raise nothing but CorruptEntry."""
    at = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255))
    harmless(good[:at] + bytes([byte]) + good[at + 1 :])
    harmless(good[:at])
    harmless(good[:at] + good)


def test_extensions_nested_beyond_the_limit_are_corrupt() -> None:
    """Depth is bounded when decoding too, whoever wrote the bytes."""
    data = pack([1])
    for _ in range(MAX_DEPTH + 1):
        data = pack([Ext(1, data)])
    with pytest.raises(CorruptEntry, match="levels deep"):
        decode(data)


def swapped(value: object, old: bytes, new: bytes) -> bytes:
    assert len(old) == len(new)
    return encode(value).replace(old, new)


@pytest.mark.parametrize("new", [b"BLUX", b"name", b"\xff\xff\xff\xff"])
def test_an_enum_member_that_is_not_known_is_corrupt(new: bytes) -> None:
    """A renamed member, and a name that is an attribute but no member, are misses."""
    with pytest.raises(CorruptEntry):
        decode(swapped(Color.BLUE, b"BLUE", new))


def test_an_enum_module_that_is_not_loaded_is_not_imported() -> None:
    """Stored bytes cannot import a module."""
    assert "antigravity" not in sys.modules
    body = pack(("antigravity", "Color", "RED"))
    with pytest.raises(CorruptEntry, match="antigravity"):
        decode(pack(Ext(20, body)))
    assert "antigravity" not in sys.modules


def test_a_module_getattr_is_not_called_for_an_enum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are followed through `__dict__`s: a module's lazy attributes are code."""
    module = ModuleType("lazy")

    def lazily(name: str) -> object:
        return {"Missing": Color}[name]

    vars(module)["__getattr__"] = lazily
    monkeypatch.setitem(sys.modules, "lazy", module)
    body = pack(("lazy", "Missing", "RED"))
    with pytest.raises(CorruptEntry, match="Missing"):
        decode(pack(Ext(20, body)))


def test_a_malformed_decimal_is_corrupt_whatever_the_context() -> None:
    """Under a context that does not trap, Decimal() would make NaN of it."""
    with localcontext(Context(traps=[])), pytest.raises(CorruptEntry):
        decode(pack(Ext(14, b"rubbish")))


def test_an_unknown_zone_is_corrupt() -> None:
    """A zone key that this machine does not have is a miss."""
    with pytest.raises(CorruptEntry, match="Europe/Rxme"):
        decode(swapped(datetime(2024, 1, 1, tzinfo=ROME), b"Rome", b"Rxme"))


# --- the envelope ---


@given(st.binary())
def test_a_sealed_body_is_returned(body: bytes) -> None:
    """`unseal` undoes `seal`."""
    assert unseal(seal(body)) == body


@given(st.binary(), st.data())
def test_any_changed_or_missing_byte_breaks_the_seal(body: bytes, data: st.DataObject) -> None:
    """One changed byte anywhere, a cut anywhere and anything appended are found."""
    sealed = seal(body)
    at = data.draw(st.integers(0, len(sealed) - 1))
    flipped = sealed[at] ^ data.draw(st.integers(1, 255))
    for bad in (sealed[:at] + bytes([flipped]) + sealed[at + 1 :], sealed[:at], sealed + b"\0"):
        with pytest.raises(CorruptEntry):
            unseal(bad)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "too few"),
        (b"\x80\x04K\x01.", "not an entry"),
        (b"RS" + bytes([FORMAT_VERSION + 1]) + seal(b"x")[3:], "format version"),
        (seal(b"x")[:-1], "checksum"),
    ],
)
def test_a_broken_seal_says_what_is_wrong(data: bytes, reason: str) -> None:
    """Foreign, old and damaged entries are told apart in the reason."""
    with pytest.raises(CorruptEntry, match=reason):
        unseal(data)
