"""How an entry lies in the store: a proof of the stamps it was made under, when it ends, its load time, and the result.

The layout is fixed-width so that validating costs no decoding of the result::

    seal( key | load time 4 (float32) | end 8 (float64) | proof 16 | count 2 | count × stamp 16 | body )

The highest bit of the count says that the body is compressed: its length (4 bytes), then a zlib stream. The next one says that the entry
lingers: the store keeps it beyond its end, for those who may serve it old, and nobody else may. zlib rather than Zstandard,
which is faster: every process of a fleet has it, so that none takes another's entries for damaged ones, and a near cache
spares most of the decompressing.

The **proof** is a digest of all (stamp, token) pairs that the result stands on. A reader who knows the stamps needs no more:
it reads their tokens and compares. (The scheme is that of cacheops' "insideout" mode.) So an entry costs 41 bytes, however many
dependencies it has. Stamps that the reader cannot know, because they showed only while the result was loaded, are named in
the entry, 16 bytes each; their tokens are in the proof like all others.

The key is sealed with the entry but not stored: bytes that were put under another key do not unseal.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, NamedTuple

from rowstamp.codec import Signer, seal, unseal
from rowstamp.errors import CorruptEntry
from rowstamp.model import DIGEST_SIZE

__all__ = ["MOST_NAMED", "PLAIN", "EntryForm", "StoredEntry", "pack_entry", "prove", "unpack_entry"]

_HEAD: Final = struct.Struct(f">fd{DIGEST_SIZE}sH")
_COMPRESSED: Final = 0x8000
_LINGERS: Final = 0x4000

MOST_NAMED: Final = 0x3FFF
"""Most stamps that an entry can name."""

MOST_DECOMPRESSED: Final = 64 * 1024 * 1024
"""No body is decompressed to more bytes, nor are larger ones compressed: a few kilobytes can claim to be gigabytes."""


@dataclass(frozen=True, slots=True)
class EntryForm:
    """How the entries of a cache are written.

    Attributes:
        signer: signs them; without one they have a checksum.
        compress: from how many bytes on a body is compressed, if that makes it smaller.
    """

    signer: Signer | None = None
    compress: int | None = None


_PROOF: Final = blake2b(digest_size=DIGEST_SIZE, person=b"rowstamp proof")
"""Where every proof begins: a copy of it is made in half the time of a new one."""

PLAIN: Final = EntryForm()
"""Neither signed nor compressed."""


class StoredEntry(NamedTuple):
    """An entry as it was stored.

    Attributes:
        proof: the digest of the stamps and tokens that it stands on.
        named: those of the stamps that its reader need not know, or all of them.
        body: the encoded result.
        load_time: how long its load took, in seconds.
        ends_at: when its time to live is over, in seconds since 1970 by the clock of whoever stored it.
        lingers: whether the store keeps it beyond that: whoever finds it has to look at the clock.
        decoded: what the body means, in place of the body, where a near cache keeps it.
    """

    proof: bytes
    named: tuple[bytes, ...]
    body: bytes
    load_time: float
    ends_at: float
    lingers: bool = False
    decoded: object = None


def prove(tokens: Mapping[bytes, bytes]) -> bytes:
    """Return the digest of stamps with their tokens, in whatever order they come: 16 bytes."""
    digest = _PROOF.copy()
    digest.update(b"".join([stamp + token for stamp, token in sorted(tokens.items())]))
    return digest.digest()


def pack_entry(
    key: bytes,
    tokens: Mapping[bytes, bytes],
    body: bytes,
    *,
    named: Collection[bytes] = (),
    load_time: float = 0.0,
    ends_at: float = 0.0,
    lingers: bool = False,
    form: EntryForm = PLAIN,
) -> bytes:
    """Return the bytes of an entry; the inverse of :func:`unpack_entry`.

    Args:
        key: the key that it will be stored under.
        tokens: token by name of every stamp that the result stands on.
        body: the encoded result.
        named: those of the stamps that a reader may not know, :data:`MOST_NAMED` at most.
        load_time: how long the load took, in seconds.
        ends_at: when the time to live is over, in seconds since 1970.
        lingers: whether the store keeps it beyond that.
        form: how it is written.
    """
    count = len(named) | (_LINGERS if lingers else 0)
    if form.compress is not None and form.compress <= len(body) <= MOST_DECOMPRESSED:
        smaller = len(body).to_bytes(4, "big") + zlib.compress(body, level=1)
        if len(smaller) < len(body):
            count, body = count | _COMPRESSED, smaller
    head = _HEAD.pack(load_time, ends_at, prove(tokens), count)
    return seal(b"".join((head, *named, body)), key, form.signer)


def unpack_entry(key: bytes, blob: bytes, form: EntryForm = PLAIN) -> StoredEntry:
    """Return what :func:`pack_entry` was given.

    Raises:
        CorruptEntry: the bytes are damaged, of another format, another key's entry, or not signed as they should be.
    """
    data = unseal(blob, key, form.signer)
    try:
        load_time, ends_at, proof, count = _HEAD.unpack_from(data)
    except struct.error as exc:
        raise CorruptEntry("entry header is truncated") from exc
    end = _HEAD.size + (count & MOST_NAMED) * DIGEST_SIZE
    if end > len(data):
        raise CorruptEntry("entry stamps are truncated")
    named = tuple([data[at : at + DIGEST_SIZE] for at in range(_HEAD.size, end, DIGEST_SIZE)])
    body = _decompressed(data[end:]) if count & _COMPRESSED else data[end:]
    return StoredEntry(proof, named, body, load_time, ends_at, bool(count & _LINGERS))


def _decompressed(data: bytes) -> bytes:
    size = int.from_bytes(data[:4], "big")
    if size > MOST_DECOMPRESSED:
        raise CorruptEntry(f"compressed body claims {size} bytes")
    stream = zlib.decompressobj()
    try:
        # One byte more than there should be, so that a stream that goes on is noticed and not followed.
        body = stream.decompress(data[4:], size + 1)
    except zlib.error as exc:
        raise CorruptEntry(f"compressed body: {exc}") from exc
    if len(body) != size or not stream.eof or stream.unused_data:
        raise CorruptEntry("compressed body is not what it claims to be")
    return body
