"""The places where entries and stamps live, and the URL that names one.

A store is imported when a URL asks for it, so that nobody pays for a client that is not used.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, overload
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from rowstamp.config import check_size
from rowstamp.errors import ConfigurationError

if TYPE_CHECKING:
    from rowstamp.store import AsyncStore, Store

__all__ = ["RedisClient", "open_store", "split_url", "store_of_client"]

_OF_SEVERAL: Final = frozenset({"redis+cluster", "redis+sentinel"})

_Opener: TypeAlias = "Callable[[SplitResult, bool, float], Store | AsyncStore]"


class RedisClient(Protocol):
    """A client of redis-py: ``redis.Redis``, ``redis.RedisCluster`` or one of their awaited counterparts."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """What they have in common; a store never calls it."""


@overload
def open_store(url: str, *, hold_ttl: float = ...) -> Store: ...


@overload
def open_store(url: str, *, asynchronous: bool, hold_ttl: float = ...) -> Store | AsyncStore: ...


def open_store(url: str, *, asynchronous: bool = False, hold_ttl: float = 10.0) -> Store | AsyncStore:
    """Return the store that a URL names.

    Args:
        url: ``memory://`` or ``memory://?max_bytes=256MiB``; a size is a number of bytes, or has one of the units kB,
            MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (powers of 1024).

            ``lmdb:///folder`` for the processes of one machine (Linux), in a folder on a local disk. Options: ``size``, the bound
            over entries and stamps (``256MiB``), and ``timeout_ms``, how long a write waits for another (250).

            ``redis://user:password@host:port/db`` (``valkey://`` is the same, ``rediss://`` and ``valkeys://`` are over
            TLS) or ``unix:///path/of/socket?db=0``. Options: ``prefix`` (how keys begin, ``rs``), ``timeout_ms`` (for
            one round trip, 250), ``connect_timeout_ms`` (500), ``client_name``, and for TLS ``ssl_ca_certs``,
            ``ssl_certfile``, ``ssl_keyfile``.

            ``redis+sentinel://user:password@host:port,host:port,host:port/service/db`` for the primary that most of these
            sentinels name; further options are ``sentinel_username`` and ``sentinel_password``. The server is tried once, blocking, for at most those times and the
            name lookup: one that cannot be reached now is no mistake, one that refuses the password or is too old is.

            ``redis+cluster://user:password@host:port,host:port`` for the cluster that these nodes belong to; ``tls=1`` for
            one that speaks TLS.
        asynchronous: whether a store is preferred whose methods are awaited, where there is a choice.
        hold_ttl: how long the holds of the cache that uses it last, in seconds: for so long after a restart or failover
            nothing is served, for a hold may have been lost in it.

    Returns:
        A new store; two calls with one URL of a memory store give two separate stores.

    Raises:
        ConfigurationError: the URL's scheme, one of its options or a value is not known. No part of the message can
            hold a password.
    """
    if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise ConfigurationError(f"a store URL is text like 'memory://', not {type(url).__name__}")
    try:
        parts = split_url(url)
    except ValueError:
        # `from None`: urlsplit's message may quote the host part, and with it a password.
        raise ConfigurationError("the store URL cannot be parsed; check its host, port and brackets") from None
    opener = _OPENERS.get(parts.scheme)
    if opener is None:
        raise ConfigurationError(_no_such_scheme(parts.scheme))
    return opener(parts, asynchronous, hold_ttl)


def split_url(url: str) -> SplitResult:
    """Return the parts of a store URL; one of several servers may name several hosts, with IPv6 addresses among them.

    Raises:
        ValueError: it cannot be parsed.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in _OF_SEVERAL:
        return urlsplit(url)
    # By hand: some versions of urlsplit refuse a bracket that does not begin the host, and so a list with [::1] in it.
    rest, _, fragment = rest.partition("#")
    rest, _, query = rest.partition("?")
    hosts, slash, path = rest.partition("/")
    return SplitResult(scheme.lower(), hosts, slash + path, query, fragment)


