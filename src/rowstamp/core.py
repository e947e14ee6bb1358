"""What every part of a cache shares: its store, its configuration, its counters, and a way to run protocol flows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from rowstamp._sqlalchemy import await_in_greenlet
from rowstamp.config import Config
from rowstamp.drivers import perform, run, run_async
from rowstamp.errors import ClosedError, StoreError
from rowstamp.events import Counters
from rowstamp.keys import stamp_names
from rowstamp.model import Dependency, fresh_token
from rowstamp.protocol import Committed, Flow, Hit, Miss, Ticket, commit, fill, invalidate, lookup
from rowstamp.store import AsyncStore, Store

__all__ = ["Core", "Policy"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Policy:
    """That selects of a table are cached without being asked.

    Attributes:
        ttl: how long their entries live, in seconds; ``None`` for the cache's own.
    """

    ttl: float | None = None


class Core:
    """The heart of a cache, used by the public classes above it and by the SQLAlchemy integration beside it.

    Its methods are synchronous. With an asynchronous store they must be called inside SQLAlchemy's greenlet, which is where
    the integration's hooks run.

    Args:
        config: the validated options.
        store: where entries and stamps live.
    """

    def __init__(self, config: Config, store: Store | AsyncStore) -> None:
        self.config = config
        self.store = store
        self.counters = Counters()
        self.clock: Callable[[], float] = time.perf_counter
        self.policies: dict[tuple[str | None, str], Policy] = {}
        self.closed = False
        self._disabled: ContextVar[bool] = ContextVar(f"rowstamp-disabled-{config.namespace}", default=False)
        self._lock = threading.Lock()

    # ------------------------------------------------------------------------------------------------- switches

    @property
    def enabled(self) -> bool:
        """Whether reads may be served and filled here and now."""
        return not (self.closed or self._disabled.get())

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Stop serving and filling in this thread or task; writes still invalidate."""
        token = self._disabled.set(True)
        try:
            yield
        finally:
            self._disabled.reset(token)

    def require_open(self) -> None:
        """Raise :class:`ClosedError` when the cache has been closed."""
        if self.closed:
            msg = f"the cache {self.config.namespace!r} is closed: make a new one"
            raise ClosedError(msg)

    def set_policy(self, table: tuple[str | None, str], policy: Policy) -> None:
        """Cache the selects of a table without being asked."""
        with self._lock:
            self.policies = {**self.policies, table: policy}

    # ---------------------------------------------------------------------------------------------------- flows

    def _run(self, flow: Flow[T], commit_database: Callable[[], Any] | None = None) -> T:
        """Run a flow to its end, waiting in the greenlet where the store is asynchronous."""
        store = self.store

        def step(operation: Any) -> Any:
            reply = perform(store, operation, commit_database)
            return await_in_greenlet(reply) if hasattr(reply, "__await__") else reply

        return run(flow, step)

    def lookup(self, entry: bytes, dependencies: Iterable[Dependency], *, serve: bool) -> Hit | Miss:
        """Find a valid entry, or capture the stamps to fill one. A store that cannot be used is a miss without fill."""
        try:
            outcome = self._run(lookup(entry, stamp_names(self.config.namespace, dependencies), serve=serve))
        except StoreError:
            self.counters.count("store_errors")
            return Miss(None)
        if isinstance(outcome, Hit):
            self.counters.hit(outcome.load_time)
            return outcome
        if serve:
            self.counters.count("misses")
        if outcome.corrupt:
            self.counters.count("corrupt")
        return outcome

    def fill(self, ticket: Ticket, body: bytes, *, ttl: float, load_time: float) -> None:
        """Store a result. A store that cannot be used loses it, and nothing else."""
        try:
            self._run(fill(ticket, body, ttl=ttl, load_time=load_time))
        except StoreError:
            self.counters.count("store_errors")
        else:
            self.counters.count("fills")

    def commit(self, effects: Iterable[Dependency], commit_database: Callable[[], Any]) -> None:
        """Commit a database transaction that had these effects, so that no read is stale before, during or after.

        Raises:
            BaseException: whatever ``commit_database`` raises; nothing else once the database has committed.
        """
        stamps = stamp_names(self.config.namespace, effects)
        outcome: Committed = self._run(
            commit(stamps, writer=fresh_token(), hold_ttl=self.config.hold_ttl), commit_database
        )
        self.counters.count("invalidations")
        if outcome.late:
            self.counters.count("late_commits")

    def invalidate(self, effects: Iterable[Dependency]) -> None:
        """Make everything that depends on these unusable, now."""
        self._run(self.invalidation(effects))

    def invalidation(self, effects: Iterable[Dependency]) -> Flow[None]:
        """Return the flow that makes everything that depends on these unusable; it counts itself."""
        self.counters.count("invalidations")
        return invalidate(stamp_names(self.config.namespace, effects))

    async def run_async(self, flow: Flow[T]) -> T:
        """Run a flow outside of any greenlet."""

        async def step(operation: Any) -> Any:
            reply = perform(self.store, operation, None)
            return await reply if hasattr(reply, "__await__") else reply

        return await run_async(flow, step)

    def run_blocking(self, flow: Flow[T]) -> T:
        """Run a flow against a store that blocks."""
        return run(flow, lambda operation: perform(self.store, operation, None))


PolicyTable = Mapping[tuple[str | None, str], Policy]
