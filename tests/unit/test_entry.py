"""Entries as they lie in the store."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowstamp.codec import seal
from rowstamp.entry import pack_entry, unpack_entry
from rowstamp.errors import CorruptEntry

KEY = b"k" * 16
digests = st.binary(min_size=16, max_size=16)


@given(st.dictionaries(digests, digests, max_size=8), st.binary(max_size=64), st.floats(0, 1e6))
def test_an_entry_comes_back_as_it_was(tokens: dict[bytes, bytes], body: bytes, load_time: float) -> None:
    """Stamps, body and load time."""
    assert unpack_entry(KEY, pack_entry(KEY, tokens, body, load_time)) == (tokens, body, load_time)


def test_another_keys_entry_is_corrupt() -> None:
    """A store that mixes up its keys must not make one query's result another's."""
    with pytest.raises(CorruptEntry, match="another key"):
        unpack_entry(b"x" * 16, pack_entry(KEY, {}, b"body", 0))


@given(st.binary(max_size=200))
def test_whatever_is_sealed_is_an_entry_or_corrupt(data: bytes) -> None:
    """A valid checksum does not make an entry."""
    try:
        unpack_entry(KEY, seal(data))
    except CorruptEntry:
        return


@given(st.integers(0, 120), st.integers(1, 255))
def test_a_changed_byte_is_noticed(position: int, change: int) -> None:
    """Wherever it is."""
    blob = bytearray(pack_entry(KEY, {b"s" * 16: b"t" * 16}, b"body" * 10, 1.0))
    blob[position % len(blob)] ^= change
    with pytest.raises(CorruptEntry):
        unpack_entry(KEY, bytes(blob))


def test_bookkeeping_is_small() -> None:
    """With four dependencies it stays below the budget of 250 bytes."""
    tokens = {bytes([n]) * 16: b"t" * 16 for n in range(4)}
    assert len(pack_entry(KEY, tokens, b"", 0.0)) <= 250
