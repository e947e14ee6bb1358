"""What the stores on Redis and Valkey promise beyond the contract: round trips, identity, ends, and refusals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from rowstamp.entry import pack_entry
from rowstamp.errors import ConfigurationError, StoreError
from rowstamp.model import StampState, StoreSnapshot, fresh_token
from rowstamp.protocol import commit, fill, lookup
from rowstamp.store import AsyncStore, Store
from rowstamp.stores import open_store
from rowstamp.stores.breaker import FAILURES
from rowstamp.stores.redis import AsyncRedisStore, RedisStore
from rowstamp.stores.redis import commands as ops
from rowstamp.testing.servers import ValkeyServer, free_port
from rowstamp.testing.store_harness import HELD, MISSING, digest, drive, run_flow, token
from tests.faults.proxy import Proxy
from tests.servers.redis import make_redis_server
from tests.store.redis_support import address_of
from tests.store.scripted import scripted

pytestmark = pytest.mark.once

E, A, B, C = digest("entry"), digest("a"), digest("b"), digest("c")
ANN, BOB = digest("ann"), digest("bob")


@pytest.fixture
def client(valkey_server: ValkeyServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_server.url()) as client:
        client.flushall()
        client.config_set("maxmemory", 0)
        yield client
        client.config_set("maxmemory", 0)


@pytest.fixture
def proxy(client: redis.Redis, valkey_server: ValkeyServer) -> Iterator[Proxy]:
    with Proxy(valkey_server.port) as proxy:
        yield proxy


@pytest.fixture
def store(client: redis.Redis, valkey_server: ValkeyServer) -> Iterator[RedisStore]:
    store = RedisStore(address_of(valkey_server.url()), hold_ttl=0)
    yield store
    store.check()
    store.close()


@pytest.fixture
def private() -> Iterator[ValkeyServer]:
    """A server for one test, which may restart it or change its role."""
    with ValkeyServer() as server:
        yield server


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


def is_resting(store: RedisStore) -> bool:
    """Whether a breaker is open."""
    return any(lines.health.breaker.is_open for lines in store._lines.values())


def trips_of(proxy: Proxy, operation: Callable[[], object]) -> int:
    before = proxy.trips
    operation()
    return proxy.trips - before


def filled(store: Store, stamps: Sequence[bytes] = (A,)) -> None:
    ticket = getattr(run_flow(store, lookup(E, stamps)), "ticket", None)
    assert ticket is not None
    run_flow(store, fill(ticket, b"body", ttl=100))


def hits(store: Store, stamps: Sequence[bytes] = (A,)) -> bool:
    return hasattr(run_flow(store, lookup(E, stamps)), "body")


# ------------------------------------------------------------------------------------------------- round trips


def test_every_operation_is_one_round_trip(proxy: Proxy) -> None:
    store = RedisStore(address_of(proxy.url()), hold_ttl=0)
    filled(store, [A, B, C])
    stamps = [A, B, C]
    tokens = {stamp: fresh_token() for stamp in stamps}
    operations: dict[str, Callable[[], object]] = {
        "strict hit": lambda: run_flow(store, lookup(E, stamps)),
        "hold": lambda: store.hold(stamps, ANN, 10),
        "release": lambda: store.release(tokens, ANN),
        "touch": lambda: store.touch(tokens),
        "mint": lambda: store.mint(tokens),
        "put": lambda: store.put(E, b"blob", 10),
        "delete": lambda: store.delete(E),
        "clear": store.clear,
    }
    assert {name: trips_of(proxy, operation) for name, operation in operations.items()} == dict.fromkeys(operations, 1)
    assert (
        trips_of(
            proxy,
            lambda: run_flow(store, commit(stamps, writer=ANN, hold_ttl=10, refused=lambda _: False), lambda: None),
        )
        == 2
    )
    store.close()


def test_the_identity_is_checked_again_within_the_same_round_trip(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowstamp.stores.redis.server.RECHECK_SECONDS", -1)
    store = RedisStore(address_of(proxy.url()), hold_ttl=0)
    filled(store)
    assert trips_of(proxy, lambda: hits(store)) == 1
    store.close()


async def test_what_the_tasks_of_one_tick_ask_for_is_one_round_trip(proxy: Proxy) -> None:
    store = AsyncRedisStore(address_of(proxy.url()), hold_ttl=0)
    await store.mint({A: digest("a1")})
    await asyncio.gather(*(store.put(digest(f"entry {number}"), b"%d" % number, 10) for number in range(100)))
    before = proxy.trips
    reads = [store.read(digest(f"entry {number}"), [A]) for number in range(100)]
    snapshots = await asyncio.gather(*reads)
    assert proxy.trips - before == 1
    assert snapshots == [StoreSnapshot(b"%d" % number, (token("a1"),)) for number in range(100)]
    await store.aclose()


async def test_writes_of_one_tick_are_one_round_trip_too(proxy: Proxy) -> None:
    store = AsyncRedisStore(address_of(proxy.url()), hold_ttl=0)
    await store.read(E, [])
    before = proxy.trips
    await asyncio.gather(
        store.hold([A], ANN, 10), store.hold([A, B], BOB, 10), store.mint({C: digest("c1")}), store.read(E, [A])
    )
    assert proxy.trips - before == 1
    assert await store.release({A: fresh_token()}, ANN) == (True,)
    assert (await store.read(E, [A, B, C])).stamps == (HELD, HELD, token("c1"))
    await store.aclose()


async def test_a_key_that_several_tasks_want_is_asked_for_once(client: redis.Redis, proxy: Proxy) -> None:
    store = AsyncRedisStore(address_of(proxy.url()), hold_ttl=0)
    await store.read(E, [])
    client.config_resetstat()
    await asyncio.gather(*(store.read(E, [A, B]) for _ in range(50)))
    stats: Any = client.info("stats")
    assert stats["keyspace_misses"] == 3  # the entry and two stamps; the epoch is there
    await store.aclose()


async def test_a_task_that_stops_waiting_takes_nothing_from_the_others(proxy: Proxy) -> None:
    store = AsyncRedisStore(address_of(proxy.url()), hold_ttl=0)
    await store.mint({A: digest("a1")})
    impatient = asyncio.ensure_future(store.read(E, [A]))
    patient = asyncio.ensure_future(store.read(E, [A]))
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await patient).stamps == (token("a1"),)
    assert impatient.cancelled()
    await store.aclose()


def test_one_store_serves_several_event_loops(client: redis.Redis, valkey_server: ValkeyServer) -> None:
    store = AsyncRedisStore(address_of(valkey_server.url()), hold_ttl=0)

    async def use() -> StoreSnapshot:
        try:
            return await store.read(E, [A])
        finally:
            lane = store._lanes.pop(asyncio.get_running_loop())
            for node in [*lane.idle]:
                await lane.drop(node)

    assert [asyncio.run(use()) for _ in range(2)] == [StoreSnapshot(None, (MISSING,))] * 2


# ---------------------------------------------------------------------------------------------------- identity


def test_after_a_restart_with_the_old_data_nothing_is_valid() -> None:
    """The data of before, restored from a snapshot: the tokens in it may be older than the last commit."""
    with ValkeyServer() as private:
        store = RedisStore(address_of(private.url()), hold_ttl=0)
        filled(store)
        assert hits(store)
        with redis.Redis.from_url(private.url()) as client:
            client.save()
            size = client.dbsize()
        private.kill()
        private.start()
        with redis.Redis.from_url(private.url()) as client:
            assert client.dbsize() == size
        assert store.read(E, [A]).entry is not None
        assert not hits(store)
        filled(store)
        assert hits(store)
        store.close()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_after_a_failover_that_has_lost_a_write_nothing_is_valid(private: ValkeyServer, asynchronous: bool) -> None:
    """The replica has the entry and the very token that it was made under, and has never heard of the commit since."""
    kind = AsyncRedisStore if asynchronous else RedisStore
    with (
        ValkeyServer() as replica,
        Proxy(private.port) as proxy,
        redis.Redis.from_url(private.url()) as primary,
        redis.Redis.from_url(replica.url()) as promoted,
        drive(kind(address_of(proxy.url()), hold_ttl=0)) as store,
    ):
        promoted.replicaof("127.0.0.1", private.port)
        filled(store)
        assert hits(store)
        until(lambda: promoted.dbsize() == primary.dbsize() > 0)
        promoted.replicaof("NO", "ONE")
        store.hold([A], ANN, 10)
        store.release({A: digest("a2")}, ANN)
        proxy.server = replica.port
        proxy.cut()
        assert store.read(E, [A]).entry is not None
        assert not hits(store)


def test_after_a_demotion_and_promotion_nothing_is_valid(
    private: ValkeyServer, client: redis.Redis, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection outlives both, the data too; the replication id does not."""
    monkeypatch.setattr("rowstamp.stores.redis.server.RECHECK_SECONDS", -1)
    store = RedisStore(address_of(private.url()), hold_ttl=0)
    filled(store)
    with redis.Redis.from_url(private.url()) as other:
        other.replicaof("127.0.0.1", valkey_server.port)
        with pytest.raises(StoreError, match="is a slave"):
            store.read(E, [A])
        other.replicaof("NO", "ONE")
    until(lambda: not is_resting(store))
    assert not hits(store)
    store.close()


