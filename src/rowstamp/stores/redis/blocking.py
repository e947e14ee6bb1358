"""The blocking store on Redis or Valkey; see :mod:`rowstamp.stores.redis.commands` for what it says to the server."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Self

from rowstamp.errors import ConfigurationError, StoreError
from rowstamp.mirror import Mirror
from rowstamp.model import ManySnapshot, StampState, StoreSnapshot
from rowstamp.store import Outages
from rowstamp.stores.redis import commands as ops
from rowstamp.stores.redis import leases, tls
from rowstamp.stores.redis.address import Address
from rowstamp.stores.redis.clients import address_of_client
from rowstamp.stores.redis.cluster import ClusterAddress
from rowstamp.stores.redis.deadline import Deadline
from rowstamp.stores.redis.errors import FOREIGN, is_permanent, store_error
from rowstamp.stores.redis.feed import Feeds
from rowstamp.stores.redis.lines import Job, Lines, run_together
from rowstamp.stores.redis.plan import Plan
from rowstamp.stores.redis.sentinel import SentinelAddress, find
from rowstamp.stores.redis.talk import Complaints, Line, packed
from rowstamp.stores.redis.trip import Answer, Errand, Node

__all__ = ["RedisStore", "require_usable"]

_PATIENCE_SECONDS: Final = 1.0
"""How long closing waits for the threads that listen to servers."""


class RedisStore:
    """A :class:`~rowstamp.store.Store` on Redis (≥ 7.0) or Valkey (≥ 8), for any number of threads.

    Each operation is one round trip on connections of its own, taken from those that are idle; in a cluster one to each
    node that is concerned, all at the same time. Nothing is connected at construction: a server that is down must not
    keep an application from starting.

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
        self._lines: dict[Node, Lines] = {}
        self._lock = threading.Lock()
        self._complaints = Complaints()
        self._closed = False

    @classmethod
    def of_client(cls, client: object, *, hold_ttl: float = 10.0, **options: Any) -> Self:
        """Return a store on the server or cluster that a client of redis-py is for, on connections of its own.

        Args:
            client: a ``redis.Redis``, a ``RedisCluster`` or one of their awaited counterparts; it stays the caller's to close.
            hold_ttl: see the class.
            options: ``prefix``, ``timeout_ms`` and ``connect_timeout_ms``.
        """
        return cls(address_of_client(client, **options), hold_ttl=hold_ttl)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._plan.address}>"

    def read(self, entry: bytes | None, stamps: Sequence[bytes]) -> StoreSnapshot:
        """See :meth:`rowstamp.store.Store.read`."""
        if entry is None and not stamps:
            return StoreSnapshot(None, ())
        return self._call(ops.Read(entry, stamps))  # type: ignore[no-any-return]

    def mint(self, tokens: Mapping[bytes, bytes]) -> tuple[StampState, ...]:
        """See :meth:`rowstamp.store.Store.mint`."""
        return self._call(ops.mint(self._keys, tokens)) if tokens else ()

    def put(self, entry: bytes, blob: bytes, ttl: float) -> None:
        """See :meth:`rowstamp.store.Store.put`."""
        self._call(ops.put(self._keys, entry, blob, ttl))

    def delete(self, entry: bytes) -> None:
        """See :meth:`rowstamp.store.Store.delete`."""
        self._call(ops.delete(self._keys, entry))

    def hold(self, stamps: Sequence[bytes], writer: bytes, ttl: float) -> None:
        """See :meth:`rowstamp.store.Store.hold`."""
        if stamps:
            self._call(ops.hold(self._keys, stamps, writer, ttl))

    def release(self, tokens: Mapping[bytes, bytes], writer: bytes) -> tuple[bool, ...]:
        """See :meth:`rowstamp.store.Store.release`."""
        return self._call(ops.release(self._keys, tokens, writer)) if tokens else ()

    def touch(self, tokens: Mapping[bytes, bytes]) -> None:
        """See :meth:`rowstamp.store.Store.touch`."""
        if tokens:
            self._call(ops.touch(self._keys, tokens))

    def read_many(self, entries: Sequence[bytes], stamps: Sequence[bytes]) -> ManySnapshot:
        """See :meth:`rowstamp.store.Batching.read_many`."""
        *found, states = self._call_all(ops.read_many(entries, stamps))
        return ManySnapshot(tuple([each.entry for each in found]), states.stamps)

    def put_many(
        self, tokens: Mapping[bytes, bytes], entries: Sequence[tuple[bytes, bytes, float]], stamps: Sequence[bytes]
    ) -> tuple[StampState, ...]:
        """See :meth:`rowstamp.store.Batching.put_many`."""
        return self._call_all(ops.put_many(self._keys, tokens, entries, stamps))[-1].stamps  # type: ignore[no-any-return]

    def lease(self, entry: bytes, holder: bytes, ttl: float) -> bytes:
        """See :meth:`rowstamp.store.Leasing.lease`."""
        return self._call(leases.lease(self._keys, entry, holder, ttl))  # type: ignore[no-any-return]

    def unlease(self, entry: bytes, holder: bytes) -> None:
        """See :meth:`rowstamp.store.Leasing.unlease`."""
        self._call(leases.unlease(self._keys, entry, holder))

    def wait_unleased(self, entry: bytes, seconds: float) -> None:
        """See :meth:`rowstamp.store.Waking.wait_unleased`."""
        if not self._call(leases.remaining(self._keys, entry)):
            return
        channel = leases.channel(self._keys, entry)
        route = self._plan.route
        try:
            connection = find(route.address_of(route.node_of(channel))).blocking()
            try:
                connection.connect()
                connection.send_packed_command([packed([leases.listen(channel)])], check_health=False)
                connection.read_response()
                left = self._call(leases.remaining(self._keys, entry))
                connection.can_read(min(left, seconds))
            finally:
                connection.disconnect()
        except FOREIGN as exc:
            raise self._complaints.of(exc) from exc

    def clear(self) -> None:
        """See :meth:`rowstamp.store.Store.clear`. The old entries stay until they end, but nothing reads them."""
        self._call(ops.clear(self._keys, self._plan.epoch))

    def close(self) -> None:
        """See :meth:`rowstamp.store.Store.close`."""
        self._closed = True
        self._feeds.close()
        for lines in [*self._lines.values()]:
            lines.close()
        self._feeds.join(_PATIENCE_SECONDS)

    def check(self) -> None:
        """See :meth:`rowstamp.store.Store.check`: an idle connection with something to read is out of step."""
        for lines in [*self._lines.values()]:
            self._check(lines)

    def _check(self, lines: Lines) -> None:
        # Taken out while it is looked at: another thread may use it otherwise, and of course there is an answer then.
        looked_at: list[Line] = []
        try:
            for _ in range(len(lines.idle)):
                try:
                    looked_at.append(lines.idle.pop())
                except IndexError:
                    break
                if looked_at[-1].connection.can_read():
                    raise AssertionError(f"an idle connection of {self!r} has an answer that nobody has read")
        finally:
            lines.idle.extend(looked_at)

    def outages(self) -> Outages:
        """See :meth:`rowstamp.store.Guarded.outages`."""
        return self._plan.breakers.outages

    def follow(self) -> Mirror:
        """See :meth:`rowstamp.mirror.Following.follow`. It is fed from when it is first asked for."""
        return self._feeds.follow()

    # ---------------------------------------------------------------------------------------------------- trips

    def _call(self, call: ops.Call) -> Any:
        (outcome,) = self._converse([call])
        if isinstance(outcome, Exception):
            raise self._complaints.of(outcome)
        return outcome

    def _call_all(self, calls: Sequence[ops.Call]) -> list[Any]:
        outcomes = self._converse(calls)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise self._complaints.of(outcome)
        return outcomes

    def _converse(self, calls: Sequence[ops.Call]) -> list[Any]:
        if self._closed:
            raise StoreError("the store is closed")
        deadline = self._plan.deadline()
        try:
            return self._read(calls) or self._go(calls, deadline)
        except FOREIGN as exc:
            raise self._complaints.of(exc) from exc

    def _read(self, calls: Sequence[ops.Call]) -> list[Any] | None:
        """Make calls the short way, if that is possible."""
        reading = self._plan.reading(calls) if self._feeds.mirror is None else None
        return None if reading is None else self._lines_to(reading.node).read(reading)

    def _go(self, calls: Sequence[ops.Call], deadline: Deadline) -> list[Any]:
        steps = self._plan.trip(calls, self._feeds.mirror)
        try:
            errands = next(steps)
            while True:
                errands = steps.send(self._run(errands, deadline))
        except StopIteration as stop:
            if len(self._lines) > len(self._plan.route.nodes):
                self._forget()
            return stop.value  # type: ignore[no-any-return]

    def _run(self, errands: Sequence[Errand], deadline: Deadline) -> list[Answer | Exception]:
        """Run errands at the same time."""
        if len(errands) == 1:  # most often; then there is nothing to wait for on several sockets
            return [self._lines_to(errands[0].node).run(errands[0], deadline)]
        jobs = [Job(self._lines_to(errand.node), errand) for errand in errands]
        return run_together(jobs, deadline, self._plan.timeout)

    def _lines_to(self, node: Node) -> Lines:
        found = self._lines.get(node)
        if found is None:
            with self._lock:
                found = self._lines.setdefault(node, Lines(self._plan, node))
        return found

    def _forget(self) -> None:
        """Close the lines to nodes that have nothing any more."""
        with self._lock:
            for gone in self._lines.keys() - self._plan.route.nodes:
                self._lines.pop(gone).close()


def require_usable(address: Address | SentinelAddress | ClusterAddress) -> None:
    """Try a server once, for mistakes that would otherwise disable the cache in silence.

    Raises:
        ConfigurationError: the server is there and refuses the user, the password or what the store has to do, or it
            is too old or of another kind. One that cannot be reached, or is not ready, may be so later and is none.
    """
    store = RedisStore(address)
    try:
        store.touch({bytes(16): bytes(16)})
    except StoreError as exc:
        cause = exc.__cause__ if exc.__cause__ is not None and is_permanent(exc.__cause__) else _refusal(address)
        if cause is not None:
            raise ConfigurationError(f"the store at {address} cannot be used: {store_error(cause)}") from cause
    finally:
        store.close()


def _refusal(address: Address | SentinelAddress | ClusterAddress) -> BaseException | None:
    """Why the server does not accept a certificate, if that is what is wrong."""
    if isinstance(address, SentinelAddress):
        return None
    return tls.refusal(address if isinstance(address, Address) else address.of(address.seeds[0]))
