"""A cache in a FastAPI or Starlette application: opened and closed with it, left out of a request, told in its response.

    cache = AsyncCache("redis://localhost", namespace="shop")
    app = FastAPI(lifespan=lifespan(cache, engine))
    app.add_middleware(CacheMiddleware, cache=cache)

Needs Starlette, which FastAPI is made of (``pip install "rowstamp[fastapi]"``).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from typing import Any, Final, TypeAlias

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rowstamp.cache import AsyncCache, Cache
from rowstamp.errors import ConfigurationError
from rowstamp.events import Stats

__all__ = ["CacheMiddleware", "cache_of", "lifespan"]

Lifespan: TypeAlias = Callable[[Starlette], AbstractAsyncContextManager[Any]]
AnyCache: TypeAlias = Cache | AsyncCache

_STATE: Final = "rowstamp_cache"
_NO_CACHE: Final = frozenset({"no-cache", "no-store"})


def lifespan(cache: AnyCache, *targets: Any, inner: Lifespan | None = None) -> Lifespan:
    """Return an application's lifespan that attaches the cache when it starts and closes it when it stops.

    Args:
        cache: the cache. It is closed in the end, so an application that is started again needs a new one.
        targets: engines or sessionmakers to attach. One that the cache is attached to already is left as it is.
        inner: a lifespan of the application's own; it runs inside, and what it yields is yielded.

    Raises:
        ConfigurationError: ``cache`` is not a cache.
        AttachError: (at start) a target is of the wrong kind or colour.
        ClosedError: (at start) the cache has been closed.
    """
    _require_cache(cache)

    @asynccontextmanager
    async def run(app: Starlette) -> AsyncGenerator[Any]:
        try:
            for target in targets:
                if not cache.is_attached(target):
                    cache.attach(target)
            setattr(app.state, _STATE, cache)
            if inner is None:
                yield None
            else:
                async with inner(app) as state:
                    yield state
        finally:
            if isinstance(cache, AsyncCache):
                await cache.aclose()
            else:
                cache.close()

    return run


def cache_of(connection: HTTPConnection) -> Any:
    """Return the cache of the application that a request belongs to: ``Annotated[AsyncCache, Depends(cache_of)]``.

    Raises:
        ConfigurationError: the application was not started with :func:`lifespan`.
    """
    found = getattr(connection.app.state, _STATE, None)
    if found is None:
        raise ConfigurationError("the application has no cache: make it with FastAPI(lifespan=lifespan(cache, engine))")
    return found


class CacheMiddleware:
    """Says in each response what its reads were served from, and lets a request ask for the database.

    The response header is ``Cache-Status`` (RFC 9211), left out where nothing was read::

        rowstamp; hit; detail="hits=3"
        rowstamp; fwd=miss; detail="hits=2 misses=1"
        rowstamp; fwd=bypass; detail="bypasses=1"
        rowstamp; fwd=request

    the last for a request that asked for the database. What a response reads after its headers have been sent (streaming,
    background tasks) is not in them. A pure ASGI middleware: the context of the request is that of its endpoint, in threads too.

    Args:
        app: the application.
        cache: the cache whose reads are told.
        honour_no_cache: whether ``Cache-Control: no-cache`` (or ``no-store``) in a request makes its reads go to the database.
            Off by default: it lets any client put load on the database.
        header: the name of the response header; ``None`` for none.

    Raises:
        ConfigurationError: ``cache`` is not a cache.
    """

    def __init__(
        self, app: ASGIApp, *, cache: AnyCache, honour_no_cache: bool = False, header: str | None = "Cache-Status"
    ) -> None:
        _require_cache(cache)
        self._app = app
        self._cache = cache
        self._honour_no_cache = honour_no_cache
        self._header = header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bypassed = self._honour_no_cache and _asks_for_database(Headers(scope=scope).getlist("cache-control"))
        with ExitStack() as stack:
            counted = stack.enter_context(self._cache.counting())
            if bypassed:
                stack.enter_context(self._cache.disabled())

            async def send_with_status(message: Message) -> None:
                if message["type"] == "http.response.start" and self._header is not None:
                    status = "rowstamp; fwd=request" if bypassed else _status(counted())
                    if status:
                        MutableHeaders(scope=message).append(self._header, status)
                await send(message)

            await self._app(scope, receive, send_with_status)


def _require_cache(cache: object) -> None:
    if not isinstance(cache, Cache | AsyncCache):
        raise ConfigurationError(f"cache={cache!r} is not a cache: give a Cache or an AsyncCache")


def _asks_for_database(values: Iterable[str]) -> bool:
    directives = {part.strip().lower() for value in values for part in value.split(",")}
    return not _NO_CACHE.isdisjoint(directives)


def _status(stats: Stats) -> str:
    bypasses = sum(stats.bypasses.values())
    found = {"hits": stats.hits, "misses": stats.misses, "bypasses": bypasses}
    detail = " ".join(f"{name}={number}" for name, number in found.items() if number)
    if not detail:
        return ""
    how = "fwd=miss" if stats.misses else "fwd=bypass" if bypasses else "hit"
    return f'rowstamp; {how}; detail="{detail}"'