def test_a_replica_is_not_used(private: ValkeyServer, client: redis.Redis, valkey_server: ValkeyServer) -> None:
    with redis.Redis.from_url(private.url()) as other:
        other.replicaof("127.0.0.1", valkey_server.port)
    store = RedisStore(address_of(private.url()), hold_ttl=0)
    with pytest.raises(StoreError, match="may lag behind: connect to the primary"):
        store.read(E, [A])
    store.close()


def test_a_write_on_a_server_that_was_demoted_fails_and_closes_the_connection(
    private: ValkeyServer, client: redis.Redis, valkey_server: ValkeyServer
) -> None:
    store = RedisStore(address_of(private.url()), hold_ttl=0)
    store.read(E, [A])
    with redis.Redis.from_url(private.url()) as other:
        other.replicaof("127.0.0.1", valkey_server.port)
    with pytest.raises(StoreError, match=r"refused|may lag behind|demoted"):
        store.hold([A], ANN, 10)
    assert not any(lines.idle for lines in store._lines.values())
    store.close()


# ------------------------------------------------------------------------------------------------- ends of things


def test_everything_ends(client: redis.Redis, store: RedisStore) -> None:
    filled(store, [A, B])
    store.hold([B], ANN, 10)
    store.touch({C: fresh_token()})
    store.clear()
    filled(store, [A])
    ends = {key: client.ttl(key) for key in client.keys("*")}
    assert len(ends) == 5
    assert all(0 < end <= ops.EPOCH_SECONDS for end in ends.values())


