"""A private cluster: three primaries, each with a replica."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from rowstamp.stores.redis.server import mark_name
from rowstamp.testing.servers import ValkeyServer, free_port
from tests.servers.redis import make_redis_server

SLOTS = 16384
SHARDS = 3

OPTIONS = {
    "cluster-enabled": "yes",
    "cluster-node-timeout": "1000",
    "cluster-replica-validity-factor": "0",
    "cluster-allow-replica-migration": "no",
    "repl-ping-replica-period": "1",
}


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something that other processes do."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def ask(port: int, *words: str) -> Any:
    """Say one command to a server; errors are raised."""
    with redis.Redis(port=port, decode_responses=True, protocol=2) as client:
        untyped: Any = client
        return untyped.execute_command(*words)


@dataclass
class Cluster:
    """Six servers; `nodes[n]` and `nodes[n + 3]` began as the primary and the replica of one third of the slots."""

    nodes: list[ValkeyServer]

    def url(self, **options: object) -> str:
        """Return the URL of the cluster, by three of its nodes."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:SHARDS])
        return f"redis+cluster://{hosts}" + (f"?{query}" if query else "")

    def settled(self, prefix: str = "rs") -> str:
        """Leave on each primary the mark of one who has known it for long (see :func:`tests.servers.valkey.settled`); return the URL."""
        for node in self.primaries():
            tag = next(tag for tag in (b"{%d}" % number for number in count()) if self.owner(key_slot(tag)) is node)
            with redis.Redis.from_url(node.url()) as client:
                untyped: Any = client
                untyped.set(f"{prefix}:m:".encode() + tag + mark_name(untyped.info()), 0)
        return self.url()

    def owner(self, slot: int) -> ValkeyServer:
        """Return the primary that has a slot."""
        return self.owners()[slot]

    def owners(self) -> list[ValkeyServer]:
        """Return the primary of each slot, as the first node says that runs."""
        running = next(node for node in self.nodes if node.is_ready())
        by_port = {node.port: node for node in self.nodes}
        return [by_port[port] for first, last, port in self._map(running) for _ in range(first, last + 1)]

    def primaries(self) -> list[ValkeyServer]:
        """Return the nodes that have slots."""
        owners = self.owners()
        return [owners[slot] for slot in (0, SLOTS // 2, SLOTS - 1)]

    def replica_of(self, primary: ValkeyServer) -> ValkeyServer:
        """Return the replica of a primary that runs."""
        return next(
            node
            for node in self.nodes
            if node.is_ready() and (role := ask(node.port, "ROLE"))[0] == "slave" and role[2] == primary.port
        )

    def name_of(self, node: ValkeyServer) -> str:
        """Return the name under which nodes know each other."""
        return str(ask(node.port, "CLUSTER", "MYID"))

    def agrees(self) -> bool:
        """Whether every running node serves, and all have the same map."""
        running = [node for node in self.nodes if node.is_ready()]
        if any("cluster_state:ok" not in ask(node.port, "CLUSTER", "INFO") for node in running):
            return False
        return len({tuple(self._map(node)) for node in running}) == 1

    def failover(self, replica: ValkeyServer, how: str = "") -> None:
        """Promote a replica, and wait until everybody knows."""
        until(lambda: _is_linked(replica))
        ask(replica.port, "CLUSTER", "FAILOVER", *([how] if how else []))
        until(lambda: str(ask(replica.port, "ROLE")[0]) == "master")
        until(self.agrees)

    def join(self, node: ValkeyServer) -> None:
        """Make a server that runs a node, without slots, and wait until everybody knows."""
        first = self.nodes[0]
        self.nodes.append(node)
        _meet(first, node)
        until(lambda: all(_knows(each, len(self.nodes)) for each in self.nodes))
        until(self.agrees)

    def leave(self, node: ValkeyServer) -> None:
        """Stop a node that has no slots, and let the others forget it."""
        name = self.name_of(node)
        self.nodes.remove(node)
        node.stop()
        for each in self.nodes:
            ask(each.port, "CLUSTER", "FORGET", name)
        until(lambda: all(_knows(each, len(self.nodes)) for each in self.nodes))

    def _map(self, node: ValkeyServer) -> Iterator[tuple[int, int, int]]:
        for first, last, primary, *_ in sorted(ask(node.port, "CLUSTER", "SLOTS"), key=lambda row: int(row[0])):
            yield first, last, primary[1]


@contextlib.contextmanager
def cluster(make: Callable[[dict[str, str]], ValkeyServer]) -> Generator[Cluster]:
    """Start six servers and make a cluster of them."""
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(make({**OPTIONS, "cluster-port": str(free_port())})) for _ in range(2 * SHARDS)]
        found = Cluster(nodes)
        _join(found, nodes)
        yield found


def _join(found: Cluster, nodes: Sequence[ValkeyServer]) -> None:
    first, *others = nodes
    for shard in range(SHARDS):
        low, high = shard * SLOTS // SHARDS, (shard + 1) * SLOTS // SHARDS - 1
        ask(nodes[shard].port, "CLUSTER", "ADDSLOTSRANGE", str(low), str(high))
        ask(nodes[shard].port, "CLUSTER", "SET-CONFIG-EPOCH", str(shard + 1))
    for node in others:
        _meet(first, node)
    until(lambda: all(_knows(node, len(nodes)) for node in nodes))
    for primary, replica in zip(nodes[:SHARDS], nodes[SHARDS:], strict=True):
        ask(replica.port, "CLUSTER", "REPLICATE", found.name_of(primary))
    until(found.agrees)
    until(lambda: all(_is_linked(node) for node in nodes[SHARDS:]))


def _meet(first: ValkeyServer, node: ValkeyServer) -> None:
    bus = ask(node.port, "CONFIG", "GET", "cluster-port")[1]
    ask(first.port, "CLUSTER", "MEET", "127.0.0.1", str(node.port), bus)


def _is_linked(replica: ValkeyServer) -> bool:
    return str(ask(replica.port, "INFO", "replication").get("master_link_status")) == "up"


def _knows(node: ValkeyServer, count: int) -> bool:
    lines = ask(node.port, "CLUSTER", "NODES")
    text = lines if isinstance(lines, str) else "\n".join(lines)
    return "handshake" not in text and f"cluster_known_nodes:{count}" in ask(node.port, "CLUSTER", "INFO")


@pytest.fixture(scope="session")
def valkey_cluster() -> Iterator[Cluster]:
    """A cluster of Valkey that no test disturbs."""
    with cluster(lambda options: ValkeyServer(options=options)) as found:
        yield found


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[Cluster]:
    """A cluster of Redis that no test disturbs."""
    with cluster(make_redis_server) as found:
        yield found
