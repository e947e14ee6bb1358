"""Views, functions, procedures and triggers, of which SQL alone tells nothing: `cache.declare` does."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Numeric, String, Table, func, insert, select, text, update

from rowstamp import RowstampWarning
from tests.conformance.models import Category, Product, Tag
from tests.conformance.test_hidden_writes import create
from tests.harness import Env

CHEAP = Table(
    "cheap_products",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", String(50)),
    Column("price", Numeric(10, 2)),
)
VIEW = "CREATE VIEW cheap_products AS SELECT id, name, price FROM products WHERE price < 1000"
BY_TABLE = select(CHEAP.c.name).order_by(CHEAP.c.id)
BY_KEY = select(CHEAP.c.name).where(CHEAP.c.id == 1)
BY_TEXT = text("SELECT name FROM cheap_products ORDER BY id")
TAGS = select(Tag.name).order_by(Tag.id)
NAMES = select(Product.name).order_by(Product.id)


@contextmanager
def defined(env: Env, *definitions: tuple[str, str]) -> Generator[None]:
    """Create something that the next test must not find."""
    with env.behind() as session:
        for create, _ in definitions:
            session.connection().exec_driver_sql(create)
    try:
        yield
    finally:
        with env.behind() as session:
            for _, drop in reversed(definitions):
                session.connection().exec_driver_sql(drop)


def rename(env: Env) -> None:
    with env.transaction() as session:
        product = session.get_one(Product, 1)
        product.name += "!"


@pytest.mark.parametrize("stmt", [BY_TABLE, BY_KEY, BY_TEXT], ids=["table", "key", "text"])
def test_a_view_depends_on_its_tables(env: Env, stmt: Any) -> None:
    """However the view is read, a write to a table behind it counts."""
    env.cache.declare("cheap_products", depends_on=[Product])
    with defined(env, (VIEW, "DROP VIEW cheap_products")), env.change_of(stmt):
        rename(env)


@pytest.mark.parametrize("stmt", [BY_TABLE, BY_TEXT], ids=["table", "text"])
def test_a_view_that_is_not_declared(env: Env, stmt: Any) -> None:
    """Nobody can know what is behind it: until it is declared, only writes to its own name count."""
    with defined(env, (VIEW, "DROP VIEW cheap_products")):
        old = env.warm(stmt)
        rename(env)
        assert env.rows(stmt) == old != env.truth(stmt)
        env.cache.declare(CHEAP, depends_on=[Product])
        assert env.rows(stmt) == env.truth(stmt)


def test_a_view_on_a_view(env: Env) -> None:
    """What is behind a view may be a view."""
    best = Table("best_products", MetaData(), Column("name", String(50)))
    env.cache.declare("best_products", depends_on=[CHEAP])
    env.cache.declare("cheap_products", depends_on=[Product])
    second = "CREATE VIEW best_products AS SELECT name FROM cheap_products"
    views = defined(env, (VIEW, "DROP VIEW cheap_products"), (second, "DROP VIEW best_products"))
    with views, env.change_of(select(best.c.name).order_by(best.c.name)):
        rename(env)


def test_a_view_under_a_policy(env: Env) -> None:
    """A policy of the view is enough: its tables need none."""
    env.cache.policy(CHEAP)
    env.cache.declare("cheap_products", depends_on=[Product])
    with defined(env, (VIEW, "DROP VIEW cheap_products")):
        env.warm(BY_TABLE, rowstamp=None)
        rename(env)
        assert env.rows(BY_TABLE, rowstamp=None) == env.truth(BY_TABLE)


@pytest.mark.parametrize("way", ["core", "text"])
def test_a_write_through_a_view(server_env: Env, way: str) -> None:
    """It is a write to the tables behind the view."""
    env = server_env
    env.cache.declare("cheap_products", depends_on=[Product])
    by_core = update(CHEAP).where(CHEAP.c.id == 1).values(name="through")
    by_text = text("UPDATE cheap_products SET name = 'through' WHERE id = 1")
    view = defined(env, (VIEW, "DROP VIEW cheap_products"))
    with view, env.change_of(NAMES, select(Product).where(Product.id == 1)), env.transaction() as session:
        session.execute(by_core if way == "core" else by_text)


DISCOUNT = {
    "postgresql": "CREATE FUNCTION discounted(p numeric) RETURNS numeric LANGUAGE sql AS 'SELECT p / 2'",
    "mariadb": "CREATE FUNCTION discounted(p DECIMAL(10,2)) RETURNS DECIMAL(10,2) DETERMINISTIC RETURN p / 2",
}
COUNT_OF = {
    "postgresql": "CREATE FUNCTION tag_count() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM tags'",
    "mariadb": "CREATE FUNCTION tag_count() RETURNS BIGINT READS SQL DATA RETURN (SELECT count(*) FROM tags)",
}
ADD_TAG = {
    "postgresql": "CREATE FUNCTION add_tag(i int) RETURNS int LANGUAGE sql AS "
    "'INSERT INTO tags (id, name) VALUES (i, ''made'') RETURNING id'",
    "mariadb": "CREATE FUNCTION add_tag(i INT) RETURNS INT MODIFIES SQL DATA BEGIN "
    "INSERT INTO tags (id, name) VALUES (i, 'made'); RETURN i; END",
}
PROCEDURE = {
    "postgresql": "CREATE PROCEDURE rename_tags(n text) LANGUAGE sql AS 'UPDATE tags SET name = n WHERE id = 1'",
    "mariadb": "CREATE PROCEDURE rename_tags(n VARCHAR(50)) UPDATE tags SET name = n WHERE id = 1",
}


def function(env: Env, definitions: dict[str, str], name: str, arguments: str = "") -> Any:
    drop = f"DROP FUNCTION {name}({arguments})" if env.dialect == "postgresql" else f"DROP FUNCTION {name}"
    return defined(env, (definitions[env.dialect], drop))


@pytest.mark.parametrize("way", ["core", "text"])
def test_a_function_of_its_arguments_alone(server_env: Env, way: str) -> None:
    """Declared with no dependencies, it keeps nothing from being cached."""
    env = server_env
    by_core = select(func.discounted(Product.price)).order_by(Product.id)
    stmt: Any = by_core if way == "core" else text("SELECT discounted(price) FROM products ORDER BY id")
    env.cache.declare("discounted", depends_on=[])
    with function(env, DISCOUNT, "discounted", "numeric"), env.change_of(stmt), env.transaction() as session:
        session.get_one(Product, 1).price += 1


@pytest.mark.parametrize("way", ["core", "text", "fragment"])
def test_a_function_that_reads(server_env: Env, way: str) -> None:
    """What it reads is what the statement reads."""
    env = server_env
    statements: dict[str, Any] = {
        "core": select(func.tag_count()),
        "text": text("SELECT tag_count()"),
        "fragment": select(Category.id, text("tag_count()")).order_by(Category.id),
    }
    env.cache.declare("tag_count", depends_on=[Tag])
    with function(env, COUNT_OF, "tag_count"), env.change_of(statements[way]), env.transaction() as session:
        session.add(Tag(id=100, name="one more"))


@pytest.mark.parametrize("way", ["core", "text", "in a write", "in a fragment of a write"])
def test_a_function_that_writes(server_env: Env, way: str) -> None:
    """What it writes is what the statement writes, and nothing else: no warning, and other results stay."""
    env = server_env
    env.cache.declare("add_tag", writes=[Tag])
    statements: dict[str, Any] = {
        "core": select(func.add_tag(100)),
        "text": text("SELECT add_tag(100)"),
        "in a write": update(Product).where(Product.id == 1).values(stock=func.add_tag(100)),
        "in a fragment of a write": update(Product).where(Product.id == 1).values(stock=text("add_tag(100)")),
    }
    categories = select(Category.name).order_by(Category.id)
    env.warm(categories)
    with function(env, ADD_TAG, "add_tag", "int"), env.change_of(TAGS), env.transaction() as session:
        session.execute(statements[way])
    assert env.served(categories)


@pytest.mark.parametrize("way", ["core", "text", "in a write", "in a fragment of a write", "default"])
def test_a_function_that_is_not_declared(server_env: Env, way: str) -> None:
    """It may write anything: everything ends, and a warning names the statement and the remedy."""
    env = server_env
    stocked = Table("stocked", MetaData(), Column("id", Integer), Column("n", Integer, onupdate=func.add_tag(100)))
    create(env, stocked.metadata, (stocked, [{"id": 1, "n": 1}]))
    statements: dict[str, Any] = {
        "core": select(func.add_tag(100)),
        "text": text("SELECT add_tag(100)"),
        "in a write": update(Product).where(Product.id == 1).values(stock=func.add_tag(100)),
        "in a fragment of a write": update(Product).where(Product.id == 1).values(stock=text("add_tag(100)")),
        "default": update(stocked).values(id=2),
    }
    warned = pytest.warns(RowstampWarning, match=r"(?s)add_tag.*declare.*add_tag")
    with function(env, ADD_TAG, "add_tag", "int"), env.change_of(TAGS), warned, env.transaction() as session:
        session.execute(statements[way])


def test_a_procedure(server_env: Env) -> None:
    """CALL of a declared procedure writes what was declared; of another one, everything."""
    env = server_env
    drop = "DROP PROCEDURE rename_tags"
    with defined(env, (PROCEDURE[env.dialect], drop)):
        with env.change_of(TAGS), pytest.warns(RowstampWarning, match="rename_tags"), env.transaction() as session:
            session.execute(text("CALL rename_tags('first')"))
        env.cache.declare("rename_tags", writes=[Tag])
        categories = select(Category.name).order_by(Category.id)
        env.warm(categories)
        with env.change_of(TAGS), env.transaction() as session:
            session.execute(text("CALL rename_tags(:n)"), {"n": "second"})
        assert env.served(categories)


RENAME_TAG = "UPDATE tags SET name = 'by trigger' WHERE id = 1"
LOG_FUNCTION = f"""CREATE FUNCTION log_product() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN {RENAME_TAG}; RETURN NULL; END $$"""
RESTOCK_FUNCTION = """CREATE FUNCTION restock() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.stock = 77; RETURN NEW; END $$"""
SQLITE_RESTOCKED = """CREATE TRIGGER restocked AFTER UPDATE OF name ON products
    BEGIN UPDATE products SET stock = 77 WHERE id = NEW.id; END"""
ON_ROW = "UPDATE ON products FOR EACH ROW"
LOGGED = {
    "sqlite": (f"CREATE TRIGGER logged AFTER UPDATE ON products BEGIN {RENAME_TAG}; END",),
    "postgresql": (LOG_FUNCTION, f"CREATE TRIGGER logged AFTER {ON_ROW} EXECUTE FUNCTION log_product()"),
    "mariadb": (f"CREATE TRIGGER logged AFTER {ON_ROW} {RENAME_TAG}",),
}
RESTOCKED = {
    "sqlite": (SQLITE_RESTOCKED,),
    "postgresql": (RESTOCK_FUNCTION, f"CREATE TRIGGER restocked BEFORE {ON_ROW} EXECUTE FUNCTION restock()"),
    "mariadb": (f"CREATE TRIGGER restocked BEFORE {ON_ROW} SET NEW.stock = 77",),
}


def trigger(env: Env, definitions: dict[str, tuple[str, ...]], name: str, procedure: str) -> Any:
    """Create a trigger on products, with PostgreSQL's function for it."""
    on = " ON products" if env.dialect == "postgresql" else ""
    drops = [f"DROP FUNCTION {procedure}()", f"DROP TRIGGER {name}{on}"][-len(definitions[env.dialect]) :]
    return defined(env, *zip(definitions[env.dialect], drops, strict=True))


