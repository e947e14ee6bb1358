"""What a cache costs in round trips: a strict hit one to each node concerned, a commit two, a transaction that writes nothing none."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from rowstamp import Cache, cached
from rowstamp.stores.redis import RedisStore
from rowstamp.testing.servers import ValkeyServer
from tests.faults.proxy import Proxy
from tests.servers.cluster import Cluster
from tests.servers.valkey import settled
from tests.store.cluster_support import watched

pytestmark = pytest.mark.once


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price: Mapped[int] = mapped_column(index=True)


@contextlib.contextmanager
def alone(server: ValkeyServer) -> Generator[tuple[Cache, Callable[[], dict[int, int]]]]:
    settled(server.url())
    with Proxy(server.port) as proxy, Cache(proxy.url(timeout_ms=20_000)) as cache:
        yield cache, lambda: {server.port: proxy.trips}


@contextlib.contextmanager
def clustered(cluster: Cluster) -> Generator[tuple[Cache, Callable[[], dict[int, int]]]]:
    with Cache(cluster.url(timeout_ms=20_000, connect_timeout_ms=20_000)) as cache:
        store = cache._core.store
        assert isinstance(store, RedisStore)
        store._plan._identities.hold_ttl = 0  # its nodes serve at once
        with watched(cluster, store) as found:
            yield cache, found.trips
            store.close()


class Counted:
    """A cache, a database, and the round trips that what is done with them takes to each server."""

    def __init__(self, cache: Cache, trips: Callable[[], dict[int, int]], path: Path) -> None:
        self.cache = cache
        self.engine = create_engine(f"sqlite:///{path}/items.db")
        self._trips = trips
        Base.metadata.create_all(self.engine)
        cache.attach(self.engine)

    def read(self) -> list[str]:
        with Session(self.engine) as session:
            return list(session.scalars(select(Item.name).where(Item.price == 7).options(cached())))

    def write(self, name: str) -> None:
        with Session(self.engine) as session:
            session.add_all([Item(name=name, price=price) for price in range(20)])
            session.commit()

    def read_only(self) -> None:
        with Session(self.engine) as session:
            session.scalars(select(Item)).all()
            session.commit()

    def cost(self, operation: Callable[[], object]) -> set[int]:
        """How many round trips went to the servers that were asked at all."""
        before = Counter(self._trips())
        operation()
        return set((Counter(self._trips()) - before).values())


@pytest.fixture(params=["alone", "cluster"])
def counted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Counted]:
    opened = (
        alone(request.getfixturevalue("valkey_server"))
        if request.param == "alone"
        else clustered(request.getfixturevalue("valkey_cluster"))
    )
    with opened as (cache, trips):
        made = Counted(cache, trips, tmp_path)
        yield made
        made.engine.dispose()


@pytest.mark.parametrize("near", [None, 0], ids=["near", "far"])
def test_a_hit_is_one_a_commit_two_and_what_only_reads_none(counted: Counted, near: int | None) -> None:
    if near == 0:
        counted.cache._core.near = None
    counted.write("a")
    assert counted.read() == ["a"]
    before = counted.cache.stats().hits
    assert counted.cost(counted.read) == {1}
    assert counted.cache.stats().hits == before + 1
    assert counted.cost(lambda: counted.write("b")) == {2}
    assert counted.cost(counted.read_only) == set()
    assert counted.read() == ["a", "b"]
