"""Leases on a server: a key with a time to live each, beside the key of its entry, and a channel of the same name.

Whoever gives a lease back says so on the channel. Whoever waits listens there on a connection of its own, and only then asks how long
the lease lasts, so that no word is missed; what is lost all the same (a failover, a user who may not publish) the end of the lease
makes up for. In a cluster a word is heard on every node, so it does not matter which one is listened to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from rowstamp.stores.redis.commands import Keys, Order, Told, Write
from rowstamp.stores.redis.scripts import Words
from rowstamp.stores.redis.server import Server

__all__ = ["channel", "lease", "listen", "remaining", "unlease"]

_UNLEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('UNLINK', KEYS[1])
  redis.pcall('PUBLISH', KEYS[1], '')
end
"""


def lease(keys: Keys, entry: bytes, holder: bytes, ttl: float) -> Write:
    """See :meth:`rowstamp.store.Leasing.lease`."""
    key = channel(keys, entry)
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
    key = channel(keys, entry)
    # So short that it is sent whole each time, instead of being known to each server beforehand.
    words = ("EVAL", _UNLEASE, 1, key, holder)

    def result(told: Sequence[Told]) -> None:
        if isinstance(told[0].reply, Exception):
            raise told[0].reply

    return Write([Order(key, _always(words))], result)


def remaining(keys: Keys, entry: bytes) -> Write:
    """Return for how many seconds more somebody has the lease of an entry, 0 if nobody has."""
    key = channel(keys, entry)

    def result(told: Sequence[Told]) -> float:
        reply = told[0].reply
        if isinstance(reply, Exception):
            raise reply
        return max(0, int(reply or 0)) / 1000

    return Write([Order(key, _always(("PTTL", key)))], result)


def listen(channel: bytes) -> Words:
    """Return what is said to hear of a lease."""
    return ("SUBSCRIBE", channel)


def _always(words: Words) -> Callable[[Server, bytes], Words]:
    """Return words that are the same for every server."""

    def say(_server: Server, _tag: bytes) -> Words:
        return words

    return say


def channel(keys: Keys, entry: bytes) -> bytes:
    """Return the key of a lease, and the name of the channel on which its end is told."""
    return keys.entries + entry + b":lease"
