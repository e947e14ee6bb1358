"""Values under several keys: read, kept and loaded together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from rowstamp import AsyncCache, Cache, ConfigurationError, StoreError, UnsupportedArgument
from rowstamp.stores.memory import MemoryStore
from rowstamp.testing import FakeClock
from tests.tricks import TrickStore
from tests.unit.query_models import CategoryStats, Product, fill

pytestmark = pytest.mark.once


class Loads:
    """Knows the even numbers, and which it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __call__(self, keys: list[int]) -> dict[int, str]:
        self.asked.append(keys)
        return {key: f"{key}" for key in keys if key % 2 == 0}

    async def awaited(self, keys: list[int]) -> dict[int, str]:
        await asyncio.sleep(0)
        return self(keys)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> TrickStore:
    return TrickStore(MemoryStore(clock=clock))


@pytest.fixture
def cache(store: TrickStore) -> Iterator[Cache]:
    with Cache(store) as cache:
        yield cache


@pytest.fixture
def load() -> Loads:
    return Loads()


def test_what_is_missing_is_loaded_together_and_kept(cache: Cache, load: Loads) -> None:
    assert cache.get_or_load_many([2, 4], load) == {2: "2", 4: "4"}
    assert list(cache.get_or_load_many([6, 4, 2], load)) == [6, 4, 2]
    assert load.asked == [[2, 4], [6]]
    assert cache.get_many([2, 4, 6]) == {2: "2", 4: "4", 6: "6"}
    assert cache.get_or_load(2, lambda: "other") == "2"


def test_that_there_is_nothing_is_kept_too(cache: Cache, load: Loads, clock: FakeClock) -> None:
    for _ in range(2):
        assert cache.get_or_load_many([1, 2], load, ttl_empty=10) == {2: "2"}
    assert load.asked == [[1, 2]]
    assert cache.get_many([1, 2]) == {2: "2"}
    assert cache.get(1, "none") == "none"
    assert cache.get_or_load(1, lambda: "found") == "found"
    cache.delete(1)
    clock.advance(11)
    assert cache.get_or_load_many([1, 2], load) == {2: "2"}
    assert load.asked == [[1, 2], [1]]
    assert cache.stats().corrupt == 0


def test_none_is_a_value(cache: Cache) -> None:
    loads: list[list[str]] = []

    def load(keys: list[str]) -> dict[str, None]:
        loads.append(keys)
        return dict.fromkeys(keys)

    for _ in range(2):
        assert cache.get_or_load_many(["a"], load) == {"a": None}
    assert len(loads) == 1


