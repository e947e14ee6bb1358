"""Bounded freshness on a cluster: each node pushes the changes of its own stamps."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from rowstamp.store import Store
from rowstamp.stores.redis import AsyncRedisStore, RedisStore
from rowstamp.testing.store_harness import drive
from tests.servers.cluster import Cluster, ask
from tests.store.cluster_support import address_of_cluster, stamps_on_all
from tests.store.test_redis_bounded import Process
from tests.store.test_redis_cluster import (
    begin_migration,
    disturbed,
    end_migration,
    move_keys,
    slot_and_ends,
)

__all__ = ["disturbed"]

pytestmark = pytest.mark.once


def process_on(cluster: Cluster, kind: type[RedisStore | AsyncRedisStore]) -> Generator[Process, None, None]:
    followed = kind(address_of_cluster(cluster), hold_ttl=0)
    with drive(followed, check=False) as store:
        yield Process(store, followed, stamps_on_all(cluster))


@pytest.fixture(params=[RedisStore, AsyncRedisStore], ids=["blocking", "awaited"])
def process(request: pytest.FixtureRequest, valkey_cluster: Cluster) -> Iterator[Process]:
    for node in valkey_cluster.primaries():
        ask(node.port, "FLUSHALL")
    yield from process_on(valkey_cluster, request.param)


@pytest.fixture
def other(valkey_cluster: Cluster) -> Iterator[Store]:
    store = RedisStore(address_of_cluster(valkey_cluster), hold_ttl=0)
    yield store
    store.close()


def test_a_bounded_hit_is_no_round_trip(process: Process) -> None:
    process.warm()
    assert process.read() == b"body"
    assert process.trips == 0
    assert len(process.mirror._feeds) == 3


def test_a_commit_to_a_stamp_of_any_node_is_visible_after_a_heartbeat(process: Process, other: Store) -> None:
    for number, stamp in enumerate(process.stamps[::2]):  # each node has two
        process.warm(b"%d" % number)
        other.hold([stamp], bytes(16), 60)
        process.beats()
        assert process.read() is None
        other.release({stamp: b"%16d" % number}, bytes(16))
        process.beats()
        assert process.read() is None


def test_clear_is_visible_after_a_heartbeat(process: Process, other: Store) -> None:
    """It changes one key, on one node."""
    process.warm()
    other.clear()
    process.beats()
    assert process.read() is None


def test_its_own_commit_is_visible_at_once(process: Process) -> None:
    process.warm()
    process.write()
    assert process.read() is None


def test_a_slot_that_moves_takes_its_stamps_out_of_the_mirror(disturbed: Cluster) -> None:
    """What is written at its new place afterwards is pushed by another node."""
    steps = process_on(disturbed, RedisStore)
    process = next(steps)
    process.warm()
    slot, source, target = slot_and_ends(disturbed, process.stamps[0])
    begin_migration(disturbed, slot, source, target)
    move_keys(slot, source, target)
    end_migration(disturbed, slot, target)
    process.beats()
    assert process.read() is None
    process.warm(b"new")
    other = RedisStore(address_of_cluster(disturbed), hold_ttl=0)
    other.touch({process.stamps[0]: bytes(16)})
    other.close()
    process.beats()
    assert process.read() is None
    steps.close()
