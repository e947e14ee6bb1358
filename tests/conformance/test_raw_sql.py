"""SQL as text: read, written, and not understood."""

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable, DropTable

from rowstamp import RowstampWarning, cached
from tests.conformance.models import Category, Note, OrderItem, Product, Review, Tag
from tests.harness import Env, everything, read

NAMES = select(Product.name).order_by(Product.id)
BY_KEY = select(Product).where(Product.id == 1)
RAW = text("SELECT name, price FROM products WHERE category_id = :category ORDER BY id")


def test_a_text_update_is_seen(env: Env) -> None:
    """`text("UPDATE …")` in a session ends lists and rows by key."""
    with env.change_of(NAMES, BY_KEY), env.transaction() as session:
        session.execute(text("UPDATE products SET name = 'raw' WHERE id = :id"), {"id": 1})


WRITES = {
    "insert": "INSERT INTO tags (id, name) VALUES (100, 'raw')",
    "delete": "DELETE FROM tags WHERE id = 3",
    "cte": "WITH t AS (SELECT 3 AS id) UPDATE tags SET name = 'raw' WHERE id IN (SELECT id FROM t)",
    "capitals": "/* a comment */ update TAGS set NAME = 'raw' where ID = 3",
    "upsert": "INSERT INTO tags (id, name) VALUES (3, 'x') ON CONFLICT (id) DO UPDATE SET name = 'raw'",
}
WRITES_OF_MARIADB = {
    "cte": "UPDATE tags SET name = 'raw' WHERE id IN (WITH t AS (SELECT 3 AS id) SELECT id FROM t)",
    "capitals": "/* a comment */ update `tags` set NAME = 'raw' where ID = 3",
    "upsert": "INSERT INTO tags (id, name) VALUES (3, 'x') ON DUPLICATE KEY UPDATE name = 'raw'",
}


@pytest.mark.parametrize("name", WRITES)
def test_driver_sql_is_seen(env: Env, name: str) -> None:
    """`exec_driver_sql` of any write, in any spelling."""
    sql = WRITES[name] if env.dialect != "mariadb" else {**WRITES, **WRITES_OF_MARIADB}[name]
    with env.change_of(everything(Tag)), env.connect() as connection:
        connection.exec_driver_sql(sql)
        connection.commit()


def test_text_with_many_parameters_is_seen(env: Env) -> None:
    """`executemany` of text."""
    with env.change_of(NAMES, BY_KEY), env.connect() as connection:
        connection.execute(
            text("UPDATE products SET name = :n WHERE id = :i"), [{"i": 1, "n": "a"}, {"i": 2, "n": "b"}]
        )
        connection.commit()


def test_a_text_select_is_cached_and_followed(env: Env) -> None:
    """`text("SELECT …")` depends on the tables it names; its parameters are in the key."""
    first, second = ({"category": id_} for id_ in (1, 2))
    assert env.warm(RAW, first) == env.truth(RAW, first)
    assert env.warm(RAW, second) == env.truth(RAW, second)
    with env.transaction() as session:
        session.get_one(Product, 1).price += 1
    assert env.rows(RAW, first) == env.truth(RAW, first)
    assert env.rows(RAW, second) == env.truth(RAW, second)


def test_a_text_select_with_columns(env: Env) -> None:
    """`text().columns()` and `select().from_statement(text())` depend on the text, not on the entity."""
    typed = text("SELECT id, name, price FROM products ORDER BY id").columns(Product.id, Product.name, Product.price)
    entities = select(Product).from_statement(text("SELECT * FROM products WHERE id IN (SELECT id FROM tags)"))
    with env.change_of(typed, entities), env.transaction() as session:
        session.get_one(Product, 1).price += 1
    with env.change_of(entities), env.transaction() as session:
        session.add(Tag(id=4, name="dominoes"))


def test_from_statement_of_a_select(env: Env) -> None:
    """`from_statement(select(…))` depends on the inner select."""
    inner = select(Product).where(Product.category_id.in_(select(Category.id).where(Category.name == "books")))
    with env.change_of(select(Product).from_statement(inner)), env.transaction() as session:
        session.get_one(Category, 1).name = "paper"


def test_a_driver_select_is_cached_and_followed(env: Env) -> None:
    """`exec_driver_sql("SELECT …")` may be cached by execution option."""
    sql, asked = "SELECT name FROM products ORDER BY id", {"rowstamp": cached()}

    def names() -> list[str]:
        with env.connect() as connection:
            return [name for (name,) in connection.exec_driver_sql(sql, execution_options=asked)]

    first = names()
    with env.traffic() as traffic:
        assert names() == first
    assert traffic.statements == []
    with env.transaction() as session:
        session.get_one(Product, 1).name = "atlas II"
    assert names() == ["atlas II", *first[1:]]