def test_a_stamp_that_nobody_reads_ends_sooner(client: redis.Redis, store: RedisStore) -> None:
    store.mint({A: fresh_token()})
    for stamp in (A, B):
        store.hold([stamp], ANN, 10)
        store.release({stamp: fresh_token()}, ANN)
    assert ops.UNREAD_SECONDS < client.ttl(b"rs:s:" + A) <= ops.STAMP_SECONDS
    assert 0 < client.ttl(b"rs:s:" + B) <= ops.UNREAD_SECONDS


def test_the_key_of_a_held_stamp_ends_with_its_last_hold(client: redis.Redis, store: RedisStore) -> None:
    store.hold([A], ANN, 100)
    store.hold([A], BOB, 10)
    assert 95 < client.ttl(b"rs:s:" + A) <= 100
    store.release({A: fresh_token()}, ANN)
    assert 5 < client.ttl(b"rs:s:" + A) <= 10


@pytest.fixture(params=["valkey_server", "redis_server"])
def measured(request: pytest.FixtureRequest) -> Iterator[tuple[redis.Redis, RedisStore]]:
    """A store on Valkey or Redis, and a client that asks what its keys take."""
    url: str = request.getfixturevalue(request.param).url()
    with redis.Redis.from_url(url) as client:
        client.flushall()
        store = RedisStore(address_of(url), hold_ttl=0)
        yield client, store
        store.close()


@pytest.mark.parametrize("dependencies", [3, 300])
def test_bookkeeping_takes_no_more_than_250_bytes_an_entry(
    measured: tuple[redis.Redis, RedisStore], dependencies: int
) -> None:
    """However many dependencies, and with a stamp that nothing else depends on."""
    client, store = measured
    shared = [digest(f"shared {number}") for number in range(dependencies - 1)]
    store.mint({stamp: fresh_token() for stamp in shared})
    key, stamps = digest("some entry"), [digest("row"), *shared]
    ticket = getattr(run_flow(store, lookup(key, stamps)), "ticket", None)
    assert ticket is not None
    run_flow(store, fill(ticket, b"", ttl=100))
    entry, stamp = (client.memory_usage(name) or 0 for name in (b"rs:e:" + key, b"rs:s:" + stamps[0]))
    assert entry + stamp <= 250


