"""The header that tells an entry of ours, whole and of this format, from any other bytes."""

import hmac
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from rowstamp.errors import CorruptEntry

__all__ = ["FORMAT_VERSION", "Signer", "seal", "unseal"]

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

_SIGNED: Final = 0x80
_SIGNED_PREFIX: Final = _MAGIC + bytes((FORMAT_VERSION | _SIGNED,))
_SIGNATURE_SIZE: Final = 16


class Signer:
    """Signs entries, so that nobody without the secret can make one: HMAC-SHA-256, cut to 128 bits.

    Args:
        secrets: the secrets; the first signs, each is accepted, so that one can take the place of another without a pause.
        purpose: what separates these signatures from all others made with the same secrets.
    """

    __slots__ = ("_keys",)

    def __init__(self, secrets: Sequence[bytes], purpose: bytes) -> None:
        self._keys = tuple([hmac.digest(secret, b"rowstamp entry\0" + purpose, "sha256") for secret in secrets])

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message."""
        return _signature(self._keys[0], message)

    def accepts(self, signature: bytes, message: bytes) -> bool:
        """Whether a signature was made of a message with one of the secrets."""
        return any(hmac.compare_digest(_signature(key, message), signature) for key in self._keys)


def _signature(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")[:_SIGNATURE_SIZE]


def seal(body: bytes, key: bytes = b"", signer: Signer | None = None) -> bytes:
    """Put the header in front of an entry's body: magic, format version, and a checksum or signature.

    Args:
        body: any bytes.
        key: what the entry is stored under; it goes into the checksum or signature and is not stored.
        signer: signs the entry.

    Returns:
        11 bytes of header, or 19 of a signed one, then the body.
    """
    if signer is None:
        return b"".join((_PREFIX, _checksum(body, key), body))
    return b"".join((_SIGNED_PREFIX, signer.sign(_signed(body, key)), body))


def unseal(data: bytes, key: bytes = b"", signer: Signer | None = None) -> bytes:
    """Check the header of an entry and return its body.

    Args:
        data: what a store returned.
        key: what it was asked for.
        signer: who has to have signed it, if anybody.

    Returns:
        The body that was given to `seal`.

    Raises:
        CorruptEntry: foreign, of another format version, truncated, damaged, stored under another key, or not signed as
            it should be.
    """
    prefix = _PREFIX if signer is None else _SIGNED_PREFIX
    if data[: len(prefix)] != prefix:
        raise CorruptEntry(_what_else(data))
    if signer is None:
        body = data[_HEADER_SIZE:]
        if _checksum(body, key) != data[len(_PREFIX) : _HEADER_SIZE]:
            raise CorruptEntry("checksum differs: damaged, truncated, or another key's")
        return body
    start = len(prefix) + _SIGNATURE_SIZE
    body = data[start:]
    if not signer.accepts(data[len(prefix) : start], _signed(body, key)):
        raise CorruptEntry("signature differs: damaged, another key's, or made without the secret")
    return body


def _checksum(body: bytes, key: bytes) -> bytes:
    digest = blake2b(key, digest_size=_DIGEST_SIZE)
    digest.update(body)
    return digest.digest()


def _signed(body: bytes, key: bytes) -> bytes:
    # With the version and the length of the key, so that no other entry has the same bytes in other places.
    return b"".join((_SIGNED_PREFIX, len(key).to_bytes(2, "big"), key, body))


def _what_else(data: bytes) -> str:
    if len(data) < len(_PREFIX):
        return f"{len(data)} bytes are too few for a header"
    if data[: len(_MAGIC)] != _MAGIC:
        return "not an entry of rowstamp"
    version, signed = data[len(_MAGIC)] & ~_SIGNED, bool(data[len(_MAGIC)] & _SIGNED)
    if version != FORMAT_VERSION:
        return f"format version {version}, this is {FORMAT_VERSION}"
    return "the entry is signed, but no secret was given" if signed else "the entry is not signed"
