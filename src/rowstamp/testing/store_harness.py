"""What the store contract runs on: a clock that obeys, and one way to call stores that block and stores that await."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from typing import Any, ClassVar, Final, TypeVar, cast

import pytest

from rowstamp.drivers import perform, run
from rowstamp.model import ManySnapshot, StampState, StoreSnapshot
from rowstamp.protocol import Flow
from rowstamp.store import AsyncStore, Store

__all__ = ["HELD", "MISSING", "BlockingStore", "FakeClock", "StoreHarness", "digest", "drive", "run_flow", "token"]

T = TypeVar("T")

MISSING: Final = StampState(token=None, held=False)
HELD: Final = StampState(token=None, held=True)


def digest(name: str) -> bytes:
    """Return 16 bytes that stand for a name: an entry's key, a stamp, a token or a writer."""
    return hashlib.blake2b(name.encode(), digest_size=16).digest()


def token(name: str) -> StampState:
    """Return the state of a stamp whose token is ``digest(name)``."""
    return StampState(digest(name), held=False)


class FakeClock:
    """A clock that stands still until it is told how much time has passed, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time, in seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class BlockingStore:
    """An :class:`~rowstamp.store.AsyncStore` as a :class:`~rowstamp.store.Store`, for any number of threads.

    Its coroutines run on one event loop in a thread of their own, as they would in a server: operations asked for by
    several threads interleave there wherever the store awaits.
    """

    def __init__(self, store: AsyncStore) -> None:
        self._store = store
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="BlockingStore", daemon=True)
        self._thread.start()

    def _call(self, method: Callable[[], Awaitable[T]]) -> T:
        # The method itself is called on the loop, too: a client may look for the running loop before it first awaits.
        async def call() -> T:
            return await method()

        return self._run(call())

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def read(self, entry: bytes | None, stamps: Sequence[bytes]) -> StoreSnapshot:
        """See :meth:`rowstamp.store.Store.read`."""
        return self._call(lambda: self._store.read(entry, stamps))

    def mint(self, tokens: Mapping[bytes, bytes]) -> tuple[StampState, ...]:
        """See :meth:`rowstamp.store.Store.mint`."""
        return self._call(lambda: self._store.mint(tokens))

    def put(self, entry: bytes, blob: bytes, ttl: float) -> None:
        """See :meth:`rowstamp.store.Store.put`."""
        self._call(lambda: self._store.put(entry, blob, ttl))

    def delete(self, entry: bytes) -> None:
        """See :meth:`rowstamp.store.Store.delete`."""
        self._call(lambda: self._store.delete(entry))

    def hold(self, stamps: Sequence[bytes], writer: bytes, ttl: float) -> None:
        """See :meth:`rowstamp.store.Store.hold`."""
        self._call(lambda: self._store.hold(stamps, writer, ttl))

    def release(self, tokens: Mapping[bytes, bytes], writer: bytes) -> tuple[bool, ...]:
        """See :meth:`rowstamp.store.Store.release`."""
        return self._call(lambda: self._store.release(tokens, writer))

    def touch(self, tokens: Mapping[bytes, bytes]) -> None:
        """See :meth:`rowstamp.store.Store.touch`."""
        self._call(lambda: self._store.touch(tokens))

    def lease(self, entry: bytes, holder: bytes, ttl: float) -> bytes:
        """See :meth:`rowstamp.store.Leasing.lease`; only of a store that has leases."""
        leasing: Any = self._store
        return self._call(lambda: cast("Awaitable[bytes]", leasing.lease(entry, holder, ttl)))

    def unlease(self, entry: bytes, holder: bytes) -> None:
        """See :meth:`rowstamp.store.Leasing.unlease`."""
        leasing: Any = self._store
        self._call(lambda: cast("Awaitable[None]", leasing.unlease(entry, holder)))

    def wait_unleased(self, entry: bytes, seconds: float) -> None:
        """See :meth:`rowstamp.store.Waking.wait_unleased`; only of a store that says when a lease is over."""
        waking: Any = self._store
        self._call(lambda: cast("Awaitable[None]", waking.wait_unleased(entry, seconds)))

    def read_many(self, entries: Sequence[bytes], stamps: Sequence[bytes]) -> ManySnapshot:
        """See :meth:`rowstamp.store.Batching.read_many`; only of a store that has batches."""
        batching: Any = self._store
        return self._call(lambda: cast("Awaitable[ManySnapshot]", batching.read_many(entries, stamps)))

    def put_many(
        self, tokens: Mapping[bytes, bytes], entries: Sequence[tuple[bytes, bytes, float]], stamps: Sequence[bytes]
    ) -> tuple[StampState, ...]:
        """See :meth:`rowstamp.store.Batching.put_many`."""
        batching: Any = self._store
        return self._call(lambda: cast("Awaitable[tuple[StampState, ...]]", batching.put_many(tokens, entries, stamps)))

    def clear(self) -> None:
        """See :meth:`rowstamp.store.Store.clear`."""
        self._call(self._store.clear)

    def close(self) -> None:
        """Close the store. Closing twice is allowed, if the store allows it."""
        self._call(self._store.aclose)

    def stop(self) -> None:
        """End the loop and its thread; no other call may follow."""
        self._run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def check(self) -> None:
        """Let the store check itself, if it has a ``check`` of its own, blocking or awaited."""
        check: Callable[[], Awaitable[None] | None] | None = getattr(self._store, "check", None)
        if check is None:
            return

        async def call() -> None:
            outcome = check()
            if inspect.isawaitable(outcome):
                await outcome

        self._run(call())


@contextlib.contextmanager
def drive(store: Store | AsyncStore, *, check: bool = True) -> Generator[Store, None, None]:
    """Give a store to be called blocking, whichever kind it is; afterwards check its bookkeeping and close it."""
    with contextlib.ExitStack() as ending:
        # Told apart by `aclose` alone: to isinstance, the methods of both kinds are the same.
        if isinstance(store, AsyncStore):
            driven: Store = (awaited := BlockingStore(store))
            ending.callback(awaited.stop)
        else:
            driven = store
        ending.callback(driven.close)
        yield driven
        if check:
            driven.check()


def run_flow(store: Store, flow: Flow[T], commit: Callable[[], object] | None = None) -> T:
    """Run a protocol flow to its end against a store; ``commit`` stands for the database's COMMIT."""
    return run(flow, lambda operation: perform(store, operation, commit))


