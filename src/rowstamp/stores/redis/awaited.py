"""The awaited store on Redis or Valkey; see :mod:`rowstamp.stores.redis.commands` for what it says to the server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar, Final, Self, TypeVar

from rowstamp.errors import StoreError
from rowstamp.mirror import Mirror
from rowstamp.model import ManySnapshot, StampState, StoreSnapshot
from rowstamp.store import Outages
from rowstamp.stores.redis import commands as ops
from rowstamp.stores.redis import leases
from rowstamp.stores.redis.address import Address
from rowstamp.stores.redis.clients import address_of_client
from rowstamp.stores.redis.cluster import ClusterAddress
from rowstamp.stores.redis.deadline import Deadline, left
from rowstamp.stores.redis.errors import FOREIGN
from rowstamp.stores.redis.feed import Feeds
from rowstamp.stores.redis.plan import Plan
from rowstamp.stores.redis.reading import Reading
from rowstamp.stores.redis.sentinel import SentinelAddress, afind
from rowstamp.stores.redis.talk import OUTDATED, Complaints, Health, Line, aask, alead, hang_up, packed
from rowstamp.stores.redis.trip import Answer, Errand, Node

__all__ = ["AsyncRedisStore"]

T = TypeVar("T")

_PATIENCE_SECONDS: Final = 1.0
"""How long closing waits for the threads that listen to servers."""

_MOST_TRIPS: Final = 8
"""Round trips under way at once in one event loop; what is asked for meanwhile goes with the next one together."""


class _Lane:
    """What belongs to one event loop: connections, and what waits to be sent."""

    def __init__(self) -> None:
        self.idle: dict[Node, list[Line]] = {}
        self.waiting: list[tuple[ops.Call, asyncio.Future[Any]]] = []
        self.deadline: Deadline | None = None
        """Of the first of those that wait: what goes together is over together."""
        self.starting = False
        self.tasks: set[asyncio.Task[None]] = set()

    def lines(self, node: Node) -> list[Line]:
        """The idle lines to a server."""
        return self.idle.setdefault(node, [])

    async def give(self, node: Node, line: Line) -> None:
        """Take back a line that works."""
        line.used = True
        if line.lasts:
            self.lines(node).append(line)
        else:
            await hang_up(line.connection)

    async def drop(self, node: Node) -> None:
        """Close the idle lines to a server."""
        lines = self.idle.pop(node, [])
        while lines:
            await hang_up(lines.pop().connection)


class AsyncRedisStore:
    """An :class:`~rowstamp.store.AsyncStore` on Redis (≥ 7.0) or Valkey (≥ 8).

    Whatever the tasks of an event loop ask for in one of its ticks is one round trip, in which a key that several
    want is read once; in a cluster one to each node that is concerned, all at the same time. It may be used from several
    event loops, one after the other or in threads; close it in the loop that used it. Nothing is connected at construction.

    Args:
        address: where the server is and how long it may take.
        hold_ttl: how long the holds of the cache that uses it may last, in seconds. After a restart or failover hits
            begin again so many seconds later, for a hold may have been lost in it.
    """

    remote: ClassVar[bool] = True

    def __init__(self, address: Address | SentinelAddress | ClusterAddress, *, hold_ttl: float = 10.0) -> None:
        self._plan = Plan(address, hold_ttl)
        self._keys = self._plan.keys
        self._feeds = Feeds(self._plan)
        self._lanes: dict[asyncio.AbstractEventLoop, _Lane] = {}
        self._healths: dict[Node, Health] = {}
        self._complaints = Complaints()
        self._closed = False

    @classmethod
    def of_client(cls, client: object, *, hold_ttl: float = 10.0, **options: Any) -> Self:
        """Return a store on the server or cluster that a client of redis-py is for, on connections of its own.

        Args:
            client: a ``redis.asyncio.Redis``, a ``RedisCluster`` or one of their blocking counterparts; it stays the
                caller's to close.
            hold_ttl: see the class.
            options: ``prefix``, ``timeout_ms`` and ``connect_timeout_ms``.
        """
        return cls(address_of_client(client, **options), hold_ttl=hold_ttl)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._plan.address}>"

    def read(self, entry: bytes | None, stamps: Sequence[bytes]) -> Awaitable[StoreSnapshot]:
        """See :meth:`rowstamp.store.Store.read`."""
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

    async def read_many(self, entries: Sequence[bytes], stamps: Sequence[bytes]) -> ManySnapshot:
        """See :meth:`rowstamp.store.Batching.read_many`."""
        *found, states = await self._call_all(ops.read_many(entries, stamps))
        return ManySnapshot(tuple([each.entry for each in found]), states.stamps)

    async def put_many(
        self, tokens: Mapping[bytes, bytes], entries: Sequence[tuple[bytes, bytes, float]], stamps: Sequence[bytes]
    ) -> tuple[StampState, ...]:
        """See :meth:`rowstamp.store.Batching.put_many`."""
        return (await self._call_all(ops.put_many(self._keys, tokens, entries, stamps)))[-1].stamps  # type: ignore[no-any-return]

    def lease(self, entry: bytes, holder: bytes, ttl: float) -> Awaitable[bytes]:
        """See :meth:`rowstamp.store.Leasing.lease`."""
        return self._call(leases.lease(self._keys, entry, holder, ttl))

    def unlease(self, entry: bytes, holder: bytes) -> Awaitable[None]:
        """See :meth:`rowstamp.store.Leasing.unlease`."""
        return self._call(leases.unlease(self._keys, entry, holder))

    async def wait_unleased(self, entry: bytes, seconds: float) -> None:
        """See :meth:`rowstamp.store.Waking.wait_unleased`."""
        if not await self._call(leases.remaining(self._keys, entry)):
            return
        channel = leases.channel(self._keys, entry)
        route = self._plan.route
        try:
            async with asyncio.timeout(self._plan.connect_timeout):
                connection = (await afind(route.address_of(route.node_of(channel)))).awaited()
                await connection.connect()
            try:
                async with asyncio.timeout(self._plan.timeout):
                    await connection.send_packed_command([packed([leases.listen(channel)])], check_health=False)
                    await connection.read_response()
                left: float = await self._call(leases.remaining(self._keys, entry))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, seconds)):
                        await connection.read_response()
            finally:
                await hang_up(connection)
        except FOREIGN as exc:
            raise self._complaints.of(exc) from exc

    def clear(self) -> Awaitable[None]:
        """See :meth:`rowstamp.store.Store.clear`. The old entries stay until they end, but nothing reads them."""
        return self._call(ops.clear(self._keys, self._plan.epoch))

    async def aclose(self) -> None:
        """See :meth:`rowstamp.store.AsyncStore.aclose`. What is under way is waited for."""
        self._closed = True
        self._feeds.close()
        lane = self._lanes.pop(asyncio.get_running_loop(), None)
        if lane is not None:
            # One that was cancelled before it had begun has not taken itself out.
            while under_way := [task for task in lane.tasks if not task.done()]:
                await asyncio.wait(under_way)
            for node in [*lane.idle]:
                await lane.drop(node)
        await asyncio.to_thread(self._feeds.join, _PATIENCE_SECONDS)

    def outages(self) -> Outages:
        """See :meth:`rowstamp.store.Guarded.outages`."""
        return self._plan.breakers.outages

    def follow(self) -> Mirror:
        """See :meth:`rowstamp.mirror.Following.follow`. It is fed from when it is first asked for."""
        return self._feeds.follow()

    # ---------------------------------------------------------------------------------------------------- trips

    def _call(self, call: ops.Call) -> asyncio.Future[Any]:
        """Let a call go with the next trip."""
        if self._closed:
            raise StoreError("the store is closed")
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(loop) or self._new_lane(loop)
        future: asyncio.Future[Any] = loop.create_future()
        if not lane.waiting:
            lane.deadline = self._plan.deadline()
        lane.waiting.append((call, future))
        self._go(lane)
        return future

    async def _call_all(self, calls: Sequence[ops.Call]) -> list[Any]:
        """Let calls go together with the next trip."""
        futures = [self._call(call) for call in calls]
        await asyncio.wait(futures)  # all of them, so that an error of one leaves none unheard
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise errors[0]
        return [future.result() for future in futures]

    def _new_lane(self, loop: asyncio.AbstractEventLoop) -> _Lane:
        self._lanes = {known: lane for known, lane in self._lanes.items() if not known.is_closed()}
        lane = self._lanes[loop] = _Lane()
        return lane

    def _go(self, lane: _Lane) -> None:
        """Start a trip, unless one is about to start or enough are under way."""
        if not lane.starting and len(lane.tasks) < _MOST_TRIPS:
            lane.starting = True
            self._start(lane, self._trip(lane))

    def _start(self, lane: _Lane, work: Coroutine[Any, Any, None]) -> None:
        lane.tasks.add(asyncio.get_running_loop().create_task(work))

    def _end(self, lane: _Lane) -> None:
        """Take note that the task which is running is about to end; a callback would do so in the loop's next tick."""
        lane.tasks.discard(asyncio.current_task())
        if lane.waiting:
            self._go(lane)

    async def _trip(self, lane: _Lane) -> None:
        """Make the calls that are waiting; the task starts when this tick of the loop is over."""
        lane.starting = False
        jobs, lane.waiting = lane.waiting, []
        deadline = lane.deadline or self._plan.deadline()
        outcomes: list[Any] = [StoreError("the round trip was given up")] * len(jobs)
        try:
            outcomes = await self._converse(lane, [call for call, _ in jobs], deadline)
        except FOREIGN as exc:
            outcomes = [exc] * len(jobs)
        finally:
            for (_, future), outcome in zip(jobs, outcomes, strict=True):
                self._settle(future, outcome)
            self._end(lane)

    def _settle(self, future: asyncio.Future[Any], outcome: Any) -> None:
        """Hand an outcome to whoever waits for it, if it still does."""
        if future.done():
            return
        if isinstance(outcome, Exception):
            future.set_exception(self._complaints.of(outcome))
        else:
            future.set_result(outcome)

    async def _converse(self, lane: _Lane, calls: Sequence[ops.Call], deadline: Deadline) -> list[Any]:
        reading = self._plan.reading(calls) if self._feeds.mirror is None else None
        outcomes = None if reading is None else await self._read(lane, reading, deadline)
        return await self._converse_at_length(lane, calls, deadline) if outcomes is None else outcomes

    async def _read(self, lane: _Lane, reading: Reading, deadline: Deadline) -> list[Any] | None:
        """Make reads on an idle line; ``None``, and nothing has come of it, if there is none or more than that has to be said."""
        idle, health = lane.lines(reading.node), self._health_of(reading.node)
        if not idle or health.breaker.is_open or not self._plan.is_settled(reading.node, idle[-1].server):
            return None
        line = idle.pop()
        try:
            async with asyncio.timeout(left(deadline, self._plan.timeout)):
                reply = await aask(line.connection, reading.words)
        except BaseException as exc:
            await hang_up(line.connection)
            if isinstance(exc, OUTDATED):
                await lane.drop(reading.node)
                return None
            if isinstance(exc, FOREIGN):
                health.failed(exc)
            raise
        idle.append(line)
        health.answered()
        return reading.outcomes(line.server, reply)

    async def _converse_at_length(self, lane: _Lane, calls: Sequence[ops.Call], deadline: Deadline) -> list[Any]:
        steps = self._plan.trip(calls, self._feeds.mirror)
        try:
            errands = next(steps)
            while True:
                errands = steps.send(await self._run(lane, errands, deadline))
        except StopIteration as stop:
            if max(len(self._healths), len(lane.idle)) > len(self._plan.route.nodes):
                await self._forget(lane)
            return stop.value  # type: ignore[no-any-return]

    async def _run(self, lane: _Lane, errands: Sequence[Errand], deadline: Deadline) -> list[Answer | Exception]:
        """Run errands at the same time."""
        if len(errands) == 1:  # a task of its own would cost as much as all the rest
            return [await self._one(lane, errands[0], deadline)]
        return await asyncio.gather(*(self._one(lane, errand, deadline) for errand in errands))

    async def _one(self, lane: _Lane, errand: Errand, deadline: Deadline) -> Answer | Exception:
        """Run one errand, and let the health of its server know how it went."""
        health = self._health_of(errand.node)
        if health.breaker.is_open:
            refusal = health.admit(lambda: self._start(lane, self._try_server(lane, errand.node)))
            if refusal is not None:
                return refusal
        try:
            answer = await self._said(lane, errand, deadline)
        except FOREIGN as exc:
            health.failed(exc)
            return exc
        health.answered()
        return answer

    def _health_of(self, node: Node) -> Health:
        return self._healths.get(node) or self._healths.setdefault(node, Health(self._plan.breakers))

    async def _forget(self, lane: _Lane) -> None:
        """Close the lines to nodes that have nothing any more."""
        for gone in (self._healths.keys() | lane.idle.keys()) - self._plan.route.nodes:
            self._healths.pop(gone, None)
            await lane.drop(gone)

    async def _said(self, lane: _Lane, errand: Errand, deadline: Deadline) -> Answer:
        idle = lane.lines(errand.node)
        line = idle.pop() if idle else await self._open(errand.node, deadline)
        try:
            return await self._lead(lane, line, errand, deadline)
        except OUTDATED:
            if not line.used:
                raise
        # The others like it are of no use either.
        await lane.drop(errand.node)
        return await self._lead(lane, await self._open(errand.node, deadline), errand, deadline)

    async def _open(self, node: Node, deadline: Deadline | None) -> Line:
        connection = (await afind(self._plan.route.address_of(node), deadline)).awaited()
        try:
            async with asyncio.timeout(left(deadline, self._plan.connect_timeout)):
                await connection.connect()
                return Line(connection, await alead(connection, self._plan.greet(node)))
        except BaseException:
            await hang_up(connection)
            raise

    async def _lead(self, lane: _Lane, line: Line, errand: Errand, deadline: Deadline) -> Answer:
        try:
            steps = self._plan.talk(errand, line.server)
            async with asyncio.timeout(left(deadline, self._plan.timeout)):
                answer = await alead(line.connection, steps)
        except BaseException:
            await hang_up(line.connection)
            raise
        await lane.give(errand.node, line)
        return answer

    async def _try_server(self, lane: _Lane, node: Node) -> None:
        health = self._health_of(node)
        try:
            line = await self._open(node, None)
        except FOREIGN as exc:
            health.failed(exc)
        else:
            await lane.give(node, line)
            health.answered()
        finally:
            self._end(lane)


def _done(value: T) -> Awaitable[T]:
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    future.set_result(value)
    return future