def test_a_rollback_of_raw_writes(env: Env) -> None:
    """Rolled back, a raw write publishes nothing; its own transaction sees it."""
    with env.no_change_of(NAMES), env.session() as session:
        session.execute(text("UPDATE products SET name = 'raw'"))
        assert read(session, NAMES) == [("raw",)] * 4
        session.rollback()


def test_what_is_not_understood_ends_everything_and_warns(postgres_env: Env) -> None:
    """A statement whose effects nobody can tell ends the whole namespace."""
    warned = pytest.warns(RowstampWarning, match="invalidates everything")
    with postgres_env.change_of(NAMES), warned, postgres_env.transaction() as session:
        session.execute(text("DO $$ BEGIN UPDATE products SET name = 'done'; END $$"))


def test_begin_and_commit_as_text(env: Env) -> None:
    """A transaction that text begins and commits is published by that COMMIT."""
    with env.change_of(NAMES), env.connect() as connection:
        connection.exec_driver_sql("UPDATE products SET name = 'raw' WHERE id = 1")
        connection.exec_driver_sql("COMMIT")
        connection.rollback()


def test_begin_as_text_under_autocommit(env: Env) -> None:
    """BEGIN as text ends autocommit: what follows is published by COMMIT, and nothing of it before."""
    with env.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        rows = env.warm(NAMES)
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql("UPDATE products SET name = 'raw' WHERE id = 1")
        assert read(connection, NAMES)[0] == ("raw",)
        assert env.rows(NAMES) == rows == env.truth(NAMES)
        connection.exec_driver_sql("COMMIT")
    assert env.rows(NAMES) == env.truth(NAMES) != rows


def test_a_rollback_as_text(env: Env) -> None:
    """ROLLBACK as text ends the transaction without publishing."""
    with env.no_change_of(NAMES), env.connect() as connection:
        connection.exec_driver_sql("UPDATE products SET name = 'raw' WHERE id = 1")
        connection.exec_driver_sql("ROLLBACK")
        connection.rollback()


def test_a_table_that_is_dropped_and_made_again(env: Env) -> None:
    """DDL constructs end what was read of the table."""
    table = Table("extra", MetaData(), Column("id", Integer, primary_key=True))
    with env.connect() as connection:
        connection.execute(CreateTable(table))
        connection.execute(insert(table).values(id=1))
        connection.commit()
        count = select(func.count()).select_from(table)
        assert env.warm(count) == [(1,)]
        connection.execute(DropTable(table))
        connection.execute(CreateTable(table))
        connection.commit()
    assert env.rows(count) == [(0,)]


def test_ddl_as_text(env: Env) -> None:
    """DROP, CREATE and ALTER as text do so too."""
    extra = text("SELECT id FROM extra")
    with env.transaction() as session:
        session.execute(text("CREATE TABLE extra (id integer)"))
        session.execute(text("INSERT INTO extra VALUES (1)"))
    assert env.warm(extra) == [(1,)]
    with env.transaction() as session:
        session.execute(text("DROP TABLE extra"))
        session.execute(text("CREATE TABLE extra (id integer)"))
    assert env.warm(extra) == []
    with env.transaction() as session:
        session.execute(text("ALTER TABLE extra RENAME TO other"))
    with pytest.raises(DBAPIError):
        env.rows(extra)


def test_truncate(postgres_env: Env) -> None:
    """TRUNCATE ends what was read of the table."""
    with postgres_env.change_of(everything(OrderItem)), postgres_env.transaction() as session:
        session.execute(text("TRUNCATE order_items"))


def test_truncate_cascade(postgres_env: Env) -> None:
    """TRUNCATE … CASCADE empties tables that it does not name; it ends everything, and says so."""
    warned = pytest.warns(RowstampWarning, match="CASCADE")
    with postgres_env.change_of(everything(Review), everything(Note)), warned, postgres_env.transaction() as session:
        session.execute(text("TRUNCATE products CASCADE"))


def test_ids_and_strings_that_look_alike(env: Env) -> None:
    """Parameters that are equal for Python but not for the database have entries of their own."""
    shown = {"sqlite": ":value", "postgresql": "CAST(:value AS text)", "mariadb": "CAST(:value AS char)"}[env.dialect]
    stmt = text(f"SELECT {shown}, name FROM products WHERE id = 1")
    values: list[object] = ["1", "1.0", "", "é", "e\u0301"]
    for value in values:
        env.rows(stmt, {"value": value})
    assert [env.rows(stmt, {"value": value})[0][0] for value in values] == values