class StoreHarness:
    """The part of :class:`rowstamp.testing.StoreSuite` that is no test: what a subclass supplies, and the fixtures.

    A subclass defines :meth:`make_store`, and describes its store by the attributes below. What a store needs from other
    fixtures (a server, a folder) it takes in an autouse fixture that sets attributes of ``self``.

    Attributes:
        fake_clock: whether the store takes its time from the clock given to ``make_store``. Without it, tests that
            let time pass are skipped, unless :meth:`pass_time` is overridden as well.
        unit: how many seconds of the store's time are one second of the suite; less than one for a store whose time
            cannot be faked and has to be waited for. The suite lets at most a few dozen seconds pass in a test.
        evicts: whether the store itself keeps to a bound in bytes; it then defines :meth:`make_bounded_store`.
        leases: whether the store has leases (:class:`rowstamp.store.Leasing`).
        wakes: whether the store says when a lease is over (:class:`rowstamp.store.Waking`).
        waiters: how many wait for one lease in a test; one for a store that is called from one thread at a time.
        batches: whether the store reads and puts several entries at once (:class:`rowstamp.store.Batching`).
        compares: whether the store says that nothing has changed (:class:`rowstamp.store.Comparing`).
        bounded_bytes: the bound given to :meth:`make_bounded_store`.
        sequences: how many random sequences of operations are compared with the model.
        too_large: a number of bytes that no blob of a bounded store can have.
    """

    fake_clock: ClassVar[bool] = True
    unit: ClassVar[float] = 1.0
    evicts: ClassVar[bool] = False
    leases: ClassVar[bool] = False
    batches: ClassVar[bool] = False
    compares: ClassVar[bool] = False
    wakes: ClassVar[bool] = False
    waiters: ClassVar[int] = 3
    bounded_bytes: ClassVar[int] = 64 * 1024
    too_large: ClassVar[int] = 256 * 1024
    sequences: ClassVar[int] = 60

    def make_store(self, clock: FakeClock) -> Store | AsyncStore:
        """Return a new, empty store with plenty of room."""
        raise NotImplementedError

    def make_bounded_store(self, clock: FakeClock, max_bytes: int) -> Store | AsyncStore:
        """Return a new, empty store that keeps no more than so many bytes."""
        raise NotImplementedError

    def pass_time(self, clock: FakeClock, seconds: float) -> None:
        """Let time pass for the store, in seconds of the suite."""
        if not self.fake_clock:
            pytest.skip("this store's time cannot be faked")
        clock.advance(seconds * self.unit)

    def seconds(self, seconds: float) -> float:
        """Return a number of seconds of the suite as the store is to be told it."""
        return seconds * self.unit

    @pytest.fixture
    def clock(self) -> FakeClock:
        """The clock of the test's store."""
        return FakeClock()

    @pytest.fixture
    def store(self, clock: FakeClock) -> Generator[Store, None, None]:
        """A new store, whose bookkeeping is checked when the test has ended."""
        with drive(self.make_store(clock)) as store:
            yield store

    @pytest.fixture
    def bounded(self, clock: FakeClock) -> Generator[Store, None, None]:
        """A new store that is soon full, checked like :meth:`store`."""
        if not self.evicts:
            pytest.skip("this store keeps to no bound by itself")
        with drive(self.make_bounded_store(clock, self.bounded_bytes)) as store:
            yield store
