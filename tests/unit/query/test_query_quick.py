"""Calls that were hits before: the short way serves them only while nothing is unusual, and then just what the long way would."""

# pyright: reportUnknownLambdaType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import decimal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pytest
from sqlalchemy import Engine, event, func, select, text
from sqlalchemy.exc import IntegrityError, PendingRollbackError
from sqlalchemy.orm import Session

from rowstamp import Cache
from rowstamp.errors import StoreError
from rowstamp.model import StoreSnapshot
from rowstamp.protocol_calls import still_holds
from rowstamp.remembered import LARGEST, LIMIT_BYTES, QuickHits, Remembered
from rowstamp.store import Moment
from rowstamp.stores.memory import MemoryStore
from tests.unit.query_models import Category, Product, Runs


class Counted(MemoryStore):
    """A memory store that counts how often it is read."""

    reads = 0
    down = False
    compares = 0
    """How many reads it spares nobody: it only hands out what it has."""
    unchanged: Any = None
    quiet_since: Any = None

    def read(self, entry: bytes | None, stamps: Any) -> StoreSnapshot:
        self.reads += 1
        if self.down:
            raise StoreError("down")
        return super().read(entry, stamps)


class Compared(Counted):
    """One that says whether anything has changed, which counts as a read; but not that nothing was written at all."""

    compares = 1

    def unchanged(self, *args: Any) -> Moment | None:
        self.reads += 1
        return None if self.down else MemoryStore.unchanged(self, *args)

    def quiet_since(self, moment: Moment) -> bool:
        return False


class Quiet(Compared):
    """One that says both. While nothing was written that is one look, and after that two."""

    def quiet_since(self, moment: Moment) -> bool:
        quiet = not self.down and MemoryStore.quiet_since(self, moment)
        self.reads += quiet
        return quiet


@dataclass(frozen=True)
class Shell:
    name: str
    number: int

    @cached_property
    def parts(self) -> list[str]:
        return [self.name]


@pytest.fixture(params=[Counted, Compared, Quiet])
def store(request: pytest.FixtureRequest) -> Counted:
    made: Counted = request.param()
    return made


@pytest.fixture
def cache(engine: Engine, store: Counted) -> Any:
    with Cache(store) as cache:
        cache.attach(engine)
        with Session(engine) as session:
            session.scalar(select(Category.id).limit(1), execution_options={"rowstamp": True})
        yield cache


@pytest.fixture
def name_of(cache: Cache, runs: Runs) -> Any:
    @cache.query()
    def name_of(session: Session, category_id: int, loud: bool = False) -> Shell:
        runs.number += 1
        name = session.scalars(select(Category.name).where(Category.id == category_id)).one()
        return Shell(name.upper() if loud else name, category_id)

    return name_of


