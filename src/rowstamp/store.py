"""The store contract: what every place that keeps entries and stamps must do. No I/O here.

A store keeps two kinds of things:

* **entries**: opaque bytes under a 16-byte key, with a time to live. A store may lose any entry at any time.
* **stamps**: under a 16-byte name, either *missing*, or a *token*, or *held* by a set of in-flight writers.

A stamp is never both: taking the first hold removes the token, and the last writer to leave puts a new one. Each
hold has its own expiry by the store's clock (monotonic where there is a choice); when the last hold of a stamp expires the
stamp is *missing*, so that whatever was stored under its old token stays unusable. A store may lose an unheld stamp at any time (missing
means miss and mint). **It must not lose a held one before its expiry**, neither by eviction nor by a time to live.

Every operation is atomic per stamp. ``read`` need not be atomic over all that it asks for, provided that the entry and each
stamp's state are what they were at some moment between the call and the return, in whatever order: an entry whose tokens all
still stood at such moments was current at the beginning of the read, or was loaded after it (``tests/model/test_read_order.py``).

The executable form of this text is :class:`rowstamp.testing.StoreSuite`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from rowstamp.model import StampState, StoreSnapshot

__all__ = [
    "AsyncStore",
    "Batching",
    "Comparing",
    "Guarded",
    "Leasing",
    "Moment",
    "Outages",
    "Store",
    "Waking",
    "is_remote",
]


def is_remote(store: object) -> bool:
    """Whether what a store returns has to be sent; such a store has the attribute ``remote`` and says so."""
    return bool(getattr(store, "remote", False))


@runtime_checkable
class Store(Protocol):
    """A store whose operations return when they are done. Every method may be called from any thread.

    All methods raise :class:`rowstamp.errors.StoreError` when the store cannot be used, and nothing else.
    Times are in seconds.
    """

    def read(self, entry: bytes | None, stamps: Sequence[bytes]) -> StoreSnapshot:
        """Read one entry and the states of some stamps, in one round trip; ``None`` reads the stamps alone."""
        ...

    def mint(self, tokens: Mapping[bytes, bytes]) -> tuple[StampState, ...]:
        """Give each *missing* stamp the token offered for it, and return the state each stamp has now.

        A stamp that has a token keeps it; a held one stays held.
        """
        ...

    def put(self, entry: bytes, blob: bytes, ttl: float) -> None:
        """Keep ``blob`` under ``entry`` for ``ttl`` seconds at most; a blob too large for the store is dropped."""
        ...

    def delete(self, entry: bytes) -> None:
        """Forget an entry, if it is there."""
        ...

    def hold(self, stamps: Sequence[bytes], writer: bytes, ttl: float) -> None:
        """Put ``writer`` into the set of in-flight writers of every stamp, for ``ttl`` seconds; their tokens go.

        Holding again with the same writer renews its expiry. When this raises, some stamps may be held.
        """
        ...

    def release(self, tokens: Mapping[bytes, bytes], writer: bytes) -> tuple[bool, ...]:
        """Take ``writer`` out of every stamp's set; a stamp that nobody holds any more gets the token given for it.

        The token is given whether or not the hold was still there, for the hold may have expired and entries may
        have been filled since. Returns for each stamp whether the writer's hold was still there.
        """
        ...

    def touch(self, tokens: Mapping[bytes, bytes]) -> None:
        """Give every stamp that nobody holds the token given for it: what depended on it becomes unusable at once."""
        ...

    def clear(self) -> None:
        """Make every entry of this store unusable. Held stamps stay held."""
        ...

    def close(self) -> None:
        """Release what the store has opened. Closing twice is allowed."""
        ...

    def check(self) -> None:
        """Raise ``AssertionError`` when the store's own bookkeeping is inconsistent; for tests."""
        ...


@runtime_checkable
class Leasing(Protocol):
    """What a store may offer besides: leases, so that of a whole fleet one caller loads an entry and the others wait for it.

    A lease is a hint. It may be lost at any time, and then two load. Of a store that is awaited both methods are awaited.
    """

    def lease(self, entry: bytes, holder: bytes, ttl: float) -> Any:
        """Give the lease of an entry to ``holder`` for ``ttl`` seconds if nobody has it, and return who has it now."""
        ...

    def unlease(self, entry: bytes, holder: bytes) -> Any:
        """End the lease of an entry, if ``holder`` has it."""
        ...


