"""The store of one process: entries and stamps in memory, bounded by bytes.

**Which library bounds it.** The order of replacement and the sum of the weights are those of `cachebox.LRUCache`.
Measured side by side on CPython 3.11, five reads and the memory of one small item:

===========================  ========  =========  =====================================================================
library                      5 × get   per item
===========================  ========  =========  =====================================================================
cachebox 6.2 ``LRUCache``    0.30 µs   95 bytes   weights; 26 million random operations equal to an ``OrderedDict`` model
cachetools 8 ``LRUCache``    0.97 µs   190 bytes  weights; three dictionaries an item, reads in Python
theine 2 (W-TinyLFU)         –         380 bytes  bounds the number of items only; a thread and a loop at import
===========================  ========  =========  =====================================================================

cachebox's ``TTLCache`` and ``VTTLCache`` are not used: they ask the system for the time, and their order of replacement
is that of expiry. The time of expiry lies beside the blob, and the clock is ours.

**What cannot be evicted is not where eviction looks.** A held stamp lives in a dictionary of its own; the library
knows only what may be lost. Entries and unheld stamps share one order: a stamp is read with each entry that depends
on it, hence is never older in that order than the youngest of them, and goes when nothing uses it any more. Two bounds
would need a ratio, and every ratio is wrong for somebody.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec
from cachebox import LRUCache

from rowstamp.errors import ConfigurationError
from rowstamp.model import StampState, StoreSnapshot
from rowstamp.store import Moment

__all__ = ["DEFAULT_MAX_BYTES", "MemoryCounts", "MemoryStore"]

DEFAULT_MAX_BYTES: Final = 256 * 1024 * 1024
"""The bound when none is given: 256 MiB."""

# What CPython and the library need beyond the bytes of key and value, measured as the growth of the process divided by
# the number of items. Guessing low would make the bound a lie; guessing high costs a few entries.
_ENTRY_OVERHEAD: Final = 232
_STAMP_OVERHEAD: Final = 240
_HOLD_BYTES: Final = 384

# An entry and a stamp may have the same name; with this in front of the entry's they are two keys.
_ENTRY_MARK: Final = b"e"

_SWEEP_AT_LEAST: Final = 64
_UNTOLD_SECONDS: Final = 1.0
"""How long an item may be in use without the order of replacement being told, which :meth:`MemoryStore.quiet_since` does not do."""

_MOST_LEASES: Final = 1024
"""When there are so many, those that have ended are forgotten."""

_MISSING: Final = StampState(token=None, held=False)
_HELD: Final = StampState(token=None, held=True)


class _Entry(msgspec.Struct, frozen=True, gc=False):
    """A blob and when it ends. Unlike a tuple, one the garbage collector need not walk over, of maybe a million."""

    blob: bytes
    expires_at: float


# A stamp is kept as the state that readers are given, so that a hit makes no new objects for its stamps.
_Value: TypeAlias = _Entry | StampState


def _size(key: bytes, value: _Value) -> int:
    """What an evictable item counts, in bytes."""
    if isinstance(value, _Entry):
        return _ENTRY_OVERHEAD + len(key) + len(value.blob)
    return _STAMP_OVERHEAD + len(key) + len(value.token or b"")


class MemoryCounts(NamedTuple):
    """What a memory store contains at one moment; expired things count until they are looked at or evicted.

    Attributes:
        entries: entries kept.
        stamps: stamps that have a token or are held.
        bytes: what all that takes, by the store's own estimate.
    """

    entries: int
    stamps: int
    bytes: int


class MemoryStore:
    """A :class:`~rowstamp.store.Store` in this process, which forgets what was unused longest when it is full.

    Safe to use from any number of threads. It belongs to one process: a fork starts with a copy that hears nothing of
    the other's writes, and that can be locked for ever if another thread was inside the store at the moment of the fork.
    Make the store after forking, and take LMDB or Redis where several processes write.

    Args:
        max_bytes: the bound over entries and stamps with their bookkeeping, in bytes. Held stamps count and are never
            evicted, so that only holds alone can go beyond it.
        clock: seconds from any fixed moment, never going back.

    Raises:
        ConfigurationError: the bound is not a positive number of bytes.
    """

    __slots__ = (
        "_clock",
        "_entries",
        "_held",
        "_holds",
        "_kept",
        "_leases",
        "_lock",
        "_losses",
        "_max_bytes",
        "_sweep_at",
        "_waiters",
    )

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES, *, clock: Callable[[], float] = time.monotonic) -> None:
        if max_bytes <= 0:
            raise ConfigurationError(
                f"max_bytes={max_bytes!r} leaves the memory store no room; give a positive number of bytes"
            )
        self._max_bytes = max_bytes
        self._clock = clock
        # Re-entrant, for a garbage collection may start inside a critical section and end an abandoned transaction,
        # which releases its holds here, in this thread. Hence also the order of steps below: at each point between two
        # of them, a hold counts and a token that is on its way out does not.
        self._lock = threading.RLock()
        self._kept: LRUCache[bytes, _Value] = LRUCache(max_bytes, getsizeof=_size)
        self._held: dict[bytes, dict[bytes, float]] = {}
        self._leases: dict[bytes, tuple[bytes, float]] = {}
        self._waiters: dict[bytes, list[threading.Event]] = {}
        # Another object after each loss of something that was kept. No number: of two losses, one inside the other (see `_lock`), the
        # outer would write what the inner has written before.
        self._losses = object()
        self._entries = 0
        self._holds = 0
        self._sweep_at = _SWEEP_AT_LEAST

    # ------------------------------------------------------------------------------------------------- reading

    def read(self, entry: bytes | None, stamps: Sequence[bytes]) -> StoreSnapshot:
        """See :meth:`rowstamp.store.Store.read`. All of it is read at one moment."""
        now = self._clock()
        with self._lock:
            get, held = self._kept.get, self._held
            found = None if entry is None else get(_ENTRY_MARK + entry, None)
            # `_state` spelled out: a call for each stamp would double the price of a hit.
            states = [
                self._state(stamp, now)
                if stamp in held
                else (state if isinstance(state := get(stamp, None), StampState) else _MISSING)
                for stamp in stamps
            ]
            blob: bytes | None = None
            if isinstance(found, _Entry):
                if now < found.expires_at:
                    blob = found.blob
                else:
                    self._forget(_ENTRY_MARK + (entry or b""))
        return StoreSnapshot(blob, tuple(states))

    def unchanged(self, entry: bytes, blob: bytes, stamps: Sequence[bytes], tokens: Sequence[bytes]) -> Moment | None:
        """See :meth:`rowstamp.store.Comparing.unchanged`. All of it is compared at one moment."""
        now = self._clock()
        with self._lock:
            losses = self._losses  # before the rest: what is lost meanwhile is then lost after it
            get, held = self._kept.get, self._held
            found = get(_ENTRY_MARK + entry, None)
            if not isinstance(found, _Entry) or found.expires_at <= now or found.blob != blob:
                return None
            for stamp, token in zip(stamps, tokens, strict=True):
                state = get(stamp, None)
                if not isinstance(state, StampState) or state.token != token or stamp in held:
                    return None
        return Moment(losses, 0, min(found.expires_at, now + _UNTOLD_SECONDS))

    def quiet_since(self, moment: Moment) -> bool:
        """See :meth:`rowstamp.store.Comparing.quiet_since`. It takes no lock.

        What was there then is there still if nothing at all was lost, for a token or an entry is changed by losing the old one,
        and a hold begins with the loss of the token. Whoever has lost something says so before the operation returns.
        """
        return moment[0] is self._losses and self._clock() < moment[2]

    def _state(self, stamp: bytes, now: float) -> StampState:
        """The state of a stamp; a hold is asked for first, so that it counts whatever else is known."""
        if self._live_holders(stamp, now):
            return _HELD
        state = self._kept.get(stamp, None)
        return state if isinstance(state, StampState) else _MISSING

    # ------------------------------------------------------------------------------------------------- entries

    def put(self, entry: bytes, blob: bytes, ttl: float) -> None:
        """See :meth:`rowstamp.store.Store.put`. What was there before is gone, even if the blob is too large."""
        expires_at = self._clock() + ttl
        with self._lock:
            self._keep(_ENTRY_MARK + entry, _Entry(blob, expires_at))

    def delete(self, entry: bytes) -> None:
        """See :meth:`rowstamp.store.Store.delete`."""
        with self._lock:
            self._forget(_ENTRY_MARK + entry)

    # -------------------------------------------------------------------------------------------------- stamps

    def mint(self, tokens: Mapping[bytes, bytes]) -> tuple[StampState, ...]:
        """See :meth:`rowstamp.store.Store.mint`."""
        now = self._clock()
        with self._lock:
            return tuple([self._mint(stamp, token, now) for stamp, token in tokens.items()])

    def _mint(self, stamp: bytes, token: bytes, now: float) -> StampState:
        state = self._state(stamp, now)
        if state is _MISSING:
            state = StampState(token, held=False)
            self._keep(stamp, state)
        return state

    def hold(self, stamps: Sequence[bytes], writer: bytes, ttl: float) -> None:
        """See :meth:`rowstamp.store.Store.hold`. It never raises."""
        now = self._clock()
        with self._lock:
            self._sweep(now)
            for stamp in stamps:
                self._join(stamp, writer, now, now + ttl)
            self._evict(0)

    def _join(self, stamp: bytes, writer: bytes, now: float, expires_at: float) -> None:
        self._live_holders(stamp, now)
        holders = self._held.setdefault(stamp, {})
        if writer not in holders:
            self._holds += 1
        holders[writer] = expires_at
        # Again, in case a release from within (see `_lock`) has just taken out the set we joined, then empty.
        self._held[stamp] = holders
        # Gone for good: when the last hold ends without a release, there is no token to come back to.
        self._forget(stamp)

    def release(self, tokens: Mapping[bytes, bytes], writer: bytes) -> tuple[bool, ...]:
        """See :meth:`rowstamp.store.Store.release`."""
        now = self._clock()
        with self._lock:
            return tuple([self._release(stamp, token, writer, now) for stamp, token in tokens.items()])

    def _release(self, stamp: bytes, token: bytes, writer: bytes, now: float) -> bool:
        self._live_holders(stamp, now)
        was_held = self._leave(stamp, writer)
        self._renew(stamp, token, now)
        return was_held

    def touch(self, tokens: Mapping[bytes, bytes]) -> None:
        """See :meth:`rowstamp.store.Store.touch`."""
        now = self._clock()
        with self._lock:
            for stamp, token in tokens.items():
                self._renew(stamp, token, now)

    def _renew(self, stamp: bytes, token: bytes, now: float) -> None:
        if not self._live_holders(stamp, now):
            self._keep(stamp, StampState(token, held=False))

    # --------------------------------------------------------------------------------------------------- holds

    def _live_holders(self, stamp: bytes, now: float) -> Mapping[bytes, float]:
        """The writers whose holds have not expired; those that have leave the set, and the last leaves it missing."""
        holders = self._held.get(stamp)
        if holders is None:
            return {}
        for writer in [writer for writer, expires_at in holders.items() if expires_at <= now]:
            self._leave(stamp, writer)
        return holders

    def _leave(self, stamp: bytes, writer: bytes) -> bool:
        """Take the writer out of the set, and say whether it was there. The token is the caller's business."""
        holders = self._held.get(stamp)
        if holders is None or holders.pop(writer, None) is None:
            return False
        self._holds -= 1
        if not holders:
            self._held.pop(stamp, None)
        return True

    def _sweep(self, now: float) -> None:
        """Forget the expired holds of stamps that nobody asks for, else a dead writer's would stay for ever.

        Only when their number has doubled since the last sweep, so that a hold costs a constant time on average.
        """
        if len(self._held) < self._sweep_at:
            return
        for stamp in list(self._held):
            self._live_holders(stamp, now)
        self._sweep_at = max(_SWEEP_AT_LEAST, 2 * len(self._held))

    # -------------------------------------------------------------------------------------------------- leases

    def lease(self, entry: bytes, holder: bytes, ttl: float) -> bytes:
        """See :meth:`rowstamp.store.Leasing.lease`."""
        now = self._clock()
        with self._lock:
            owner, end = self._leases.get(entry, (holder, 0.0))
            if end > now:
                return owner
            if len(self._leases) >= _MOST_LEASES:
                self._leases = {key: lease for key, lease in self._leases.items() if lease[1] > now}
            self._leases[entry] = holder, now + ttl
            return holder

    def unlease(self, entry: bytes, holder: bytes) -> None:
        """See :meth:`rowstamp.store.Leasing.unlease`."""
        with self._lock:
            if self._leases.get(entry, (b"", 0.0))[0] == holder:
                del self._leases[entry]
                for waiter in self._waiters.pop(entry, ()):
                    waiter.set()

    def wait_unleased(self, entry: bytes, seconds: float) -> None:
        """See :meth:`rowstamp.store.Waking.wait_unleased`."""
        now = self._clock()
        with self._lock:
            end = self._leases.get(entry, (b"", 0.0))[1]
            if end <= now:
                return
            waiter = threading.Event()
            self._waiters.setdefault(entry, []).append(waiter)
        waiter.wait(min(seconds, end - now))
        with self._lock:
            waiting = self._waiters.get(entry, [])
            if waiter in waiting:
                waiting.remove(waiter)
                if not waiting:
                    del self._waiters[entry]

    # -------------------------------------------------------------------------------------------------- bounds

    def _keep(self, key: bytes, value: _Value) -> None:
        """Put an evictable item under the key and make room for it, or drop it if there can be none."""
        size = _size(key, value)
        self._forget(key)
        if size > self._room():
            return
        self._evict(size)
        self._gone(self._kept.insert(key, value))
        if isinstance(value, _Entry):
            self._entries += 1

    def _room(self) -> int:
        """How many bytes the evictable items may take beside the holds."""
        return self._max_bytes - self._holds * _HOLD_BYTES

    def _evict(self, size: int) -> None:
        """Make room for so many bytes. By hand, for the library's own bound knows nothing of the holds."""
        room = self._room() - size
        while self._kept and self._kept.current_size() > room:
            self._gone(self._kept.popitem()[1])

    def _forget(self, key: bytes) -> None:
        self._gone(self._kept.pop(key, None))

    def _gone(self, value: _Value | None) -> None:
        """Take note of what has been taken out."""
        if value is not None:
            self._losses = object()
        if isinstance(value, _Entry):
            self._entries -= 1

    def clear(self) -> None:
        """See :meth:`rowstamp.store.Store.clear`. Unheld stamps go too, and with them every load in flight."""
        with self._lock:
            self._kept.clear()
            self._losses = object()
            self._entries = 0

    def close(self) -> None:
        """Give the memory back. The holds stay, for a transaction that is about to release them."""
        self.clear()

    # ---------------------------------------------------------------------------------------------- inspection

    def counts(self) -> MemoryCounts:
        """Return the number of entries and stamps and the bytes they take, at one moment and in constant time."""
        with self._lock:
            stamps = len(self._kept) - self._entries + len(self._held)
            return MemoryCounts(self._entries, stamps, self._kept.current_size() + self._holds * _HOLD_BYTES)

    def check(self) -> None:
        """See :meth:`rowstamp.store.Store.check`. Takes time in proportion to the number of items."""
        with self._lock:
            items = dict(self._kept.items())
            for stamp, holders in self._held.items():
                _require(stamp not in items, f"stamp {stamp.hex()} is held and could be evicted")
                _require(bool(holders), f"stamp {stamp.hex()} is held by nobody")
            _require(self._holds == sum(map(len, self._held.values())), f"holds are miscounted as {self._holds}")
            entries = sum(isinstance(value, _Entry) for value in items.values())
            _require(entries == self._entries, f"{entries} entries are counted as {self._entries}")
            size = sum(_size(key, value) for key, value in items.items())
            _require(size == self._kept.current_size(), f"{size} bytes are counted as {self._kept.current_size()}")
            _require(size <= max(0, self._room()), f"{size} bytes are kept where {self._room()} are allowed")


def _require(condition: bool, otherwise: str) -> None:  # noqa: FBT001 - an assertion that `python -O` leaves in
    if not condition:
        raise AssertionError(otherwise)
