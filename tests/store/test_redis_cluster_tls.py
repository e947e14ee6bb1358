"""The stores on a cluster of Redis that speaks TLS, as a user who may do what the docs list and no more."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from urllib.parse import urlsplit

import pytest

from rowstamp.errors import ConfigurationError
from rowstamp.mirror import Following
from rowstamp.model import fresh_token
from rowstamp.stores import open_store
from rowstamp.stores.redis.cluster import ClusterAddress
from rowstamp.testing.store_harness import digest, drive, token
from tests.servers.cluster import Cluster, ask, cluster, until
from tests.servers.redis import RedisServer
from tests.store.cluster_support import stamps_on_all
from tests.store.redis_support import RedisSuite
from tests.store.test_redis_server import MINIMAL
from tests.store.tls_support import Authority, secured

pytestmark = pytest.mark.once

# Redis 7.0 has no CLIENT SETINFO.
ALLOWED = f"{MINIMAL.replace('+client|setinfo', '')} +asking +cluster|slots +hello +client|tracking +ping".split()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "authority")


@pytest.fixture(scope="module")
def secured_cluster(authority: Authority) -> Iterator[Cluster]:
    numbers = count()

    def make(options: dict[str, str]) -> RedisServer:
        return secured(
            authority, f"node{next(numbers)}", more={**options, "tls-cluster": "yes", "tls-replication": "yes"}
        )

    with cluster(make) as found:
        for node in found.nodes:
            ask(node.port, "ACL", "SETUSER", "limited", "on", ">pass", *ALLOWED)
        yield found


@pytest.fixture
def url(secured_cluster: Cluster, authority: Authority) -> str:
    hosts = ",".join(f"127.0.0.1:{node._options['tls-port']}" for node in secured_cluster.nodes[:3])
    options = f"tls=1&ssl_ca_certs={authority.certificate}&timeout_ms=20000&connect_timeout_ms=20000"
    return f"redis+cluster://limited:pass@{hosts}?{options}"


@pytest.mark.deep
class TestRedisStoreOnRedisOverTls(RedisSuite):
    """The contract once more; what is special here is the way to the servers."""

    sequences = 3

    @pytest.fixture(autouse=True)
    def _servers(self, secured_cluster: Cluster, url: str) -> None:
        self.urls = [node.url() for node in secured_cluster.primaries()]
        parts = urlsplit(url)
        self.address = ClusterAddress.of_url(parts, dict(pair.split("=") for pair in parts.query.split("&")))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_every_node_is_asked_over_tls(secured_cluster: Cluster, url: str, asynchronous: bool) -> None:
    stamps = stamps_on_all(secured_cluster)
    with drive(open_store(url, asynchronous=asynchronous, hold_ttl=0)) as store:
        tokens = {stamp: fresh_token() for stamp in stamps}
        store.touch(tokens)
        assert [state.token for state in store.read(digest("entry"), stamps).stamps] == [*tokens.values()]
        store.hold(stamps, digest("ann"), 10)
        assert all(store.release({stamp: digest("new") for stamp in stamps}, digest("ann")))
        assert set(store.read(None, stamps).stamps) == {token("new")}


def test_changes_are_pushed_over_tls(secured_cluster: Cluster, url: str) -> None:
    stamps = stamps_on_all(secured_cluster)
    store = open_store(url, hold_ttl=0)
    assert isinstance(store, Following)
    with drive(store) as driven:
        driven.touch({stamp: digest("new") for stamp in stamps})

        def is_known() -> bool:
            mirror = store.follow()
            driven.read(None, stamps)
            return mirror.states(stamps, 60) is not None

        until(is_known)


def test_a_cluster_of_another_authority_is_a_mistake_at_the_start(url: str) -> None:
    with pytest.raises(ConfigurationError, match="a certificate is not accepted"):
        open_store(url.partition("&ssl_ca_certs")[0])
