"""Leases on a server: a key with a time to live each, beside the key of its entry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from rowstamp.stores.redis.commands import Keys, Order, Told, Write
from rowstamp.stores.redis.scripts import Words
from rowstamp.stores.redis.server import Server

__all__ = ["lease", "unlease"]

_UNLEASE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('UNLINK', KEYS[1]) end"


def lease(keys: Keys, entry: bytes, holder: bytes, ttl: float) -> Write:
    """See :meth:`rowstamp.store.Leasing.lease`."""
    key = _key(keys, entry)
    words = ("SET", key, holder, "NX", "GET", "PX", max(1, int(ttl * 1000)))

    def result(told: Sequence[Told]) -> bytes:
        reply = told[0].reply
        if isinstance(reply, Exception):
            raise reply
        # The old value: none if there was none, and then this one is set.
        return holder if reply is None else bytes(reply)

    return Write([Order(key, _always(words))], result)


def unlease(keys: Keys, entry: bytes, holder: bytes) -> Write:
    """See :meth:`rowstamp.store.Leasing.unlease`."""
    key = _key(keys, entry)
    # So short that it is sent whole each time, instead of being known to each server beforehand.
    words = ("EVAL", _UNLEASE, 1, key, holder)

    def result(told: Sequence[Told]) -> None:
        if isinstance(told[0].reply, Exception):
            raise told[0].reply

    return Write([Order(key, _always(words))], result)


def _always(words: Words) -> Callable[[Server, bytes], Words]:
    """Return words that are the same for every server."""

    def say(_server: Server, _tag: bytes) -> Words:
        return words

    return say


def _key(keys: Keys, entry: bytes) -> bytes:
    return keys.entries + entry + b":lease"
