"""Readers and writers while a cluster loses a primary, hands one over, or moves its slots: nothing stale, no error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import pytest
import redis
from redis.crc import key_slot

from rowstamp.testing.servers import ValkeyServer
from tests.faults.figures import Report
from tests.faults.shop import OPTIONS, AsyncShop, shop, under_load
from tests.servers.cluster import Cluster, cluster, until
from tests.store.test_redis_cluster import begin_migration, end_migration, move_keys

pytestmark = [pytest.mark.once, pytest.mark.timeout(300)]


@pytest.fixture
def disturbed() -> Iterator[Cluster]:
    with cluster(lambda options: ValkeyServer(options=options)) as found:
        yield found


def used_slots(found: Cluster) -> set[int]:
    """The slots that have a key."""
    slots: set[int] = set()
    for node in found.primaries():
        with redis.Redis(port=node.port) as client:
            keys = cast("Iterator[bytes]", client.scan_iter())
            slots |= {key_slot(key) for key in keys}
    return slots


def killed(found: Cluster) -> None:
    primary = found.owner(min(used_slots(found)))
    primary.kill()
    until(found.agrees)


def handed_over(found: Cluster) -> None:
    for primary in found.primaries():
        found.failover(found.replica_of(primary))


def resharded(found: Cluster) -> None:
    """Every slot that has a key goes to another node, one after the other."""
    for slot in sorted(used_slots(found)):
        source = found.owner(slot)
        target = next(node for node in found.primaries() if node is not source)
        begin_migration(found, slot, source, target)
        move_keys(slot, source, target)
        end_migration(found, slot, target)


FAULTS = [killed, handed_over, resharded]


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_stale_and_nothing_is_raised_while_a_cluster_is(
    disturbed: Cluster, database: str, fault: Callable[[Cluster], None], fault_report: Report
) -> None:
    with shop(disturbed.url(**OPTIONS), database) as opened:
        opened.recover()
        load = under_load(opened, lambda: fault(disturbed), seconds=0.5)
        opened.recover(30, load)
        fault_report(f"cluster {fault.__name__}", load)
        opened.write()
        assert not opened.hits()


@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_stale_and_nothing_is_raised_in_tasks_while_a_cluster_is(
    disturbed: Cluster, database: str, fault: Callable[[Cluster], None], fault_report: Report
) -> None:
    async with AsyncShop(disturbed.url(**OPTIONS), database) as opened:
        await opened.recover()
        load = await opened.under_load(lambda: fault(disturbed), seconds=0.5)
        await opened.recover(30, load)
        fault_report(f"cluster {fault.__name__}, in tasks", load)
        await opened.write()
        assert not await opened.hits()
