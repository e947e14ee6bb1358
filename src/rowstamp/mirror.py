"""The mirror: the tokens of stamps as a server pushes their changes to this process. Rules only, no I/O.

It is what bounded freshness stands on. A read may use a token from here if the mirror can prove that it was the stamp's token at a
moment no longer ago than the bound. The proof is a **heartbeat**: a request on the very connection on which changes are pushed. Its
reply says that every change the server made before the request was *sent* has been heard, for what a server writes to one
connection arrives in order. So a feed that is cut, slow or silent proves nothing, and reads become strict by themselves.

Three rules carry it; each has a test that fails without it (``tests/unit/test_mirror.py``), and what is done with fetches, changes and
feeds is explored in every order (``tests/model/test_mirror.py``):

1. **A change wins over a fetch under way.** A token that was asked for before a change was heard, and answered after, may be the
   old one. So a fetch leaves a mark before its request is sent, and what changes until its reply has come is not kept.
2. **A token counts only with the feed that it was fetched under**: one that was there before the request, of the very server (run and
   replication id) that replied. What another server says is not pushed on this feed.
3. **A reader looks at the proof before it looks at the tokens.** The other way round, a change and the heartbeat after it may
   come in between: old token, new proof.

What this process changes itself it forgets before it tells the server and once more when the server has answered: between the two,
another of its reads may have fetched the old token.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from typing import Final, NamedTuple, Protocol, runtime_checkable

from rowstamp.model import StampState

__all__ = ["Feed", "Fetch", "Fetched", "Following", "Mirror", "steady_clock"]

MOST_TOKENS: Final = 100_000
"""Most stamps that a mirror knows; about 25 MB."""

AWAKE_SECONDS: Final = 10.0
"""So long after the last bounded read the feed is kept fresh for the next."""

SLOWEST_BEAT: Final = 1.0
FASTEST_BEAT: Final = 0.005


def steady_clock() -> float:
    """Return seconds from some fixed moment, counting those in which the machine was suspended.

    The monotonic clock of Linux stands still meanwhile: a proof from before a night's sleep would seem milliseconds old.
    """
    return time.clock_gettime(_BOOTTIME) if _BOOTTIME is not None else time.monotonic()


_BOOTTIME: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)


class Feed:
    """One connection on which a server pushes changes, from when it does until the connection is lost.

    Attributes:
        identity: who the server is.
        proven_at: every change that the server made before this moment has been heard.
    """

    __slots__ = ("identity", "proven_at")

    def __init__(self, identity: bytes) -> None:
        self.identity = identity
        self.proven_at = -inf


class Fetch:
    """A read of stamps that is under way.

    Attributes:
        feeds: the feeds that were there before it was sent, by their servers' identity.
        changed: the stamps of which a change was heard since.
        void: whether any stamp may have changed.
    """

    __slots__ = ("changed", "feeds", "void")

    def __init__(self, feeds: Mapping[bytes, Feed]) -> None:
        self.feeds = feeds
        self.changed: set[bytes] = set()
        self.void = False


class Fetched(NamedTuple):
    """A stamp's state as a server gave it.

    Attributes:
        stamp: its name.
        state: the state.
        identity: who the server is.
    """

    stamp: bytes
    state: StampState
    identity: bytes


class Mirror:
    """The tokens that the servers of a store have and would have said if they had changed. Every method may be called from any thread.

    Args:
        clock: seconds from any fixed moment, never going back.
    """

    def __init__(self, clock: Callable[[], float] = steady_clock) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._tokens: dict[bytes, tuple[StampState, Feed]] = {}
        self._feeds: Mapping[bytes, Feed] = {}
        self._fetches: set[Fetch] = set()
        self._epoch: bytes | None = None
        self._epoch_is_known = False
        self._epoch_feed: Feed | None = None
        self._tightest = inf
        self._asked_at = -inf

    # ----------------------------------------------------------------------------------------------------- feeds

    def joined(self, identity: bytes) -> Feed:
        """Take note that a server pushes its changes from now on."""
        feed = Feed(identity)
        with self._lock:
            self._feeds = {**self._feeds, identity: feed}
        return feed

    def proved(self, feed: Feed, sent_at: float) -> None:
        """Take note of the reply to a heartbeat that was sent at a moment by this mirror's clock."""
        if self._feeds.get(feed.identity) is feed:
            feed.proven_at = sent_at

    def lost(self, feed: Feed) -> None:
        """Take note that a feed has ended: what was fetched under it counts no more."""
        with self._lock:
            feed.proven_at = -inf
            if self._feeds.get(feed.identity) is feed:
                self._feeds = {known: each for known, each in self._feeds.items() if each is not feed}
            self._tokens = {stamp: kept for stamp, kept in self._tokens.items() if kept[1] is not feed}

    def beat(self) -> float:
        """Return how long a feed may rest between two heartbeats, in seconds."""
        if self.clock() - self._asked_at > AWAKE_SECONDS:
            return SLOWEST_BEAT
        return min(max(self._tightest / 4, FASTEST_BEAT), SLOWEST_BEAT)

    # --------------------------------------------------------------------------------------------------- changes

    def changed(self, stamps: Iterable[bytes]) -> None:
        """Forget stamps that have changed, or are about to."""
        with self._lock:
            for stamp in stamps:
                self._tokens.pop(stamp, None)
                for fetch in self._fetches:
                    fetch.changed.add(stamp)

    def all_changed(self) -> None:
        """Forget every stamp."""
        with self._lock:
            self._tokens = {}
            self._make_void()

    def epoch_changed(self) -> None:
        """Trust no token until the epoch has been read again: most often it is the same, and has only been given more time."""
        with self._lock:
            self._epoch_is_known = False
            self._make_void()

    def _make_void(self) -> None:
        for fetch in self._fetches:
            fetch.void = True

    # --------------------------------------------------------------------------------------------------- fetches

    def begin(self) -> Fetch | None:
        """Leave a mark for a read that is about to be sent; ``None`` if there is no feed to keep anything under.

        A mark has to be taken back, by :meth:`end`, whatever becomes of the read.
        """
        if not self._feeds:
            return None
        with self._lock:
            fetch = Fetch(self._feeds)
            self._fetches.add(fetch)
        return fetch

    def end(
        self, fetch: Fetch, epoch: bytes | None = None, found: Sequence[Fetched] = (), *, by: bytes | None = None
    ) -> None:
        """Keep what a read has found, except what may have changed since it was sent.

        Args:
            fetch: the mark that was left for it.
            epoch: the epoch under which its tokens were given; ``None`` if there is no telling.
            found: the states that it has found.
            by: the identity of the server that has the epoch, if that is another than the first state's.
        """
        with self._lock:
            self._fetches.discard(fetch)
            if fetch.void or epoch is None or not found:
                return
            self._epoch_feed = fetch.feeds.get(found[0].identity if by is None else by)
            if epoch != self._epoch:
                self._epoch, self._tokens = epoch, {}
            self._epoch_is_known = True
            for stamp, state, identity in found:
                feed = fetch.feeds.get(identity)
                if stamp in fetch.changed or feed is None or self._feeds.get(identity) is not feed:
                    continue
                self._tokens.pop(stamp, None)
                if state.token is not None:
                    self._tokens[stamp] = (state, feed)
            while len(self._tokens) > MOST_TOKENS:
                del self._tokens[next(iter(self._tokens))]

    # ----------------------------------------------------------------------------------------------------- reads

    def states(self, stamps: Sequence[bytes], bound: float) -> dict[bytes, StampState] | None:
        """Return states that all of these stamps had at a moment within the bound, or ``None`` if that cannot be proved.

        Args:
            stamps: the names of the stamps.
            bound: how long ago that may be, in seconds.
        """
        now = self._asked_at = self.clock()
        self._tightest = min(self._tightest, bound)
        # In this order: see rule 3.
        fresh = [feed for feed in self._feeds.values() if now - feed.proven_at <= bound]
        if not (self._epoch_feed in fresh and self._epoch_is_known):
            return None
        tokens = self._tokens
        found: dict[bytes, StampState] = {}
        for stamp in stamps:
            kept = tokens.get(stamp)
            if kept is None or kept[1] not in fresh:
                return None
            found[stamp] = kept[0]
        return found

    def check(self) -> None:
        """Raise ``AssertionError`` when the bookkeeping is inconsistent; for tests."""
        with self._lock:
            feeds = set(self._feeds.values())
            if any(feed not in feeds or state.token is None for state, feed in self._tokens.values()):
                raise AssertionError("a token is kept without a feed, or a stamp without a token")


@runtime_checkable
class Following(Protocol):
    """What a store can do besides if its server pushes the changes of stamps."""

    def follow(self) -> Mirror:
        """Return the mirror of its stamps, and see that it is being fed; called for every read that may use it."""
        ...
