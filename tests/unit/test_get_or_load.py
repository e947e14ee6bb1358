"""Values under keys of the user's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, func, select
from sqlalchemy.orm import Session

from rowstamp import AsyncCache, Cache, ConfigurationError, StoreError, UnsupportedArgument
from rowstamp.stores.memory import MemoryStore
from rowstamp.testing import FakeClock
from tests.tricks import TrickStore
from tests.unit.query_models import CategoryStats, Product, User, fill

pytestmark = pytest.mark.once


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


class Loads:
    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> int:
        self.number += 1
        return self.number


@pytest.fixture
def load() -> Loads:
    return Loads()


def test_a_value_is_loaded_once(cache: Cache, load: Loads) -> None:
    assert [cache.get_or_load("rates", load), cache.get_or_load("rates", load)] == [1, 1]
    assert cache.get_or_load("other", load) == 2
    assert cache.stats().hits == 1


def test_its_time_to_live_ends_it(cache: Cache, load: Loads, clock: FakeClock) -> None:
    cache.get_or_load("rates", load, ttl=10)
    clock.advance(11)
    assert cache.get_or_load("rates", load, ttl=10) == 2


def test_its_tags_end_it(cache: Cache, load: Loads) -> None:
    cache.get_or_load("rates", load, tags=["money", "home"])
    cache.invalidate(tags=["home"])
    assert cache.get_or_load("rates", load, tags=["money", "home"]) == 2


class Touched(TrickStore):
    """Remembers how many stamps each operation has touched."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.touched: list[int] = []

    def touch(self, tokens: Mapping[bytes, bytes]) -> None:
        self.touched.append(len(tokens))
        super().touch(tokens)


def test_tags_are_ended_by_their_own_stamps_however_much_hangs_on_them(load: Loads) -> None:
    """One operation on as many stamps as there are tags, with ten values as with two hundred."""
    store = Touched()
    with Cache(store) as cache:
        for values in (10, 200):
            for key in range(values):
                cache.get_or_load(key, load, tags=["money", "home"])
            loaded = load.number
            store.calls.clear()
            cache.invalidate(tags=["money", "home"])
            assert store.calls == ["touch"]
            cache.get_or_load(0, load, tags=["money", "home"])
            assert load.number == loaded + 1
    assert store.touched == [2, 2]