@pytest.mark.parametrize("make", [ValkeyServer, make_redis_server])
def test_with_its_share_of_the_servers_tables_an_entry_takes_no_more_than_250_bytes(
    make: Callable[[], ValkeyServer],
) -> None:
    """MEMORY USAGE leaves out the tables, and that of the times to live is as large as the other.

    The server is one that nobody else uses: what its clients' buffers take is counted as well.
    """
    blobs = {key: pack_entry(key, {key: key}, bytes(400)) for key in map(digest, map(str, range(2000)))}
    with make() as server, redis.Redis.from_url(server.url()) as client:
        store = RedisStore(address_of(server.url()), hold_ttl=0)
        store.put(digest("the first connects"), b"", 100)
        before: Any = client.info("memory")
        for key, blob in blobs.items():
            store.put(key, blob, 100)
        after: Any = client.info("memory")
        store.close()
    assert (after["used_memory"] - before["used_memory"]) / len(blobs) - 400 <= 250


def test_a_lost_epoch_is_a_miss_and_another_one_is_made(client: redis.Redis, store: RedisStore) -> None:
    filled(store)
    before = client.get("rs:epoch")
    client.delete("rs:epoch")
    assert not hits(store)
    assert client.get("rs:epoch") not in {None, before}
    filled(store)
    assert hits(store)


def test_an_epoch_that_another_client_has_made_is_adopted(client: redis.Redis, valkey_server: ValkeyServer) -> None:
    one, other = (RedisStore(address_of(valkey_server.url()), hold_ttl=0) for _ in range(2))
    filled(one)
    assert hits(other)
    other.clear()
    assert not hits(one)
    filled(one)
    assert hits(other)
    one.close()
    other.close()


def test_stores_of_two_prefixes_share_a_server_and_nothing_else(
    client: redis.Redis, valkey_server: ValkeyServer
) -> None:
    one, other = (RedisStore(address_of(valkey_server.url(), prefix=prefix), hold_ttl=0) for prefix in ("one", "other"))
    filled(one)
    assert not hits(other)
    other.clear()
    assert hits(one)
    keys: Any = client.keys("*")
    assert {bytes(key).partition(b":")[0] for key in keys} == {b"one", b"other"}
    one.close()
    other.close()


# ------------------------------------------------------------------------------------------- memory and eviction


def fill_memory(client: redis.Redis) -> None:
    """Leave the server no room."""
    used: Any = client.info("memory")
    client.config_set("maxmemory", used["used_memory"] - 100_000)


