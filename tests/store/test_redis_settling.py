"""After a restart or failover nothing is served or filled until no hold can be left that was lost in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from rowstamp.protocol import Hit, Miss, fill, lookup
from rowstamp.stores.redis import AsyncRedisStore, RedisStore
from rowstamp.stores.redis import server as servers
from rowstamp.stores.redis.server import Identities
from rowstamp.testing.servers import ValkeyServer
from rowstamp.testing.store_harness import HELD, MISSING, digest, run_flow, token
from tests.servers.valkey import settled
from tests.store.redis_support import address_of

pytestmark = pytest.mark.once

E, A, ANN = digest("entry"), digest("a"), digest("ann")
HOLD_TTL = 600.0


class Later:
    """The client's clock, moved by hand."""

    def __init__(self, store: RedisStore | AsyncRedisStore) -> None:
        self.passed = 0.0
        store._plan.clock = lambda: time.monotonic() + self.passed


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def opened(server: ValkeyServer) -> Iterator[Callable[[], RedisStore]]:
    stores: list[RedisStore] = []

    def make() -> RedisStore:
        stores.append(RedisStore(address_of(server.url()), hold_ttl=HOLD_TTL))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def look(store: RedisStore) -> Hit | Miss:
    outcome: Hit | Miss = run_flow(store, lookup(E, [A]))
    return outcome


def filled(store: RedisStore) -> None:
    outcome = look(store)
    assert isinstance(outcome, Miss)
    assert outcome.ticket is not None
    run_flow(store, fill(outcome.ticket, b"body", ttl=100))
    assert isinstance(look(store), Hit)


def test_nothing_is_served_or_filled_until_a_hold_that_was_lost_has_ended(
    server: ValkeyServer, opened: Callable[[], RedisStore]
) -> None:
    settled(server.url())
    store = opened()
    later = Later(store)
    filled(store)
    with redis.Redis.from_url(server.url()) as client:
        client.save()
    server.kill()
    server.start()
    assert store.read(E, [A]).stamps == (HELD,)
    assert look(store) == Miss(None)
    assert store.mint({A: digest("a2")}) == (HELD,)
    store.hold([A], ANN, 10)
    assert store.release({A: digest("a3")}, ANN) == (True,)
    later.passed = HOLD_TTL - 30
    assert look(store) == Miss(None)
    later.passed = HOLD_TTL + 1
    assert store.read(E, [A]).stamps == (token("a3"),)
    filled(store)


async def test_the_same_for_tasks(server: ValkeyServer) -> None:
    store = AsyncRedisStore(address_of(server.url()), hold_ttl=HOLD_TTL)
    later = Later(store)
    assert (await store.read(E, [A])).stamps == (HELD,)
    assert await store.mint({A: digest("a1")}) == (HELD,)
    later.passed = HOLD_TTL + 1
    assert (await store.read(E, [A])).stamps == (token("a1"),)
    await store.aclose()


def test_a_later_process_waits_only_for_what_is_left(server: ValkeyServer, opened: Callable[[], RedisStore]) -> None:
    """The first one has left a mark with the server's time."""
    assert look(opened()) == Miss(None)
    with redis.Redis.from_url(server.url()) as client:
        untyped: Any = client
        (mark,) = untyped.keys("rs:m:*")
        client.set(mark, int(client.get(mark) or 0) - int(HOLD_TTL * 1000) + 60_000, keepttl=True)
    late = opened()
    later = Later(late)
    assert look(late) == Miss(None)
    later.passed = 61
    filled(late)


def test_a_mark_is_made_once_and_kept_alive(server: ValkeyServer, opened: Callable[[], RedisStore]) -> None:
    look(opened())
    with redis.Redis.from_url(server.url()) as client:
        untyped: Any = client
        (mark,) = untyped.keys("rs:m:*")
        first = client.get(mark)
        client.expire(mark, 60)
        look(opened())
        assert untyped.keys("rs:m:*") == [mark]
        assert client.get(mark) == first
        assert client.ttl(mark) > 60


def test_a_mark_that_was_evicted_makes_a_later_process_wait(
    server: ValkeyServer, opened: Callable[[], RedisStore]
) -> None:
    settled(server.url())
    first = opened()
    filled(first)
    with redis.Redis.from_url(server.url()) as client:
        untyped: Any = client
        client.delete(*untyped.keys("rs:m:*"))
    assert look(opened()) == Miss(None)
    assert isinstance(look(first), Hit)


def test_a_hold_that_can_last_no_time_leaves_nothing_to_wait_for(server: ValkeyServer) -> None:
    store = RedisStore(address_of(server.url()), hold_ttl=0)
    assert store.read(E, [A]).stamps == (MISSING,)
    store.close()


NEVER_REPLICATED = {"master_replid2": "0" * 40, "master_repl_offset": "0", "uptime_in_seconds": "100"}


@pytest.mark.parametrize(
    ("info", "age"),
    [
        ({}, 98.0),
        ({"uptime_in_seconds": "1"}, 0.0),
        ({"master_replid2": "a" * 40}, 0.0),
        ({"master_repl_offset": "1"}, 0.0),
    ],
    ids=["its run is its history", "whole seconds", "promoted", "has replicas"],
)
def test_a_server_that_was_never_replicated_is_as_old_as_its_run(info: dict[str, str], age: float) -> None:
    assert servers._age({**NEVER_REPLICATED, **info}) == age


def test_an_answer_that_took_long_does_not_shorten_the_wait() -> None:
    """The age was right when the server said it, which may have been just before the answer arrived."""
    now = 1000.0
    steps = Identities(10.0, lambda: now).settled(b"somebody", 0.0, lambda digest: digest)
    next(steps)
    now = 1004.0
    with pytest.raises(StopIteration) as stop:
        steps.send([3000])
    assert stop.value.value == 1011.0