@pytest.mark.parametrize(
    "sql",
    ["BEGIN", "START TRANSACTION", "GRANT SELECT ON *.* TO root@localhost", "CREATE TABLE IF NOT EXISTS tags (id INT)"],
)
def test_what_commits_silently(mariadb_env: Env, sql: str) -> None:
    """MariaDB commits what is open before some statements: a rollback after them takes nothing back."""
    with mariadb_env.change_of(NAMES, BY_KEY), mariadb_env.connect() as connection:
        connection.exec_driver_sql("UPDATE products SET name = 'raw' WHERE id = 1")
        connection.exec_driver_sql(sql)
        connection.rollback()


@pytest.mark.parametrize(
    "sql", ["LOCK TABLES tags READ", "SET autocommit = 1", "ANALYZE TABLE tags", "CALL committing()"]
)
def test_what_may_commit_silently(mariadb_env: Env, sql: str) -> None:
    """So do statements that are not understood, and procedures: what was written before is published with them."""
    with mariadb_env.behind() as session:
        session.connection().exec_driver_sql("CREATE OR REPLACE PROCEDURE committing() COMMIT")
    warned = pytest.warns(RowstampWarning, match="invalidates everything")
    with mariadb_env.change_of(NAMES, BY_KEY), mariadb_env.connect() as connection:
        connection.exec_driver_sql("UPDATE products SET name = 'raw' WHERE id = 1")
        with warned:
            connection.exec_driver_sql(sql)
        connection.rollback()
        connection.invalidate()  # with its locks


def test_what_may_commit_and_does_not(mariadb_env: Env) -> None:
    """A statement that is not understood leaves the transaction open: its end publishes once more."""
    with mariadb_env.change_of(NAMES, BY_KEY), mariadb_env.connect() as connection:
        connection.exec_driver_sql("UPDATE products SET name = 'raw' WHERE id = 1")
        with pytest.warns(RowstampWarning, match="HANDLER"):
            connection.exec_driver_sql("HANDLER tags OPEN")
        mariadb_env.warm(NAMES)
        mariadb_env.warm(BY_KEY)
        connection.commit()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE products p JOIN categories c ON c.id = p.category_id SET p.name = 'raw', c.name = 'raw'",
        "DELETE r, t FROM reviews r JOIN tags t ON t.id = 3",
        "REPLACE INTO tags (id, name) VALUES (3, 'raw')",
        "INSERT INTO tags (id, name) SELECT 3, 'x' ON DUPLICATE KEY UPDATE name = 'raw'",
    ],
    ids=["update of two", "delete from two", "replace", "upsert from select"],
)
def test_writes_of_mariadb(mariadb_env: Env, sql: str) -> None:
    """Writes in forms that only MySQL and MariaDB have."""
    reads = [NAMES, select(Category.name).order_by(Category.id)] if sql.startswith("UPDATE") else [everything(Tag)]
    with mariadb_env.change_of(*reads), mariadb_env.connect() as connection:
        connection.exec_driver_sql(sql)
        connection.commit()


@pytest.mark.parametrize(
    "sql",
    [
        "MERGE INTO tags t USING (SELECT 3 AS id) s ON t.id = s.id WHEN MATCHED THEN UPDATE SET name = 'raw'",
        "WITH gone AS (DELETE FROM tags WHERE id = 3 RETURNING id) SELECT * FROM gone",
        "WITH made AS (INSERT INTO tags (id, name) VALUES (9, 'raw') RETURNING id) SELECT count(*) FROM made",
        "EXPLAIN ANALYSE DELETE FROM tags WHERE id = 3",
        "UPDATE ONLY tags SET (name) = ROW('raw') WHERE id = 3",
        "SELECT $$ -- $$; DELETE FROM tags WHERE id = 3 -- x",
    ],
    ids=["merge", "writing cte", "inserting cte", "explain analyse", "only", "two statements"],
)
def test_writes_of_postgresql(postgres_env: Env, sql: str) -> None:
    """Writes in forms that only PostgreSQL has."""
    if ";" in sql and postgres_env.backend.driver == "asyncpg":
        pytest.skip("asyncpg sends one statement at a time")
    with postgres_env.change_of(everything(Tag)), postgres_env.connect() as connection:
        connection.exec_driver_sql(sql)
        connection.commit()


def test_a_prepared_statement(postgres_env: Env) -> None:
    """To prepare a statement does nothing; to execute it may do anything."""
    with postgres_env.connect() as connection:
        with postgres_env.no_change_of(everything(Tag)):
            connection.exec_driver_sql("PREPARE p AS DELETE FROM tags WHERE id = 3")
        with postgres_env.change_of(everything(Tag)):
            with pytest.warns(RowstampWarning, match="EXECUTE p"):
                connection.exec_driver_sql("EXECUTE p")
            connection.commit()
