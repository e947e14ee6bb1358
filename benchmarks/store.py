"""What the Redis stores cost beside a bare GET of the same client, interleaved in one run on a private Valkey.

    python benchmarks/store.py [--rounds N] [--redis PROGRAM] [--largest ENTRIES]

Each figure is the median of the rounds; ratios are medians of the ratios within a round, so that a machine that
becomes slower in the middle changes both sides alike.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import redis
import redis.asyncio

from rowstamp.drivers import perform, run, run_async
from rowstamp.model import fresh_token
from rowstamp.protocol import Hit, fill, lookup
from rowstamp.stores.redis import AsyncRedisStore, RedisStore
from rowstamp.stores.redis.address import Address
from rowstamp.stores.redis.clients import address_of_client
from rowstamp.testing.servers import ValkeyServer

STAMPS = [os.urandom(16) for _ in range(4)]
ENTRY = os.urandom(16)
BODY = os.urandom(400)
TASKS = 100


def address(url: str) -> Address:
    with redis.Redis.from_url(url) as client:
        found = address_of_client(client, timeout_ms=5000)
    assert isinstance(found, Address)
    return found


# -------------------------------------------------------------------------------------------------- one operation


def hit(store: RedisStore) -> None:
    outcome = run(lookup(ENTRY, STAMPS), lambda operation: perform(store, operation, None))
    assert isinstance(outcome, Hit)


async def ahit(store: AsyncRedisStore) -> None:
    async def step(operation: object) -> object:
        return await perform(store, operation, None)  # type: ignore[arg-type]

    outcome = await run_async(lookup(ENTRY, STAMPS), step)
    assert isinstance(outcome, Hit)


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


# --------------------------------------------------------------------------------------------------------- reports


def report(title: str, base: str, figures: dict[str, list[float]]) -> None:
    print(f"\n{title}")
    for name, values in figures.items():
        ratio = statistics.median(value / first for value, first in zip(values, figures[base], strict=True))
        print(f"  {name:<42} {statistics.median(values):>9.1f} µs   × {ratio:.2f}")


def blocking(url: str, rounds: int) -> None:
    client, store = redis.Redis.from_url(url), RedisStore(address(url), hold_ttl=0)
    client.set("bare", BODY)
    tokens = {stamp: fresh_token() for stamp in STAMPS}
    store.mint(tokens)
    ticket = run(lookup(ENTRY, STAMPS), lambda operation: perform(store, operation, None)).ticket  # type: ignore[union-attr]
    run(fill(ticket, BODY, ttl=3600), lambda operation: perform(store, operation, None))  # type: ignore[arg-type]
    figures: dict[str, list[float]] = {"bare GET": [], "MGET of as many keys": [], "strict hit": []}
    for _ in range(rounds):
        figures["bare GET"].append(timed(lambda: client.get("bare"), 2000))
        figures["MGET of as many keys"].append(timed(lambda: client.mget(["bare"] * 6), 2000))
        figures["strict hit"].append(timed(lambda: hit(store), 2000))
    report("blocking, one after the other", "bare GET", figures)
    client.close()
    store.close()


async def awaited(url: str, rounds: int) -> None:
    client, store = redis.asyncio.Redis.from_url(url), AsyncRedisStore(address(url), hold_ttl=0)
    await ahit(store)
    one: dict[str, list[float]] = {"bare GET": [], "strict hit": []}
    many: dict[str, list[float]] = {
        "bare GET, one after the other": [],
        f"bare GET, {TASKS} tasks": [],
        f"strict hit, {TASKS} tasks": [],
    }
    for _ in range(rounds):
        one["bare GET"].append(await atimed(lambda: client.get("bare"), 2000))
        one["strict hit"].append(await atimed(lambda: ahit(store), 2000))
        many["bare GET, one after the other"].append(one["bare GET"][-1])
        many[f"bare GET, {TASKS} tasks"].append(await together(lambda: client.get("bare"), 4000))
        many[f"strict hit, {TASKS} tasks"].append(await together(lambda: ahit(store), 10_000))
    report("awaited, one after the other", "bare GET", one)
    report(f"awaited, time for each of many operations of {TASKS} tasks", "bare GET, one after the other", many)
    await store.aclose()
    await client.aclose()


def commits(url: str, largest: int) -> None:
    """Hold and release of four stamps, with more and more entries in the store."""
    print("\nhold + release of 4 stamps (two round trips)")
    client, store = redis.Redis.from_url(url), RedisStore(address(url), hold_ttl=0)
    client.flushall()
    present, before = 0, 0
    for entries in (10, 1_000, 100_000, 1_000_000):
        if entries > largest:
            break
        populate(client, store, present, entries)
        present = entries
        tokens = {stamp: fresh_token() for stamp in STAMPS}

        def transaction(tokens: dict[bytes, bytes] = tokens) -> None:
            writer = fresh_token()
            store.hold(STAMPS, writer, 10)
            store.release(tokens, writer)

        taken = statistics.median(timed(transaction, 300) for _ in range(7))
        print(f"  {entries:>9,} entries {taken:>12.1f} µs")
        used: int = client.info("memory")["used_memory"]  # type: ignore[index]
        if entries >= 100_000:
            print(
                f"            {(used - before) / entries:>12.0f} bytes an entry in all; its key, blob, stamp and token "
                f"are {16 + blob_size() + 32:,}"
            )
        else:
            before = used
    store.close()
    client.close()


def blob_size() -> int:
    from rowstamp.entry import pack_entry

    return len(pack_entry(ENTRY, {stamp: stamp for stamp in STAMPS[:3]}, BODY))


def populate(client: redis.Redis, store: RedisStore, start: int, end: int) -> None:
    """Put entries, each with a stamp of its own and two that it shares."""
    from rowstamp.entry import pack_entry

    tag = ops_tag(store)
    for first in range(start, end, 10_000):
        pipeline = client.pipeline(transaction=False)
        for _ in range(first, min(first + 10_000, end)):
            key, stamp, token = os.urandom(16), os.urandom(16), fresh_token()
            blob = pack_entry(key, {stamp: token, STAMPS[0]: token, STAMPS[1]: token}, BODY)
            pipeline.set(b"rs:e:" + key, blob, px=3_600_000)
            pipeline.set(b"rs:s:" + stamp, b"t" + tag + token, px=86_400_000)
        pipeline.execute()


def ops_tag(store: RedisStore) -> bytes:
    store.mint({STAMPS[0]: fresh_token()})
    (lines,) = store._lines.values()  # noqa: SLF001 - to write a million stamps in pipelines
    tag: bytes = lines.idle[-1].server.tag(store._plan.epoch.value)  # noqa: SLF001
    return tag


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--redis", type=Path, help="a Redis server to run instead of Valkey")
    parser.add_argument("--largest", type=int, default=1_000_000)
    options = parser.parse_args()
    with ValkeyServer(options.redis) as server:
        print(f"{server.url()} {options.redis or 'Valkey'}, payload {len(BODY)} bytes, {len(STAMPS)} stamps")
        blocking(server.url(), options.rounds)
        asyncio.run(awaited(server.url(), options.rounds))
        commits(server.url(), options.largest)


if __name__ == "__main__":
    main()
