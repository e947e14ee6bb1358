"""Values of the user's own on a server: several are one round trip, however many, in a cluster one to each node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from rowstamp import AsyncCache, Cache
from rowstamp.stores.redis import AsyncRedisStore, RedisStore
from rowstamp.testing.servers import ValkeyServer
from tests.faults.proxy import Proxy
from tests.servers.cluster import Cluster
from tests.store.cluster_support import address_of_cluster, watched
from tests.store.redis_support import address_of

pytestmark = pytest.mark.once

KEYS = list(range(20))  # more would be sent in several pieces, which the proxy may take for several requests


@pytest.fixture
def proxy(valkey_server: ValkeyServer) -> Iterator[Proxy]:
    with Proxy(valkey_server.port) as proxy:
        yield proxy


def load(keys: list[int]) -> dict[int, str]:
    return {key: f"{key}" for key in keys}


async def load_awaited(keys: list[int]) -> dict[int, str]:
    return load(keys)


def test_several_values_are_one_round_trip(proxy: Proxy) -> None:
    store = RedisStore(address_of(proxy.url()), hold_ttl=0)
    with Cache(store, namespace="values", near=0) as cache:
        cache.set_many({"warm": 1, "up": 2}, tags=["t"])

        def trips_of(operation: Callable[[], object]) -> int:
            before = proxy.trips
            operation()
            return proxy.trips - before

        operations: dict[str, Callable[[], object]] = {
            "set_many": lambda: cache.set_many(load(KEYS), tags=["t"]),
            "get_many": lambda: cache.get_many(KEYS),
            "get_or_load_many": lambda: cache.get_or_load_many(KEYS, load, tags=["t"]),
            "delete_many": lambda: cache.delete_many(KEYS),
            "set": lambda: cache.set("one", 1),
            "get": lambda: cache.get("one"),
        }
        trips = {name: trips_of(operation) for name, operation in operations.items()}
        assert trips == dict.fromkeys(operations, 1)
        assert cache.get_many(KEYS) == {}
        # To look, to take the turn and look again, to put, and to give the turn back; their stamps have tokens.
        assert trips_of(lambda: cache.get_or_load_many(KEYS, load, tags=["t"])) == 5
        assert cache.get_many(KEYS) == load(KEYS)
    store.close()


async def test_several_values_are_one_awaited_round_trip(proxy: Proxy) -> None:
    store = AsyncRedisStore(address_of(proxy.url()), hold_ttl=0)
    async with AsyncCache(store, namespace="values", near=0) as cache:
        await cache.set_many({"warm": 1}, tags=["t"])
        before = proxy.trips
        await cache.set_many(load(KEYS), tags=["t"])
        assert await cache.get_many(KEYS) == load(KEYS)
        assert await cache.get_or_load_many(KEYS, load_awaited, tags=["t"]) == load(KEYS)
        assert proxy.trips - before == 3
    await store.aclose()


def test_in_a_cluster_it_is_one_round_trip_to_each_node(valkey_cluster: Cluster) -> None:
    store = RedisStore(address_of_cluster(valkey_cluster), hold_ttl=0)
    primaries = [node.port for node in valkey_cluster.primaries()]
    with watched(valkey_cluster, store) as watch, Cache(store, namespace="values", near=0) as cache:
        cache.set_many(load(KEYS))
        before = Counter(watch.trips())
        cache.set_many(load(KEYS))
        assert cache.get_many(KEYS) == load(KEYS)
        assert Counter(watch.trips()) - before == Counter(dict.fromkeys(primaries, 2))
        store.close()
