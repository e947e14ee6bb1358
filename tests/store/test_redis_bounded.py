"""Bounded freshness on real servers: no round trip while the feed is proved, and strict reads by themselves when it is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import create_engine, func, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from rowstamp import AsyncCache, Cache, bounded, cached
from rowstamp.drivers import perform, run
from rowstamp.errors import StoreError
from rowstamp.mirror import Mirror, steady_clock
from rowstamp.near import NearCache
from rowstamp.protocol import Flow, Hit, Miss, commit, fill, lookup
from rowstamp.store import Store
from rowstamp.stores.redis import AsyncRedisStore, RedisStore
from rowstamp.stores.redis import feed as feeds
from rowstamp.testing.servers import ValkeyServer
from rowstamp.testing.store_harness import digest, drive
from tests.faults.proxy import Proxy
from tests.servers.redis import RedisServer
from tests.servers.valkey import settled
from tests.store.redis_support import address_of
from tests.store.test_redis_server import until

pytestmark = pytest.mark.once

E, A, B = digest("entry"), digest("a"), digest("b")
BOUND = 60.0
"""So wide that only what is proved decides, and not how busy the machine is."""


class Process:
    """A process with a store and a near cache, and a count of the round trips of its reads."""

    def __init__(self, store: Store, followed: RedisStore | AsyncRedisStore, stamps: Sequence[bytes] = (A, B)) -> None:
        self.store = store
        self.stamps = stamps
        self.followed = followed
        self.near = NearCache(1 << 20)
        self.trips = 0

    @property
    def mirror(self) -> Mirror:
        return self.followed.follow()

    def run(self, flow: Flow[Any]) -> Any:
        def step(operation: Any) -> Any:
            self.trips += 1
            return perform(self.store, operation, lambda: None)

        return run(flow, step)

    def read(self, *, bound: float = BOUND) -> bytes | None:
        """The body of a hit, or ``None``."""
        self.trips = 0
        outcome: Hit | Miss = self.run(self.near.through(lookup(E, self.stamps), self.mirror, bound))
        return outcome.body if isinstance(outcome, Hit) else None

    def load(self, body: bytes) -> None:
        outcome = self.run(lookup(E, self.stamps, serve=False))
        assert isinstance(outcome, Miss)
        assert outcome.ticket is not None
        self.run(fill(outcome.ticket, body, ttl=60, ends_at=4e9))

    def warm(self, body: bytes = b"body") -> None:
        """Read until it is served without a round trip."""
        self.load(body)
        until(lambda: self.read() == body and self.trips == 0)

    def write(self) -> None:
        self.run(commit(self.stamps[:1], writer=os.urandom(16), hold_ttl=60, refused=lambda _: False))

    def beats(self) -> None:
        """Wait for a heartbeat that was sent from now on: whatever the server has changed by now has been heard."""
        now = steady_clock()
        until(lambda: bool(self.mirror._feeds) and all(feed.proven_at > now for feed in self.mirror._feeds.values()))


@pytest.fixture(params=["valkey", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    server: ValkeyServer | RedisServer = request.getfixturevalue(f"{request.param}_server")
    with redis.Redis.from_url(server.url()) as client:
        client.flushall()
    return settled(server.url())


@pytest.fixture(params=[RedisStore, AsyncRedisStore], ids=["blocking", "awaited"])
def process_of(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Process]]:
    made: list[Generator[Process, None, None]] = []

    def make(url: str) -> Process:
        def process() -> Generator[Process, None, None]:
            followed: RedisStore | AsyncRedisStore = request.param(address_of(url), hold_ttl=0)
            with drive(followed, check=False) as store:
                yield Process(store, followed)

        steps = process()
        made.append(steps)
        return next(steps)

    yield make
    for steps in made:
        steps.close()


@pytest.fixture
def process(process_of: Callable[[str], Process], url: str) -> Process:
    return process_of(url)


@pytest.fixture
def private() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


def test_a_bounded_hit_is_no_round_trip(process: Process) -> None:
    process.warm()
    assert process.read() == b"body"
    assert process.trips == 0


def test_a_strict_hit_beside_it_is_one(process: Process) -> None:
    process.warm()
    outcome = process.run(process.near.through(lookup(E, (A, B))))
    assert isinstance(outcome, Hit)
    assert process.trips == 1


def test_another_processs_commit_is_visible_after_a_heartbeat(
    process: Process, process_of: Callable[[str], Process], url: str
) -> None:
    other = process_of(url)
    process.warm()
    other.write()
    process.beats()
    assert process.read() is None
    process.warm(b"new")


def test_another_processs_hold_is_visible_after_a_heartbeat(
    process: Process, process_of: Callable[[str], Process], url: str
) -> None:
    process.warm()
    process_of(url).store.hold([B], digest("writer"), 60)
    process.beats()
    assert process.read() is None
    assert process.trips == 1


@pytest.mark.parametrize("write", ["commit", "hold", "touch", "release"])
def test_its_own_write_is_visible_at_once(process: Process, monkeypatch: pytest.MonkeyPatch, write: str) -> None:
    """Nothing of the feed is needed for it."""
    process.warm()
    monkeypatch.setattr(feeds, "heard", lambda *_: None)
    match write:
        case "commit":
            process.write()
        case "hold":
            process.store.hold([A], digest("writer"), 60)
        case "touch":
            process.store.touch({A: digest("a2")})
        case _:
            process.store.release({A: digest("a2")}, digest("writer"))
    assert process.read() is None


def test_its_own_write_is_forgotten_before_it_is_sent_and_after(
    process: Process, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In between, another read of the process may have fetched the old token."""
    process.warm()
    monkeypatch.setattr(feeds, "heard", lambda *_: None)
    changed, seen = process.mirror.changed, list[bytes]()
    with redis.Redis.from_url(url) as client:

        def spy(stamps: Iterable[bytes]) -> None:
            names = list(stamps)
            if A in names:
                kept: Any = client.get(b"rs:s:" + A)
                seen.append(kept[:1])
            changed(names)

        monkeypatch.setattr(process.mirror, "changed", spy)
        process.store.hold([A], digest("writer"), 60)
    assert seen == [b"t", b"h"]