def store_of_client(client: object, *, asynchronous: bool = False, hold_ttl: float = 10.0) -> Store | AsyncStore | None:
    """Return a store for a ready client of redis-py, or ``None`` if this is something else.

    Args:
        client: a ``redis.Redis``, a ``redis.RedisCluster`` or one of their awaited counterparts.
        asynchronous: whether a store is preferred whose methods are awaited.
        hold_ttl: see :func:`open_store`.

    Raises:
        ConfigurationError: the client's connections cannot be made again, or its server refuses what the store needs.
    """
    if not type(client).__module__.startswith("redis."):
        return None
    from rowstamp.stores.redis import AsyncRedisStore, RedisStore
    from rowstamp.stores.redis.blocking import require_usable
    from rowstamp.stores.redis.clients import address_of_client

    address = address_of_client(client)
    require_usable(address)
    return (AsyncRedisStore if asynchronous else RedisStore)(address, hold_ttl=hold_ttl)


def _no_such_scheme(scheme: str) -> str:
    available = _listed(f"{name}://" for name in _OPENERS)
    if not scheme:
        return f"the store URL has no scheme; begin it with one of: {available}"
    return f"unknown store scheme {scheme!r}; available: {available}"


def _open_memory(parts: SplitResult, *_: object) -> Store:
    from rowstamp.stores.memory import DEFAULT_MAX_BYTES, MemoryStore

    if parts.netloc or parts.path or parts.fragment:
        raise ConfigurationError(
            "a memory store has no host, path or fragment; write memory:// or memory://?max_bytes=256MiB"
        )
    options = _options(parts, known=("max_bytes",))
    max_bytes = options.get("max_bytes")
    return MemoryStore(DEFAULT_MAX_BYTES if max_bytes is None else check_size(max_bytes, "max_bytes"))


def _open_lmdb(parts: SplitResult, *_: object) -> Store:
    if not sys.platform.startswith("linux"):
        raise ConfigurationError(f"lmdb:// stores need Linux, not {sys.platform}: use memory:// or redis://")
    try:
        from rowstamp.stores.lmdb import DEFAULT_SIZE, LmdbStore
    except ImportError as exc:
        raise ConfigurationError("lmdb:// stores need a library; run: python -m pip install 'rowstamp[lmdb]'") from exc

    folder = unquote(parts.path)
    if parts.netloc or parts.fragment or folder in {"", "/"}:
        raise ConfigurationError(
            "an lmdb store is a folder of this machine; write lmdb:///var/cache/shop, three slashes"
        )
    options = _options(parts, known=("size", "timeout_ms"))
    size = options.get("size")
    store = LmdbStore(
        folder,
        DEFAULT_SIZE if size is None else check_size(size, "size"),
        timeout=_milliseconds("timeout_ms", options.get("timeout_ms", "250")) / 1000,
    )
    store.require_usable()
    return store


def _open_redis(parts: SplitResult, asynchronous: bool, hold_ttl: float) -> Store | AsyncStore:  # noqa: FBT001 - one signature for all
    try:
        from rowstamp.stores.redis import AsyncRedisStore, RedisStore
    except ImportError as exc:
        raise ConfigurationError(
            f"{parts.scheme}:// stores need a client; run: python -m pip install 'rowstamp[redis]'"
        ) from exc
    from rowstamp.stores.redis.blocking import require_usable
    from rowstamp.stores.redis.urls import address_of_url, known_options

    address = address_of_url(parts, _options(parts, known=known_options(parts.scheme)))
    require_usable(address)
    return (AsyncRedisStore if asynchronous else RedisStore)(address, hold_ttl=hold_ttl)


_OPENERS: Final[Mapping[str, _Opener]] = {
    "memory": _open_memory,
    "lmdb": _open_lmdb,
    **dict.fromkeys(("redis", "rediss", "redis+cluster", "redis+sentinel", "unix", "valkey", "valkeys"), _open_redis),
}


def _options(parts: SplitResult, known: tuple[str, ...]) -> dict[str, str]:
    """Return the options of the query string, each known and given once."""
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            raise ConfigurationError(
                f"unknown option {name!r} for a {parts.scheme}:// store; known options: {_listed(known)}"
            )
        if name in options:
            raise ConfigurationError(f"option {name!r} is given more than once in the store URL; keep one of them")
        options[name] = value
    return options


def _milliseconds(option: str, text: str) -> int:
    """Return a positive number of milliseconds."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or not int(text):
        raise ConfigurationError(f"{option}={text!r} is no time; give a positive number of milliseconds such as 250")
    return int(text)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
