"""What reads and commits cost on Redis and Valkey beside a bare GET of the same client, interleaved on one private server.

    python benchmarks/store.py [--rounds N] [--redis PROGRAM] [--largest ENTRIES] [--payload BYTES]

Each figure is the median of the rounds; ratios are medians of the ratios within a round, so that a machine that becomes
slower in the middle changes both sides alike. Rounds are short and many, and what is compared takes turns.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import redis
import redis.asyncio

from rowstamp.drivers import perform, run, run_async
from rowstamp.entry import pack_entry
from rowstamp.mirror import Mirror
from rowstamp.model import fresh_token
from rowstamp.near import NearCache
from rowstamp.protocol import Flow, Hit, Miss, fill, lookup
from rowstamp.stores.redis import AsyncRedisStore, RedisStore
from rowstamp.stores.redis.scripts import Words
from rowstamp.stores.redis.talk import packed
from rowstamp.testing.servers import ValkeyServer

STAMPS = [os.urandom(16) for _ in range(4)]
ENTRY = os.urandom(16)
TASKS = 100
SHORT = 100
BOUND = 60.0
KINDS = ("strict hit", "strict hit, near cache", "bounded hit")


# ----------------------------------------------------------------------------------------------------------- reads


class Reads:
    """The three kinds of hit, as flows.

    Args:
        mirror: what a store knows that follows its server; the strict hits are those of a store that does not.
    """

    def __init__(self, mirror: Mirror) -> None:
        self.near = NearCache(1 << 24)
        self.mirror = mirror

    def flow(self, kind: str) -> Flow[Hit | Miss]:
        flow = lookup(ENTRY, STAMPS)
        if kind == "strict hit":
            return flow
        return self.near.through(flow, self.mirror if kind == "bounded hit" else None, BOUND)


def hit(store: RedisStore, reads: Reads, kind: str) -> None:
    outcome = run(reads.flow(kind), lambda operation: perform(store, operation, None))
    assert isinstance(outcome, Hit)


async def ahit(store: AsyncRedisStore, reads: Reads, kind: str) -> None:
    async def step(operation: Any) -> Any:
        return await perform(store, operation, None)

    outcome = await run_async(reads.flow(kind), step)
    assert isinstance(outcome, Hit)


def fill_entry(store: RedisStore, payload: bytes) -> None:
    def step(operation: Any) -> Any:
        return perform(store, operation, None)

    outcome = run(lookup(ENTRY, STAMPS, serve=False), step)
    assert isinstance(outcome, Miss)
    assert outcome.ticket is not None
    run(fill(outcome.ticket, payload, ttl=3600, ends_at=time.time() + 3600), step)


# --------------------------------------------------------------------------------------------------------- timing


def timed(operation: Callable[[], object], count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        operation()
    return (time.perf_counter() - begin) / count * 1e6


async def atimed(operation: Callable[[], Awaitable[object]], count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        await operation()
    return (time.perf_counter() - begin) / count * 1e6


async def together(operation: Callable[[], Awaitable[object]], count: int) -> float:
    """Microseconds for each of many operations, asked for by :data:`TASKS` tasks at once."""

    async def work() -> None:
        for _ in range(count // TASKS):
            await operation()

    begin = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(TASKS)))
    return (time.perf_counter() - begin) / count * 1e6


def report(title: str, base: str, figures: dict[str, list[float]]) -> None:
    print(f"\n{title}")
    for name, values in figures.items():
        ratio = statistics.median(value / first for value, first in zip(values, figures[base], strict=True))
        print(f"  {name:<42} {statistics.median(values):>9.1f} µs   × {ratio:.3f}")


def throughput(title: str, base: str, figures: dict[str, list[float]]) -> None:
    print(f"\n{title}")
    for name, values in figures.items():
        ratio = statistics.median(first / value for value, first in zip(values, figures[base], strict=True))
        print(f"  {name:<42} {1e6 / statistics.median(values):>9,.0f} /s   × {ratio:.2f}")


# --------------------------------------------------------------------------------------------------------- reports


@contextmanager
def blocking_store(url: str) -> Generator[tuple[redis.Redis, RedisStore]]:
    client = redis.Redis.from_url(url)
    store = RedisStore.of_client(client, timeout_ms=5000, hold_ttl=0)
    yield client, store
    store.close()
    client.close()


def blocking(url: str, rounds: int, payload: bytes) -> None:
    with blocking_store(url) as (client, store), blocking_store(url) as (_, following):
        client.set("bare", payload)
        fill_entry(store, payload)
        reads = Reads(following.follow())
        figures: dict[str, list[float]] = {"bare GET": [], "MGET of as many keys": [], **{kind: [] for kind in KINDS}}
        for _ in range(rounds):
            figures["bare GET"].append(timed(lambda: client.get("bare"), SHORT))
            figures["MGET of as many keys"].append(timed(lambda: client.mget(["bare"] * 6), SHORT))
            for kind in KINDS:
                asked = following if kind == "bounded hit" else store
                figures[kind].append(timed(partial(hit, asked, reads, kind), SHORT))
        report("blocking, one after the other", "bare GET", figures)


async def awaited(url: str, rounds: int, payload: bytes) -> None:
    client = redis.asyncio.Redis.from_url(url)
    store, following = (AsyncRedisStore.of_client(client, timeout_ms=5000, hold_ttl=0) for _ in range(2))
    await client.set("bare", payload)
    reads = Reads(following.follow())
    one: dict[str, list[float]] = {"bare GET": [], **{kind: [] for kind in KINDS}}
    many: dict[str, list[float]] = {"bare GET, one after the other": [], f"bare GET, {TASKS} tasks": []}
    many |= {f"{kind}, {TASKS} tasks": [] for kind in KINDS}
    for _ in range(rounds):
        one["bare GET"].append(await atimed(lambda: client.get("bare"), SHORT))
        many["bare GET, one after the other"].append(one["bare GET"][-1])
        many[f"bare GET, {TASKS} tasks"].append(await together(lambda: client.get("bare"), 3 * TASKS))
        for kind in KINDS:
            operation = partial(ahit, following if kind == "bounded hit" else store, reads, kind)
            one[kind].append(await atimed(operation, SHORT))
            many[f"{kind}, {TASKS} tasks"].append(await together(operation, 10 * TASKS))
    report("awaited, one after the other", "bare GET", one)
    throughput(f"awaited, {TASKS} tasks at once", "bare GET, one after the other", many)
    for each in (store, following):
        await each.aclose()
    await client.aclose()


def commits(program: Path | None, largest: int, payload: bytes, rounds: int) -> None:
    """Hold and release of four stamps, with more and more entries beside them: a server for each number, so that they take turns."""
    sizes = [entries for entries in (10, 1_000, 100_000, 1_000_000) if entries <= largest]
    with ExitStack() as stack:
        stores: dict[str, RedisStore] = {}
        for entries in sizes:
            server = stack.enter_context(ValkeyServer(program))
            populate(server, entries, payload)
            _, stores[f"{entries:,} entries"] = stack.enter_context(blocking_store(server.url()))
        figures: dict[str, list[float]] = {name: [] for name in stores}
        for _ in range(rounds):
            for name, store in stores.items():
                figures[name].append(timed(partial(transaction, store), 40))
        report("hold + release of 4 stamps (two round trips)", f"{sizes[0]:,} entries", figures)


def transaction(store: RedisStore) -> None:
    writer = fresh_token()
    store.hold(STAMPS, writer, 10)
    store.release({stamp: fresh_token() for stamp in STAMPS}, writer)


def populate(server: ValkeyServer, count: int, payload: bytes, kept: bytes = b"rs:") -> None:
    """Put entries, each with the stamp of a row of its own, as far as their keys begin with ``kept``.

    They are sent in large pieces to a server that does not answer each, or a million of them would take minutes.
    """
    connection: Any = redis.Connection(port=server.port, protocol=2, socket_timeout=60)
    connection.connect()
    connection.send_packed_command([packed([("CLIENT", "REPLY", "OFF")])])
    for first in range(0, count, 1_000):
        connection.send_packed_command([packed(records(min(1_000, count - first), payload, kept))])
    connection.send_packed_command([packed([("CLIENT", "REPLY", "ON"), ("DBSIZE",)])])
    connection.read_response()
    there, wanted = connection.read_response(), count * (2 if b"rs:s:".startswith(kept) else 1)
    connection.disconnect()
    if there != wanted:
        raise RuntimeError(f"the server has {there} keys of {wanted}")


def records(count: int, payload: bytes, kept: bytes) -> list[Words]:
    """Return what puts entries and their stamps as a store would."""
    words: list[Words] = []
    for _ in range(count):
        key, stamp, token = os.urandom(16), os.urandom(16), os.urandom(16)
        words.append(("SET", b"rs:e:" + key, pack_entry(key, {stamp: token}, payload), "PX", 3_600_000))
        if b"rs:s:".startswith(kept):
            words.append(("SET", b"rs:s:" + stamp, b"t" + bytes(8) + token, "PX", 86_400_000))
    return words


def memory(program: Path | None, payload: bytes, entries: int = 50_000) -> None:
    """Bytes an entry takes beyond its payload: as the server says of one key, and of many together."""
    print("\nbytes of an entry beyond its payload")
    for what, kept in (("the entry", b"rs:e:"), ("with a stamp that nobody else depends on", b"rs:")):
        with ValkeyServer(program) as server, redis.Redis.from_url(server.url()) as connected:
            client: Any = connected
            before: Any = client.info("memory")
            populate(server, entries, payload, kept)
            used: Any = client.info("memory")
            keys = [next(client.scan_iter(pattern)) for pattern in ("rs:e:*", "rs:s:*")[: 1 if kept == b"rs:e:" else 2]]
            alone = sum(client.memory_usage(key) or 0 for key in keys) - len(payload)
            of_all = (used["used_memory"] - before["used_memory"]) / entries - len(payload)
            print(f"  {what:<42} {alone:>6} by MEMORY USAGE, {of_all:>6.0f} with their share of the tables")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=61)
    parser.add_argument("--redis", type=Path, help="a Redis server to run instead of Valkey")
    parser.add_argument("--largest", type=int, default=1_000_000)
    parser.add_argument("--payload", type=int, default=400)
    options = parser.parse_args()
    payload = os.urandom(options.payload)
    with ValkeyServer(options.redis) as server:
        print(f"{server.url()} {options.redis or 'Valkey'}, payload {len(payload)} bytes, {len(STAMPS)} stamps")
        blocking(server.url(), options.rounds, payload)
        asyncio.run(awaited(server.url(), options.rounds, payload))
    commits(options.redis, options.largest, payload, options.rounds)
    memory(options.redis, payload)


if __name__ == "__main__":
    main()
