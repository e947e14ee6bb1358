"""Writes that change more than their statement shows, or that hide what they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    String,
    Table,
    column,
    delete,
    event,
    insert,
    literal_column,
    select,
    table,
    text,
    update,
)
from sqlalchemy.exc import CompileError
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ColumnElement

from rowstamp import cached
from tests.conformance.models import Category, Note, Product, Review, Tag, product_tags
from tests.harness import Env, everything, read, sync_engine, upsert

CHILDREN = [
    everything(Review),
    select(Review).where(Review.id == 3),
    everything(Note),
    select(Note).where(Note.id == 2),
]
"""What the database itself changes when product 4 is deleted: a review goes, a note forgets its product."""
TAGS = [everything(Tag), select(Tag).where(Tag.id == 2), select(product_tags).order_by(*product_tags.c)]
BY_KEY = select(Product).where(Product.id == 1)

LIGHT = table("products", column("id"), column("name"))
KEYLESS = Table("products", MetaData(), Column("id", Integer), Column("name", String))
OTHER_KEY = Table("products", MetaData(), Column("id", Integer), Column("name", String, primary_key=True))


def create(env: Env, metadata: MetaData, *rows: tuple[Table, list[dict[str, Any]]]) -> None:
    """Create tables beside the shop's."""
    with env.behind() as session:
        connection = session.connection()
        metadata.create_all(connection)
        for target, values in rows:
            connection.execute(insert(target), values)


HOME = {"sqlite": "main", "postgresql": "public", "mariadb": "shop"}
"""The schema of the shop."""


def qualified(env: Env) -> Table:
    id_, name = Column("id", Integer, primary_key=True), Column("name", String)
    return Table("products", MetaData(), id_, name, schema=HOME[env.dialect])


def delete_from(target: Any) -> Any:
    return delete(target).where(target.c.id == 4)


# ------------------------------------------------------------------------------------------------------- cascades


DELETIONS: dict[str, Callable[[Env, Session], object]] = {
    "text": lambda _, session: session.execute(text("DELETE FROM products WHERE id = 4")),
    "driver": lambda _, session: session.connection().exec_driver_sql("DELETE FROM products WHERE id = 4"),
    "many parameters": lambda _, session: session.connection().execute(
        text("DELETE FROM products WHERE id = :id"), [{"id": 4}, {"id": 5}]
    ),
    "mapped": lambda _, session: session.execute(delete(Product).where(Product.id == 4)),
    "lightweight": lambda _, session: session.execute(delete_from(LIGHT)),
    "other metadata": lambda _, session: session.execute(delete_from(KEYLESS)),
    "qualified": lambda env, session: session.execute(delete_from(qualified(env))),
}


@pytest.mark.parametrize("way", DELETIONS)
def test_rows_that_the_database_changes_along_with_a_delete(env: Env, way: str) -> None:
    """ON DELETE CASCADE and SET NULL are followed by name, whatever form the DELETE has."""
    with env.change_of(*CHILDREN), env.transaction() as session:
        DELETIONS[way](env, session)


@pytest.mark.parametrize("outer", ["select", "insert"])
def test_a_cascade_of_a_delete_in_a_cte(postgres_env: Env, outer: str) -> None:
    """A DELETE inside a CTE cascades as one at the top does."""
    gone = delete(Product).where(Product.id == 4).returning(Product.id, Product.name).cte("gone")
    statement: Any = select(gone) if outer == "select" else insert(Tag).from_select(["id", "name"], select(gone))
    with postgres_env.change_of(*CHILDREN), postgres_env.transaction() as session:
        session.execute(statement)


def test_a_cascade_of_a_delete_in_a_cte_of_text(postgres_env: Env) -> None:
    """The same in raw SQL that looks like a query."""
    with postgres_env.change_of(*CHILDREN), postgres_env.transaction() as session:
        session.execute(text("WITH gone AS (DELETE FROM products WHERE id = 4 RETURNING id) SELECT * FROM gone"))