def test_the_rows_they_were_made_of_end_all_that_were_loaded_together(cache: Cache, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    with engine.begin() as connection:
        fill(connection)
    cache.attach(engine)
    asked: list[list[int]] = []

    def stocks(keys: list[int]) -> dict[int, int]:
        asked.append(keys)
        with Session(engine) as session:
            rows = session.execute(select(Product.id, Product.stock).where(Product.id.in_(keys)))
            return {row.id: row.stock for row in rows}

    before = cache.get_or_load_many([1, 2], stocks)
    assert cache.get_or_load_many([1, 2], stocks) == before
    with Session(engine) as session:
        session.get_one(Product, 1).stock += 1
        session.commit()
    after = cache.get_or_load_many([1, 2], stocks)
    assert after == {1: before[1] + 1, 2: before[2]}
    assert asked == [[1, 2], [1, 2]]
    engine.dispose()


@pytest.mark.parametrize(
    "overtake", [lambda cache: cache.set(2, "set"), lambda cache: cache.delete(2)], ids=["set", "delete"]
)
def test_a_key_that_is_set_or_deleted_meanwhile_is_not_kept_and_the_others_are(
    cache: Cache, overtake: Callable[[Cache], None]
) -> None:
    def load(keys: list[int]) -> dict[int, str]:
        overtake(cache)
        return dict.fromkeys(keys, "loaded")

    assert cache.get_or_load_many([2, 4], load) == {2: "loaded", 4: "loaded"}
    assert cache.get(2) in {"set", None}
    assert cache.get(4) == "loaded"


def test_a_tag_that_is_invalidated_meanwhile_wins_over_all(cache: Cache) -> None:
    def load(keys: list[int]) -> dict[int, str]:
        cache.invalidate(tags=["t"])
        return dict.fromkeys(keys, "loaded")

    cache.get_or_load_many([2, 4], load, tags=["t"])
    assert cache.get_many([2, 4]) == {}


def test_a_value_that_is_set_with_a_tag_that_was_invalidated_elsewhere_is_kept(store: TrickStore, cache: Cache) -> None:
    """The tokens that this process has seen are old, and it has to notice."""
    cache.set("a", 1, tags=["t"])
    with Cache(store) as other:
        other.invalidate(tags=["t"])
    cache.set("a", 2, tags=["t"])
    assert cache.get("a") == 2


def test_values_that_cannot_be_kept_are_returned(cache: Cache) -> None:
    found = cache.get_or_load_many(["a", "b"], lambda keys: {"a": object(), "b": 1})
    assert type(found["a"]) is object
    assert cache.get_many(["a", "b"]) == {"b": 1}


def test_values_come_back_as_what_they_are(cache: Cache) -> None:
    stats = CategoryStats("books", 2, 1)  # type: ignore[arg-type]
    calls: list[int] = []

    def load(keys: list[str]) -> Mapping[str, CategoryStats]:
        calls.append(1)
        return dict.fromkeys(keys, stats)

    for _ in range(2):
        assert cache.get_or_load_many(["a"], load, as_=CategoryStats) == {"a": stats}


def test_a_store_that_is_down_costs_a_load_and_no_error(cache: Cache, store: TrickStore, load: Loads) -> None:
    store.down = {"read", "mint", "put", "touch"}
    for _ in range(2):
        assert cache.get_or_load_many([2, 1], load) == {2: "2"}
    assert len(load.asked) == 2
    assert cache.get_many([2]) == {}
    with pytest.raises(StoreError):
        cache.set_many({2: "x"})
    store.down = {"put"}
    assert cache.get_or_load_many([2], load) == {2: "2"}
    store.down = {"mint"}
    assert cache.get_or_load_many([8], load) == {8: "8"}
    store.down = set()
    assert cache.get_or_load_many([2, 8], load) == {2: "2", 8: "8"}
    assert load.asked[-1] == [2, 8]


def test_threads_that_miss_the_same_keys_wait_for_each_other(cache: Cache) -> None:
    """Each loads what nobody else is loading, and nobody waits before its own load has landed."""
    asked: list[int] = []
    first, second = threading.Event(), threading.Event()

    def load_first(keys: list[int]) -> dict[int, str]:
        asked.extend(keys)
        first.set()
        second.wait()
        return dict.fromkeys(keys, "1")

    def load_second(keys: list[int]) -> dict[int, str]:
        asked.extend(keys)
        second.set()
        return dict.fromkeys(keys, "2")

    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(cache.get_or_load_many, [1, 2], load_first)
        first.wait()
        assert cache.get_or_load_many([2, 3], load_second) == {2: "1", 3: "2"}
        assert one.result() == {1: "1", 2: "1"}
    assert sorted(asked) == [1, 2, 3]


class Watched(MemoryStore):
    """Says when somebody waits for a lease."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = threading.Event()

    def wait_unleased(self, entry: bytes, seconds: float) -> None:
        self.waiting.set()
        super().wait_unleased(entry, seconds)


@pytest.mark.parametrize("keys", [[2, 3, 4], [2]])
def test_processes_that_miss_the_same_keys_load_them_once(keys: list[int]) -> None:
    """Two caches on one store are two processes as far as their loads go; that there is nothing is shared, too."""
    store, loading, asked = Watched(), threading.Event(), list[list[int]]()

    def load(keys: list[int]) -> dict[int, str]:
        asked.append(keys)
        loading.set()
        store.waiting.wait()
        return {key: "x" for key in keys if key != 3}

    with Cache(store) as cache, ThreadPoolExecutor(1) as pool:
        other = Cache(store)
        one = pool.submit(cache.get_or_load_many, keys, load)
        loading.wait()
        assert (
            other.get_or_load_many(list(reversed(keys)), load) == one.result() == {key: "x" for key in keys if key != 3}
        )
        assert other.stats().misses == 0
    assert asked == [keys]


def test_other_keys_wait_for_nobody_elsewhere(load: Loads) -> None:
    """A lease is for just the keys that are missing: with others among them it is another one."""
    store = Watched()
    with Cache(store) as cache:

        def load_within(keys: list[int]) -> dict[int, str]:
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(Cache(store).get_or_load_many, [2, 6], load).result() == {2: "2", 6: "6"}
            return load(keys)

        assert cache.get_or_load_many([2, 4], load_within) == {2: "2", 4: "4"}
    assert not store.waiting.is_set()


def test_a_load_that_fails_gives_its_turn_back(load: Loads) -> None:
    def fail(_keys: list[int]) -> dict[int, str]:
        raise LookupError("no luck")

    store = Watched()
    with Cache(store) as cache:
        with pytest.raises(LookupError):
            cache.get_or_load_many([2, 4], fail)
        assert Cache(store).get_or_load_many([2, 4], load) == {2: "2", 4: "4"}
    assert not store.waiting.is_set()


async def test_the_same_with_await(load: Loads) -> None:
    async with AsyncCache() as cache:
        found = await asyncio.gather(*[cache.get_or_load_many([2, 4, 5], load.awaited) for _ in range(20)])
        assert all(each == {2: "2", 4: "4"} for each in found)
        assert load.asked == [[2, 4, 5]]
        with cache.disabled():
            assert await cache.get_or_load_many([2], load.awaited) == {2: "2"}
        assert load.asked == [[2, 4, 5], [2]]


def test_what_it_reads_is_read_by_the_function_around_it(cache: Cache, load: Loads) -> None:
    calls: list[int] = []

    @cache.query()
    def around() -> dict[int, str]:
        calls.append(1)
        return cache.get_or_load_many([2, 4], load)

    for _ in range(2):
        assert around() == {2: "2", 4: "4"}
    assert len(calls) == 1
    cache.delete(4)
    around()
    assert len(calls) == 2
    assert load.asked == [[2, 4], [4]]


def test_mistakes_are_told(cache: Cache, load: Loads) -> None:
    with pytest.raises(UnsupportedArgument):
        cache.get_or_load_many([object()], lambda keys: {})
    with pytest.raises(ConfigurationError):
        cache.get_or_load_many([2], load, ttl=-1)
    assert cache.get_or_load_many([], load) == {}
    assert load.asked == []
