"""Proxies before the nodes of a cluster, and names that fall on a node of one's choice."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

from redis.crc import key_slot

from rowstamp.stores.redis import AsyncRedisStore, RedisStore
from rowstamp.stores.redis.address import Address
from rowstamp.stores.redis.cluster import ClusterAddress
from rowstamp.stores.redis.trip import Node
from rowstamp.testing.servers import ValkeyServer
from rowstamp.testing.store_harness import digest
from tests.faults.proxy import Proxy
from tests.servers.cluster import Cluster
from tests.store.redis_support import PATIENT

STAMPS = b"rs:s:"
ENTRIES = b"rs:e:"


def address_of_cluster(cluster: Cluster, **options: Any) -> ClusterAddress:
    seeds = tuple(Node("127.0.0.1", node.port) for node in cluster.nodes[:3])
    chosen: dict[str, Any] = {**PATIENT, **options}
    return ClusterAddress(seeds, Address(**chosen))


def names_on(cluster: Cluster, node: ValkeyServer, kind: bytes = STAMPS) -> Iterator[bytes]:
    """Yield names whose keys are on a node."""
    owners = cluster.owners()
    for number in count():
        name = digest(f"name {number}")
        if owners[key_slot(kind + name)] is node:
            yield name


def stamps_on_all(cluster: Cluster) -> list[bytes]:
    """Two stamps on each primary."""
    return [name for node in cluster.primaries() for name in islice(names_on(cluster, node), 2)]


@dataclass
class Watched:
    """Counts the round trips of a store to each node."""

    proxies: dict[int, Proxy]

    def trips(self) -> dict[int, int]:
        return {port: proxy.trips for port, proxy in self.proxies.items()}


class _Redirected:
    """Connects to the proxy of each node."""

    def __init__(self, address: ClusterAddress, proxies: dict[int, Proxy]) -> None:
        self._address = address
        self._proxies = proxies

    def __call__(self, node: Node) -> Address:
        return self._address.of(Node(node.host, self._proxies[node.port].port))


@contextlib.contextmanager
def watched(cluster: Cluster, store: RedisStore | AsyncRedisStore) -> Generator[Watched]:
    """Let a store talk to the nodes through proxies."""
    with contextlib.ExitStack() as stack:
        proxies = {node.port: stack.enter_context(Proxy(node.port)) for node in cluster.nodes}
        address = store._plan.address
        assert isinstance(address, ClusterAddress)
        route: Any = store._plan.route
        route.address_of = _Redirected(address, proxies)
        yield Watched(proxies)