def test_a_client_that_cannot_hear_pushes_says_so_once_and_leaves_reads_strict(
    process: Process, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another version of the client may lack what the feed needs; no read is broken by it, and no thread started anew."""
    tried = threading.Semaphore(0)

    def find(_: object) -> object:
        tried.release()
        raise AttributeError("no push handler")

    monkeypatch.setattr(feeds, "find", find)
    process.load(b"body")
    for _ in range(3):
        assert process.read() == b"body"
        assert process.trips == 1
    assert all(tried.acquire(timeout=20) for _ in range(2))
    assert len([record for record in caplog.records if "cannot be followed" in record.message]) == 1
    assert len([thread for thread in threading.enumerate() if thread.name == "rowstamp-redis-feed"]) == 1


def test_clear_is_visible_after_a_heartbeat(process: Process, process_of: Callable[[str], Process], url: str) -> None:
    process.warm()
    process_of(url).store.clear()
    process.beats()
    assert process.read() is None


def test_a_flushed_server_is_visible_after_a_heartbeat(process: Process, url: str) -> None:
    process.warm()
    with redis.Redis.from_url(url) as client:
        client.flushall()
    process.beats()
    assert process.read() is None


def test_another_client_that_connects_costs_one_strict_read(
    process: Process, process_of: Callable[[str], Process], url: str
) -> None:
    """It gives the epoch more time, which is told like any change; the tokens still count."""
    process.warm()
    process_of(url).store.read(E, [])
    process.beats()
    assert process.read() == b"body"
    assert process.trips == 1
    assert process.read() == b"body"
    assert process.trips == 0


def test_a_cut_feed_makes_reads_strict(process_of: Callable[[str], Process], private: ValkeyServer) -> None:
    with Proxy(private.port) as proxy:
        process = process_of(proxy.url())
        process.warm()
        proxy.refusing = True
        proxy.cut()
        until(lambda: not process.mirror._feeds)
        assert process.mirror.states([A, B], BOUND) is None
        proxy.refusing = False
        until(lambda: _read_or_none(process) == b"body" and process.trips == 0)


def test_a_commit_while_the_feed_is_cut_is_seen(process_of: Callable[[str], Process], private: ValkeyServer) -> None:
    """Nobody heard of it; so what was fetched before does not count after the reconnection."""
    with Proxy(private.port) as proxy:
        process, other = process_of(proxy.url()), process_of(private.url())
        process.warm()
        proxy.refusing = True
        proxy.cut()
        other.write()
        proxy.refusing = False
        until(lambda: bool(process.mirror._feeds))
        until(lambda: process.mirror.begin() is not None)
        assert _read_or_none(process) is None


def test_a_stopped_server_serves_nobody_beyond_the_bound(
    process_of: Callable[[str], Process], private: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = process_of(private.url())
    process.warm()
    os.kill(private.pid, signal.SIGSTOP)
    try:
        late = steady_clock() + BOUND + 1
        monkeypatch.setattr(process.mirror, "clock", lambda: late)
        assert process.mirror.states([A, B], BOUND) is None
    finally:
        os.kill(private.pid, signal.SIGCONT)


def test_closing_ends_the_thread(process_of: Callable[[str], Process], url: str) -> None:
    process = process_of(url)
    process.warm()
    process.store.close()
    assert not any(thread.name == "rowstamp-redis-feed" for thread in threading.enumerate())
    process.followed.follow()
    assert not any(thread.name == "rowstamp-redis-feed" for thread in threading.enumerate())


def test_without_bounded_reads_nobody_listens(process: Process) -> None:
    process.store.read(E, [A])
    assert not any(thread.name == "rowstamp-redis-feed" for thread in threading.enumerate())


def test_a_server_that_refuses_tracking_leaves_reads_strict(
    process_of: Callable[[str], Process], private: ValkeyServer
) -> None:
    """An ACL may forbid it; nobody is told but the log, once."""
    with redis.Redis.from_url(private.url()) as client:
        client.execute_command("ACL", "SETUSER", "default", "-client|tracking")
    process = process_of(private.url())
    process.load(b"body")
    for _ in range(3):
        assert process.read() == b"body"
        assert process.trips == 1


FORKING = """
import os, sys
from tests.store.redis_support import address_of
from tests.store.test_redis_bounded import Process, RedisStore
store = RedisStore(address_of(sys.argv[1]), hold_ttl=0)
process = Process(store, store)
process.warm()
locked = store.follow()._lock
locked.acquire()
pid = os.fork()
if not pid:
    ok = process.read() == b"body"
    process.warm()
    process.write()
    os._exit(0 if ok and process.read() is None else 1)
locked.release()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_forked_process_follows_by_itself(valkey_server: ValkeyServer) -> None:
    """It has no thread, and the locks may be held by one that it does not have."""
    subprocess.run([sys.executable, "-c", FORKING, valkey_server.url()], check=True, timeout=60)


def _read_or_none(process: Process) -> bytes | None:
    """Read where the store may be left alone for a moment."""
    try:
        return process.read()
    except StoreError:
        return None


# ------------------------------------------------------------------------------------------------ whole caches


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


NAMES = select(Item.name).order_by(Item.id)


def test_a_cache_serves_statements_and_functions_without_a_round_trip(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And sees a commit of another cache, as of another process, within the bound; of its own at once."""
    engines = [create_engine(f"sqlite:///{tmp_path}/items.db") for _ in range(2)]
    Base.metadata.create_all(engines[0])
    with Cache(url, freshness=bounded(60_000)) as cache, Cache(url) as other, ExitStack() as ending:
        for engine, each in zip(engines, (cache, other), strict=True):
            ending.callback(engine.dispose)
            each.attach(engine)

        @cache.query()
        def count(session: Session) -> int:
            return session.scalar(select(func.count()).select_from(Item)) or 0

        def read() -> tuple[list[str], int]:
            with Session(engines[0]) as session:
                return list(session.scalars(NAMES.options(cached()))), count(session)

        def bounded_hits() -> int:
            return cache.stats().bounded_hits

        def warmed() -> bool:
            before = bounded_hits()
            read()
            return bounded_hits() == before + 2

        until(warmed)
        with monkeypatch.context() as patched:
            patched.setattr(cache._core.store, "read", None)
            assert read() == ([], 0), "the store was asked"
        with Session(engines[1]) as session:
            session.add(Item(name="theirs"))
            session.commit()
        until(lambda: read() == (["theirs"], 1))
        until(warmed)
        with Session(engines[0]) as session:
            session.add(Item(name="mine"))
            session.commit()
        assert read() == (["theirs", "mine"], 2)


async def test_an_awaited_cache_serves_without_a_round_trip(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/items.db")
    async with AsyncCache(valkey_server.url(), namespace="awaited") as cache:
        cache.attach(engine)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)

        async def read() -> list[str]:
            async with AsyncSession(engine) as session:
                return list(await session.scalars(NAMES.options(cached(freshness=bounded(60_000)))))

        while not cache.stats().bounded_hits:
            assert await read() == []
        async with AsyncSession(engine) as session:
            session.add(Item(name="mine"))
            await session.commit()
        assert await read() == ["mine"]
    await engine.dispose()
