"""How an entry lies in the store: its own key, the stamps it was made under, its load time, and the result.

The layout is fixed-width so that validating costs no decoding of the result::

    seal( key 16 | load time 8 (float64) | count 2 | count × (stamp 16 | token 16) | body )

Per entry that is 26 bytes and the seal, and 32 bytes a dependency.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

from rowstamp.codec import seal, unseal
from rowstamp.errors import CorruptEntry
from rowstamp.model import DIGEST_SIZE

__all__ = ["StoredEntry", "pack_entry", "unpack_entry"]

_HEAD: Final = struct.Struct(f">{DIGEST_SIZE}sdH")


class StoredEntry(NamedTuple):
    """An entry as it was stored.

    Attributes:
        tokens: token by stamp name.
        body: the encoded result.
        load_time: how long its load took, in seconds.
    """

    tokens: dict[bytes, bytes]
    body: bytes
    load_time: float


def pack_entry(key: bytes, tokens: Mapping[bytes, bytes], body: bytes, load_time: float) -> bytes:
    """Return the bytes of an entry; the inverse of :func:`unpack_entry`."""
    parts = [_HEAD.pack(key, load_time, len(tokens))]
    for stamp, token in tokens.items():
        parts.append(stamp)
        parts.append(token)
    parts.append(body)
    return seal(b"".join(parts))


def unpack_entry(key: bytes, blob: bytes) -> StoredEntry:
    """Return what :func:`pack_entry` was given.

    Raises:
        CorruptEntry: the bytes are damaged, of another format, or another key's entry.
    """
    data = unseal(blob)
    try:
        stored_key, load_time, count = _HEAD.unpack_from(data)
    except struct.error as exc:
        raise CorruptEntry("entry header is truncated") from exc
    if stored_key != key:
        raise CorruptEntry("entry belongs to another key")
    start = _HEAD.size
    end = start + count * 2 * DIGEST_SIZE
    if end > len(data):
        raise CorruptEntry("entry stamps are truncated")
    tokens = {
        data[at : at + DIGEST_SIZE]: data[at + DIGEST_SIZE : at + 2 * DIGEST_SIZE]
        for at in range(start, end, 2 * DIGEST_SIZE)
    }
    return StoredEntry(tokens, data[end:], load_time)
