"""Ready clients of redis-py as addresses: a store never uses a client's connections, but connections like them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import redis
import redis.asyncio

from rowstamp.errors import ConfigurationError
from rowstamp.stores.redis.address import Address
from rowstamp.stores.redis.cluster import ClusterAddress
from rowstamp.stores.redis.trip import Node

__all__ = ["address_of_client", "is_client"]

# What is taken over from a client that the user has made; the rest (retries, decoding, RESP3, health checks) is ours to
# decide, for a retry would exceed the time budget and a decoded reply is not what was stored.
_OF_CLIENTS: Final = frozenset({
    "client_name", "credential_provider", "db", "host", "password", "path", "port", "socket_keepalive",
    "socket_keepalive_options", "socket_type", "username",
})  # fmt: skip


_SERVERS: Final = (redis.Redis, redis.asyncio.Redis)
_CLUSTERS: Final = (redis.RedisCluster, redis.asyncio.RedisCluster)
_TLS: Final = (redis.SSLConnection, redis.asyncio.SSLConnection)


def is_client(value: object) -> bool:
    """Whether this is a client that :func:`address_of_client` knows."""
    return isinstance(value, _SERVERS + _CLUSTERS)


def address_of_client(client: object, **overrides: Any) -> Address | ClusterAddress:
    """Return the address that a ready client connects to; its connections are not used, but connections like them.

    Raises:
        ConfigurationError: it is not a client of redis-py, or its connections are of a kind of their own.
    """
    if isinstance(client, _CLUSTERS):
        return _cluster(client.nodes_manager, overrides)
    pool = getattr(client, "connection_pool", None)
    if not isinstance(client, _SERVERS) or pool is None:
        raise ConfigurationError(
            f"{client!r} is no redis.Redis, RedisCluster or one of their awaited counterparts: give one of them, or a URL"
        )
    kind = _kind(pool.connection_class)
    kwargs: Mapping[str, Any] = pool.connection_kwargs
    if kind is None or "connection_pool" in kwargs:
        name = pool.connection_class.__name__
        raise ConfigurationError(f"a client with connections of type {name} cannot be taken over: give the store a URL")
    return Address(kind=kind, options=_ours(kwargs), **overrides)


def _cluster(nodes: Any, overrides: Mapping[str, Any]) -> ClusterAddress:
    kwargs: Mapping[str, Any] = nodes.connection_kwargs
    tls = bool(kwargs.get("ssl")) or issubclass(kwargs.get("connection_class", object), _TLS)
    options = {name: value for name, value in _ours(kwargs).items() if name not in {"host", "port", "db"}}
    seeds = tuple(Node(str(node.host), int(node.port)) for node in nodes.startup_nodes.values())
    return ClusterAddress(seeds, Address(kind="tls" if tls else "tcp", options=options, **overrides))


def _kind(connection_class: type) -> str | None:
    classes: Iterable[tuple[type | tuple[type, ...], str]] = (
        ((redis.SSLConnection, redis.asyncio.SSLConnection), "tls"),
        ((redis.Connection, redis.asyncio.Connection), "tcp"),
        ((redis.UnixDomainSocketConnection, redis.asyncio.UnixDomainSocketConnection), "unix"),
    )
    return next((kind for known, kind in classes if issubclass(connection_class, known)), None)


def _ours(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in kwargs.items()
        if (name in _OF_CLIENTS or name.startswith("ssl_")) and value is not None
    }