WARDS = MetaData()
wards = Table("wards", WARDS, Column("id", Integer, primary_key=True), Column("name", String(10)))
beds = Table(
    "beds",
    WARDS,
    Column("ward_id", ForeignKey("wards.id", onupdate="CASCADE", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
)
patients = Table(
    "patients",
    WARDS,
    Column("id", Integer, primary_key=True),
    Column("ward_id", Integer),
    Column("number", Integer),
    ForeignKeyConstraint(
        ["ward_id", "number"], ["beds.ward_id", "beds.number"], onupdate="CASCADE", ondelete="SET NULL"
    ),
)
HOSPITAL: list[tuple[Table, list[dict[str, Any]]]] = [(wards, [{"id": 1, "name": "a"}]), (beds, [{"ward_id": 1, "number": 7}]), (patients, [{"id": 1, "ward_id": 1, "number": 7}])]  # fmt: skip


KEY_CHANGES: dict[str, Callable[[Env], Any]] = {
    "text": lambda _: text("UPDATE wards SET id = 9 WHERE id = 1"),
    "update": lambda _: update(wards).where(wards.c.id == 1).values(id=9),
    "upsert": lambda env: upsert(env, wards, {"id": 1, "name": "b"}, by="id", change={"id": 9}),
}


@pytest.mark.parametrize("way", KEY_CHANGES)
def test_rows_that_follow_a_changed_key(env: Env, way: str) -> None:
    """ON UPDATE CASCADE is followed, and from there to the next table."""
    create(env, WARDS, *HOSPITAL)
    reads = [select(beds), select(beds).where(beds.c.ward_id == 1, beds.c.number == 7), select(patients)]
    by_key = select(patients).where(patients.c.id == 1)
    with env.change_of(*reads, by_key), env.transaction() as session:
        session.execute(KEY_CHANGES[way](env))


def test_a_delete_through_two_foreign_keys(env: Env) -> None:
    """A row deleted by a cascade has followers of its own."""
    create(env, WARDS, *HOSPITAL)
    with env.change_of(select(patients), select(patients).where(patients.c.id == 1)), env.transaction() as session:
        session.execute(delete(wards).where(wards.c.id == 1))


# ------------------------------------------------------------------------------ tables that show less than there is


@pytest.mark.parametrize("target", [LIGHT, KEYLESS, OTHER_KEY], ids=["lightweight", "without key", "with another key"])
def test_a_table_that_does_not_have_the_readers_keys(env: Env, target: Any) -> None:
    """An update through it ends what others read by key."""
    with env.change_of(BY_KEY), env.transaction() as session:
        session.execute(update(target).where(target.c.id == 1).values(name="new"))


def test_own_writes_through_a_lightweight_table(env: Env) -> None:
    """They are seen by their own transaction, too."""
    env.warm(BY_KEY)
    with env.session() as session:
        session.execute(update(LIGHT).where(LIGHT.c.id == 1).values(name="new"))
        assert read(session, BY_KEY)[0][0][1]["name"] == "new"


# ---------------------------------------------------------------------------------------------------------- REPLACE


REPLACEMENTS: Sequence[Any] = [
    insert(Tag).prefix_with("OR REPLACE").values(id=100, name="sale"),
    text("INSERT OR REPLACE INTO tags (id, name) VALUES (100, 'sale')"),
    text("REPLACE INTO tags (id, name) VALUES (100, 'sale')"),
    update(Tag).prefix_with("OR REPLACE").where(Tag.id == 3).values(name="sale"),
]


@pytest.mark.parametrize("statement", REPLACEMENTS, ids=["insert", "text", "replace", "update"])
def test_a_row_that_is_replaced(sqlite_env: Env, statement: Any) -> None:
    """OR REPLACE deletes rows that it does not name, and what hangs on them."""
    with sqlite_env.change_of(*TAGS), sqlite_env.transaction() as session:
        session.execute(statement)


def test_a_rule_of_the_table_that_replaces_rows(sqlite_env: Env) -> None:
    """ON CONFLICT REPLACE of a column makes every INSERT do so."""
    metadata = MetaData()
    slots = Table(
        "slots",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("code", String(5), unique=True, sqlite_on_conflict_unique="REPLACE"),
    )
    create(sqlite_env, metadata, (slots, [{"id": 1, "code": "a"}]))
    with sqlite_env.change_of(select(slots).where(slots.c.id == 1)), sqlite_env.transaction() as session:
        session.execute(insert(slots).values(id=2, code="a"))


# ------------------------------------------------------------------------------------------------- texts in disguise


@pytest.mark.parametrize("before", ["", "/* app */ ", "-- app\n", ";", " /* a */ -- b\n "])
def test_a_reader_between_raw_dml_and_its_commit(env: Env, before: str) -> None:
    """What stands before the verb does not hide that a transaction is open, which others must not see yet."""
    if before == ";" and env.backend.driver in {"asyncpg", "pymysql", "asyncmy"}:
        pytest.skip(f"{env.backend.driver} sends one statement at a time")
    stmt = select(Tag).where(Tag.id == 3)
    old = env.warm(stmt)
    with env.connect() as connection:
        connection.exec_driver_sql(f"{before}UPDATE tags SET name = 'raw' WHERE id = 3")
        assert env.rows(stmt) == env.rows(stmt) == old
        connection.commit()
    assert env.rows(stmt) == env.truth(stmt) != old


@pytest.mark.parametrize("first", ["SET LOCAL statement_timeout = 10000", "SELECT 1", "SET work_mem = '4MB'"])
def test_several_statements_in_one_string(postgres_env: Env, first: str) -> None:
    """A write that follows another statement in the same string is seen; the connection may stay without a cache."""
    if postgres_env.backend.driver == "asyncpg":
        pytest.skip("asyncpg sends one statement at a time")
    for stmt in CHILDREN:
        postgres_env.warm(stmt)
    with postgres_env.connect() as connection:
        connection.exec_driver_sql(f"{first}; DELETE FROM products WHERE id = 4")
        connection.commit()
    for stmt in CHILDREN:
        assert postgres_env.rows(stmt) == postgres_env.truth(stmt)


def test_a_fragment_that_names_a_table_of_another_schema(env: Env, tmp_path: Any) -> None:
    """A text fragment reads a table of the same name as one that the statement reads elsewhere."""
    home = HOME[env.dialect]
    metadata = MetaData()
    here = Table("parcels", metadata, Column("id", Integer, primary_key=True), schema=home)
    there = Table("parcels", metadata, Column("id", Integer, primary_key=True), schema="aux")
    if env.dialect == "sqlite":
        attach_aux(env, tmp_path / "aux.db")
    else:
        with env.behind() as session:
            session.execute(text("CREATE SCHEMA aux"))
    create(env, metadata, (here, [{"id": 1}]), (there, [{"id": 1}]))
    by_text = select(here).where(text("id IN (SELECT id FROM aux.parcels)"))
    by_literal = select(here.c.id, literal_column("(SELECT count(*) FROM aux.parcels)", Integer))
    with env.change_of(by_text, by_literal), env.transaction() as session:
        session.execute(delete(there))


def attach_aux(env: Env, path: object) -> None:
    def attach(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"ATTACH '{path}' AS aux")
        cursor.close()

    for engine in (env.engine, sync_engine(env.plain)):
        event.listen(engine, "connect", attach)


class Unknown(ColumnElement[int]):
    """An expression that no compiler knows."""

    __visit_name__ = "unknown_to_every_compiler"
    inherit_cache = False


def test_a_write_after_a_statement_that_cannot_be_compiled(env: Env) -> None:
    """The session's connection is a real one afterwards."""
    with env.change_of(BY_KEY), env.session() as session:
        with pytest.raises(CompileError):
            session.execute(select(Unknown()).options(cached()))
        session.connection().exec_driver_sql("UPDATE products SET name = 'raw' WHERE id = 1")
        session.commit()


@pytest.mark.parametrize("written", ["parent", "child"])
def test_rows_that_are_inherited(postgres_env: Env, written: str) -> None:
    """PostgreSQL shows the rows of a table in those that it inherits from: a write to either ends what is read of both."""
    metadata = MetaData()
    tables = {
        name: Table(
            f"{name}_rows",
            metadata,
            Column("id", Integer, primary_key=True),
            Column("name", String),
            postgresql_inherits=parent,
        )
        for name, parent in (("parent", None), ("child", "parent_rows"))
    }
    create(postgres_env, metadata, (tables["child"], [{"id": 1, "name": "one"}]))
    reads = [select(each.c.name).where(each.c.id == 1) for each in tables.values()]
    with postgres_env.change_of(*reads), postgres_env.transaction() as session:
        session.execute(update(tables[written]).where(tables[written].c.id == 1).values(name="two"))
    with postgres_env.change_of(*reads), postgres_env.transaction() as session:
        session.execute(delete(tables[written]).where(tables[written].c.id == 1))


def test_an_update_that_sets_columns_of_two_tables(mariadb_env: Env) -> None:
    """MariaDB updates both; the second stands in SET alone."""
    stmt = update(Product).where(Product.category_id == Category.id, Product.id == 1)
    names = select(Category.name).order_by(Category.id)
    with mariadb_env.change_of(BY_KEY, names), mariadb_env.transaction() as session:
        session.connection().execute(stmt.values({Product.stock: 55, Category.name: "both"}))
