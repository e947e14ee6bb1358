"""What runs inside a cached function is recorded: the stamps its result stands on, or why it cannot be kept.

The recorders of the calls under way hang on a context variable. So tasks started inside a call, and threads started with a copy
of its context, report to it too, and calls that merely run at the same time do not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

__all__ = ["Recorder", "Shown", "active", "note", "recorders", "recording", "refuse", "used_under"]


class Shown(NamedTuple):
    """What the results of all loads of a call say of stamps on which it does not depend by itself.

    Attributes:
        rows: the stamps of the rows that they show.
        guard: the stamps in whose place these stand, if they still have their tokens after the rows' were captured.
        without: the stamps on which nothing depends then, the guard among them.
    """

    rows: Collection[bytes]
    guard: Collection[bytes]
    without: Collection[bytes]


class Recorder:
    """What one call of a cached function has depended on so far. Every method may be called from any thread.

    Args:
        owner: the cache whose stamps count; those of another cache cannot be checked when the result is asked for.
        parent: the recorder of the call that this one is made by; what is reported to a recorder its parents hear too.
        captured: tokens read before the call began. A dependency is kept under such a token rather than under a newer one.
        settings: the settings of connections that its key holds, so that what is read under them may be part of its result.
    """

    __slots__ = (
        "_captured", "_certain", "_guard", "_lock", "_rows", "_tokens", "_untold",
        "closed", "owner", "parent", "reason", "sessions", "settings",
    )  # fmt: skip

    def __init__(
        self,
        owner: object,
        parent: Recorder | None,
        captured: Mapping[bytes, bytes],
        *,
        settings: Collection[object] = (),
    ) -> None:
        self.settings = settings
        self.owner = owner
        self.parent = parent
        self.reason: str | None = None
        """Why the result cannot be kept; the first reason that was given."""
        self.closed = False
        """Whether the call has returned: what tasks it left behind do is no part of its result."""
        self.sessions: WeakKeyDictionary[object, frozenset[object]] = WeakKeyDictionary()
        """For each session met, what had been loaded into it before: as old as it may be, and so no part of a result."""
        self._captured = captured
        self._tokens: dict[bytes, bytes] = {}
        self._certain: set[bytes] = set()
        # For each stamp on which loads depend only unless their rows show otherwise, how many have not told them.
        self._untold: dict[bytes, int] = {}
        self._guard: set[bytes] = set()
        self._rows: dict[bytes, None] = {}
        self._lock = threading.Lock()

    @property
    def tokens(self) -> dict[bytes, bytes]:
        """Token by stamp name of everything depended on."""
        with self._lock:
            return dict(self._tokens)

    def load(self, unless_shown: Collection[bytes]) -> None:
        """Take note of a load that depends on these stamps unless :meth:`tell` says of its result that it does not."""
        with self._lock:
            for stamp in unless_shown:
                self._untold[stamp] = self._untold.get(stamp, 0) + 1

    def tell(
        self,
        unless_shown: Collection[bytes],
        rows: Iterable[bytes],
        *,
        guard: Collection[bytes] = (),
        stays: Collection[bytes] = (),
    ) -> None:
        """Say what the result of such a load depends on in place of these stamps.

        Args:
            unless_shown: as they were given to :meth:`load`.
            rows: the stamps of the rows that it shows.
            guard: those of the stamps for which these stand.
            stays: those of the stamps on which it depends all the same.
        """
        with self._lock:
            self._certain.update(stays)
            self._guard.update(guard)
            self._rows.update(dict.fromkeys(rows))
            for stamp in unless_shown:
                self._untold[stamp] -= 1

    def shown(self) -> Shown:
        """Return what stands in place of stamps on which, by what every load has told, nothing depends."""
        with self._lock:
            without = {stamp for stamp, times in self._untold.items() if not times} - self._certain
            return Shown(tuple(self._rows), without & self._guard, without)

    def adopt(self, stamps: Collection[bytes], unless_shown: Collection[bytes] = ()) -> list[bytes]:
        """Depend on stamps whose tokens are known from before; return those that are still to be captured.

        Args:
            stamps: the stamps.
            unless_shown: further ones, on which a result may turn out not to depend.
        """
        with self._lock:
            self._certain.update(stamps)
            missing: list[bytes] = []
            for stamp in (*stamps, *unless_shown):
                if stamp in self._tokens:
                    continue
                token = self._captured.get(stamp)
                if token is None:
                    missing.append(stamp)
                else:
                    self._tokens[stamp] = token
            return missing

    def add(self, tokens: Mapping[bytes, bytes], unless_shown: Collection[bytes] = ()) -> None:
        """Depend on stamps under these tokens; one that is known under another token has changed meanwhile.

        Args:
            tokens: token by stamp name.
            unless_shown: those of the stamps on which a result may turn out not to depend.
        """
        self.adopt([stamp for stamp in tokens if stamp not in unless_shown], unless_shown)
        with self._lock:
            changed = any(self._tokens.setdefault(stamp, token) != token for stamp, token in tokens.items())
        if changed:
            self.refuse("it changed while it was loaded")

    def refuse(self, reason: str) -> None:
        """Do not keep the result, for this reason."""
        with self._lock:
            if self.reason is None:
                self.reason = reason


_active: ContextVar[Recorder | None] = ContextVar("rowstamp-recorder", default=None)


active: Final[Callable[[], Recorder | None]] = _active.get
"""Return the recorder of the innermost call under way here, or ``None`` outside of any. No function of ours around it: each hit asks."""


def recorders() -> Iterator[Recorder]:
    """Yield the recorders of all calls under way here, the innermost first."""
    recorder = _active.get()
    while recorder is not None:
        if not recorder.closed:
            yield recorder
        recorder = recorder.parent


@contextmanager
def recording(recorder: Recorder | None) -> Generator[None]:
    """Report to ``recorder`` what runs in this context; ``None`` leaves things as they are."""
    if recorder is None:
        yield
        return
    token = _active.set(recorder)
    try:
        yield
    finally:
        recorder.closed = True
        _active.reset(token)


def note(owner: object, tokens: Mapping[bytes, bytes], unless_shown: Collection[bytes] = ()) -> None:
    """Report that something was used which stands on these tokens, captured before it was loaded.

    Args:
        owner: the cache.
        tokens: token by stamp name.
        unless_shown: those of the stamps on which its result may turn out not to depend; whoever loads it tells.
    """
    for recorder in recorders():
        if recorder.owner is owner:
            recorder.add(tokens, unless_shown)
        else:
            recorder.refuse("it reads through another cache")


def refuse(reason: str) -> None:
    """Report that something was done whose result cannot be kept."""
    for recorder in recorders():
        recorder.refuse(reason)


def used_under(settings: object) -> None:
    """Report that something was read on a connection with these settings, which is part of no result whose key lacks them."""
    for recorder in recorders():
        if settings not in recorder.settings:
            recorder.refuse("connection state that its key does not hold")
