"""What is said to a Redis or Valkey server and what its answers mean: commands as data, no I/O.

**Stamps are strings**, in the forms that `lua/common.lua` describes. A stamp with a token, a missing one and a held one
can be told apart by a plain GET, so that an entry and all its stamps are read in one round trip. What changes a
stamp is a script on that one key; its clock is the server's (`TIME`).

**Holds end by themselves.** The key of a held stamp ends with its last hold, and a missing stamp is just what an expired
hold has to leave. Under a `volatile-*` policy that would not do: there whatever has a time to live may be evicted, under
`volatile-ttl` before all else. So under these policies a held stamp has none, is hence never evicted, and the reader
compares the ends of the holds with the server's `TIME`, asked for in the same round trip. The price: what a writer held
that was killed between hold and release stays until somebody asks for that stamp.

**Under `allkeys-*` policies the server may evict a held stamp**, and nothing that a client does can prevent it. A reader
that mints it then, and loads before COMMIT, is served old rows from COMMIT until the release, which always puts a new
token; if the writer is killed in that time, until the entry ends. A guard would have to survive the eviction itself: a
second key may be evicted as well, and to distrust every stamp minted within `hold_ttl` of an eviction is to distrust all
of them on a server that is full. `allkeys-lru` takes what was unused longest and a hold is milliseconds old, so it takes one
only if it turns all of its memory over within a second. `allkeys-random` does not mind age, and `allkeys-lfu` prefers new
keys: take `volatile-lru`, `volatile-ttl` or `noeviction` where that matters.

**A full server can still be held**: see `scripts.py`. Only fills fail then.

**The epoch** is a random value under one key; it is part of every token's tag (see `server.py`), and is read with every entry. To
clear a store is to change it. In a cluster it lies on one node, like any key: a key of it on every node would save that
GET, but clients whose maps of the cluster differ would look for it in different places, and one could clear what the other serves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from struct import Struct
from typing import Any, Final, NamedTuple, TypeAlias

from rowstamp.model import StampState
from rowstamp.stores.redis import scripts
from rowstamp.stores.redis.scripts import Reply, Words
from rowstamp.stores.redis.server import TAG_SIZE, Server

__all__ = [
    "HELD",
    "Call",
    "Epoch",
    "Keys",
    "Order",
    "Read",
    "Told",
    "Write",
    "clear",
    "delete",
    "hold",
    "mint",
    "put",
    "put_many",
    "read_many",
    "release",
    "state_of",
    "touch",
]

STAMP_SECONDS: Final = 24 * 3600
"""How long a token lives. When it ends, what depended on it is a miss, so this only has to be long."""

UNREAD_SECONDS: Final = 20 * 60
"""How long a token lives that a writer left behind and that no reader is known to want.

Rows that are written and never read would else leave a stamp for a day each.
"""

EPOCH_SECONDS: Final = 30 * 24 * 3600
_EPOCH_RENEWED_SECONDS: Final = 3600.0
_LONGEST_SECONDS: Final = 10 * 365 * 24 * 3600

_TOKEN_AT: Final = 1 + TAG_SIZE
_HOLDS_AT: Final = 2
_HOLD: Final = Struct(">d16x")

_MISSING: Final = StampState(token=None, held=False)
HELD: Final = StampState(token=None, held=True)


# ------------------------------------------------------------------------------------------------------- keys


@dataclass(frozen=True, slots=True)
class Keys:
    """How the keys of a store begin, so that several stores can share a server and an ACL can name them."""

    entries: bytes
    stamps: bytes
    epoch: bytes
    marks: bytes

    @classmethod
    def of(cls, prefix: str) -> Keys:
        """Return the keys of a prefix."""
        start = prefix.encode()
        return cls(start + b":e:", start + b":s:", start + b":epoch", start + b":m:")


class Epoch:
    """The epoch of a store as its client knows it; an old one is harmless, for what it tags counts as missing.

    Attributes:
        value: the epoch; ``None`` if it is not known, or if there was none when it was last looked for.
    """

    __slots__ = ("_renew_at", "value")

    def __init__(self) -> None:
        self.value: bytes | None = None
        self._renew_at = 0.0

    def wanted(self, now: float) -> bool:
        """Whether a writer has to ask for it before it writes: there is none, or its key has to be kept alive."""
        return self.value is None or now > self._renew_at

    def commands(self, keys: Keys) -> list[Words]:
        """Give the store an epoch if it has none; the second reply is the one it has."""
        return [
            ("SET", keys.epoch, os.urandom(16), "NX", "EX", EPOCH_SECONDS),
            ("GETEX", keys.epoch, "EX", EPOCH_SECONDS),
        ]

    def learnt(self, value: bytes, now: float) -> None:
        """Take note of the reply."""
        self.value = value
        self._renew_at = now + _EPOCH_RENEWED_SECONDS


# ------------------------------------------------------------------------------------------------------- calls


class Read(NamedTuple):
    """Read stamps, and an entry unless it is ``None``; many of these, of whatever tasks, are one round trip."""

    entry: bytes | None
    stamps: Sequence[bytes]


class Order(NamedTuple):
    """One command on one key; what it says depends on the server that is told and on the tag of its tokens."""

    key: bytes
    words: Callable[[Server, bytes], Words]


class Told(NamedTuple):
    """What a server replied to an order, the tag of the tokens it has, and whether they validate yet."""

    reply: Reply
    tag: bytes
    serves: bool


class Write(NamedTuple):
    """Anything else: orders, and what the replies to them mean. A server's refusal is raised by ``result``."""

    orders: Sequence[Order]
    result: Callable[[Sequence[Told]], Any]
    changes: Collection[bytes] = ()
    """The stamps that it changes."""


