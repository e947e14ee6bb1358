"""The near cache: results kept in this process, each used only while its stamps say so. No I/O.

A copy is never trusted: it is validated by its stamps exactly like the entry in the store. What it saves is the payload, which is not
transferred again, and the decoding, where the decoded rows can be shared (see :meth:`NearCache.share`).

It works on protocol flows, not on a store: :meth:`NearCache.through` runs a lookup and answers its reads. So one text serves
stores that block and stores that are awaited, and the flow that decides about a hit is the one that always does.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final, TypeVar
from weakref import WeakSet

from rowstamp.entry import StoredEntry
from rowstamp.mirror import Mirror
from rowstamp.model import StampState, StoreSnapshot
from rowstamp.protocol import Flow, Hit, NearSnapshot, Operation, Read

__all__ = ["DEFAULT_BYTES", "LONGEST_SECONDS", "NearCache"]

T = TypeVar("T")

DEFAULT_BYTES: Final = 32 * 1024 * 1024
"""How much a near cache may keep if nothing is said."""

LONGEST_SECONDS: Final = 60.0
"""How long a copy is kept before the entry is read from the store again.

Entries end by the clock of whoever stored them, copies by that of whoever reads. Where the two disagree, by so much at most
does a copy outlive its entry.
"""

_OVERHEAD: Final = 600
"""Bytes a copy takes beside its payload: objects, the key, a dictionary."""

_TOKEN_BYTES: Final = 100
"""And for each stamp; the names are mostly objects that others have, too."""


class _Copy:
    """A result that is kept here.

    Attributes:
        stored: the entry; its body is empty when ``decoded`` is there.
        tokens: token by name of all stamps that it stands on; ``names`` and ``values`` are the two sides of it.
        until: when it is to be read again, by the monotonic clock.
        size: what it counts, in bytes.
    """

    __slots__ = ("names", "size", "stored", "tokens", "until", "values")

    def __init__(self, stored: StoredEntry, tokens: Mapping[bytes, bytes], until: float, size: int) -> None:
        self.stored = stored
        self.tokens = tokens
        self.names = tuple(tokens)
        self.values = [*tokens.values()]
        self.until = until
        self.size = size

    def stands_on(self, names: Sequence[bytes], states: Sequence[StampState]) -> bool:
        """Whether every stamp is what it was; ``states`` are those of ``names``, among which all of its own are."""
        # A missing or held stamp has no token, and None never equals one. The flow proves it once more, as it always does.
        found = [state.token for state in states]
        if names is self.names:
            return found == self.values
        by_name = dict(zip(names, found, strict=True))
        return all(by_name[name] == token for name, token in self.tokens.items())


def _of(stamps: Sequence[bytes], names: Sequence[bytes], states: tuple[StampState, ...]) -> tuple[StampState, ...]:
    """The states of these stamps among those of more names."""
    by_name = dict(zip(names, states, strict=True))
    return tuple([by_name[stamp] for stamp in stamps])


class NearCache:
    """Results kept in this process beside a store, those unused longest going first. Every method may be called from any thread.

    Args:
        max_bytes: the bound over all copies, by an estimate of what they take in memory.
        clock: seconds from any fixed moment, never going back.
        wall_clock: seconds since 1970.
        count: told ``"near_hits"`` for each hit whose payload was not transferred, and ``"bounded_hits"`` for each without any
            round trip.
    """

    def __init__(
        self,
        max_bytes: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        count: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._wall_clock = wall_clock
        self._count = count
        self._lock = threading.Lock()
        self._copies: OrderedDict[bytes, _Copy] = OrderedDict()
        self._bytes = 0
        _ALL.add(self)

    @property
    def size(self) -> int:
        """What the copies take, by the estimate that is bounded."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._copies)

    # -------------------------------------------------------------------------------------------------- lookups

    def through(self, flow: Flow[T], mirror: Mirror | None = None, bound: float = 0.0) -> Flow[T]:
        """Run a lookup, and answer its read of an entry from here as far as the stamps allow.

        A hit on a copy is one round trip for the stamps. So is a miss on a stamp that is missing or held. If a stamp has another
        token than the copy, the entry may have been stored anew, and is read with a second round trip.

        Args:
            flow: the lookup.
            mirror: knows stamps without a round trip; without it every hit is strict.
            bound: how long ago they may have been what they are, in seconds.
        """
        entry: bytes | None = None
        try:
            operation = next(flow)
            while True:
                if isinstance(operation, Read) and operation.entry is not None:
                    entry = operation.entry
                    operation = flow.send((yield from self._answer(entry, operation.stamps, mirror, bound)))
                else:
                    operation = flow.send((yield operation))
        except StopIteration as stop:
            if isinstance(stop.value, Hit) and entry is not None:
                self._hit(entry, stop.value)
            return stop.value  # type: ignore[no-any-return]

    def _answer(
        self, entry: bytes, stamps: Sequence[bytes], mirror: Mirror | None, bound: float
    ) -> Generator[Operation, Any, StoreSnapshot | NearSnapshot]:
        copy = self._get(entry)
        if copy is not None:
            # Whoever asks for an entry nearly always asks for the stamps that it was stored under, in their order.
            same = copy.names == tuple(stamps)
            names = copy.names if same else tuple(dict.fromkeys((*stamps, *copy.names)))
            known = None if mirror is None else mirror.states(names, bound)
            if known is not None and copy.stands_on(names, tuple(known.values())):
                self._count("bounded_hits")
                return NearSnapshot(copy.stored, tuple([known[stamp] for stamp in stamps]))
            snapshot: StoreSnapshot = yield Read(None, names)
            asked = snapshot.stamps if same else _of(stamps, names, snapshot.stamps)
            if copy.stands_on(names, snapshot.stamps):
                return NearSnapshot(copy.stored, asked)
            self._drop(entry, copy)
            if any(state.token is None for state in asked):
                return StoreSnapshot(None, asked)
        return (yield Read(entry, stamps))  # type: ignore[no-any-return]

    def _hit(self, entry: bytes, hit: Hit) -> None:
        copy = self._copies.get(entry)
        if copy is not None and copy.stored is hit.stored:
            self._count("near_hits")
        else:
            self.keep(entry, hit.stored, hit.tokens)

    # --------------------------------------------------------------------------------------------------- copies

    def keep(self, entry: bytes, stored: StoredEntry, tokens: Mapping[bytes, bytes]) -> None:
        """Keep a copy of an entry.

        Args:
            entry: its key.
            stored: the entry as it lies in the store.
            tokens: token by name of all stamps that it stands on.
        """
        left = min(stored.ends_at - self._wall_clock(), LONGEST_SECONDS)
        if left > 0:
            size = _OVERHEAD + len(stored.body) + _TOKEN_BYTES * len(tokens)
            self._put(entry, _Copy(stored, tokens, self._clock() + left, size))

    def share(self, entry: bytes, stored: StoredEntry, decoded: object, size: int) -> None:
        """Keep what a copy's body decodes to instead of the body, for all its readers.

        Args:
            entry: the copy's key.
            stored: the entry that was decoded; another copy that has come meanwhile stays as it is.
            decoded: what its body means, made of nothing that a reader could change.
            size: what that takes in memory, in bytes.
        """
        copy = self._copies.get(entry)
        if copy is not None and copy.stored is stored:
            lean = stored._replace(body=b"", decoded=decoded)
            self._put(entry, _Copy(lean, copy.tokens, copy.until, _OVERHEAD + size + _TOKEN_BYTES * len(copy.tokens)))

    def _get(self, entry: bytes) -> _Copy | None:
        with self._lock:
            copy = self._copies.get(entry)
            if copy is not None:
                self._copies.move_to_end(entry)
        if copy is not None and copy.until <= self._clock():
            self._drop(entry, copy)
            return None
        return copy

    def _put(self, entry: bytes, copy: _Copy) -> None:
        with self._lock:
            self._forget(entry)
            if copy.size > self._max_bytes:
                return
            self._copies[entry] = copy
            self._bytes += copy.size
            while self._bytes > self._max_bytes:
                self._bytes -= self._copies.popitem(last=False)[1].size

    def _drop(self, entry: bytes, copy: _Copy) -> None:
        with self._lock:
            if self._copies.get(entry) is copy:
                self._forget(entry)

    def _forget(self, entry: bytes) -> None:
        copy = self._copies.pop(entry, None)
        if copy is not None:
            self._bytes -= copy.size

    def clear(self) -> None:
        """Give the memory back."""
        with self._lock:
            self._copies.clear()
            self._bytes = 0

    def after_fork(self) -> None:
        """Start empty in a new process: another thread may have been in the middle of a change when it was forked."""
        self._lock = threading.Lock()
        self._copies = OrderedDict()
        self._bytes = 0

    def check(self) -> None:
        """Raise ``AssertionError`` when the bookkeeping is inconsistent; for tests."""
        with self._lock:
            size = sum(copy.size for copy in self._copies.values())
            if size != self._bytes or size > self._max_bytes:
                raise AssertionError(f"{size} bytes are counted as {self._bytes}, and {self._max_bytes} are allowed")


_ALL: Final[WeakSet[NearCache]] = WeakSet()


def _after_fork() -> None:
    for near in list(_ALL):
        near.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
