"""Entries as they lie in the store."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowstamp.codec import Signer, seal
from rowstamp.entry import MOST_DECOMPRESSED, MOST_NAMED, PLAIN, EntryForm, StoredEntry, pack_entry, prove, unpack_entry
from rowstamp.errors import CorruptEntry

pytestmark = pytest.mark.once

KEY = b"k" * 16
digests = st.binary(min_size=16, max_size=16)
pairs = st.dictionaries(digests, digests, max_size=8)


SECRET, OLD_SECRET = b"s" * 16, b"o" * 16
SIGNER = Signer([SECRET], b"shop")
FORMS = [PLAIN, EntryForm(SIGNER), EntryForm(compress=1), EntryForm(SIGNER, compress=20)]
forms = st.sampled_from(FORMS)
bodies = st.binary(max_size=64) | st.binary(max_size=8).map(lambda part: part * 40)


@given(pairs, st.lists(digests, max_size=5), bodies, st.floats(0, 1e6, width=32), st.floats(0, 1e11), forms)
def test_an_entry_comes_back_as_it_was(
    tokens: dict[bytes, bytes], named: list[bytes], body: bytes, load_time: float, ends_at: float, form: EntryForm
) -> None:
    """The proof of its stamps, those that it names, body, load time and end."""
    blob = pack_entry(KEY, tokens, body, named=named, load_time=load_time, ends_at=ends_at, form=form)
    assert unpack_entry(KEY, blob, form) == StoredEntry(prove(tokens), tuple(named), body, load_time, ends_at)


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


@pytest.mark.parametrize("form", FORMS)
def test_another_keys_entry_is_corrupt(form: EntryForm) -> None:
    """A store that mixes up its keys must not make one query's result another's."""
    with pytest.raises(CorruptEntry, match="another key"):
        unpack_entry(b"x" * 16, pack_entry(KEY, {}, b"body", form=form), form)


def test_an_entry_of_the_format_before_is_corrupt() -> None:
    """It is a miss, and overwritten."""
    blob = pack_entry(KEY, {}, b"body")
    with pytest.raises(CorruptEntry, match="format version 1"):
        unpack_entry(KEY, blob[:2] + b"\x01" + blob[3:])


@given(st.binary(max_size=200), forms)
def test_whatever_is_sealed_is_an_entry_or_corrupt(data: bytes, form: EntryForm) -> None:
    """A valid checksum or signature does not make an entry."""
    try:
        unpack_entry(KEY, seal(data, KEY, form.signer), form)
    except CorruptEntry:
        return


@given(st.integers(1, MOST_NAMED), st.integers(0, 64))
def test_stamps_that_are_not_there_are_not_read(count: int, size: int) -> None:
    """A count is believed only as far as there are bytes for it."""
    data = struct.pack(">fd16sH", 0.0, 0.0, bytes(16), count) + bytes(size)
    if count * 16 <= size:
        assert len(unpack_entry(KEY, seal(data, KEY)).named) == count
    else:
        with pytest.raises(CorruptEntry, match="stamps are truncated"):
            unpack_entry(KEY, seal(data, KEY))


@given(st.integers(0, 120), st.integers(1, 255), forms)
def test_a_changed_byte_is_noticed(position: int, change: int, form: EntryForm) -> None:
    """Wherever it is."""
    blob = bytearray(pack_entry(KEY, {b"s" * 16: b"t" * 16}, b"body" * 10, named=[b"s" * 16], form=form))
    blob[position % len(blob)] ^= change
    with pytest.raises(CorruptEntry):
        unpack_entry(KEY, bytes(blob), form)


@given(st.integers(0, 120), forms)
def test_a_truncated_entry_is_noticed(size: int, form: EntryForm) -> None:
    """Wherever it was cut."""
    blob = pack_entry(KEY, {b"s" * 16: b"t" * 16}, b"body" * 10, form=form)
    with pytest.raises(CorruptEntry):
        unpack_entry(KEY, blob[: size % len(blob)], form)


# ----------------------------------------------------------------------------------------------- compressed


def compressed(claim: int, data: bytes) -> bytes:
    """An entry whose body says that it is compressed."""
    return seal(struct.pack(">fd16sH", 0.0, 0.0, bytes(16), 0x8000) + claim.to_bytes(4, "big") + data, KEY)


def test_what_repeats_itself_is_smaller_in_the_store() -> None:
    body = b"the same again " * 100
    assert len(pack_entry(KEY, {}, body, form=EntryForm(compress=100))) < len(body) // 5


@pytest.mark.parametrize("body", [b"", b"short", bytes(range(256))], ids=["nothing", "below", "dense"])
def test_what_would_not_become_smaller_is_left_as_it_is(body: bytes) -> None:
    assert pack_entry(KEY, {}, body, form=EntryForm(compress=100)) == pack_entry(KEY, {}, body)


def test_the_threshold_is_the_first_size_that_is_compressed() -> None:
    form = EntryForm(compress=1000)
    assert len(pack_entry(KEY, {}, bytes(1000), form=form)) < 200
    assert len(pack_entry(KEY, {}, bytes(999), form=form)) > 999


def test_a_reader_that_does_not_compress_reads_what_one_has_that_does() -> None:
    assert unpack_entry(KEY, pack_entry(KEY, {}, bytes(1000), form=EntryForm(compress=1))).body == bytes(1000)


def test_a_small_stream_cannot_become_large() -> None:
    """Neither by claiming so, nor without."""
    bomb = zlib.compress(bytes(MOST_DECOMPRESSED + 1), level=9)
    with pytest.raises(CorruptEntry, match="claims"):
        unpack_entry(KEY, compressed(MOST_DECOMPRESSED + 1, bomb))
    tracemalloc.start()
    try:
        with pytest.raises(CorruptEntry, match="not what it claims"):
            unpack_entry(KEY, compressed(1000, bomb))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("claim", "data"),
    [
        (3, zlib.compress(b"four")),
        (5, zlib.compress(b"four")),
        (4, zlib.compress(b"four") + b"more"),
        (4, zlib.compress(b"four")[:-1]),
        (4, b"no stream"),
        (0, b""),
    ],
)
def test_a_stream_that_is_not_what_it_claims_is_corrupt(claim: int, data: bytes) -> None:
    with pytest.raises(CorruptEntry, match="compressed body"):
        unpack_entry(KEY, compressed(claim, data))


# --------------------------------------------------------------------------------------------------- signed


@pytest.mark.parametrize(
    ("written", "read", "reason"),
    [
        (PLAIN, EntryForm(SIGNER), "not signed"),
        (EntryForm(SIGNER), PLAIN, "no secret was given"),
        (EntryForm(Signer([OLD_SECRET], b"shop")), EntryForm(SIGNER), "without the secret"),
        (EntryForm(Signer([SECRET], b"another namespace")), EntryForm(SIGNER), "without the secret"),
    ],
    ids=["unsigned", "unexpected", "another secret", "another namespace"],
)
def test_an_entry_that_is_not_signed_as_it_should_be_is_corrupt(
    written: EntryForm, read: EntryForm, reason: str
) -> None:
    with pytest.raises(CorruptEntry, match=reason):
        unpack_entry(KEY, pack_entry(KEY, {}, b"body", form=written), read)


def test_a_secret_can_be_replaced_without_a_pause() -> None:
    """First every process accepts the new one, then it signs, then the old one goes."""
    old, both = EntryForm(Signer([OLD_SECRET], b"")), EntryForm(Signer([OLD_SECRET, SECRET], b""))
    turned, new = EntryForm(Signer([SECRET, OLD_SECRET], b"")), EntryForm(Signer([SECRET], b""))
    for writer, readers in ((old, (old, both, turned)), (both, (old, both, turned)), (turned, (both, turned, new))):
        blob = pack_entry(KEY, {}, b"body", form=writer)
        assert [unpack_entry(KEY, blob, reader).body for reader in readers] == [b"body"] * 3


@given(digests, st.binary(max_size=40), digests, st.binary(max_size=40))
def test_a_signature_is_of_one_key_and_body(key: bytes, body: bytes, other_key: bytes, other_body: bytes) -> None:
    one, other = seal(body, key, SIGNER)[3:19], seal(other_body, other_key, SIGNER)[3:19]
    assert (one == other) == ((key, body) == (other_key, other_body))


def test_bookkeeping_of_a_signed_entry() -> None:
    assert len(pack_entry(KEY, {}, b"", form=EntryForm(SIGNER))) == 49


@pytest.mark.parametrize("dependencies", [0, 4, 400])
def test_bookkeeping_is_the_same_for_any_number_of_dependencies(dependencies: int) -> None:
    """What the reader knows is not stored."""
    tokens = {number.to_bytes(16): b"t" * 16 for number in range(dependencies)}
    assert len(pack_entry(KEY, tokens, b"")) == 41
