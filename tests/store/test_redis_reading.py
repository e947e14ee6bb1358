"""When reads go the short way: on a line of which all is known that a reply depends on."""

from __future__ import annotations

import pytest

from rowstamp.stores.redis.address import Address
from rowstamp.stores.redis.plan import Plan
from rowstamp.stores.redis.server import RECHECK_SECONDS, Server
from rowstamp.stores.redis.trip import Node

NOW = 1000.0


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