def bound(name_of: Any) -> Callable[[], bool]:
    """Return a function that tells whether the arguments of a call were bound since it was last asked: the long way."""
    signature, calls = name_of._signature, []
    original = signature.bind

    def bind(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return original(*args, **kwargs)

    signature.bind = bind

    def asked() -> bool:
        went = bool(calls)
        calls.clear()
        return went

    return asked


def warm(session: Session, name_of: Any) -> Callable[[], bool]:
    """Call until the short way is known; return what tells whether the long one is taken."""
    for _ in range(3):
        name_of(session, 7)
    session.rollback()
    asked = bound(name_of)
    name_of(session, 7)
    assert not asked()
    return asked


def test_a_repeated_hit_is_one_read_of_the_store_and_nothing_else(
    engine: Engine, name_of: Any, store: Counted, runs: Runs
) -> None:
    with Session(engine) as session:
        warm(session, name_of)
        store.reads = 0
        assert name_of(session, 7) == Shell("books", 7)
    assert store.reads == 1
    assert runs.since() == 1
    assert name_of.stats().hits == 4


def test_a_miss_after_hits_reads_the_entry_once(engine: Engine, name_of: Any, store: Counted, runs: Runs) -> None:
    with Session(engine) as session:
        warm(session, name_of)
        name_of.invalidate(7)
        runs.since()
        store.reads = 0
        name_of(session, 7)
        assert runs.since() == 1
        # What the long way reads besides: the stamp that was touched has a new token; and before the load the stamp in whose place
        # the entry names the row that was shown, so that the entry does not name it.
        entry_reads, store.reads = store.reads, 0
        name_of(session, 7)
        name_of(session, 7)
    assert entry_reads <= 3 + store.compares
    assert store.reads == 2 + store.compares


def test_a_commit_is_seen_by_the_next_call(engine: Engine, name_of: Any) -> None:
    with Session(engine) as session:
        warm(session, name_of)
    with Session(engine) as session:
        session.get_one(Category, 7).name = "novels"
        session.commit()
    with Session(engine) as session:
        assert name_of(session, 7).name == "novels"


def test_a_change_that_is_not_flushed_is_flushed_and_seen(engine: Engine, name_of: Any) -> None:
    with Session(engine) as session:
        warm(session, name_of)
        session.get_one(Category, 7).name = "novels"
        assert name_of(session, 7).name == "novels"
        session.rollback()
        assert name_of(session, 7).name == "books"


@pytest.mark.parametrize(
    "statement", ["UPDATE query_categories SET name = 'novels'", "CREATE TEMP TABLE other (id INT)"]
)
def test_what_the_transaction_has_done_takes_the_long_way(engine: Engine, name_of: Any, statement: str) -> None:
    with Session(engine) as session:
        asked = warm(session, name_of)
        session.execute(text(statement))
        name_of(session, 7)
        assert asked()


def test_a_savepoint_takes_the_long_way(engine: Engine, name_of: Any) -> None:
    with Session(engine) as session:
        asked = warm(session, name_of)
        with session.begin_nested():
            name_of(session, 7)
        assert asked()


def test_a_failed_transaction_takes_the_long_way(engine: Engine, name_of: Any, runs: Runs) -> None:
    with Session(engine) as session:
        asked = warm(session, name_of)
        session.add(Product(id=1, name="twice", category_id=7))
        with pytest.raises(IntegrityError):
            session.flush()
        with pytest.raises(PendingRollbackError):
            name_of(session, 7)
        assert asked()


def test_switches_are_heeded(engine: Engine, cache: Cache, name_of: Any, runs: Runs) -> None:
    with Session(engine) as session:
        warm(session, name_of)
        runs.since()
        with cache.disabled():
            name_of(session, 7)
        assert runs.since() == 1
        session.info["rowstamp"] = False
        name_of(session, 7)
        assert runs.since() == 1


def test_another_isolation_level_takes_the_long_way(engine: Engine, name_of: Any) -> None:
    with Session(engine) as session:
        asked = warm(session, name_of)
    with Session(engine.execution_options(isolation_level="READ UNCOMMITTED")) as session:
        name_of(session, 7)
        assert asked()


def test_a_listener_that_may_set_a_role_or_a_tenant_is_heeded(engine: Engine, name_of: Any, runs: Runs) -> None:
    """A connection that is still to begin may be given another tenant: neither way serves before it has."""
    with Session(engine) as session:
        asked = warm(session, name_of)
    with Session(engine) as session:
        event.listen(session, "after_begin", lambda *_: None)
        runs.since()
        name_of(session, 7)
        assert asked()
        assert runs.since() == 1
        name_of(session, 7)
        assert runs.since() == 0


def test_a_listener_of_the_engine_is_heeded_too(engine: Engine, name_of: Any, runs: Runs) -> None:
    with Session(engine) as session:
        asked = warm(session, name_of)
        runs.since()
    event.listen(engine, "begin", lambda _: None)
    with Session(engine) as session:
        name_of(session, 7)
        assert asked()
        assert runs.since() == 1


def test_inside_another_cached_function_the_long_way_reports_what_was_used(
    engine: Engine, cache: Cache, name_of: Any
) -> None:
    @cache.query()
    def outer(session: Session) -> str:
        return str(name_of(session, 7).name)

    with Session(engine) as session:
        warm(session, name_of)
        assert outer(session) == "books"
    with Session(engine) as session:
        session.get_one(Category, 7).name = "novels"
        session.commit()
    with Session(engine) as session:
        assert outer(session) == "novels"


def test_arguments_that_are_equal_and_yet_not_the_same_are_two_calls(engine: Engine, cache: Cache, runs: Runs) -> None:
    @cache.query()
    def shown(_session: Session, value: object) -> str:
        runs.number += 1
        return repr(value)

    values: list[object] = [1, True, 1.0, decimal.Decimal(1), decimal.Decimal("1.0"), 0.0, -0.0, "1", b"1", None]
    with Session(engine) as session:
        for _ in range(3):
            assert [shown(session, value) for value in values] == [repr(value) for value in values]
    assert runs.since() == len(values)


def test_a_call_that_is_made_by_name_is_the_same_call(engine: Engine, name_of: Any, runs: Runs) -> None:
    with Session(engine) as session:
        for _ in range(3):
            assert name_of(session, 7) == name_of(session, category_id=7) == name_of(session=session, category_id=7)
            assert name_of(session, 7, loud=True).name == name_of(session, 7, True).name == "BOOKS"
    assert runs.since() == 2


def test_tags_that_follow_from_arguments_are_asked_for_each_time(engine: Engine, cache: Cache, runs: Runs) -> None:
    more: list[str] = []

    @cache.query(tags=lambda category_id: [f"category:{category_id}", *more])
    def count(session: Session, category_id: int) -> int:
        runs.number += 1
        return session.scalar(select(func.count(Product.id)).where(Product.category_id == category_id)) or 0

    with Session(engine) as session:
        for _ in range(4):
            count(session, 7)
        assert runs.since() == 1
        more.append("new")
        count(session, 7)
        assert runs.since() == 1, "a result that was stored without a tag that it now has"
        cache.invalidate(tags=["category:7"])
        count(session, 7)
    assert runs.since() == 1


def test_a_function_without_a_session_is_served_too(engine: Engine, cache: Cache, runs: Runs) -> None:
    @cache.query()
    def count() -> int:
        runs.number += 1
        with Session(engine) as session:
            return session.scalar(select(func.count(Product.id))) or 0

    assert count() == count() == count()
    asked = bound(count)
    count()
    assert not asked()
    assert runs.since() == 1


def test_what_a_caller_does_to_a_result_no_other_sees(engine: Engine, cache: Cache, name_of: Any) -> None:
    @cache.query()
    def listed(_session: Session, number: int) -> list[list[int]]:
        return [[number]]

    with Session(engine) as session:
        for _ in range(4):
            result = listed(session, 7)
            assert result == [[7]]
            result[0].append(8)
            shell = name_of(session, 7)
            assert shell.parts == ["books"]
            shell.parts.append("spoiled")


def test_a_store_that_is_down_is_asked_once(engine: Engine, name_of: Any, store: Counted, runs: Runs) -> None:
    with Session(engine) as session:
        warm(session, name_of)
        runs.since()
        store.down, store.reads = True, 0
        assert name_of(session, 7).name == "books"
        assert (store.reads, runs.since()) == (1 + store.compares, 1)
        store.down = False
        assert name_of(session, 7).name == "books"
        assert runs.since() == 0


def test_damage_in_the_store_is_a_miss(engine: Engine, name_of: Any, store: Counted, runs: Runs) -> None:
    with Session(engine) as session:
        warm(session, name_of)
        runs.since()
        entry = bytes.fromhex(name_of.key(7))
        store.put(entry, b"no entry", 100)
        assert name_of(session, 7).name == "books"
    assert runs.since() == 1


def test_with_copies_near_the_stamps_are_read_alone_until_the_entry_ends(engine: Engine, runs: Runs) -> None:
    asked: list[bytes | None] = []

    class Watched(MemoryStore):
        def read(self, entry: bytes | None, stamps: Any) -> StoreSnapshot:
            asked.append(entry)
            return super().read(entry, stamps)

    with Cache(Watched(), near="1MiB") as cache:
        cache.attach(engine)

        @cache.query(ttl=50)
        def count(session: Session) -> int:
            runs.number += 1
            return session.scalar(select(func.count(Product.id))) or 0

        with Session(engine) as session:
            for _ in range(3):
                count(session)
        with Session(engine) as session:
            asked.clear()
            count(session)
            assert asked == [None]
            assert cache.stats().near_hits > 0
            for key, call in list(cache._calls.quick._calls.items()):
                assert call.until is not None
                assert call.until <= time.monotonic() + 50
                cache._calls.quick.remember(key, replace(call, until=0.0))
            count(session)
        with Session(engine) as session:
            session.add(Product(id=99, name="new", category_id=7))
            session.commit()
            count(session)
    assert runs.since() == 2


def test_a_detached_engine_is_served_nothing(engine: Engine, cache: Cache, name_of: Any, runs: Runs) -> None:
    with Session(engine) as session:
        warm(session, name_of)
    cache.detach(engine)
    runs.since()
    with Session(engine) as session:
        name_of(session, 7)
    assert runs.since() == 1


def test_what_is_remembered_is_bounded() -> None:
    def call(size: int) -> Remembered:
        return Remembered(bytes(16), (), [], b"", None, bytes(size), 0.0, None)

    hits = QuickHits()
    for number in range(400):
        hits.remember((number,), call(LARGEST))
    assert hits.get((0,)) is None
    assert hits.get((399,)) is not None
    assert hits._bytes <= LIMIT_BYTES
    assert hits._bytes == sum(len(each.body) + 1024 for each in hits._calls.values())
    hits.remember((1000,), call(LARGEST + 1))
    assert hits.get((1000,)) is None


def test_an_entry_holds_only_with_all_its_tokens() -> None:
    from rowstamp.testing.store_harness import HELD, MISSING, digest, token

    tokens = [digest("a"), digest("b")]
    states = (token("a"), token("b"))
    assert still_holds(b"blob", tokens, StoreSnapshot(b"blob", states))
    assert not still_holds(b"blob", tokens, StoreSnapshot(None, states))
    assert not still_holds(b"blob", tokens, StoreSnapshot(b"other", states))
    for wrong in (HELD, MISSING, token("c")):
        assert not still_holds(b"blob", tokens, StoreSnapshot(b"blob", (token("a"), wrong)))