@runtime_checkable
class Waking(Protocol):
    """What a store with leases may offer besides: to say when one is over. Of a store that is awaited the method is awaited."""

    def wait_unleased(self, entry: bytes, seconds: float) -> Any:
        """Wait until the lease of an entry is given back or ends, for so many seconds at most; at once if nobody has it.

        A hint, like the lease: it may return earlier.
        """
        ...


class Outages(NamedTuple):
    """What the circuit breakers of a store say of its servers.

    Attributes:
        openings: how often one of them was found not to answer, and was left alone from then on.
        open: how many are being left alone now.
    """

    openings: int
    open: int


@runtime_checkable
class Guarded(Protocol):
    """What a store has besides whose servers may fail: a circuit breaker for each."""

    def outages(self) -> Outages:
        """Return what the breakers say, without asking a server."""
        ...


class Moment(NamedTuple):
    """A moment at which a store was read, and how long what it gave then lasts if nobody writes.

    Attributes:
        where: what was open, or which of the states of the store it was; compared by identity.
        number: the number of the store's last write, if it counts them.
        until: when the first of what was read ends by itself, by the store's clock.
    """

    where: object
    number: int
    until: float


@runtime_checkable
class Comparing(Protocol):
    """What a store on this machine may offer besides: to say that nothing has changed, without handing out what it has.

    Neither method raises: where there is an error, the answer is a doubt, and ``read`` will say more.
    """

    def unchanged(self, entry: bytes, blob: bytes, stamps: Sequence[bytes], tokens: Sequence[bytes]) -> Moment | None:
        """Return a moment at which ``read`` gives just this blob, and these tokens to the stamps; ``None`` if not, or in doubt."""
        ...

    def quiet_since(self, moment: Moment) -> bool:
        """Return whether ``read`` would still give what it gave then, whatever that was. ``False`` may be a doubt."""
        ...


@runtime_checkable
class Batching(Protocol):
    """What a store may offer besides: several entries in one round trip. Of a store that is awaited both methods are awaited."""

    def read_many(self, entries: Sequence[bytes], stamps: Sequence[bytes]) -> Any:
        """Read several entries and the states of some stamps, as ``read`` does one: a :class:`~rowstamp.model.ManySnapshot`."""
        ...

    def put_many(
        self, tokens: Mapping[bytes, bytes], entries: Sequence[tuple[bytes, bytes, float]], stamps: Sequence[bytes]
    ) -> Any:
        """Touch stamps, keep entries (key, blob, seconds), and return the states of other stamps, in whatever order.

        When this raises, some of it may have been done.
        """
        ...


@runtime_checkable
class AsyncStore(Protocol):
    """The same contract with operations that are awaited; see :class:`Store`."""

    def read(self, entry: bytes | None, stamps: Sequence[bytes]) -> Awaitable[StoreSnapshot]:
        """See :meth:`Store.read`."""
        ...

    def mint(self, tokens: Mapping[bytes, bytes]) -> Awaitable[tuple[StampState, ...]]:
        """See :meth:`Store.mint`."""
        ...

    def put(self, entry: bytes, blob: bytes, ttl: float) -> Awaitable[None]:
        """See :meth:`Store.put`."""
        ...

    def delete(self, entry: bytes) -> Awaitable[None]:
        """See :meth:`Store.delete`."""
        ...

    def hold(self, stamps: Sequence[bytes], writer: bytes, ttl: float) -> Awaitable[None]:
        """See :meth:`Store.hold`."""
        ...

    def release(self, tokens: Mapping[bytes, bytes], writer: bytes) -> Awaitable[tuple[bool, ...]]:
        """See :meth:`Store.release`."""
        ...

    def touch(self, tokens: Mapping[bytes, bytes]) -> Awaitable[None]:
        """See :meth:`Store.touch`."""
        ...

    def clear(self) -> Awaitable[None]:
        """See :meth:`Store.clear`."""
        ...

    def aclose(self) -> Awaitable[None]:
        """Release what the store has opened. Closing twice is allowed."""
        ...
