"""The header that tells an entry of ours, whole and of this format, from any other bytes."""

from hashlib import blake2b
from typing import Final

from rowstamp.errors import CorruptEntry

__all__ = ["FORMAT_VERSION", "seal", "unseal"]

# Raise it with any change of the wire format: entries of another version are misses, never misread. (The version in
# the names of stamps is another one: if it changed, old processes would no longer invalidate what new ones have stored.)
FORMAT_VERSION: Final = 2

_MAGIC: Final = b"RS"
_PREFIX: Final = _MAGIC + bytes((FORMAT_VERSION,))

# BLAKE2b cut to 64 bits, rather than CRC-32. A CRC costs a quarter of it (0.3 µs against 1 µs for 1 KiB, and
# both vanish beside a round trip), but lets one wrong entry in 2³² through where damage is not a short
# burst: an entry cut and overwritten by another, a page of zeros. It is also linear, so damage that follows
# a pattern can cancel out. BLAKE2b is in every CPython, FIPS builds included, and needs no CPU extension.
# It has no key: it finds accidents, and does not stop someone who can write to the store.
_DIGEST_SIZE: Final = 8
_HEADER_SIZE: Final = len(_PREFIX) + _DIGEST_SIZE


def seal(body: bytes, key: bytes = b"") -> bytes:
    """Put the header in front of an entry's body: magic, format version, checksum.

    Args:
        body: any bytes.
        key: what the entry is stored under; it goes into the checksum and is not stored.

    Returns:
        11 bytes of header, then the body.
    """
    return b"".join((_PREFIX, _checksum(body, key), body))


def unseal(data: bytes, key: bytes = b"") -> bytes:
    """Check the header of an entry and return its body.

    Args:
        data: what a store returned.
        key: what it was asked for.

    Returns:
        The body that was given to `seal`.

    Raises:
        CorruptEntry: foreign, of another format version, truncated, damaged, or stored under another key.
    """
    if data[: len(_PREFIX)] != _PREFIX:
        raise CorruptEntry(_what_else(data))
    body = data[_HEADER_SIZE:]
    if _checksum(body, key) != data[len(_PREFIX) : _HEADER_SIZE]:
        raise CorruptEntry("checksum differs: damaged, truncated, or another key's")
    return body


def _checksum(body: bytes, key: bytes) -> bytes:
    digest = blake2b(key, digest_size=_DIGEST_SIZE)
    digest.update(body)
    return digest.digest()


def _what_else(data: bytes) -> str:
    if len(data) < len(_PREFIX):
        return f"{len(data)} bytes are too few for a header"
    if data[: len(_MAGIC)] != _MAGIC:
        return "not an entry of rowstamp"
    return f"format version {data[len(_MAGIC)]}, this is {FORMAT_VERSION}"
