"""The public caches: thin wiring of a store, a configuration and the SQLAlchemy integration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Final, Literal, Self

from rowstamp.attaching import Attaching
from rowstamp.calls import Calls
from rowstamp.config import Config, Vary, check_names, check_near, check_secrets, check_size, check_tags, check_ttl
from rowstamp.core import Core, Policy
from rowstamp.errors import AttachError, ConfigurationError
from rowstamp.events import Stats
from rowstamp.explain import Explanation
from rowstamp.freshness import Freshness, strict
from rowstamp.keyvalue import AsyncKeyValues, KeyValues, value_answers
from rowstamp.model import Dependency
from rowstamp.orm.attachment import Attachment, attachment_of
from rowstamp.orm.declaring import declaration_of
from rowstamp.orm.deferred import defer
from rowstamp.orm.explain import explain
from rowstamp.orm.targets import columns_by_table, effects_of, engines_of, mapped_tables, name_keys_of, sync_session
from rowstamp.query import AsyncQueries, Queries
from rowstamp.store import AsyncStore, Store
from rowstamp.stores import RedisClient, open_store, store_of_client

__all__ = ["AsyncCache", "Cache"]

CLOSING_SECONDS: Final = 5.0
"""How long closing waits for loads in the background before it cancels them."""


class _BaseCache(Attaching):
    """What both caches share; see :class:`Cache`."""

    _asynchronous: bool

    def __init__(
        self,
        store: str | Store | AsyncStore | RedisClient = "memory://",
        *,
        namespace: str = "rowstamp",
        ttl: float = 300,
        hold_ttl: float = 10,
        on_store_down: Literal["journal", "fail", "ignore"] = "journal",
        lease: float = 10,
        row_images: bool = True,
        vary: Vary | None = None,
        near: int | str | None = None,
        freshness: Freshness = strict,
        compress: int | str | None = None,
        secret: str | bytes | Sequence[str | bytes] | None = None,
    ) -> None:
        config = Config(
            namespace=namespace,
            ttl=ttl,
            hold_ttl=hold_ttl,
            on_store_down=on_store_down,
            lease=lease,
            row_images=row_images,
            vary=vary,
            near=check_near(near),
            freshness=freshness,
            compress=None if compress is None else check_size(compress, "compress"),
            secrets=check_secrets(secret),
        )
        opened = self._open(store, hold_ttl)
        self._require_store(opened)
        self._owns_store = opened is not store
        self._core = Core(config, opened)
        self._calls = Calls(self._core)
        self._quick = value_answers(self._core, self._calls.quick)
        self._attachments: list[Attachment] = []
        self._makers: list[Any] = []

    def _open(self, store: object, hold_ttl: float) -> Any:
        if isinstance(store, str):
            return open_store(store, asynchronous=self._asynchronous, hold_ttl=hold_ttl)
        return store_of_client(store, asynchronous=self._asynchronous, hold_ttl=hold_ttl) or store

    def _require_store(self, store: object) -> None:
        if isinstance(store, Store):
            return
        if isinstance(store, AsyncStore) and self._asynchronous:
            return
        kind = "a URL or a Store" if not self._asynchronous else "a URL, a Store or an AsyncStore"
        msg = f"store={store!r} of type {type(store).__name__} is no store: give {kind}, such as 'memory://'"
        raise ConfigurationError(msg)

    def __repr__(self) -> str:
        state = ", closed" if self._core.closed else ""
        return f"<{type(self).__name__} {self._core.config.namespace!r} on {type(self._core.store).__name__}{state}>"

    def policy(
        self, model: object, *, ttl: float | None = None, ignore: Collection[str] = (), keys: Collection[Any] = ()
    ) -> None:
        """Cache every select that reads only tables with a policy, ``session.get`` and lazy loads included.

        Args:
            model: a mapped class or a table.
            ttl: how long results may be kept, in seconds; of several tables' the shortest counts.
            ignore: attributes that may be stale, up to the time to live, in entities loaded by a cached statement: a write that
                changes nothing else leaves its entry usable, also for the session that writes. Where a statement names such an
                attribute itself (selected by itself, in WHERE, ON, ORDER BY, …) its changes count.
            keys: attributes, or tuples of them, by which results are kept apart as by an index; the same in all processes.

        Raises:
            ConfigurationError: the model is not mapped, an option is wrong, or an attribute unknown.
        """
        self._core.require_open()
        seconds = None if ttl is None else check_ttl(ttl)
        name_keys_of(model, keys)
        ignored = columns_by_table(model, check_names("ignore", ignore))
        for table in mapped_tables(model):
            self._core.set_policy((table.schema, table.name), Policy(seconds, ignored.get(table, frozenset())))

    def declare(
        self, name: object, *, depends_on: Collection[object] | None = None, writes: Collection[object] = ()
    ) -> None:
        """Say what is behind a name of which SQL tells nothing: a view, a function or procedure, a table with triggers.

        Results that read the view, or call the function, depend on ``depends_on`` from now on; what is written through a view is
        written to these. A call of the function, and every write to the table, also changes ``writes``. A function of which something
        is declared is known: it is neither volatile, nor does it do anything else. Declare before the cache is used.

        ``declare("active_products", depends_on=[Product])``; ``declare("slugify", depends_on=[])`` for a function of its arguments
        alone; ``declare("orders", writes=[OrderLog, Order.updated_at])`` for a trigger that writes another table and a column of
        the row itself.

        Args:
            name: as SQL writes it, with its schema or without, in any case; or the mapped class or ``Table`` of a view or table.
            depends_on: mapped classes or tables. Rows of them are not told apart.
            writes: mapped classes or tables; or columns, where nothing else of the row changes.

        Raises:
            ConfigurationError: nothing is declared, something is neither mapped nor a table, or the name was declared otherwise.
        """
        self._core.require_open()
        for each, declaration in declaration_of(name, depends_on, writes):
            if not self._core.declare(each, declaration):
                msg = f"declare({name!r}): it was declared otherwise before; say all of it in one declaration"
                raise ConfigurationError(msg)

    # ---------------------------------------------------------------------------------------------- observing

    def explain(self, statement: Any, *, engine: object = None) -> Explanation:
        """Return what the cache would do with a statement, and why; nothing is executed.

        Args:
            statement: any statement.
            engine: the attached engine that would execute it; needed only if several are attached.

        Raises:
            AttachError: no engine is attached, or ``engine`` is not.
        """
        self._core.require_open()
        return explain(self._attachment(engine), statement)

    def _attachment(self, engine: object) -> Attachment:
        if engine is not None:
            found = attachment_of(engines_of(engine, asynchronous=self._asynchronous)[0][0].dialect)
            if found is not None and found in self._attachments:
                return found
        elif self._attachments:
            return self._attachments[0]
        msg = "no engine to explain for: attach one first" if engine is None else f"{engine!r} is not attached"
        raise AttachError(msg)

    def stats(self) -> Stats:
        """Return what this cache has done since it was made; a frozen snapshot."""
        return self._core.stats()

    @contextmanager
    def counting(self) -> Generator[Callable[[], Stats]]:
        """Return a context that counts what this cache does in it, in the tasks and threads started with it too.

        ``with cache.counting() as counted: ...`` gives a function that returns the :class:`Stats` of the context so far. Contexts
        that run at the same time do not count each other's reads: a web request can say what it was served from.
        """
        with self._core.counters.part() as part:
            yield part.snapshot

    def disabled(self) -> AbstractContextManager[None]:
        """Return a context in which this thread or task is neither served nor fills; its writes still invalidate."""
        return self._core.disabled()

    # ------------------------------------------------------------------------------------------ shared by twins

    def _effects(self, target: object, tags: Collection[str] | None, values: dict[str, object]) -> set[Dependency]:
        self._core.require_open()
        if target is None and tags is None:
            msg = "invalidate() of nothing: give tags=[...], a mapped class, or a condition such as Product.id == 42"
            raise ConfigurationError(msg)
        found = {Dependency.tag(tag) for tag in check_tags(tags if tags is not None else ())}
        if target is not None:
            if not self._attachments:
                msg = f"invalidate({target!r}) before attach(): no database is attached whose results it could name"
                raise ConfigurationError(msg)
            scopes = {attachment.scope: attachment.dialect for attachment in self._attachments}
            found |= effects_of(target, values, scopes.items())
        return found

    def _close(self) -> bool:
        """Detach from everything; return whether the store is to be closed."""
        if self._core.closed:
            return False
        self._detach_all()
        self._core.closed = True
        if self._core.near is not None:
            self._core.near.clear()
        return self._owns_store


class Cache(_BaseCache, Queries, KeyValues):
    """A cache of query results for ``Session`` and ``Connection``.

    Args:
        store: the URL of a store, a store, or a ready client of redis-py, whose server is then used on connections of the
            cache's own. ``memory://`` keeps entries in this process.
        namespace: separates this application's keys from others' in the same store.
        ttl: how long entries live unless their query says otherwise, in seconds.
        hold_ttl: when the holds of a writer that died in the middle of its commit end, in seconds. Longer than any COMMIT takes; and so
            long after a Redis or Valkey server has started or been promoted nothing is served or filled.
        on_store_down: what a commit does when its holds cannot be taken: ``"journal"`` commits and publishes before this
            process uses the store again, ``"fail"`` raises so that the transaction rolls back, ``"ignore"`` commits.
        lease: of a fleet that shares a store, one process loads a cached function's missing result and the others wait for it, for
            so many seconds at most if that process dies; 0 lets each load.
        row_images: whether a write that does not say all keys of the rows it changes asks the database for them first, which
            costs one more statement and spares the results that depend on other rows.
        vary: what else makes results other ones: a function, called for each key, whose value becomes part of it (tenant, locale); or
            a list of such functions and of names of connection state, as in ``["search_path", "role", "app.tenant"]`` (of MySQL and
            MariaDB also ``"database"`` for what ``USE`` changes, and ``"@variable"``). A connection whose state was changed bypasses
            the cache, unless all that was changed is named here; then its values are part of the keys.
        near: how much of what is in the store this process keeps, too, in bytes or as a size like ``"64 MiB"``. Such a copy is
            used only while its stamps say so, but its payload is not transferred and mostly not decoded again. By default 32 MiB for
            Redis and Valkey and nothing for stores on this machine; 0 keeps nothing.
        freshness: how fresh hits have to be: ``strict``, or ``bounded(50)`` to be served without a round trip what was valid at most
            50 milliseconds before the read began. Makes no difference to stores on this machine.
        compress: from which size on results are compressed in the store (zlib), in bytes or like ``"1 KiB"``; by default none are.
        secret: what entries are signed with, 16 bytes or more, so that who can write to the store but does not have it cannot
            make the cache return something of theirs: an entry that is not signed so is a miss, counted as corrupt. Of a list the
            first signs and all are accepted, to change secrets without a pause. It does not keep anybody from reading results,
            or from putting back an older entry together with the stamps it was valid under.

    Raises:
        ConfigurationError: an option or the store's URL is wrong.

    Every method may be called from any thread.
    """

    _asynchronous = False

    def invalidate(
        self, target: object = None, /, *, tags: Collection[str] | None = None, session: object = None, **values: object
    ) -> None:
        """Make results unusable: by tag, by table, or by row.

        Args:
            target: a mapped class or table, or a condition such as ``Product.category_id == 7``.
            tags: names given to ``cached(tags=[...])``.
            session: let it take effect with the commit of this session, not before; a rollback forgets it.
            values: values of the class's attributes, such as ``id=42``.

        Raises:
            ConfigurationError: nothing to invalidate, a bare string as tags, an unknown attribute.
            StoreError: the store could not be reached; nothing was invalidated.
        """
        effects = self._effects(target, tags, values)
        if session is not None:
            defer(self._core, sync_session(session), effects)
        else:
            self._core.run_blocking(self._core.invalidation(effects))

    def clear(self) -> None:
        """Make every result of this namespace unusable."""
        self._core.require_open()
        self._core.run_blocking(self._core.invalidation({Dependency.everything()}))

    def close(self) -> None:
        """Detach from everything and release the store; closing twice is allowed."""
        if self._close() and isinstance(self._core.store, Store):
            self._core.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncCache(_BaseCache, AsyncQueries, AsyncKeyValues):
    """A cache of query results for ``AsyncSession`` and ``AsyncConnection``; see :class:`Cache` for the arguments."""

    _asynchronous = True

    async def invalidate(
        self, target: object = None, /, *, tags: Collection[str] | None = None, session: object = None, **values: object
    ) -> None:
        """Make results unusable: by tag, by table, or by row. See :meth:`Cache.invalidate`."""
        effects = self._effects(target, tags, values)
        if session is not None:
            defer(self._core, sync_session(session), effects)
        else:
            await self._core.run_async(self._core.invalidation(effects))

    async def clear(self) -> None:
        """Make every result of this namespace unusable."""
        self._core.require_open()
        await self._core.run_async(self._core.invalidation({Dependency.everything()}))

    async def aclose(self) -> None:
        """Detach from everything and release the store; closing twice is allowed."""
        if not self._close():
            return
        await self._end_background()
        store = self._core.store
        if isinstance(store, Store):
            store.close()
        else:
            await store.aclose()

    async def _end_background(self) -> None:
        """Wait for what is being loaded in the background, and cancel what takes too long."""
        for seconds in (CLOSING_SECONDS, 1.0):
            tasks = list(self._core.background)
            if not tasks:
                return
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
