"""What every part of a cache shares: its store, its configuration, its counters, and a way to run protocol flows."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar

from rowstamp._sqlalchemy import await_in_greenlet
from rowstamp.analysis.declarations import NOTHING_DECLARED, Declaration, Name
from rowstamp.codec import Signer
from rowstamp.config import Config
from rowstamp.drivers import perform, run, run_async
from rowstamp.entry import EntryForm, StoredEntry, prove
from rowstamp.errors import ClosedError, CommitRefused, StoreError
from rowstamp.events import Counters, Stats
from rowstamp.freshness import Freshness
from rowstamp.journal import Journal
from rowstamp.keys import stamp_name, stamp_names, tables_first
from rowstamp.memo import Memo
from rowstamp.mirror import Following
from rowstamp.model import Dependency, StampState, fresh_token
from rowstamp.near import DEFAULT_BYTES, NearCache
from rowstamp.protocol import Flow, Hit, Miss, PutMany, Ticket, commit, fill, invalidate, lookup, put
from rowstamp.protocol_calls import capture
from rowstamp.protocol_seen import Instead, narrow
from rowstamp.recording import active, note, refuse
from rowstamp.stampede import Flights
from rowstamp.store import AsyncStore, Guarded, Leasing, Store, is_remote

__all__ = ["Core", "Policy"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Policy:
    """That selects of a table are cached without being asked.

    Attributes:
        ttl: how long their entries live, in seconds; ``None`` for the cache's own.
        ignore: the columns, in lower case, whose changes do not end results that load them into entities.
    """

    ttl: float | None = None
    ignore: frozenset[str] = frozenset()


class _Attempt:
    """A database commit that remembers whether it was tried and how it ended."""

    def __init__(self, commit_database: Callable[[], Any]) -> None:
        self._commit_database = commit_database
        self.started = False
        self.error: BaseException | None = None

    def __call__(self) -> None:
        self.started = True
        try:
            self._commit_database()
        except BaseException as exc:
            self.error = exc
            raise


class Renewing:
    """The entries of statements that this process is loading in the background. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: set[bytes] = set()

    def add(self, entry: bytes) -> bool:
        """Add an entry; return whether it was not there."""
        with self._lock:
            there = entry in self._entries
            self._entries.add(entry)
            return not there

    def discard(self, entry: bytes) -> None:
        """Take an entry out."""
        with self._lock:
            self._entries.discard(entry)


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
        self.journal = Journal(stamp_name(config.namespace, Dependency.everything()))
        self.clock: Callable[[], float] = time.perf_counter
        self.wall_clock: Callable[[], float] = time.time
        self.random: Callable[[], float] = random.random
        self.policies: dict[tuple[str | None, str], Policy] = {}
        self.declarations = NOTHING_DECLARED
        self.closed = False
        self.background: set[Any] = set()
        self.renewing = Renewing()
        self.statements = Flights()
        """The statements that are being loaded, for sessions who wait for others."""
        self.leases = config.lease > 0 and isinstance(store, Leasing)
        self.near = self._make_near()
        self._seen = Memo()
        signer = Signer(config.secrets, config.namespace.encode()) if config.secrets else None
        self.follows = bool(config.freshness.bound) and isinstance(store, Following)
        """Whether states may be known without asking the store."""
        self.form = EntryForm(signer, config.compress)
        self._disabled: ContextVar[bool] = ContextVar(f"rowstamp-disabled-{config.namespace}", default=False)
        self.is_disabled: Callable[[], bool] = self._disabled.get
        """Whether reads are not to be served and filled in this thread or task."""
        self._lock = threading.Lock()

    def _make_near(self) -> NearCache | None:
        size = self.config.near
        if size is None:
            # Worth its memory where reading an entry means to have it sent.
            size = DEFAULT_BYTES if is_remote(self.store) else 0
        return NearCache(size, wall_clock=self.wall_clock, count=self.counters.count) if size else None

    # ------------------------------------------------------------------------------------------------- switches

    @property
    def enabled(self) -> bool:
        """Whether reads may be served and filled here and now."""
        return not (self.closed or self.is_disabled())

    @contextmanager
    def disabled(self) -> Generator[None, None, None]:
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

    def declare(self, name: Name, declaration: Declaration) -> bool:
        """Add what is behind a name; return whether it may: it was not declared otherwise before."""
        with self._lock:
            known = self.declarations.by_name.get(name, declaration)
            if known == declaration:
                self.declarations = self.declarations.adding(name, declaration)
            return known == declaration

    def set_policy(self, table: tuple[str | None, str], policy: Policy) -> None:
        """Cache the selects of a table without being asked."""
        with self._lock:
            self.policies = {**self.policies, table: policy}

    def stats(self) -> Stats:
        """Return what has been counted, and what the store's circuit breakers say."""
        counted = self.counters.snapshot()
        if not isinstance(self.store, Guarded):
            return counted
        openings, are_open = self.store.outages()
        return replace(counted, breaker_openings=openings, breakers_open=are_open)

    # ---------------------------------------------------------------------------------------------------- flows

    def _run(self, flow: Flow[T], commit_database: Callable[[], Any] | None = None) -> T:
        """Run a flow to its end, waiting in the greenlet where the store is asynchronous."""
        store = self.store

        def step(operation: Any) -> Any:
            reply = perform(store, operation, commit_database)
            return await_in_greenlet(reply) if hasattr(reply, "__await__") else reply

        return run(flow, step)

    def lookup(
        self,
        entry: bytes,
        stamps: Sequence[bytes],
        *,
        serve: bool,
        freshness: Freshness | None = None,
        guard: Sequence[bytes] = (),
    ) -> Hit | Miss:
        """Find a valid entry, or capture the stamps to fill one. A store that cannot be used is a miss without fill.

        Hits are counted; a miss is counted by whoever then loads.

        Args:
            entry: the entry's key.
            stamps: the names of the stamps of all dependencies.
            serve: ``False`` captures the stamps only.
            freshness: how fresh a hit has to be; by default as the cache says.
            guard: the names of the stamps in whose place an entry may name rows.
        """
        try:
            self._replay_journal()
            hint = self._seen.get(entry) if guard and serve else ()
            flow = lookup(entry, stamps, guard=guard, hint=hint, serve=serve, form=self.form)
            outcome = self._run(self.looking_up(flow, freshness) if serve else flow)
        except StoreError:
            self.counters.count("store_errors")
            return Miss(None)
        if isinstance(outcome, Hit) and self.is_over(outcome.stored):
            outcome = Miss(Ticket(entry, outcome.tokens), stale=outcome.stored, unchanged=True)
        if active() is not None:
            self._record(outcome)
        if isinstance(outcome, Hit):
            if guard and outcome.stored.named != hint:
                self._seen.remember(entry, outcome.stored.named)
            self.counters.hit(outcome.load_time)
            return outcome
        if outcome.corrupt:
            self.counters.count("corrupt")
        return outcome

    def _record(self, outcome: Hit | Miss) -> None:
        """Tell the cached functions under way on which tokens the outcome of a lookup stands."""
        if isinstance(outcome, Hit):
            note(self, outcome.tokens)
        elif outcome.ticket is None:
            refuse("a stamp is held")
        else:
            note(self, outcome.ticket.tokens, outcome.ticket.guard)

    def capture(self, stamps: Sequence[bytes]) -> Mapping[bytes, bytes] | None:
        """Capture stamps for a part of a cached function's result; ``None`` if one is held or the store cannot be used."""
        try:
            self._replay_journal()
            return self._run(capture(stamps))
        except StoreError:
            self.counters.count("store_errors")
            return None

    def fill(
        self,
        ticket: Ticket,
        body: bytes,
        *,
        ttl: float,
        load_time: float,
        linger: float = 0.0,
        instead: Instead | None = None,
    ) -> None:
        """Store a result. A store that cannot be used loses it, and nothing else.

        Args:
            ticket: what the lookup returned with the miss.
            body: the encoded result.
            ttl: how long it may live, in seconds.
            load_time: how long the load took, in seconds.
            linger: how long the store keeps it beyond that, in seconds, to be served old.
            instead: what stands in place of the ticket's guard; ``None`` if it is to stay.
        """
        try:
            if ticket.guard and instead is not None:
                ticket = self._run(narrow(ticket, instead.rows, guard=instead.guard, stays=instead.stays))
                self._seen.remember(ticket.entry, tuple(ticket.named))
            self._run(self.filling(ticket, body, ttl=ttl, load_time=load_time, linger=linger))
        except StoreError:
            self.counters.count("store_errors")
        else:
            self.counters.count("fills")

    def filling(
        self, ticket: Ticket, body: bytes, *, ttl: float, load_time: float = 0.0, linger: float = 0.0
    ) -> Flow[None]:
        """Return the flow that stores a result, and keeps it near; the store keeps it ``linger`` seconds longer."""
        ends_at = self.wall_clock() + ttl
        yield from fill(ticket, body, ttl=ttl, load_time=load_time, ends_at=ends_at, linger=linger, form=self.form)
        if self.near is not None:
            stored = StoredEntry(prove(ticket.tokens), tuple(ticket.named), body, load_time, ends_at, linger > 0)
            self.near.keep(ticket.entry, stored, ticket.tokens)

    def filling_many(
        self,
        items: Sequence[tuple[Ticket, bytes, float]],
        *,
        load_time: float = 0.0,
        touched: Mapping[bytes, bytes] = MappingProxyType({}),
        stamps: Sequence[bytes] = (),
    ) -> Flow[tuple[StampState, ...]]:
        """Return the flow that stores several results in one round trip, and keeps them near.

        Args:
            items: the right to fill, the encoded result and the seconds that it may live, of each.
            load_time: how long their load took, in seconds.
            touched: stamps that are given new tokens with it.
            stamps: stamps whose states are returned.
        """
        now = self.wall_clock()
        puts = [
            put(ticket, body, ttl=ttl, load_time=load_time, ends_at=now + ttl, form=self.form)
            for ticket, body, ttl in items
        ]
        states: tuple[StampState, ...] = yield PutMany(
            touched, [(each.entry, each.blob, each.ttl) for each in puts if each is not None], stamps
        )
        if self.near is not None:
            for ticket, body, ttl in items:
                stored = StoredEntry(prove(ticket.tokens), tuple(ticket.named), body, load_time, now + ttl)
                self.near.keep(ticket.entry, stored, ticket.tokens)
        return states

    def is_over(self, stored: StoredEntry) -> bool:
        """Whether an entry is there only for those who may serve it old.

        Others the store drops by its own clock; only those that linger are measured by this one's.
        """
        return stored.lingers and stored.ends_at <= self.wall_clock()

    def looking_up(self, flow: Flow[T], freshness: Freshness | None = None) -> Flow[T]:
        """Return a lookup that uses what is kept near, and within a bound what is known of stamps."""
        near = self.near
        if near is None:
            return flow
        bound = (freshness or self.config.freshness).bound
        if not bound or not isinstance(self.store, Following):
            return near.through(flow)
        return near.through(flow, self.store.follow(), bound)

    def mirrored(self, stamps: Sequence[bytes]) -> Mapping[bytes, StampState] | None:
        """Return the states of stamps, as fresh as the cache says, if they are known without asking the store."""
        if self.near is None or not isinstance(self.store, Following):
            return None
        return self.store.follow().states(stamps, self.config.freshness.bound)

    def commit(
        self,
        effects: Iterable[Dependency],
        commit_database: Callable[[], Any],
        *,
        refused: Callable[[BaseException], bool],
    ) -> None:
        """Commit a database transaction that had these effects, so that no read is stale before, during or after.

        Args:
            effects: what the transaction touched.
            commit_database: sends COMMIT.
            refused: whether an exception of it says for certain that nothing was or will be committed.

        Raises:
            CommitRefused: the holds could not be taken and ``on_store_down="fail"``; nothing was committed.
            BaseException: whatever ``commit_database`` raises. Once the database has committed nothing is raised but
                what ends the program or the task.
        """
        stamps = stamp_names(self.config.namespace, effects)
        attempt = _Attempt(commit_database)
        try:
            flow = commit(stamps, writer=fresh_token(), hold_ttl=self.config.hold_ttl, refused=refused)
            outcome = self._run(flow, attempt)
        except BaseException as exc:  # noqa: BLE001 - let out again, or explained why not
            self._commit_failed(exc, attempt, stamps)
        else:
            if outcome.late:
                self.counters.count("late_commits")
        self.counters.count("invalidations")

    def _commit_failed(self, exc: BaseException, attempt: _Attempt, stamps: list[bytes]) -> None:
        """Keep what could not be published, and let out only what the user has to know."""
        if attempt.error is exc:
            raise exc  # the database's own answer, and the stamps were released
        if attempt.started:
            # Sent, perhaps committed, but not released: an error now would say that a committed write had failed.
            self.journal.add(stamps)
            self.counters.count("store_errors")
            if attempt.error is not None:
                raise attempt.error from exc
            if not isinstance(exc, Exception):
                raise exc
            return
        if not isinstance(exc, StoreError):
            raise exc
        self.counters.count("store_errors")
        self._commit_without_holds(exc, attempt, stamps)

    def _commit_without_holds(self, exc: StoreError, attempt: _Attempt, stamps: list[bytes]) -> None:
        if self.config.on_store_down == "fail":
            msg = f"the commit was refused because the cache's store cannot be told of it: {exc}"
            raise CommitRefused(msg) from exc
        # Kept even if it fails: the answer may have been lost on a commit that took place.
        with self.journal.committing(stamps) if self.config.on_store_down == "journal" else nullcontext():
            attempt()

    def invalidate_committed(self, effects: Iterable[Dependency]) -> None:
        """Publish effects of a transaction that has committed already; never raises for the store's sake."""
        tables, rows = tables_first(self.config.namespace, effects)
        try:
            self._run(invalidate(tables, rows))
        except StoreError:
            self.counters.count("store_errors")
            self.journal.add((*tables, *rows))
        self.counters.count("invalidations")

    def _replay_journal(self) -> None:
        """Touch what earlier commits could not; until that is done the store is not asked for anything."""
        stamps = self.journal.pending()
        if stamps:
            self._run(invalidate(list(stamps), list(stamps)))  # nobody knows any more which of them are rows
            self.journal.done(stamps)

    def invalidation(self, effects: Iterable[Dependency]) -> Flow[None]:
        """Return the flow that makes everything that depends on these unusable; it counts itself."""
        self.counters.count("invalidations")
        return invalidate(*tables_first(self.config.namespace, effects))

    async def run_async(self, flow: Flow[T]) -> T:
        """Run a flow outside of any greenlet."""

        async def step(operation: Any) -> Any:
            reply = perform(self.store, operation, None)
            return await reply if hasattr(reply, "__await__") else reply

        return await run_async(flow, step)

    def run_blocking(self, flow: Flow[T]) -> T:
        """Run a flow against a store that blocks."""
        return run(flow, lambda operation: perform(self.store, operation, None))
