"""What runs inside a cached function is recorded: the stamps its result stands on, or why it cannot be kept.

The recorders of the calls under way hang on a context variable. So tasks started inside a call, and threads started with a copy
of its context, report to it too, and calls that merely run at the same time do not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final
from weakref import WeakKeyDictionary

__all__ = ["Recorder", "active", "note", "recorders", "recording", "refuse", "used_under"]


class Recorder:
    """What one call of a cached function has depended on so far. Every method may be called from any thread.

    Args:
        owner: the cache whose stamps count; those of another cache cannot be checked when the result is asked for.
        parent: the recorder of the call that this one is made by; what is reported to a recorder its parents hear too.
        captured: tokens read before the call began. A dependency is kept under such a token rather than under a newer one.
        settings: the settings of connections that its key holds, so that what is read under them may be part of its result.
    """

    __slots__ = ("_captured", "_lock", "_tokens", "closed", "owner", "parent", "reason", "sessions", "settings")

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
        self._lock = threading.Lock()

    @property
    def tokens(self) -> dict[bytes, bytes]:
        """Token by stamp name of everything depended on."""
        with self._lock:
            return dict(self._tokens)

    def adopt(self, stamps: Iterable[bytes]) -> list[bytes]:
        """Depend on stamps whose tokens are known from before; return those that are still to be captured."""
        with self._lock:
            missing: list[bytes] = []
            for stamp in stamps:
                if stamp in self._tokens:
                    continue
                token = self._captured.get(stamp)
                if token is None:
                    missing.append(stamp)
                else:
                    self._tokens[stamp] = token
            return missing

    def add(self, tokens: Mapping[bytes, bytes]) -> None:
        """Depend on stamps under these tokens; one that is known under another token has changed meanwhile."""
        self.adopt(tokens)
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


def note(owner: object, tokens: Mapping[bytes, bytes]) -> None:
    """Report that something was used which stands on these tokens, captured before it was loaded."""
    for recorder in recorders():
        if recorder.owner is owner:
            recorder.add(tokens)
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
