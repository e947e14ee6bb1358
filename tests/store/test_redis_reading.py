"""When reads go the short way: on a line of which all is known that a reply depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import pytest
import redis

from rowstamp.errors import StoreError
from rowstamp.store import Store
from rowstamp.stores import open_store
from rowstamp.stores.breaker import FAILURES
from rowstamp.stores.redis.address import Address
from rowstamp.stores.redis.plan import Plan
from rowstamp.stores.redis.server import RECHECK_SECONDS, Server
from rowstamp.stores.redis.trip import Node
from rowstamp.testing.servers import ValkeyServer
from rowstamp.testing.store_harness import digest, drive, token
from tests.store.test_redis_server import acl, with_acl

pytestmark = pytest.mark.once

NOW = 1000.0
E, A = digest("entry"), digest("a")


@pytest.fixture
def plan() -> Plan:
    plan = Plan(Address(), hold_ttl=10)
    plan.clock = lambda: NOW
    return plan


def node_of(plan: Plan) -> Node:
    (node,) = plan.route.nodes
    return node


def met(
    plan: Plan,
    *,
    identity: bytes = b"it",
    policy: str = "noeviction",
    checked_at: float = NOW,
    serves_from: float = NOW,
) -> Server:
    """A server that a plan has met last."""
    plan.meet(node_of(plan), identity)
    return Server(identity, policy=policy, checked_at=checked_at, serves_from=serves_from)


def test_reads_on_a_known_server_are_one_question(plan: Plan) -> None:
    assert plan.is_settled(node_of(plan), met(plan))


def test_not_before_the_server_is_asked_again_who_it_is(plan: Plan) -> None:
    assert not plan.is_settled(node_of(plan), met(plan, checked_at=NOW - RECHECK_SECONDS - 0.001))


def test_not_before_a_hold_that_was_lost_has_ended(plan: Plan) -> None:
    assert not plan.is_settled(node_of(plan), met(plan, serves_from=NOW + 0.001))


def test_not_where_a_held_stamp_needs_the_servers_time(plan: Plan) -> None:
    assert not plan.is_settled(node_of(plan), met(plan, policy="volatile-lru"))


def test_not_once_another_server_was_met_there(plan: Plan) -> None:
    old = met(plan)
    met(plan, identity=b"another")
    assert not plan.is_settled(node_of(plan), old)


Opened: TypeAlias = tuple[Store, redis.Redis]


@pytest.fixture(params=[False, True], ids=["blocking", "awaited"])
def opened(request: pytest.FixtureRequest, valkey_server: ValkeyServer) -> Iterator[Opened]:
    """A store with a line on which it has read, as a user of its own, and the server's administrator."""
    with redis.Redis.from_url(valkey_server.url()) as client:
        url = with_acl(client, "~*", "+@all", "+mget")
        with drive(open_store(url, asynchronous=request.param, hold_ttl=0)) as store:
            store.touch({A: digest("a1")})
            assert store.read(E, [A]).stamps == (token("a1"),)
            yield store, client
        client.acl_deluser("limited")


def refused(read: Callable[[], object]) -> None:
    with pytest.raises(StoreError, match="its ACL does not let this user do what the store needs"):
        read()


def connections(client: redis.Redis) -> set[str]:
    """Those of the store."""
    listed: Any = client.client_list()
    return {each["id"] for each in listed if each["user"] == "limited"}


def test_a_read_that_is_refused_by_itself_costs_no_connection_and_opens_no_breaker(opened: Opened) -> None:
    store, client = opened
    before = connections(client)
    acl(client, "SETUSER", "limited", "-mget")
    for _ in range(FAILURES + 1):
        refused(partial(store.read, E, [A]))
    acl(client, "SETUSER", "limited", "+mget")
    assert store.read(E, [A]).stamps == (token("a1"),)
    assert connections(client) == before != set()


def test_a_line_that_was_closed_meanwhile_is_replaced_within_the_read(opened: Opened) -> None:
    store, client = opened
    client.client_kill_filter(user="limited", skipme=True)
    assert store.read(E, [A]).stamps == (token("a1"),)
