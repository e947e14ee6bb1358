"""Entries as they lie in the store."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowstamp.codec import seal
from rowstamp.entry import StoredEntry, pack_entry, prove, unpack_entry
from rowstamp.errors import CorruptEntry

KEY = b"k" * 16
digests = st.binary(min_size=16, max_size=16)
pairs = st.dictionaries(digests, digests, max_size=8)


@given(pairs, st.lists(digests, max_size=5), st.binary(max_size=64), st.floats(0, 1e6, width=32), st.floats(0, 1e11))
def test_an_entry_comes_back_as_it_was(
    tokens: dict[bytes, bytes], named: list[bytes], body: bytes, load_time: float, ends_at: float
) -> None:
    """The proof of its stamps, those that it names, body, load time and end."""
    blob = pack_entry(KEY, tokens, body, named=named, load_time=load_time, ends_at=ends_at)
    assert unpack_entry(KEY, blob) == StoredEntry(prove(tokens), tuple(named), body, load_time, ends_at)


@given(pairs)
def test_a_proof_is_the_same_in_whatever_order_stamps_come(tokens: dict[bytes, bytes]) -> None:
    """Two processes may collect the same dependencies in different orders."""
    assert prove(dict(reversed(tokens.items()))) == prove(tokens)


@given(pairs, pairs)
def test_other_stamps_or_tokens_have_another_proof(one: dict[bytes, bytes], other: dict[bytes, bytes]) -> None:
    """One more, one less, one changed."""
    assert (prove(one) == prove(other)) == (one == other)


@given(digests, digests)
def test_a_stamp_is_not_taken_for_a_token(first: bytes, second: bytes) -> None:
    """The two halves of a pair have their places."""
    assert (prove({first: second}) == prove({second: first})) == (first == second)


def test_another_keys_entry_is_corrupt() -> None:
    """A store that mixes up its keys must not make one query's result another's."""
    with pytest.raises(CorruptEntry, match="another key"):
        unpack_entry(b"x" * 16, pack_entry(KEY, {}, b"body"))


def test_an_entry_of_the_format_before_is_corrupt() -> None:
    """It is a miss, and overwritten."""
    blob = pack_entry(KEY, {}, b"body")
    with pytest.raises(CorruptEntry, match="format version 1"):
        unpack_entry(KEY, blob[:2] + b"\x01" + blob[3:])


@given(st.binary(max_size=200))
def test_whatever_is_sealed_is_an_entry_or_corrupt(data: bytes) -> None:
    """A valid checksum does not make an entry."""
    try:
        unpack_entry(KEY, seal(data, KEY))
    except CorruptEntry:
        return


@given(st.integers(1, 0xFFFF), st.integers(0, 64))
def test_stamps_that_are_not_there_are_not_read(count: int, size: int) -> None:
    """A count is believed only as far as there are bytes for it."""
    data = struct.pack(">fd16sH", 0.0, 0.0, bytes(16), count) + bytes(size)
    if count * 16 <= size:
        assert len(unpack_entry(KEY, seal(data, KEY)).named) == count
    else:
        with pytest.raises(CorruptEntry, match="stamps are truncated"):
            unpack_entry(KEY, seal(data, KEY))


@given(st.integers(0, 120), st.integers(1, 255))
def test_a_changed_byte_is_noticed(position: int, change: int) -> None:
    """Wherever it is."""
    blob = bytearray(pack_entry(KEY, {b"s" * 16: b"t" * 16}, b"body" * 10, named=[b"s" * 16], load_time=1.0))
    blob[position % len(blob)] ^= change
    with pytest.raises(CorruptEntry):
        unpack_entry(KEY, bytes(blob))


@given(st.integers(0, 120))
def test_a_truncated_entry_is_noticed(size: int) -> None:
    """Wherever it was cut."""
    blob = pack_entry(KEY, {b"s" * 16: b"t" * 16}, b"body" * 10)
    with pytest.raises(CorruptEntry):
        unpack_entry(KEY, blob[: size % len(blob)])


@pytest.mark.parametrize("dependencies", [0, 4, 400])
def test_bookkeeping_is_the_same_for_any_number_of_dependencies(dependencies: int) -> None:
    """What the reader knows is not stored."""
    tokens = {number.to_bytes(16): b"t" * 16 for number in range(dependencies)}
    assert len(pack_entry(KEY, tokens, b"")) == 41