def test_a_full_server_fails_fills_and_nothing_else(client: redis.Redis, store: RedisStore) -> None:
    filled(store)
    fill_memory(client)
    with pytest.raises(StoreError, match="its memory is full: raise maxmemory"):
        store.put(E, b"blob", 10)
    with pytest.raises(StoreError, match="its memory is full"):
        store.mint({B: fresh_token()})
    assert hits(store)
    store.hold([A, B], ANN, 10)
    assert store.read(E, [A, B]).stamps == (HELD, HELD)
    assert store.release({A: digest("a2"), B: digest("b2")}, ANN) == (True, True)
    assert store.read(E, [A, B]).stamps == (token("a2"), token("b2"))
    store.touch({A: digest("a3")})
    assert not hits(store)
    assert not is_resting(store)


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"])
def test_no_held_stamp_is_evicted_under_a_volatile_policy(policy: str) -> None:
    with ValkeyServer(options={"maxmemory-policy": policy}) as private:
        store = RedisStore(address_of(private.url()), hold_ttl=0)
        held = [digest(f"held {number}") for number in range(50)]
        store.mint({stamp: fresh_token() for stamp in held})
        store.hold(held, ANN, 100)
        with redis.Redis.from_url(private.url()) as client:
            used: Any = client.info("memory")
            client.config_set("maxmemory", used["used_memory"] + 1_000_000)
        for number in range(3000):
            store.put(digest(f"entry {number}"), bytes(1000), 1000)
        assert set(store.read(E, held).stamps) == {HELD}
        assert all(store.release({stamp: fresh_token() for stamp in held}, ANN))
        with redis.Redis.from_url(private.url()) as client:
            evicted: Any = client.info("stats")
            assert evicted["evicted_keys"] > 0
            assert all(client.ttl(key) != -1 for key in client.keys("*"))
        store.close()


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_a_policy_that_may_evict_holds_is_warned_of_once_and_works(
    policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    with ValkeyServer(options={"maxmemory-policy": policy}) as private:
        with caplog.at_level(logging.WARNING, "rowstamp"):
            store = RedisStore(address_of(private.url()), hold_ttl=0)
            filled(store)
            for lines in store._lines.values():
                lines.drop()
            assert hits(store)
        assert [record.message for record in caplog.records if "maxmemory-policy allkeys-*" in record.message][1:] == []
        assert "choose volatile-lru or noeviction" in caplog.text
        with redis.Redis.from_url(private.url()) as client:
            used: Any = client.info("memory")
            client.config_set("maxmemory", used["used_memory"] + 1_000_000)
        for number in range(2000):
            store.put(digest(f"entry {number}"), bytes(1000), 1000)
        store.touch({A: fresh_token()})
        assert not hits(store)
        filled(store)
        assert hits(store)
        store.close()


# --------------------------------------------------------------------------------------------------- refusals


def test_a_forgotten_script_is_sent_again(client: redis.Redis, store: RedisStore) -> None:
    store.mint({A: digest("a1")})
    client.script_flush()
    store.hold([A, B], ANN, 10)
    client.script_flush()
    assert store.release({A: digest("a2"), B: digest("b2")}, ANN) == (True, True)
    client.script_flush()
    assert store.mint({A: digest("a3"), C: digest("c1")}) == (token("a2"), token("c1"))
    assert store.mint({A: digest("a3")}) == (token("a2"),)


def acl(client: Any, *words: str) -> None:
    client.execute_command("ACL", *words)


def with_acl(client: redis.Redis, *rules: str) -> str:
    client.acl_deluser("limited")
    acl(client, "SETUSER", "limited", "on", ">pass", *rules)
    port = client.connection_pool.connection_kwargs["port"]
    return f"redis://limited:pass@127.0.0.1:{port}/0"


MINIMAL = (
    "~rs:* &rs:* -@all +mget +get +set +getex +unlink +evalsha +eval +script|load +info +time +pttl +publish +subscribe"
    " +client|setinfo +select"
)


def test_the_commands_of_the_docs_are_all_it_needs(client: redis.Redis) -> None:
    store = open_store(with_acl(client, *MINIMAL.split()), hold_ttl=0)
    filled(store)
    assert hits(store)
    store.hold([A], ANN, 10)
    assert store.release({A: digest("a2")}, ANN) == (True,)
    store.clear()
    store.delete(E)
    assert isinstance(store, RedisStore)
    assert store.lease(E, ANN, 60) == ANN
    told = threading.Thread(target=store.wait_unleased, args=(E, 60))
    told.start()
    until(lambda: bool(client.pubsub_channels()))
    store.unlease(E, ANN)
    told.join(30)
    assert not told.is_alive()
    store.close()


@pytest.mark.parametrize("rules", ["~rs:* +@all -evalsha", "~other:* +@all", "~rs:* +@all -info"])
def test_an_acl_that_forbids_what_is_needed_is_a_mistake_at_the_start(client: redis.Redis, rules: str) -> None:
    url = with_acl(client, *rules.split())
    with pytest.raises(ConfigurationError, match="cannot be used: the server refused: its ACL does not let this user"):
        open_store(url)


def test_a_wrong_password_is_a_mistake_at_the_start(client: redis.Redis) -> None:
    url = with_acl(client, "~*", "+@all").replace("pass@", "hunter2@")
    with pytest.raises(ConfigurationError, match="does not accept this user and password") as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)


def test_a_password_that_is_missing_is_a_mistake_at_the_start() -> None:
    with ValkeyServer() as server, redis.Redis.from_url(server.url()) as other:
        other.config_set("requirepass", "secret")
        with pytest.raises(ConfigurationError, match="it asks for a password: give it in the URL"):
            open_store(f"redis://127.0.0.1:{server.port}")


