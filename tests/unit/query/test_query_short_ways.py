"""Methods, tenants and values of the user's own go the short way too, where it is sound."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from rowstamp import Cache, ConfigurationError
from rowstamp.store import Moment
from rowstamp.stores.memory import MemoryStore
from tests.unit.query_models import Category, Runs


class Counted(MemoryStore):
    """Counts how often it is asked."""

    reads = 0

    def quiet_since(self, moment: Moment) -> bool:
        self.reads += 1
        return super().quiet_since(moment)


@pytest.fixture
def store() -> Counted:
    return Counted()


@pytest.fixture
def cache(engine: Engine, store: Counted) -> Any:
    with Cache(store) as cache:
        cache.attach(engine)
        with Session(engine) as session:
            session.scalar(select(Category.id).limit(1), execution_options={"rowstamp": True})
        yield cache


class Shop:
    """Has a session, as objects of a service layer do, and methods that are cached."""

    def __init__(self, session: Session, shelf: str = "a") -> None:
        self.session = session
        self.shelf = shelf


def quick_after_three(call: Callable[[], Any], cached: Any) -> bool:
    """Return whether the fourth of four calls is answered the short way."""
    for _ in range(3):
        call()
    quick, answered = cached._quick, []
    original = quick._value

    def value(*args: Any) -> Any:
        answered.append(1)
        return original(*args)

    quick._value = value
    call()
    quick._value = original
    return bool(answered)


def test_methods_go_the_short_way_by_their_class_and_the_sessions_they_have(
    engine: Engine, cache: Cache, runs: Runs
) -> None:
    class Named(Shop):
        @cache.query(tags=lambda category_id: [f"category:{category_id}"])
        def name_of(self, category_id: int) -> str:
            runs.number += 1
            return self.session.scalars(select(Category.name).where(Category.id == category_id)).one()

    class Loud(Named):
        pass

    cached = vars(Named)["name_of"]
    with Session(engine) as session:
        shop = Named(session)
        assert quick_after_three(lambda: shop.name_of(7), cached)
        assert Loud(session).name_of(7) == "books"
        assert runs.since() == 2
        session.get_one(Category, 7).name = "new"
        session.flush()
        assert shop.name_of(7) == "new"
        session.rollback()
        cache.invalidate(tags=["category:7"])
        runs.since()
        assert shop.name_of(7) == "books"
        assert runs.since() == 1


def test_each_tenant_has_its_own_short_way(engine: Engine, store: Counted) -> None:
    tenant: ContextVar[Any] = ContextVar("tenant", default="nobody")
    with Cache(store, namespace="tenants", vary=tenant.get) as cache:

        @cache.query()
        def whose(number: int) -> str:
            return f"{tenant.get()} {number}"

        def call() -> str:
            return whose(1)

        for name in ("ann", ("bob", 1)):
            tenant.set(name)
            assert quick_after_three(call, whose)
            assert call() == f"{name} 1"
        tenant.set("ann")
        assert call() == "ann 1"
        tenant.set(["a", "list"])
        assert not quick_after_three(call, whose)
        assert call() == "['a', 'list'] 1"


def test_values_of_the_users_own_go_the_short_way(cache: Cache, store: Counted, runs: Runs) -> None:
    def load() -> list[int]:
        runs.number += 1
        return [runs.number]

    def get() -> list[int]:
        return cache.get_or_load(("key", 1), load, tags=["t"])

    for _ in range(3):
        get()
    store.reads = 0
    get().append(9)
    assert store.reads == 1
    assert len(get()) == 1
    assert runs.since() == 1
    cache.delete(("key", 1))
    get()
    assert runs.since() == 1
    cache.invalidate(tags=["t"])
    get()
    assert runs.since() == 1
    with pytest.raises(ConfigurationError):
        cache.get_or_load(("key", 1), load, tags=["t"], ttl=-1)
    with pytest.raises(ConfigurationError):
        cache.get_or_load(("key", 1), load, tags="t")
    assert cache.get_or_load(("key", True), load) is not cache.get_or_load(("key", 1), load, tags=["t"])
    assert runs.since() == 1


def test_the_short_way_knows_what_a_load_is_said_to_return(cache: Cache) -> None:
    def as_tuple() -> tuple[int, ...]:
        return (1,)

    def as_list() -> list[int]:
        return [1]

    for _ in range(4):
        assert cache.get_or_load("key", as_tuple) == (1,)
    assert cache.get_or_load("key", as_list) == [1]
    assert cache.get_or_load("key", as_tuple) == (1,)
