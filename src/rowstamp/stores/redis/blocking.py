"""The blocking store on Redis or Valkey; see :mod:`rowstamp.stores.redis.commands` for what it says to the server."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Self

from rowstamp.errors import ConfigurationError, StoreError
from rowstamp.mirror import Mirror
from rowstamp.model import StampState, StoreSnapshot
from rowstamp.stores.redis import commands as ops
from rowstamp.stores.redis import leases
from rowstamp.stores.redis.address import Address
from rowstamp.stores.redis.clients import address_of_client
from rowstamp.stores.redis.cluster import ClusterAddress
from rowstamp.stores.redis.errors import FOREIGN, is_permanent
from rowstamp.stores.redis.feed import Feeds
from rowstamp.stores.redis.plan import Plan
from rowstamp.stores.redis.sentinel import SentinelAddress, find
from rowstamp.stores.redis.talk import OUTDATED, Complaints, Health, Line, Talk, lead, lead_all
from rowstamp.stores.redis.trip import Answer, Errand, Node

__all__ = ["RedisStore", "require_usable"]

_PATIENCE_SECONDS: Final = 1.0
"""How long closing waits for the threads that listen to servers."""


class _Lines:
    """The idle lines to one server, and whether it may be used; for any number of threads.

    Args:
        open_line: makes a new line.
    """

    def __init__(self, open_line: Callable[[], Line]) -> None:
        self._open = open_line
        self._pid = os.getpid()
        self.idle: deque[Line] = deque()
        self.health = Health()
        self.closed = False

    def take(self, *, fresh: bool = False) -> Line:
        """Return a line that nobody else uses."""
        if self._pid != os.getpid():  # after a fork the connections are the parent's
            self.idle, self._pid = deque(), os.getpid()
        if fresh:
            return self._open()
        try:
            return self.idle.pop()
        except IndexError:
            return self._open()

    def give(self, line: Line) -> None:
        """Take back a line that works."""
        line.used = True
        if not line.server.lasts:
            line.connection.disconnect()
            return
        self.idle.append(line)
        if self.closed:
            self.drop()

    def drop(self) -> None:
        """Close the idle lines."""
        while self.idle:
            self.idle.pop().connection.disconnect()

    def close(self) -> None:
        """Close all of them, those too that come back later."""
        self.closed = True
        self.drop()

    def probe(self) -> None:
        """Try the server in the background."""
        threading.Thread(target=self._try_server, name="rowstamp-redis-probe", daemon=True).start()

    def _try_server(self) -> None:
        try:
            line = self._open()
        except FOREIGN as exc:
            self.health.failed(exc)
        else:
            self.give(line)
            self.health.answered()


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
        self._lines: dict[Node, _Lines] = {}
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

    def lease(self, entry: bytes, holder: bytes, ttl: float) -> bytes:
        """See :meth:`rowstamp.store.Leasing.lease`."""
        return self._call(leases.lease(self._keys, entry, holder, ttl))  # type: ignore[no-any-return]

    def unlease(self, entry: bytes, holder: bytes) -> None:
        """See :meth:`rowstamp.store.Leasing.unlease`."""
        self._call(leases.unlease(self._keys, entry, holder))

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

    def _check(self, lines: _Lines) -> None:
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

    def follow(self) -> Mirror:
        """See :meth:`rowstamp.mirror.Following.follow`. It is fed from when it is first asked for."""
        return self._feeds.follow()

    # ---------------------------------------------------------------------------------------------------- trips

    def _call(self, call: ops.Call) -> Any:
        (outcome,) = self._converse([call])
        if isinstance(outcome, Exception):
            raise self._complaints.of(outcome)
        return outcome

    def _converse(self, calls: Sequence[ops.Call]) -> list[Any]:
        if self._closed:
            raise StoreError("the store is closed")
        steps = self._plan.trip(calls, self._feeds.mirror)
        try:
            errands = next(steps)
            while True:
                errands = steps.send(self._run(errands))
        except StopIteration as stop:
            if len(self._lines) > len(self._plan.route.nodes):
                self._forget()
            return stop.value  # type: ignore[no-any-return]
        except FOREIGN as exc:
            raise self._complaints.of(exc) from exc

    def _run(self, errands: Sequence[Errand]) -> list[Answer | Exception]:
        """Run errands at the same time; an outdated line is replaced once."""
        jobs = [_Job(errand, self._lines_to(errand.node)) for errand in errands]
        self._lead(jobs, fresh=False)
        outdated = [job for job in jobs if job.outdated]
        for job in outdated:
            job.lines.drop()  # the others like it are of no use either
        if outdated:
            self._lead(outdated, fresh=True)
        return [job.noted() for job in jobs]

    def _lead(self, jobs: Sequence[_Job], *, fresh: bool) -> None:
        try:
            talks = [talk for job in jobs if (talk := job.start(self._plan, fresh=fresh))]
            lead_all(talks, self._plan.address.timeout_ms / 1000)
        finally:
            for job in jobs:
                job.end()

    def _lines_to(self, node: Node) -> _Lines:
        found = self._lines.get(node)
        if found is None:
            with self._lock:
                found = self._lines.setdefault(node, _Lines(lambda: self._open(node)))
        return found

    def _forget(self) -> None:
        """Close the lines to nodes that have nothing any more."""
        with self._lock:
            for gone in self._lines.keys() - self._plan.route.nodes:
                self._lines.pop(gone).close()

    def _open(self, node: Node) -> Line:
        connection = find(self._plan.route.address_of(node)).blocking()
        try:
            connection.connect()
            return Line(connection, lead(connection, self._plan.greet(node)))
        except BaseException:
            connection.disconnect()
            raise


class _Job:
    """An errand under way on a line.

    Attributes:
        lines: where the line comes from.
        outdated: whether the line was closed, or its server has changed, since it was last used.
    """

    def __init__(self, errand: Errand, lines: _Lines) -> None:
        self._errand = errand
        self.lines = lines
        self._line: Line | None = None
        self._talk: Talk | None = None
        self._outcome: Answer | Exception = StoreError("the errand was given up")
        self._admitted = False
        self.outdated = False

    def start(self, plan: Plan, *, fresh: bool) -> Talk | None:
        """Take a line; there is nothing to lead if there is none."""
        refusal = None if fresh else self.lines.health.admit(self.lines.probe)
        if refusal is not None:
            self._outcome = refusal
            return None
        self._admitted = True
        try:
            self._line = self.lines.take(fresh=fresh)
            self._talk = Talk(self._line.connection, plan.talk(self._errand, self._line.server))
        except FOREIGN as exc:
            self._outcome = exc
            return None
        return self._talk

    def end(self) -> None:
        """Keep the outcome, and give the line back or close it."""
        line, talk = self._line, self._talk
        self._line = self._talk = None
        self.outdated = False
        if line is None:
            return
        if talk is not None and talk.over and talk.error is None:
            self._outcome = talk.result
            self.lines.give(line)
            return
        line.connection.disconnect()
        if talk is not None and talk.error is not None:
            self._outcome = talk.error
        self.outdated = line.used and isinstance(self._outcome, OUTDATED)

    def noted(self) -> Answer | Exception:
        """Return the outcome, and let the server's health know."""
        if isinstance(self._outcome, Answer):
            self.lines.health.answered()
        elif self._admitted:
            self.lines.health.failed(self._outcome)
        return self._outcome


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
        if exc.__cause__ is not None and is_permanent(exc.__cause__):
            raise ConfigurationError(f"the store at {address} cannot be used: {exc}") from exc.__cause__
    finally:
        store.close()
