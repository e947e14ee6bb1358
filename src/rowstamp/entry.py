"""How an entry lies in the store: a proof of the stamps it was made under, when it ends, its load time, and the result.

The layout is fixed-width so that validating costs no decoding of the result::

    seal( key | load time 4 (float32) | end 8 (float64) | proof 16 | count 2 | count × stamp 16 | body )

The **proof** is a digest of all (stamp, token) pairs that the result stands on. A reader who knows the stamps needs no more:
it reads their tokens and compares. (The scheme is that of cacheops' "insideout" mode.) So an entry costs 41 bytes, however many
dependencies it has. Stamps that the reader cannot know, because they showed only while the result was loaded, are named in
the entry, 16 bytes each; their tokens are in the proof like all others.

The key is sealed with the entry but not stored: bytes that were put under another key do not unseal.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from hashlib import blake2b
from typing import Final, NamedTuple

from rowstamp.codec import seal, unseal
from rowstamp.errors import CorruptEntry
from rowstamp.model import DIGEST_SIZE

__all__ = ["StoredEntry", "pack_entry", "prove", "unpack_entry"]

_HEAD: Final = struct.Struct(f">fd{DIGEST_SIZE}sH")
MOST_NAMED: Final = 0xFFFF
"""Most stamps that an entry can name."""


class StoredEntry(NamedTuple):
    """An entry as it was stored.

    Attributes:
        proof: the digest of the stamps and tokens that it stands on.
        named: those of the stamps that its reader need not know, or all of them.
        body: the encoded result.
        load_time: how long its load took, in seconds.
        ends_at: when its time to live is over, in seconds since 1970 by the clock of whoever stored it.
        decoded: what the body means, in place of the body, where a near cache keeps it.
    """

    proof: bytes
    named: tuple[bytes, ...]
    body: bytes
    load_time: float
    ends_at: float
    decoded: object = None


def prove(tokens: Mapping[bytes, bytes]) -> bytes:
    """Return the digest of stamps with their tokens, in whatever order they come: 16 bytes."""
    pairs = b"".join([stamp + token for stamp, token in sorted(tokens.items())])
    return blake2b(pairs, digest_size=DIGEST_SIZE, person=b"rowstamp proof").digest()


def pack_entry(
    key: bytes,
    tokens: Mapping[bytes, bytes],
    body: bytes,
    *,
    named: Collection[bytes] = (),
    load_time: float = 0.0,
    ends_at: float = 0.0,
) -> bytes:
    """Return the bytes of an entry; the inverse of :func:`unpack_entry`.

    Args:
        key: the key that it will be stored under.
        tokens: token by name of every stamp that the result stands on.
        body: the encoded result.
        named: those of the stamps that a reader may not know.
        load_time: how long the load took, in seconds.
        ends_at: when the time to live is over, in seconds since 1970.
    """
    head = _HEAD.pack(load_time, ends_at, prove(tokens), len(named))
    return seal(b"".join((head, *named, body)), key)


def unpack_entry(key: bytes, blob: bytes) -> StoredEntry:
    """Return what :func:`pack_entry` was given.

    Raises:
        CorruptEntry: the bytes are damaged, of another format, or another key's entry.
    """
    data = unseal(blob, key)
    try:
        load_time, ends_at, proof, count = _HEAD.unpack_from(data)
    except struct.error as exc:
        raise CorruptEntry("entry header is truncated") from exc
    start = _HEAD.size
    end = start + count * DIGEST_SIZE
    if end > len(data):
        raise CorruptEntry("entry stamps are truncated")
    named = tuple([data[at : at + DIGEST_SIZE] for at in range(start, end, DIGEST_SIZE)])
    return StoredEntry(proof, named, data[end:], load_time, ends_at)
