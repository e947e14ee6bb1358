"""Columns that change along with others: a result that reads them is ended by a write that does not name them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    Column,
    Computed,
    FetchedValue,
    Integer,
    MetaData,
    String,
    Table,
    insert,
    literal_column,
    select,
    text,
    update,
)

from tests.conformance.test_declared import defined
from tests.conformance.test_rows_seen import tables
from tests.harness import Env

sized = Table(
    "sized",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("width", Integer),
    Column("height", Integer),
    Column("area", Integer, Computed("width * height", persisted=True)),
    Column("note", String(20)),
    Column("version", Integer, server_default=text("0"), onupdate=literal_column("version + 1")),
    Column("changes", Integer, server_default=text("0"), server_onupdate=FetchedValue()),
)


@contextmanager
def made(env: Env) -> Generator[None]:
    """Make the table, with two rows."""
    with tables(env, sized) as session:
        session.execute(insert(sized), [{"id": number, "width": 2, "height": 3} for number in (1, 2)])
    yield


def change(env: Env, **values: Any) -> None:
    with env.transaction() as session:
        session.execute(update(sized).where(sized.c.id == 1).values(**values))


def of(column: Any, id_: int) -> Any:
    return select(column).where(sized.c.id == id_)


def test_a_computed_column(env: Env) -> None:
    """It changes with the columns that its expression names, and with no others."""
    with made(env):
        with (
            env.change_of(of(sized.c.area, 1), select(sized.c.area).order_by(sized.c.id)),
            env.unconcerned(of(sized.c.area, 2)),
        ):
            change(env, width=5)
        with env.unconcerned(of(sized.c.area, 1), select(sized.c.area).order_by(sized.c.id)):
            change(env, note="x")


def test_a_column_with_onupdate(env: Env) -> None:
    """Every UPDATE of its row gives it a value, which no statement names."""
    one, all_of_them = of(sized.c.version, 1), select(sized.c.version).order_by(sized.c.id)
    with made(env), env.change_of(one, all_of_them), env.unconcerned(of(sized.c.version, 2)):
        change(env, width=5)


COUNT_FUNCTION = """CREATE FUNCTION count_changes() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.changes = OLD.changes + 1; RETURN NEW; END $$"""
SQLITE_COUNTS = """CREATE TRIGGER counts AFTER UPDATE OF note ON sized
    BEGIN UPDATE sized SET changes = changes + 1 WHERE id = NEW.id; END"""
BEFORE_UPDATE = "CREATE TRIGGER counts BEFORE UPDATE ON sized FOR EACH ROW"
COUNTS = {
    "sqlite": [(SQLITE_COUNTS, "DROP TRIGGER counts")],
    "postgresql": [
        (COUNT_FUNCTION, "DROP FUNCTION count_changes()"),
        (f"{BEFORE_UPDATE} EXECUTE FUNCTION count_changes()", "DROP TRIGGER counts ON sized"),
    ],
    "mariadb": [(f"{BEFORE_UPDATE} SET NEW.changes = OLD.changes + 1", "DROP TRIGGER counts")],
}


def test_a_column_with_server_onupdate(env: Env) -> None:
    """The metadata says that the database gives it a value, by a trigger of its own."""
    one, all_of_them = of(sized.c.changes, 1), select(sized.c.changes).order_by(sized.c.id)
    other = of(sized.c.changes, 2)
    with made(env), defined(env, *COUNTS[env.dialect]), env.change_of(one, all_of_them), env.unconcerned(other):
        change(env, note="x")