def test_a_password_that_is_changed_later_is_logged_once(client: redis.Redis, caplog: pytest.LogCaptureFixture) -> None:
    store = open_store(with_acl(client, "~*", "+@all"))
    assert isinstance(store, RedisStore)
    acl(client, "SETUSER", "limited", "resetpass")
    for lines in store._lines.values():
        lines.drop()
    with caplog.at_level(logging.ERROR, "rowstamp"):
        for _ in range(3):
            with pytest.raises(StoreError, match="does not accept this user and password"):
                store.read(E, [A])
    assert [record.getMessage() for record in caplog.records if "is not used" in record.getMessage()][1:] == []
    assert "the cache's store is not used" in caplog.text
    store.close()


def test_a_script_of_somebody_else_is_an_outage(private: ValkeyServer) -> None:
    store = RedisStore(address_of(private.url()), hold_ttl=0)
    filled(store)
    with redis.Redis.from_url(private.url()) as other, redis.Redis.from_url(private.url()) as victim:
        other.config_set("lua-time-limit", 1)
        busy = threading.Thread(target=_never_ends, args=(victim,))
        busy.start()
        until(lambda: _is_busy(other))
        with pytest.raises(StoreError, match="a script of somebody else keeps it busy"):
            store.read(E, [A])
        other.script_kill()
        busy.join()
    assert hits(store)
    store.close()


def _never_ends(client: redis.Redis) -> None:
    with contextlib.suppress(redis.ResponseError):
        client.eval("while true do end", 0)


def _is_busy(client: redis.Redis) -> bool:
    try:
        client.get("x")
    except redis.ResponseError:
        return True
    return False


@pytest.mark.parametrize(
    ("error", "complaint"),
    [
        ("LOADING Valkey is loading the dataset in memory", "it is still loading its data"),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "has lost its primary"),
        ("CLUSTERDOWN The cluster is down", "the cluster does not serve all of its slots"),
        ("READONLY You can't write against a read only replica.", "it is a replica: connect to the primary"),
        ("MISCONF Errors writing to the AOF file: No space left on device", "repair that, or set save ''"),
        ("ERR something new", "the server refused: something new"),
    ],
)
def test_a_server_that_refuses_everything_is_left_alone_after_a_few_attempts(error: str, complaint: str) -> None:
    """These last as long as they last, which no test can rule; so the server is one of our own."""
    with scripted(lambda _: f"-{error}\r\n".encode()) as parrot:
        store = open_store(f"redis://127.0.0.1:{parrot.port}")
        assert isinstance(store, RedisStore)
        for _ in range(FAILURES):
            with pytest.raises(StoreError, match=complaint):
                store.read(E, [A])
        with pytest.raises(StoreError, match="left alone for a moment"):
            store.read(E, [A])
        store.close()


def test_too_many_clients_is_an_outage(private: ValkeyServer) -> None:
    with redis.Redis.from_url(private.url()) as other:
        other.config_set("maxclients", 1)
        store = RedisStore(address_of(private.url()), hold_ttl=0)
        with pytest.raises(StoreError, match="max number of clients"):
            store.read(E, [A])
        store.close()


def test_a_cluster_is_told_apart() -> None:
    with ValkeyServer(options={"cluster-enabled": "yes", "cluster-port": str(free_port())}) as server:
        with pytest.raises(ConfigurationError, match=r"is a node of a cluster: write redis\+cluster://"):
            open_store(server.url())
        store = open_store(server.url().replace("redis", "redis+cluster"))
        with pytest.raises(StoreError, match="the cluster does not serve all of its slots"):
            store.read(E, [A])
        store.close()


def test_a_server_on_its_own_is_told_apart(valkey_server: ValkeyServer) -> None:
    with pytest.raises(ConfigurationError, match="is on its own: write redis://"):
        open_store(valkey_server.url().replace("redis", "redis+cluster"))


def test_a_value_that_is_none_of_ours_is_a_server_error_and_not_a_crash(client: redis.Redis, store: RedisStore) -> None:
    client.rpush(b"rs:s:" + A, "a list")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        store.hold([A], ANN, 10)
    assert store.read(E, [A]).stamps == (MISSING,)


# ----------------------------------------------------------------------------------------------------- opening


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_url_opens_a_store(client: redis.Redis, valkey_server: ValkeyServer, scheme: str, asynchronous: bool) -> None:
    url = valkey_server.url().replace("redis", scheme) + "?prefix=shop&timeout_ms=100&connect_timeout_ms=200"
    store = open_store(url, asynchronous=asynchronous)
    assert isinstance(store, AsyncRedisStore if asynchronous else RedisStore)
    assert isinstance(store, AsyncStore if asynchronous else Store)
    assert repr(store) == f"<{type(store).__name__} 127.0.0.1:{valkey_server.port}>"
    address = store._plan.address
    assert (address.prefix, address.timeout_ms, address.connect_timeout_ms) == ("shop", 100, 200)