@pytest.mark.parametrize("way", ["unit of work", "core", "text"])
def test_a_trigger_that_writes_another_table(env: Env, way: str) -> None:
    """A write to the table is a write to the other one."""
    env.cache.declare("products", writes=[Tag])
    with trigger(env, LOGGED, "logged", "log_product"), env.change_of(TAGS), env.transaction() as session:
        if way == "unit of work":
            session.get_one(Product, 1).name = "atlas II"
        elif way == "core":
            session.execute(update(Product).where(Product.id == 1).values(name="atlas II"))
        else:
            session.execute(text("UPDATE products SET name = 'atlas II' WHERE id = 1"))


def test_a_trigger_that_changes_the_row(env: Env) -> None:
    """A column that a trigger sets changes with every write to its row."""
    env.cache.declare(Product, writes=[Product.stock])
    statements = [
        select(Product.stock).where(Product.id == 1),
        select(Product.stock).order_by(Product.id),
    ]
    other = select(Product.stock).where(Product.id == 2)
    with trigger(env, RESTOCKED, "restocked", "restock"):
        env.warm(other)
        with env.change_of(*statements), env.transaction() as session:
            session.execute(update(Product).where(Product.id == 1).values(name="atlas II"))
        assert env.served(other), "a write to another row has ended it"


def test_triggers_that_set_off_each_other(env: Env) -> None:
    """What follows from a write has consequences too."""
    env.cache.declare("products", writes=[Tag])
    env.cache.declare(Tag, writes=[Category])
    stmt = select(Category.name).order_by(Category.id)
    env.warm(stmt)
    with env.transaction() as session:
        session.execute(insert(Product).values(name="globe", price=1))
    assert not env.served(stmt)
