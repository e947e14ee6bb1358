"""What the stores promise on a cluster: one round trip to each node, keys that move, nodes that come and go."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.crc import key_slot

from rowstamp import AsyncCache, Cache
from rowstamp.errors import ConfigurationError, StoreError
from rowstamp.model import StoreSnapshot, fresh_token
from rowstamp.protocol import commit, fill, lookup
from rowstamp.store import Store
from rowstamp.stores import open_store, split_url
from rowstamp.stores.redis import AsyncRedisStore, RedisStore
from rowstamp.stores.redis import commands as ops
from rowstamp.stores.redis.cluster import ClusterAddress
from rowstamp.testing.servers import ValkeyServer, free_port
from rowstamp.testing.store_harness import HELD, MISSING, digest, drive, run_flow, token
from tests.servers.cluster import OPTIONS, Cluster, ask, cluster, until
from tests.store.cluster_support import STAMPS, address_of_cluster, stamps_on_all, watched

pytestmark = pytest.mark.once

E, ANN = digest("entry"), digest("ann")


@pytest.fixture
def store(valkey_cluster: Cluster) -> Iterator[RedisStore]:
    for node in valkey_cluster.primaries():
        ask(node.port, "FLUSHALL")
    store = RedisStore(address_of_cluster(valkey_cluster), hold_ttl=0)
    yield store
    store.check()
    store.close()


@pytest.fixture
def disturbed() -> Iterator[Cluster]:
    """A cluster for one test."""
    with cluster(lambda options: ValkeyServer(options=options)) as found:
        yield found


def filled(store: Store, stamps: list[bytes]) -> None:
    ticket = getattr(run_flow(store, lookup(E, stamps)), "ticket", None)
    assert ticket is not None
    run_flow(store, fill(ticket, b"body", ttl=100))


def hits(store: Store, stamps: list[bytes]) -> bool:
    return hasattr(run_flow(store, lookup(E, stamps)), "body")


# ------------------------------------------------------------------------------------------------- round trips


def test_every_operation_is_one_round_trip_to_each_node(valkey_cluster: Cluster, store: RedisStore) -> None:
    stamps = stamps_on_all(valkey_cluster)
    tokens = {stamp: fresh_token() for stamp in stamps}
    primaries = {node.port for node in valkey_cluster.primaries()}
    with watched(valkey_cluster, store) as watch:
        filled(store, stamps)
        assert hits(store, stamps)

        def trips_of(operation: Callable[[], object]) -> Counter[int]:
            before = Counter(watch.trips())
            operation()
            return Counter(watch.trips()) - before

        operations: dict[str, Callable[[], object]] = {
            "strict hit": lambda: hits(store, stamps),
            "hold": lambda: store.hold(stamps, ANN, 10),
            "release": lambda: store.release(tokens, ANN),
            "touch": lambda: store.touch(tokens),
            "mint": lambda: store.mint(tokens),
        }
        once_each = Counter(dict.fromkeys(primaries, 1))
        assert {name: trips_of(operation) for name, operation in operations.items()} == dict.fromkeys(
            operations, once_each
        )
        write = commit(stamps, writer=ANN, hold_ttl=10, refused=lambda _: False)
        assert trips_of(lambda: run_flow(store, write, lambda: None)) == once_each + once_each
        for single in (lambda: store.put(E, b"blob", 10), lambda: store.delete(E), store.clear):
            assert sum(trips_of(single).values()) == 1
        store.close()


def test_everything_is_said_to_all_nodes_before_an_answer_is_awaited(
    valkey_cluster: Cluster, store: RedisStore
) -> None:
    """Each request waits on its way until the others are under way too: one after the other would never arrive."""
    stamps = stamps_on_all(valkey_cluster)
    with watched(valkey_cluster, store) as watch:
        store.read(E, stamps)
        meeting = threading.Barrier(3)
        for node in valkey_cluster.primaries():
            watch.proxies[node.port].meeting = meeting
        assert store.read(E, stamps).stamps == (MISSING,) * 6
        store.close()


async def test_what_the_tasks_of_one_tick_ask_for_is_one_round_trip_to_each_node(valkey_cluster: Cluster) -> None:
    store = AsyncRedisStore(address_of_cluster(valkey_cluster), hold_ttl=0)
    stamps = stamps_on_all(valkey_cluster)
    with watched(valkey_cluster, store) as watch:
        await store.mint({stamp: digest("t") for stamp in stamps})
        await asyncio.gather(*(store.put(digest(f"entry {number}"), b"%d" % number, 10) for number in range(100)))
        before = Counter(watch.trips())
        snapshots = await asyncio.gather(*(store.read(digest(f"entry {number}"), stamps) for number in range(100)))
        primaries = [node.port for node in valkey_cluster.primaries()]
        assert Counter(watch.trips()) - before == Counter(dict.fromkeys(primaries, 1))
        assert [snapshot.entry for snapshot in snapshots] == [b"%d" % number for number in range(100)]
        await store.aclose()


def test_keys_are_scattered_unless_the_prefix_keeps_them_together(valkey_cluster: Cluster, store: RedisStore) -> None:
    names = [digest(f"row {number}") for number in range(300)]
    owners = valkey_cluster.owners()
    spread = {owners[key_slot(STAMPS + name)].port for name in names[:60]}
    assert len(spread) == 3
    together = RedisStore(address_of_cluster(valkey_cluster, prefix="{shop}"), hold_ttl=0)
    with watched(valkey_cluster, together) as watch:
        together.mint({name: fresh_token() for name in names})
        before = Counter(watch.trips())
        together.read(E, names)
        assert sum((Counter(watch.trips()) - before).values()) == 1
        together.close()


# ---------------------------------------------------------------------------------------------- keys that move


def slot_and_ends(found: Cluster, stamp: bytes) -> tuple[int, ValkeyServer, ValkeyServer]:
    slot = key_slot(STAMPS + stamp)
    source = found.owner(slot)
    target = next(node for node in found.primaries() if node is not source)
    return slot, source, target


def begin_migration(found: Cluster, slot: int, source: ValkeyServer, target: ValkeyServer) -> None:
    ask(target.port, "CLUSTER", "SETSLOT", str(slot), "IMPORTING", found.name_of(source))
    ask(source.port, "CLUSTER", "SETSLOT", str(slot), "MIGRATING", found.name_of(target))


def move_keys(slot: int, source: ValkeyServer, target: ValkeyServer) -> int:
    with redis.Redis(port=source.port) as client:
        untyped: Any = client
        keys = untyped.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1000)
        for key in keys:
            untyped.execute_command("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
        return len(keys)


def end_migration(found: Cluster, slot: int, target: ValkeyServer) -> None:
    # The new owner first: who has nothing left may forget that it was asked.
    for node in [target, *(each for each in found.primaries() if each is not target)]:
        ask(node.port, "CLUSTER", "SETSLOT", str(slot), "NODE", found.name_of(target))
    until(found.agrees)


def test_a_slot_that_moves_makes_nothing_stale_and_raises_nothing(disturbed: Cluster) -> None:
    """ASK while it is on its way, MOVED afterwards; a token does not count where it was not given."""
    store = RedisStore(address_of_cluster(disturbed), hold_ttl=0)
    stamp = digest("moving")
    slot, source, target = slot_and_ends(disturbed, stamp)
    filled(store, [stamp])
    assert hits(store, [stamp])
    begin_migration(disturbed, slot, source, target)
    assert hits(store, [stamp])
    move_keys(slot, source, target)
    assert store.read(E, [stamp]).stamps == (MISSING,)
    filled(store, [stamp])
    assert hits(store, [stamp])
    store.hold([stamp], ANN, 10)
    assert store.read(E, [stamp]).stamps == (HELD,)
    end_migration(disturbed, slot, target)
    assert store.read(E, [stamp]).stamps == (HELD,)
    assert store.release({stamp: digest("new")}, ANN) == (True,)
    assert store.read(E, [stamp]).stamps == (token("new"),)
    store.check()
    store.close()


async def test_a_slot_that_moves_makes_nothing_stale_in_tasks(disturbed: Cluster) -> None:
    store = AsyncRedisStore(address_of_cluster(disturbed), hold_ttl=0)
    stamp = digest("moving")
    slot, source, target = slot_and_ends(disturbed, stamp)
    await store.mint({stamp: digest("old")})
    begin_migration(disturbed, slot, source, target)
    await store.hold([stamp], ANN, 10)
    move_keys(slot, source, target)
    assert (await store.read(E, [stamp])).stamps == (HELD,)
    assert await store.mint({stamp: digest("other")}) == (HELD,)
    end_migration(disturbed, slot, target)
    assert await store.release({stamp: digest("new")}, ANN) == (True,)
    assert (await store.read(E, [stamp])).stamps == (token("new"),)
    await store.aclose()


def test_a_hold_moves_with_its_key(disturbed: Cluster) -> None:
    store = RedisStore(address_of_cluster(disturbed), hold_ttl=0)
    stamp = digest("held")
    slot, source, target = slot_and_ends(disturbed, stamp)
    store.mint({stamp: digest("old")})
    store.hold([stamp], ANN, 60)
    begin_migration(disturbed, slot, source, target)
    assert move_keys(slot, source, target) == 1
    end_migration(disturbed, slot, target)
    assert store.read(E, [stamp]).stamps == (HELD,)
    with redis.Redis(port=target.port) as client:
        assert 30 < client.ttl(STAMPS + stamp) <= 60
    store.close()


def test_the_epoch_moves_like_any_key(disturbed: Cluster) -> None:
    store = RedisStore(address_of_cluster(disturbed), hold_ttl=0)
    filled(store, [digest("a")])
    slot = key_slot(b"rs:epoch")
    source = disturbed.owner(slot)
    target = next(node for node in disturbed.primaries() if node is not source)
    begin_migration(disturbed, slot, source, target)
    move_keys(slot, source, target)
    end_migration(disturbed, slot, target)
    late = RedisStore(address_of_cluster(disturbed), hold_ttl=0)
    late.clear()
    assert not hits(store, [digest("a")])
    filled(store, [digest("a")])
    assert hits(late, [digest("a")])
    store.close()
    late.close()


# ------------------------------------------------------------------------------------ nodes that come and go


def test_after_a_failover_nothing_old_is_valid(disturbed: Cluster) -> None:
    """Asked for with the primary alive: its connections stay open, and the replica has all the tokens."""
    store = RedisStore(address_of_cluster(disturbed), hold_ttl=0)
    stamps = stamps_on_all(disturbed)
    filled(store, stamps)
    assert hits(store, stamps)
    disturbed.failover(disturbed.replica_of(disturbed.owner(key_slot(STAMPS + stamps[0]))))
    states = store.read(E, stamps).stamps
    assert [state == MISSING for state in states] == [True, True, False, False, False, False]
    filled(store, stamps)
    assert hits(store, stamps)
    store.check()
    store.close()


def test_a_primary_that_is_killed_is_replaced(disturbed: Cluster) -> None:
    options = {"timeout_ms": 250, "connect_timeout_ms": 500}
    store = RedisStore(address_of_cluster(disturbed, **options), hold_ttl=0)
    stamps = stamps_on_all(disturbed)
    filled(store, stamps)
    disturbed.owner(key_slot(STAMPS + stamps[0])).kill()

    def is_back() -> bool:
        try:
            if not hits(store, stamps):
                filled(store, stamps)
            return hits(store, stamps)
        except StoreError:
            return False

    until(is_back)
    store.check()
    store.close()


def test_a_node_that_has_nothing_any_more_is_forgotten(disturbed: Cluster) -> None:
    store = RedisStore(address_of_cluster(disturbed), hold_ttl=0)
    stamps = stamps_on_all(disturbed)
    store.mint({stamp: fresh_token() for stamp in stamps})
    old = disturbed.owner(key_slot(STAMPS + stamps[0]))
    disturbed.failover(disturbed.replica_of(old))
    until(lambda: bool(store.read(E, stamps)) and old.port not in {node.port for node in store._lines})
    store.close()


@pytest.mark.parametrize("kind", [RedisStore, AsyncRedisStore])
def test_a_node_may_join_and_leave(disturbed: Cluster, kind: type[RedisStore | AsyncRedisStore]) -> None:
    """It gets a slot, with a hold in it, and gives it back before it goes; the store finds out by being sent there."""
    opened = kind(address_of_cluster(disturbed), hold_ttl=0)
    stamp = digest("moving")
    slot = key_slot(STAMPS + stamp)
    with drive(opened, check=False) as store, new_node() as node:
        filled(store, [stamp])
        disturbed.join(node)
        assert hits(store, [stamp])
        source = disturbed.owner(slot)
        begin_migration(disturbed, slot, source, node)
        store.hold([stamp], ANN, 60)
        move_keys(slot, source, node)
        end_migration(disturbed, slot, node)
        assert store.read(E, [stamp]).stamps == (HELD,)
        assert store.release({stamp: digest("new")}, ANN) == (True,)
        filled(store, [stamp])
        assert hits(store, [stamp])
        assert node.port in {known.port for known in opened._plan.route.nodes}
        begin_migration(disturbed, slot, node, source)
        move_keys(slot, node, source)
        end_migration(disturbed, slot, source)
        disturbed.leave(node)
        with pytest.raises(StoreError, match="cannot be reached"):  # a bypass: nobody has told the store
            store.read(E, [stamp])
        assert store.read(E, [stamp]).stamps == (MISSING,)
        filled(store, [stamp])
        assert hits(store, [stamp])
        assert node.port not in {known.port for known in opened._plan.route.nodes}


@contextlib.contextmanager
def new_node() -> Generator[ValkeyServer]:
    with ValkeyServer(options={**OPTIONS, "cluster-port": str(free_port())}) as node:
        yield node


# ------------------------------------------------------------------------------------------ marks, ends, clear


def test_every_node_has_a_mark_of_its_own(valkey_cluster: Cluster, store: RedisStore) -> None:
    settling = RedisStore(address_of_cluster(valkey_cluster), hold_ttl=60)
    settling.mint({stamp: fresh_token() for stamp in stamps_on_all(valkey_cluster)})
    for node in valkey_cluster.primaries():
        with redis.Redis(port=node.port) as client:
            untyped: Any = client
            (mark,) = untyped.keys("rs:m:*")
            assert 0 < client.ttl(mark) <= 30 * 24 * 3600
    settling.close()


def test_everything_ends(valkey_cluster: Cluster, store: RedisStore) -> None:
    stamps = stamps_on_all(valkey_cluster)
    filled(store, stamps)
    store.hold(stamps[:3], ANN, 10)
    store.release({stamps[0]: fresh_token()}, ANN)
    store.clear()
    ends: list[int] = []
    for node in valkey_cluster.primaries():
        with redis.Redis(port=node.port) as client:
            ends.extend(client.ttl(key) for key in client.keys("*"))
    assert len(ends) == len(stamps) + 2
    assert all(0 < end <= ops.EPOCH_SECONDS for end in ends)


def test_clear_reaches_every_node_by_one_key(valkey_cluster: Cluster, store: RedisStore) -> None:
    stamps = stamps_on_all(valkey_cluster)
    other = RedisStore(address_of_cluster(valkey_cluster), hold_ttl=0)
    filled(store, stamps)
    assert hits(other, stamps)
    store.clear()
    assert other.read(E, stamps).stamps == (MISSING,) * len(stamps)
    filled(other, stamps)
    assert hits(store, stamps)
    other.close()


def test_stores_of_two_prefixes_share_a_cluster_and_nothing_else(valkey_cluster: Cluster, store: RedisStore) -> None:
    one, other = (
        RedisStore(address_of_cluster(valkey_cluster, prefix=prefix), hold_ttl=0) for prefix in ("one", "two")
    )
    stamps = stamps_on_all(valkey_cluster)
    filled(one, stamps)
    assert not hits(other, stamps)
    other.clear()
    assert hits(one, stamps)
    one.close()
    other.close()


# ----------------------------------------------------------------------------------------------------- opening


def test_a_url_opens_a_store(valkey_cluster: Cluster) -> None:
    store = open_store(valkey_cluster.url(prefix="shop", timeout_ms=1000))
    assert isinstance(store, RedisStore)
    assert "the cluster of 127.0.0.1:" in repr(store)
    store.put(E, b"blob", 10)
    assert store.read(E, []) == StoreSnapshot(b"blob", ())
    store.close()


def test_a_cluster_url_has_all_parts() -> None:
    url = split_url("redis+cluster://ann:p%40ss@one,two:2,[::1]:3?prefix=shop&tls=1")
    address = ClusterAddress.of_url(url, {"prefix": "shop", "tls": "1"})
    assert str(address) == "the cluster of one:6379, two:2, ::1:3"
    assert (address.prefix, address.each.kind) == ("shop", "tls")
    options = address.of(address.seeds[2]).options
    assert (options["host"], options["port"]) == ("::1", 3)
    assert (options["username"], options["password"]) == ("ann", "p@ss")
    assert "p@ss" not in repr(RedisStore(address))


def test_one_node_that_answers_is_enough(valkey_cluster: Cluster) -> None:
    store = open_store(f"redis+cluster://127.0.0.1:1,127.0.0.1:{valkey_cluster.nodes[4].port}")
    store.put(E, b"blob", 10)
    assert store.read(E, []).entry == b"blob"
    store.close()


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("redis+cluster://", "one of the nodes in the store URL has no host"),
        ("redis+cluster://a:x", "one of the nodes in the store URL has no host, or a port that is no number"),
        ("redis+cluster://a,b/3", "a cluster has no numbered databases"),
        ("redis+cluster://a?tls=yes", "tls='yes' is neither 0 nor 1"),
        ("redis+cluster://a?ssl_ca_certs=x", "ssl_ca_certs is for a cluster that speaks TLS: add tls=1"),
        ("redis+cluster://a?db=1", "unknown option 'db'"),
    ],
)
def test_a_mistake_in_the_url_is_named(url: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        open_store(url)


def test_a_cluster_that_is_down_is_no_mistake() -> None:
    store = open_store("redis+cluster://127.0.0.1:1,127.0.0.1:2")
    with pytest.raises(StoreError, match="cannot be reached"):
        store.read(E, [])
    store.close()


def test_a_ready_client_says_where_the_cluster_is(valkey_cluster: Cluster) -> None:
    with redis.RedisCluster("127.0.0.1", valkey_cluster.nodes[0].port) as client:
        store = RedisStore.of_client(client, prefix="mine")
        store.put(E, b"\xff", 10)
        assert client.get(b"mine:e:" + E) == b"\xff"
        store.close()
        with Cache(client, hold_ttl=0.01) as cache:
            found = None
            while found is None:
                cache.set("name", 1)
                found = cache.get("name")
        assert client.get(b"mine:e:" + E) == b"\xff"


async def test_a_ready_awaited_client_says_where_the_cluster_is(valkey_cluster: Cluster) -> None:
    async with redis.asyncio.RedisCluster("127.0.0.1", valkey_cluster.nodes[0].port) as client:
        async with AsyncCache(client, hold_ttl=0.01) as cache:
            found = None
            while found is None:
                await cache.set("name", 1)
                found = await cache.get("name")
        assert await client.ping(target_nodes=redis.asyncio.RedisCluster.PRIMARIES)