Call: TypeAlias = Read | Write


def mint(keys: Keys, tokens: Mapping[bytes, bytes]) -> Write:
    """See :meth:`rowstamp.store.Store.mint`."""
    sha, lives = scripts.mint().sha, STAMP_SECONDS * 1000

    def order(stamp: bytes, token: bytes) -> Order:
        key = keys.stamps + stamp

        def words(_: Server, tag: bytes) -> Words:
            return ("EVALSHA", sha, 1, key, tag, token, lives)

        return Order(key, words)

    def result(told: Sequence[Told]) -> tuple[StampState, ...]:
        return tuple([state_of(_granted(each), each.tag, None) if each.serves else HELD for each in told])

    return Write([order(*item) for item in tokens.items()], result)


def put(keys: Keys, entry: bytes, blob: bytes, ttl: float) -> Write:
    """See :meth:`rowstamp.store.Store.put`."""
    key = keys.entries + entry
    return _plain(key, "SET", key, blob, "PX", _milliseconds(ttl))


def delete(keys: Keys, entry: bytes) -> Write:
    """See :meth:`rowstamp.store.Store.delete`."""
    key = keys.entries + entry
    return _plain(key, "UNLINK", key)


def hold(keys: Keys, stamps: Sequence[bytes], writer: bytes, ttl: float) -> Write:
    """See :meth:`rowstamp.store.Store.hold`."""
    sha, milliseconds = scripts.hold().sha, _milliseconds(ttl)

    def order(stamp: bytes) -> Order:
        key = keys.stamps + stamp

        def words(server: Server, _: bytes) -> Words:
            return ("EVALSHA", sha, 1, key, writer, milliseconds, "p" if server.evicts_volatile else "h")

        return Order(key, words)

    return Write([order(stamp) for stamp in dict.fromkeys(stamps)], _nothing, stamps)


def release(keys: Keys, tokens: Mapping[bytes, bytes], writer: bytes) -> Write:
    """See :meth:`rowstamp.store.Store.release`."""

    def result(told: Sequence[Told]) -> tuple[bool, ...]:
        return tuple([_granted(each) == 1 for each in told])

    return Write(_releases(keys, tokens, writer), result, tokens)


def touch(keys: Keys, tokens: Mapping[bytes, bytes]) -> Write:
    """See :meth:`rowstamp.store.Store.touch`: a release by a writer who holds nothing."""
    return Write(_releases(keys, tokens, b""), _nothing, tokens)


def _releases(keys: Keys, tokens: Mapping[bytes, bytes], writer: bytes) -> list[Order]:
    sha = scripts.release().sha
    lives = (STAMP_SECONDS * 1000, UNREAD_SECONDS * 1000)

    def order(stamp: bytes, token: bytes) -> Order:
        key = keys.stamps + stamp

        def words(_: Server, tag: bytes) -> Words:
            return ("EVALSHA", sha, 1, key, tag, token, writer, *lives)

        return Order(key, words)

    return [order(*item) for item in tokens.items()]


def read_many(entries: Sequence[bytes], stamps: Sequence[bytes]) -> list[Call]:
    """See :meth:`rowstamp.store.Batching.read_many`: calls that are made together."""
    return [*(Read(entry, ()) for entry in entries), Read(None, stamps)]


def put_many(
    keys: Keys,
    tokens: Mapping[bytes, bytes],
    entries: Sequence[tuple[bytes, bytes, float]],
    stamps: Sequence[bytes],
) -> list[Call]:
    """See :meth:`rowstamp.store.Batching.put_many`: calls that are made together."""
    touched = [touch(keys, tokens)] if tokens else []
    return [*touched, *(put(keys, *entry) for entry in entries), Read(None, stamps)]


def clear(keys: Keys, known: Epoch) -> Write:
    """See :meth:`rowstamp.store.Store.clear`: a new epoch, under which no token given so far counts."""
    epoch = os.urandom(16)

    def result(told: Sequence[Told]) -> None:
        _nothing(told)
        known.value = epoch

    return Write(_plain(keys.epoch, "SET", keys.epoch, epoch, "EX", EPOCH_SECONDS).orders, result)


def _milliseconds(seconds: float) -> int:
    return max(1, ceil(min(seconds, _LONGEST_SECONDS) * 1000))


def _plain(key: bytes, *words: bytes | str | int) -> Write:
    """A call that says one thing about a key, whoever the server is."""

    def order(_: Server, __: bytes) -> Words:
        return words

    return Write([Order(key, order)], _nothing)


def _granted(told: Told) -> Reply:
    if isinstance(told.reply, Exception):
        raise told.reply
    return told.reply


def _nothing(told: Sequence[Told]) -> None:
    for each in told:
        _granted(each)


# ------------------------------------------------------------------------------------------------------ states


def state_of(value: bytes | None, tag: bytes, now: float | None) -> StampState:
    """Return the state of a stamp from its stored form.

    Args:
        value: what GET returned.
        tag: the tag that counts, or an empty one if none does.
        now: the server's time in milliseconds, or ``None`` where the key of a held stamp ends with its last hold.
    """
    if value is None:
        return _MISSING
    if value.startswith((b"t", b"u")):
        return StampState(value[_TOKEN_AT:], held=False) if tag and value.startswith(tag, 1) else _MISSING
    if now is None or value.startswith(b"h"):
        return HELD
    return HELD if any(end > now for (end,) in _HOLD.iter_unpack(value[_HOLDS_AT:])) else _MISSING
