"""What lies in an LMDB store: stamps, entries and the index of their ends, as bytes. No I/O.

========  ==========================================  ===========================================================
database  key                                         value
========  ==========================================  ===========================================================
entries   the entry's key                             end (8 bytes), blob
stamps    the stamp's name                            kind, then: a token with its end, or the holds with theirs
ends      group, end, key or name                     nothing
========  ==========================================  ===========================================================

``ends`` lists entries, stamps with a token, and held stamps, each group in the order in which they end. So what has ended is found
without a search, and so is what ends next when the store is full. Of the held ones nothing goes before it has ended.

**A token ends, too.** An entry that is asked for keeps no stamp alive, for a read writes nothing. A token that a reader wanted
lives for a day; one that a writer left where no reader had asked lives for minutes, for else the rows that are written and
never read would push out the entries. When a token ends, what stands on it is a miss.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from struct import Struct, error
from typing import Final, NamedTuple

from rowstamp.model import StampState

__all__ = [
    "HELD",
    "MISSING",
    "Damaged",
    "End",
    "Group",
    "Stamp",
    "end_of",
    "pack_entry",
    "pack_holds",
    "pack_token",
    "parse_end",
    "parse_entry",
    "parse_stamp",
    "state_of",
]

MISSING: Final = StampState(token=None, held=False)
HELD: Final = StampState(token=None, held=True)


TOKEN_SECONDS: Final = 24 * 3600.0
UNREAD_SECONDS: Final = 20 * 60.0

_WANTED, _UNREAD, _HELD_WANTED, _HELD_UNREAD = (ord(letter) for letter in "tuHh")
_TOKEN_HEAD: Final = Struct(">Bd")
_HOLD: Final = Struct(">d16s")
_END: Final = Struct(">d")
_END_KEY: Final = Struct(">cd")


class Damaged(ValueError):
    """A record that no version of this module has written."""


class Group(enum.Enum):
    """What ends together: the first byte of its keys in ``ends``."""

    ENTRIES = b"e"
    STAMPS = b"s"
    HELD = b"h"


class Stamp(NamedTuple):
    """A stamp as it is stored.

    Attributes:
        token: its token, or ``None`` if it is held or there is none.
        end: when the token ends, or the last of the holds.
        holds: the end of each writer's hold.
        wanted: whether a reader has asked for it.
    """

    token: bytes | None
    end: float
    holds: Mapping[bytes, float]
    wanted: bool

    def live(self, now: float) -> Stamp:
        """Return what is left of it now."""
        if self.holds:
            holds = {writer: end for writer, end in self.holds.items() if end > now}
            return self._replace(holds=holds, end=max(holds.values())) if holds else _NOTHING
        return self if self.token is not None and self.end > now else _NOTHING

    @property
    def group(self) -> Group | None:
        """Where its end is listed; ``None`` of a missing one."""
        if self.holds:
            return Group.HELD
        return None if self.token is None else Group.STAMPS

    @property
    def state(self) -> StampState:
        """What a reader is told, if it is live."""
        if self.holds:
            return HELD
        return MISSING if self.token is None else StampState(self.token, held=False)

    def with_token(self, token: bytes, now: float, *, wanted: bool = False) -> Stamp:
        """Return it with a new token."""
        wanted = wanted or self.wanted
        return Stamp(token, now + (TOKEN_SECONDS if wanted else UNREAD_SECONDS), {}, wanted)

    def with_hold(self, writer: bytes, end: float) -> Stamp:
        """Return it held by one more writer, its token gone."""
        holds = {**self.holds, writer: end}
        return Stamp(None, max(holds.values()), holds, self.wanted)

    def without_hold(self, writer: bytes) -> Stamp:
        """Return it without the hold of one writer."""
        holds = {other: end for other, end in self.holds.items() if other != writer}
        return self._replace(holds=holds, end=max(holds.values(), default=0.0))

    def packed(self) -> bytes:
        """Return its bytes."""
        return pack_holds(self) if self.holds else pack_token(self)


_NOTHING: Final = Stamp(None, 0.0, {}, wanted=False)


def pack_token(stamp: Stamp) -> bytes:
    """Return the bytes of a stamp that has a token."""
    return _TOKEN_HEAD.pack(_WANTED if stamp.wanted else _UNREAD, stamp.end) + (stamp.token or b"")


def pack_holds(stamp: Stamp) -> bytes:
    """Return the bytes of a stamp that is held."""
    kind = _HELD_WANTED if stamp.wanted else _HELD_UNREAD
    return bytes((kind,)) + b"".join([_HOLD.pack(end, writer) for writer, end in stamp.holds.items()])


def parse_stamp(record: bytes | None) -> Stamp:
    """Return a stamp of its bytes; what has ended may still be in it."""
    if record is None:
        return _NOTHING
    try:
        kind = record[0]
        if kind in {_WANTED, _UNREAD}:
            _, end = _TOKEN_HEAD.unpack_from(record)
            return Stamp(record[_TOKEN_HEAD.size :], end, {}, kind == _WANTED)
        holds = {writer: end for end, writer in _HOLD.iter_unpack(record[1:])}
        if kind not in {_HELD_WANTED, _HELD_UNREAD} or not holds:
            raise Damaged(f"a stamp of kind {kind}")
        return Stamp(None, max(holds.values()), holds, kind == _HELD_WANTED)
    except (error, IndexError) as exc:
        raise Damaged(f"a stamp of {len(record)} bytes") from exc


def state_of(record: bytes, now: float) -> StampState:
    """Return what a reader is told of a stamp; on the way of every hit, so a token is looked at without ceremony."""
    if record[0] in {_WANTED, _UNREAD}:
        return StampState(record[9:], held=False) if _END.unpack_from(record, 1)[0] > now else MISSING
    return parse_stamp(record).live(now).state


def end_of(record: bytes | None, token: bytes) -> float:
    """Return when a stamp's token ends if it is just this one and nobody holds the stamp, else a time that is over."""
    if record and record[0] in {_WANTED, _UNREAD} and record[9:] == token:
        end: float = _END.unpack_from(record, 1)[0]
        return end
    return -math.inf


def parse_entry(record: bytes) -> tuple[float, bytes]:
    """Return when an entry ends, and its blob."""
    try:
        return _END.unpack_from(record)[0], record[8:]
    except error as exc:
        raise Damaged(f"an entry of {len(record)} bytes") from exc


def pack_entry(end: float, blob: bytes) -> bytes:
    """Return the bytes of an entry."""
    return _END.pack(end) + blob


class End(NamedTuple):
    """A place in the order in which things go.

    Attributes:
        group: what it is.
        at: when it ends.
        name: the entry's key, or the stamp's name.
    """

    group: Group
    at: float
    name: bytes

    def key(self) -> bytes:
        """Return the key of this place; keys sort as the ends do, for no end is negative."""
        return _END_KEY.pack(self.group.value, self.at) + self.name


def parse_end(key: bytes) -> End:
    """Return what :meth:`End.key` was asked of."""
    try:
        group, at = _END_KEY.unpack_from(key)
        return End(Group(group), at, key[_END_KEY.size :])
    except (error, ValueError) as exc:
        raise Damaged(f"an end of {len(key)} bytes") from exc
