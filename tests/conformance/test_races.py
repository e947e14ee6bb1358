"""Writers that commit at the worst moment, put there on purpose."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from rowstamp import cached
from tests.conformance.models import Product, product
from tests.harness import Env

NAMES = select(Product.name).where(Product.category_id == 1).order_by(Product.id)
ROW = select(Product.name, Product.stock).where(Product.id == 1)
COUNT = select(func.count()).select_from(Product)
RAW = text("SELECT name FROM products ORDER BY id")


def insert_row(env: Env) -> None:
    with env.elsewhere() as session:
        session.add(product(name="racer"))


def change_row(env: Env) -> None:
    with env.elsewhere() as session:
        session.get_one(Product, 1).name = "racer"


def change_rows(env: Env) -> None:
    with env.elsewhere() as session:
        session.execute(update(Product).values(name="racer"))


def change_raw(env: Env) -> None:
    with env.elsewhere() as session:
        session.execute(text("UPDATE products SET name = 'racer'"))


RACES = [
    pytest.param(ROW, change_row, id="row"),
    pytest.param(NAMES, change_row, id="list"),
    pytest.param(COUNT, insert_row, id="count"),
    pytest.param(ROW, change_rows, id="row and bulk"),
    pytest.param(NAMES, change_rows, id="list and bulk"),
    pytest.param(ROW, change_raw, id="row and text"),
    pytest.param(RAW, change_row, id="text"),
]
MOMENTS = [
    pytest.param("before", "put", id="just before the fill"),
    pytest.param("after", "put", id="after the fill"),
    pytest.param("after", "mint", id="before the query"),
    pytest.param("before", "mint", id="before the stamps are made"),
    pytest.param("before", "read", id="before the lookup"),
]
Write = Callable[[Env], None]


@contextmanager
def once_loaded(env: Env, action: Callable[[], None]) -> Generator[None]:
    """Call a function after the next statement of the engine has been executed, before anybody has its rows."""
    dialect: Any = env.engine.dialect
    original, waiting = dialect.do_execute, [action]

    def do_execute(*args: Any) -> None:
        original(*args)
        if waiting:
            waiting.pop()()

    dialect.do_execute = do_execute
    try:
        yield
    finally:
        del dialect.do_execute
    assert not waiting, "the race did not take place"


def race(env: Env, stmt: Any, *, core: bool) -> None:
    """Read while somebody interferes, and read again."""
    rows, truth = (env.core_rows, env.core_truth) if core else (env.rows, env.truth)
    rows(stmt)
    assert rows(stmt) == truth(stmt)
    assert rows(stmt) == truth(stmt)


def prepare(env: Env) -> None:
    """Let SQLite's readers and writers work at the same time, and connect the writer before the race begins."""
    if env.dialect == "sqlite":
        with env.behind() as session:
            session.connection().exec_driver_sql("PRAGMA journal_mode=WAL")
    with env.elsewhere():
        pass


@pytest.mark.parametrize(("stmt", "write"), RACES)
@pytest.mark.parametrize("core", [False, True], ids=["session", "connection"])
def test_a_writer_commits_between_the_query_and_the_fill(env: Env, stmt: Any, write: Write, core: bool) -> None:
    """A reader has loaded the old rows when a writer commits: what it stores afterwards is never served."""
    prepare(env)
    with once_loaded(env, lambda: write(env)):
        race(env, stmt, core=core)


@pytest.mark.parametrize(("when", "operation"), MOMENTS)
@pytest.mark.parametrize("core", [False, True], ids=["session", "connection"])
def test_a_writer_commits_at_another_moment_of_a_load(env: Env, when: str, operation: str, core: bool) -> None:
    """Wherever else in the load it commits, the next reader is served what it wrote."""
    prepare(env)
    traps: list[Callable[[], object]] = getattr(env.store, when)[operation]
    traps.append(lambda: change_row(env))
    race(env, NAMES, core=core)
    assert not traps, "the race did not take place"


@pytest.mark.parametrize(("stmt", "write"), RACES)
def test_a_writer_commits_during_a_reload(env: Env, stmt: Any, write: Write) -> None:
    """The same with stamps that are there already, and an entry to be overwritten."""
    prepare(env)
    env.warm(stmt)
    env.cache.invalidate(Product)
    with once_loaded(env, lambda: write(env)):
        race(env, stmt, core=False)


@pytest.mark.parametrize("stmt", [NAMES, ROW, RAW])
@pytest.mark.parametrize(
    ("when", "operation"), [("after", "hold"), ("before", "release")], ids=["before COMMIT", "after COMMIT"]
)
@pytest.mark.parametrize("warm", [True, False], ids=["cached", "not cached"])
def test_a_reader_comes_while_a_writer_commits(env: Env, stmt: Any, when: str, operation: str, warm: bool) -> None:
    """Between hold and release a reader neither hits nor fills; right after the release everything is new."""
    if warm:
        env.warm(stmt)
    seen: list[object] = []

    def read_meanwhile() -> None:
        with env.new_node().session() as session:
            before = len(env.store.calls)
            seen.append(session.execute(stmt, execution_options={"rowstamp": cached()}).all())
            seen.append("put" not in env.store.calls[before:])
            seen.append([tuple(row) for row in seen[0]] == env.truth(stmt))  # type: ignore[attr-defined]

    getattr(env.store, when)[operation].append(read_meanwhile)
    with env.transaction() as session:
        session.get_one(Product, 1).name = "writer"
    assert seen[1:] == [True, True]
    assert env.rows(stmt) == env.truth(stmt)
    assert env.served(stmt)
    assert env.rows(stmt) == env.truth(stmt)


def test_two_writers_overlap(env: Env) -> None:
    """While one writer still holds, the release of another makes nothing valid."""
    rows = env.warm(NAMES)
    served: list[bool] = []

    def another_writer() -> None:
        # Nothing is left to write for SQLite's second writer after the first one's COMMIT but its release.
        with env.elsewhere() as session:
            session.get_one(Product, 2).name = "second"
        served.append(env.served(NAMES))
        served.append(env.served(NAMES))

    env.store.before["release"].append(another_writer)
    with env.transaction() as session:
        session.get_one(Product, 1).name = "first"
    assert served == [False, False]
    assert env.rows(NAMES) == env.truth(NAMES) != rows
    assert env.served(NAMES)
