"""The awaited store on Redis or Valkey; see :mod:`rowstamp.stores.redis.commands` for what it says to the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Coroutine, Generator, Mapping, Sequence
from typing import Any, ClassVar, Final, Self, TypeVar

from redis.exceptions import ConnectionError as Disconnected

from rowstamp.errors import StoreError
from rowstamp.mirror import Mirror
from rowstamp.model import StampState, StoreSnapshot
from rowstamp.stores.redis import commands as ops
from rowstamp.stores.redis.address import Address, address_of_client
from rowstamp.stores.redis.errors import FOREIGN
from rowstamp.stores.redis.feed import Feeds
from rowstamp.stores.redis.sentinel import SentinelAddress, afind
from rowstamp.stores.redis.talk import Health, Line, alead

__all__ = ["AsyncRedisStore"]

T = TypeVar("T")

_PATIENCE_SECONDS: Final = 1.0
"""How long closing waits for the thread that listens to the server."""

_MOST_LINES: Final = 8
"""Round trips under way at once in one event loop; what is asked for meanwhile goes with the next one together."""


class _Lane:
    """What belongs to one event loop: connections, and what waits to be sent."""

    def __init__(self) -> None:
        self.idle: list[Line] = []
        self.waiting: list[tuple[ops.Call, asyncio.Future[Any]]] = []
        self.starting = False
        self.tasks: set[asyncio.Task[None]] = set()


class AsyncRedisStore:
    """An :class:`~rowstamp.store.AsyncStore` on one Redis (≥ 7.0) or Valkey (≥ 8) server.

    Whatever the tasks of an event loop ask for in one of its ticks is one round trip, in which a key that several
    want is read once. It may be used from several event loops, one after the other or in threads; close it in the loop that
    used it. Nothing is connected at construction.

    Args:
        address: where the server is and how long it may take.
    """

    remote: ClassVar[bool] = True

    def __init__(self, address: Address | SentinelAddress) -> None:
        self._address = address
        self._keys = ops.Keys.of(address.prefix)
        self._lanes: dict[asyncio.AbstractEventLoop, _Lane] = {}
        self._feeds = Feeds(address, self._keys)
        self.health = Health()

    @classmethod
    def of_client(cls, client: object, **options: Any) -> Self:
        """Return a store on the server that a ``redis.asyncio.Redis`` is for, on connections of its own.

        Args:
            client: the client; it stays the caller's to close.
            options: ``prefix``, ``timeout_ms`` and ``connect_timeout_ms``.
        """
        return cls(address_of_client(client, **options))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._address}>"

    def read(self, entry: bytes | None, stamps: Sequence[bytes]) -> Awaitable[StoreSnapshot]:
        """See :meth:`rowstamp.store.Store.read`. All of it is read at one moment."""
        if entry is None and not stamps:
            return _done(StoreSnapshot(None, ()))
        return self._call(ops.Read(entry, stamps))

    def mint(self, tokens: Mapping[bytes, bytes]) -> Awaitable[tuple[StampState, ...]]:
        """See :meth:`rowstamp.store.Store.mint`."""
        return self._call(ops.mint(self._keys, tokens)) if tokens else _done(())

    def put(self, entry: bytes, blob: bytes, ttl: float) -> Awaitable[None]:
        """See :meth:`rowstamp.store.Store.put`."""
        return self._call(ops.put(self._keys, entry, blob, ttl))

    def delete(self, entry: bytes) -> Awaitable[None]:
        """See :meth:`rowstamp.store.Store.delete`."""
        return self._call(ops.delete(self._keys, entry))

    def hold(self, stamps: Sequence[bytes], writer: bytes, ttl: float) -> Awaitable[None]:
        """See :meth:`rowstamp.store.Store.hold`."""
        return self._call(ops.hold(self._keys, stamps, writer, ttl)) if stamps else _done(None)

    def release(self, tokens: Mapping[bytes, bytes], writer: bytes) -> Awaitable[tuple[bool, ...]]:
        """See :meth:`rowstamp.store.Store.release`."""
        return self._call(ops.release(self._keys, tokens, writer)) if tokens else _done(())

    def touch(self, tokens: Mapping[bytes, bytes]) -> Awaitable[None]:
        """See :meth:`rowstamp.store.Store.touch`."""
        return self._call(ops.touch(self._keys, tokens)) if tokens else _done(None)

    def clear(self) -> Awaitable[None]:
        """See :meth:`rowstamp.store.Store.clear`. The old entries stay until they end, but nothing reads them."""
        return self._call(ops.clear(self._keys))

    async def aclose(self) -> None:
        """See :meth:`rowstamp.store.AsyncStore.aclose`. What is under way is waited for."""
        self.health.closed = True
        self._feeds.close()
        lane = self._lanes.pop(asyncio.get_running_loop(), None)
        if lane is not None:
            while lane.tasks:
                await asyncio.wait(lane.tasks)
            await _drop_idle(lane)
        await asyncio.to_thread(self._feeds.join, _PATIENCE_SECONDS)

    def follow(self) -> Mirror:
        """See :meth:`rowstamp.mirror.Following.follow`. It is fed from when it is first asked for."""
        return self._feeds.follow()

    # ---------------------------------------------------------------------------------------------------- lines

    def _call(self, call: ops.Call) -> asyncio.Future[Any]:
        """Let a call go with the next round trip."""
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(loop) or self._new_lane(loop)
        self.health.admit(lambda: self._start(lane, self._try_server(lane)))
        future: asyncio.Future[Any] = loop.create_future()
        lane.waiting.append((call, future))
        self._go(lane)
        return future

    def _new_lane(self, loop: asyncio.AbstractEventLoop) -> _Lane:
        self._lanes = {known: lane for known, lane in self._lanes.items() if not known.is_closed()}
        lane = self._lanes[loop] = _Lane()
        return lane

    def _go(self, lane: _Lane) -> None:
        """Start a round trip, unless one is about to start or enough are under way."""
        if not lane.starting and len(lane.tasks) < _MOST_LINES:
            lane.starting = True
            self._start(lane, self._trip(lane))

    def _start(self, lane: _Lane, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        lane.tasks.add(task)
        task.add_done_callback(lambda task: self._ended(lane, task))

    def _ended(self, lane: _Lane, task: asyncio.Task[None]) -> None:
        lane.tasks.discard(task)
        if lane.waiting:
            self._go(lane)

    async def _trip(self, lane: _Lane) -> None:
        """Make the calls that are waiting; the task starts when this tick of the loop is over."""
        lane.starting = False
        jobs, lane.waiting = lane.waiting, []
        outcomes: list[Any] = [StoreError("the round trip was given up")] * len(jobs)
        try:
            outcomes = await self._converse(lane, [call for call, _ in jobs])
            self.health.answered()
        except FOREIGN as exc:
            self.health.failed(exc)
            outcomes = [exc] * len(jobs)
        finally:
            for (_, future), outcome in zip(jobs, outcomes, strict=True):
                self._settle(future, outcome)

    def _settle(self, future: asyncio.Future[Any], outcome: Any) -> None:
        """Hand an outcome to whoever waits for it, if it still does."""
        if future.done():
            return
        if isinstance(outcome, Exception):
            future.set_exception(self.health.refused(outcome))
        else:
            future.set_result(outcome)

    async def _converse(self, lane: _Lane, calls: Sequence[ops.Call]) -> list[Any]:
        line = lane.idle.pop() if lane.idle else await self._open()
        try:
            return await self._lead(
                lane, line, ops.converse(self._keys, calls, line.server, time.monotonic(), self._feeds.mirror)
            )
        except Disconnected:
            if not line.used:
                raise
        # The server has closed a connection that lay idle; the others like it are of no use either.
        await _drop_idle(lane)
        line = await self._open()
        return await self._lead(
            lane, line, ops.converse(self._keys, calls, line.server, time.monotonic(), self._feeds.mirror)
        )

    async def _open(self) -> Line:
        connection = (await afind(self._address)).awaited()
        try:
            async with asyncio.timeout(self._address.connect_timeout_ms / 1000):
                await connection.connect()
                return Line(connection, await alead(connection, ops.greet(self._keys, time.monotonic())))
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def _lead(self, lane: _Lane, line: Line, talk: Generator[list[ops.Words], list[Any], T]) -> T:
        try:
            async with asyncio.timeout(self._address.timeout_ms / 1000):
                result = await alead(line.connection, talk)
        except BaseException:
            await line.connection.disconnect(nowait=True)
            raise
        line.used = True
        lane.idle.append(line)
        return result

    async def _try_server(self, lane: _Lane) -> None:
        try:
            lane.idle.append(await self._open())
        except FOREIGN as exc:
            self.health.failed(exc)
        else:
            self.health.answered()


def _done(value: T) -> Awaitable[T]:
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    future.set_result(value)
    return future


async def _drop_idle(lane: _Lane) -> None:
    while lane.idle:
        await lane.idle.pop().connection.disconnect(nowait=True)
