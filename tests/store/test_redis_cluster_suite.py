"""The stores on a cluster of Valkey or Redis: the contract of every store."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from rowstamp.stores.redis.cluster import ClusterAddress
from tests.servers.cluster import Cluster
from tests.store.redis_support import AsyncRedisSuite, RedisSuite

pytestmark = pytest.mark.once


class _OnCluster(RedisSuite):
    sequences = 5  # the scripts are those of a server alone, which is asked for more of them; each connects to three servers anew

    def use(self, cluster: Cluster) -> None:
        self.urls = [node.url() for node in cluster.primaries()]
        patient = {"timeout_ms": "20000", "connect_timeout_ms": "20000"}
        self.address = ClusterAddress.of_url(urlsplit(cluster.url()), patient)


class _OnValkey(_OnCluster):
    @pytest.fixture(autouse=True)
    def _servers(self, valkey_cluster: Cluster) -> None:
        self.use(valkey_cluster)


class _OnRedis(_OnCluster):
    @pytest.fixture(autouse=True)
    def _servers(self, redis_cluster: Cluster) -> None:
        self.use(redis_cluster)


class TestRedisStoreOnValkey(_OnValkey):
    pass


class TestRedisStoreOnRedis(_OnRedis):
    pass


class TestAsyncRedisStoreOnValkey(_OnValkey, AsyncRedisSuite):
    pass


class TestAsyncRedisStoreOnRedis(_OnRedis, AsyncRedisSuite):
    pass