def test_a_unix_url_opens_a_store(client: redis.Redis, valkey_server: ValkeyServer) -> None:
    store = open_store(f"unix://{valkey_server.socket_path}?db=3")
    store.put(E, b"blob", 10)
    with redis.Redis.from_url(valkey_server.url(3)) as third:
        assert third.exists(b"rs:e:" + E) == 1
    assert str(valkey_server.socket_path) in repr(store)
    store.close()


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("redis://h/zero", "the database in the path='zero' is not a number"),
        ("redis://h:99999", "the port in the store URL is not a number"),
        ("redis://h?timeout_ms=soon", "timeout_ms='soon' is not a number of milliseconds; write timeout_ms=250"),
        ("redis://h?timeout_ms=0", r"timeout_ms=0.0 is no time to wait"),
        ("redis://h?connect_timeout_ms=-1", r"connect_timeout_ms=-1.0 is no time to wait"),
        ("redis://h?prefix=", "prefix='' cannot begin a key"),
        ("redis://h?db=3", "unknown option 'db' for a redis:// store; known options: prefix, timeout_ms"),
        ("redis://h?ssl_ca_certs=x", "unknown option 'ssl_ca_certs'"),
        ("redis://h#x", "percent-encode a # in the password"),
        ("unix://", "needs the path of a socket"),
        ("unix:///x?db=-1", "db='-1' is not a number"),
    ],
)
def test_a_mistake_in_the_url_is_named(url: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        open_store(url)


def test_a_server_that_is_down_is_no_mistake(tmp_path: Path) -> None:
    store = open_store(f"unix://{tmp_path}/nothing.sock")
    with pytest.raises(StoreError, match="cannot be reached"):
        store.read(E, [A])
    store.close()


async def test_a_ready_client_says_where_the_server_is(client: redis.Redis, valkey_server: ValkeyServer) -> None:
    url = valkey_server.url(2)
    with redis.Redis.from_url(url, decode_responses=True) as ready:
        store = RedisStore.of_client(ready, prefix="mine")
        store.put(E, b"\xff", 10)
        assert store.read(E, []).entry == b"\xff"
        store.close()
        assert ready.exists(b"mine:e:" + E) == 1
    async with redis.asyncio.Redis.from_url(url) as awaited:
        again = AsyncRedisStore.of_client(awaited, prefix="mine")
        assert (await again.read(E, [])).entry == b"\xff"
        await again.aclose()


@pytest.mark.parametrize("what", [None, "redis://h", object()])
def test_what_is_no_client_is_named(what: object) -> None:
    with pytest.raises(ConfigurationError, match=r"is no redis.Redis, RedisCluster or one of"):
        RedisStore.of_client(what)


def test_a_closed_store_says_so(valkey_server: ValkeyServer) -> None:
    store = RedisStore(address_of(valkey_server.url()), hold_ttl=0)
    store.close()
    with pytest.raises(StoreError, match="the store is closed"):
        store.read(E, [])


def test_nothing_to_do_is_no_round_trip() -> None:
    store = RedisStore(address_of("redis://127.0.0.1:1"), hold_ttl=0)
    assert store.mint({}) == ()
    assert store.release({}, ANN) == ()
    store.hold([], ANN, 10)
    store.touch({})


def test_states_are_told_from_stored_forms() -> None:
    """The forms of `common.lua`, read here; a hold that ends just now has ended."""
    tag, given = b"8 bytes!", fresh_token()
    hold = ops._HOLD.pack(1000.0)[:8] + ANN
    assert ops.state_of(b"t" + tag + given, tag, None) == StampState(given, held=False)
    assert ops.state_of(b"u" + tag + given, tag, None) == StampState(given, held=False)
    assert ops.state_of(b"t" + tag + given, b"another!", None) == MISSING
    assert ops.state_of(b"t" + tag + given, b"", None) == MISSING
    assert ops.state_of(b"hu" + hold, tag, None) == HELD
    assert ops.state_of(b"pu" + hold, tag, 999.0) == HELD
    assert ops.state_of(b"pu" + hold, tag, 1000.0) == MISSING