def test_the_rows_it_was_made_of_end_it(cache: Cache, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    with engine.begin() as connection:
        fill(connection)
    cache.attach(engine)
    runs: list[int] = []

    def total() -> int:
        runs.append(1)
        with Session(engine) as session:
            return session.scalar(select(func.sum(Product.stock))) or 0

    assert [cache.get_or_load("total", total), cache.get_or_load("total", total)] == [9, 9]
    with Session(engine) as session:
        session.add(User(id=9, name="eve"))
        session.commit()
    cache.get_or_load("total", total)
    assert len(runs) == 1
    with Session(engine) as session:
        session.add(Product(id=9, name="new", stock=1))
        session.commit()
    assert cache.get_or_load("total", total) == 10
    engine.dispose()


def test_a_load_that_is_overtaken_by_set_delete_or_a_tag_is_not_kept(cache: Cache) -> None:
    for overtake, expected in (
        (lambda: cache.set("k", 5), None),
        (lambda: cache.delete("k"), None),
        (lambda: cache.invalidate(tags=["t"]), None),
    ):
        cache.clear()

        def load(overtake: Any = overtake) -> int:
            overtake()
            return 1

        assert cache.get_or_load("k", load, tags=["t"]) == 1
        assert cache.get("k") is expected


def test_get_tells_a_stored_none_from_nothing(cache: Cache) -> None:
    missing = object()
    assert cache.get("k", missing) is missing
    cache.set("k", None)
    assert cache.get("k", missing) is None


def test_values_come_back_exactly_and_as_what_they_are(cache: Cache) -> None:
    stats = CategoryStats("books", 2, Decimal("1.50"))
    cache.set("stats", stats, as_=CategoryStats)
    assert cache.get("stats", as_=CategoryStats) == stats
    cache.set("plain", {"a": (1, Decimal("2.50")), 3: {True}})
    assert cache.get("plain") == {"a": (1, Decimal("2.50")), 3: {True}}

    def load() -> CategoryStats:
        return stats

    for _ in range(2):
        assert cache.get_or_load("loaded", load) == stats
    assert cache.stats().hits == 3


def test_many_at_once(cache: Cache) -> None:
    cache.set_many({"a": 1, ("b", 2): 2}, tags=["t"])
    assert cache.get_many(["a", ("b", 2), "c"]) == {"a": 1, ("b", 2): 2}
    cache.delete_many(["a", "c"])
    assert cache.get_many(["a", ("b", 2)]) == {("b", 2): 2}
    cache.invalidate(tags=["t"])
    assert cache.get_many(["a", ("b", 2)]) == {}


def test_touch_prolongs_what_is_there(cache: Cache, clock: FakeClock) -> None:
    cache.set("k", 1, ttl=10, tags=["t"])
    assert cache.touch("k", 100)
    clock.advance(50)
    assert cache.get("k") == 1
    cache.invalidate(tags=["t"])
    assert not cache.touch("k", 100)
    assert cache.get("k") is None
    assert not cache.touch("absent", 1)


def test_a_key_of_one_type_is_not_the_key_of_another(cache: Cache) -> None:
    for number, key in enumerate((1, "1", True, (1,), b"1")):
        cache.set(key, number)
    assert [cache.get(key) for key in (1, "1", True, (1,), b"1")] == [0, 1, 2, 3, 4]
    with pytest.raises(UnsupportedArgument, match="give a string, or a tuple"):
        cache.get(object())


def test_mistakes_are_told(cache: Cache, load: Loads) -> None:
    with pytest.raises(ConfigurationError):
        cache.get_or_load("k", load, ttl=-1)
    with pytest.raises(ConfigurationError):
        cache.get_or_load("k", load, tags="t")
    with pytest.raises(ConfigurationError, match="as_="):
        cache.get("k", as_=Iterator[int])


def test_a_store_that_is_down_costs_a_load_and_no_error(cache: Cache, store: TrickStore, load: Loads) -> None:
    store.down = {"read", "mint", "put", "touch"}
    assert [cache.get_or_load("k", load), cache.get_or_load("k", load)] == [1, 2]
    assert cache.get("k", 7) == 7
    with pytest.raises(StoreError):
        cache.set("k", 1)
    store.down = {"put"}
    assert cache.get_or_load("k", load) == 3
    store.down = set()
    assert [cache.get_or_load("k", load), cache.get_or_load("k", load)] == [4, 4]


def test_a_held_tag_is_not_served_and_not_filled(cache: Cache, store: TrickStore, load: Loads) -> None:
    from rowstamp.keys import stamp_name
    from rowstamp.model import Dependency

    tag = stamp_name("rowstamp", Dependency.tag("t"))
    cache.get_or_load("k", load, tags=["t"])
    store.hold([tag], b"w" * 16, 10)
    assert [cache.get_or_load("k", load, tags=["t"]) for _ in range(2)] == [2, 3]
    store.release({tag: b"n" * 16}, b"w" * 16)
    assert [cache.get_or_load("k", load, tags=["t"]) for _ in range(2)] == [4, 4]


async def test_the_same_with_await() -> None:
    async with AsyncCache() as cache:
        runs: list[int] = []

        async def load() -> int:
            runs.append(1)
            return len(runs)

        assert [await cache.get_or_load("k", load), await cache.get_or_load("k", load)] == [1, 1]
        await cache.set("k", 5, tags=["t"])
        assert await cache.get("k") == 5
        assert await cache.touch("k", 5)
        await cache.invalidate(tags=["t"])
        assert await cache.get("k", 0) == 0
        await cache.set_many({"a": 1, "b": 2})
        await cache.delete("a")
        assert await cache.get_many(["a", "b"]) == {"b": 2}
