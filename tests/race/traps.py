"""A store before the real one, in which a worker dawdles, dies or is stopped between two steps of the protocol."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from rowstamp.model import StampState, StoreSnapshot
from rowstamp.store import Store

Trap = Callable[[], None]


def dawdling(rng: random.Random, share: float, seconds: float) -> Trap:
    """Now and then wait a little, so that others come in between."""

    def trap() -> None:
        if rng.random() < share:
            # Not for something to happen: the length of the pause is the experiment.
            time.sleep(rng.random() * seconds)

    return trap


def dying(rng: random.Random, share: float, at: int = 0) -> Trap:
    """Now and then, and at a step of this number, kill this process, with nothing closed and nobody told."""
    steps = count(1)

    def trap() -> None:
        if next(steps) == at or rng.random() < share:
            os.kill(os.getpid(), signal.SIGKILL)

    return trap


def stopping(rng: random.Random, share: float, supervisor: socket.socket) -> Trap:
    """Now and then ask the supervisor to stop this process and to let it go on after others have written."""

    def trap() -> None:
        if rng.random() < share:
            supervisor.send(b"s")
            if not supervisor.recv(1):
                os._exit(1)  # the supervisor is gone

    return trap


def both(first: Trap, second: Trap) -> Trap:
    """Step into one trap after the other."""

    def trap() -> None:
        first()
        second()

    return trap


def nothing() -> None:
    """Let pass."""


class TrappedStore:
    """A store with a trap at each step where another's step could do harm.

    Args:
        store: the real one.
        loaded: after a reader's load, before its fill.
        captured: after a reader's stamps are read, before its load.
        held: after stamps have changed, so that COMMIT may come next.
        committed: before stamps get new tokens, which comes after COMMIT.
    """

    def __init__(
        self,
        store: Store,
        *,
        loaded: Trap = nothing,
        captured: Trap = nothing,
        held: Trap = nothing,
        committed: Trap = nothing,
    ) -> None:
        self._store = store
        self.loaded = loaded
        self._captured, self._held, self._committed = captured, held, committed

    def read(self, entry: bytes | None, stamps: Sequence[bytes]) -> StoreSnapshot:
        return self._store.read(entry, stamps)

    def mint(self, tokens: Mapping[bytes, bytes]) -> tuple[StampState, ...]:
        states = self._store.mint(tokens)
        self._captured()
        return states

    def put(self, entry: bytes, blob: bytes, ttl: float) -> None:
        self.loaded()
        self._store.put(entry, blob, ttl)

    def delete(self, entry: bytes) -> None:
        self._store.delete(entry)

    def hold(self, stamps: Sequence[bytes], writer: bytes, ttl: float) -> None:
        self._store.hold(stamps, writer, ttl)
        self._held()

    def release(self, tokens: Mapping[bytes, bytes], writer: bytes) -> tuple[bool, ...]:
        self._committed()
        still_held = self._store.release(tokens, writer)
        self._held()  # for a protocol that commits only now
        return still_held

    def touch(self, tokens: Mapping[bytes, bytes]) -> None:
        self._committed()
        self._store.touch(tokens)
        self._held()

    def clear(self) -> None:
        self._store.clear()

    def close(self) -> None:
        self._store.close()

    def check(self) -> None:
        self._store.check()


class FollowedStore(TrappedStore):
    """The same before a store whose changes can be followed, for bounded freshness."""

    def follow(self) -> Any:
        followed: Any = self._store
        return followed.follow()
