"""Pins that mapped classes bring along: the types of their keys, their hierarchies, loads that the ORM makes, criteria."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from sqlalchemy import ForeignKey, String, Table, insert, select, update
from sqlalchemy.orm import (
    DeclarativeBase,
    DynamicMapped,
    Mapped,
    Session,
    WriteOnlyMapped,
    aliased,
    immediateload,
    joinedload,
    lazyload,
    mapped_column,
    relationship,
    selectin_polymorphic,
    selectinload,
    subqueryload,
    with_loader_criteria,
)

from rowstamp import cached
from tests.conformance.models import Category, Employee, Manager, Person, Product, Tag, product_tags
from tests.conformance.test_equality import Doubled
from tests.conformance.test_hidden_writes import create
from tests.harness import Env, read


class Base(DeclarativeBase):
    pass


class Shelf(Base):
    """Kept under a key that its type changes on the way to the database."""

    __tablename__ = "ledges"

    id: Mapped[int] = mapped_column(Doubled, primary_key=True, autoincrement=False)
    opened: Mapped[bool | None] = mapped_column(index=True)
    v: Mapped[int]

    things: WriteOnlyMapped[Thing] = relationship(order_by="Thing.id")
    listed: DynamicMapped[Thing] = relationship(order_by="Thing.id", viewonly=True)


class Thing(Base):
    """The root of a hierarchy in one table."""

    __tablename__ = "keepsakes"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    v: Mapped[int]
    shelf_id: Mapped[int | None] = mapped_column(ForeignKey(Shelf.id))

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "thing"}  # noqa: RUF012 - SQLAlchemy's name


class Book(Thing):
    __mapper_args__ = {"polymorphic_identity": "book"}  # noqa: RUF012


SHELVES: list[dict[str, Any]] = [
    {"id": 1, "opened": True, "v": 0},
    {"id": 2, "opened": False, "v": 0},
    {"id": 3, "opened": None, "v": 0},
]
THINGS: list[dict[str, Any]] = [
    {"id": number, "kind": kind, "v": 0, "shelf_id": shelf}
    for number, kind, shelf in [(1, "book", 1), (2, "thing", 1), (3, "book", 2), (4, "thing", None)]
]


def table(model: type[Base]) -> Table:
    return cast("Table", model.__table__)


def furnish(env: Env) -> None:
    create(env, Base.metadata, (table(Shelf), SHELVES), (table(Thing), THINGS))


def change(env: Env, model: Any, id_: int, column: str = "v") -> None:
    """Change a column of one row that every statement of this file reads."""
    with env.transaction() as session:
        entity = session.get_one(model, id_)
        setattr(entity, column, getattr(entity, column) + 1)


class Reader:
    """Reads in a session of its own each time."""

    def __init__(self, env: Env, load: Callable[[Session], list[Any]]) -> None:
        self._env = env
        self._load = load
        self.fresh()

    def fresh(self) -> list[Any]:
        with self._env.session() as session:
            return self._load(session)

    def served(self) -> list[Any]:
        """The same, of which the database hears nothing."""
        with self._env.traffic() as traffic:
            found = self.fresh()
        assert not traffic.statements
        return found


# ------------------------------------------------------------------------------------------------- types of keys


@pytest.mark.parametrize(
    ("condition", "mine", "other"),
    [
        (Shelf.opened, 1, 2),
        (Shelf.opened.is_(True), 1, 3),
        (~Shelf.opened, 2, 1),
        (Shelf.opened.is_(False), 2, 3),
        (Shelf.opened.is_(None), 3, 2),
    ],
    ids=str,
)
def test_a_boolean_column_is_a_condition(sync_env: Env, condition: Any, mine: int, other: int) -> None:
    """Rows of which it says something else do not matter, until it changes."""
    furnish(sync_env)
    statement = select(Shelf.id, Shelf.v).where(condition).order_by(Shelf.id)
    with sync_env.unconcerned(statement):
        change(sync_env, Shelf, other)
    with sync_env.change_of(statement):
        change(sync_env, Shelf, mine)
    with sync_env.change_of(statement), sync_env.transaction() as session:
        session.get_one(Shelf, other).opened = session.get_one(Shelf, mine).opened


def test_a_key_whose_type_is_decorated(sqlite_env: Env) -> None:
    """Reads and writes that go through the decorator name the same rows."""
    furnish(sqlite_env)
    statements = select(Shelf.v).where(Shelf.id == 1), select(Shelf.v).where(Shelf.id.in_([1, 9]))
    with sqlite_env.unconcerned(*statements):
        change(sqlite_env, Shelf, 2)
    with sqlite_env.change_of(*statements):
        change(sqlite_env, Shelf, 1)


def test_a_class_of_a_hierarchy_in_one_table(sqlite_env: Env) -> None:
    """Rows of its parent are those with the foreign key; one becomes a member when its kind changes."""
    furnish(sqlite_env)
    statement = select(Book.id, Book.v).where(Book.shelf_id == 1).order_by(Book.id)
    with sqlite_env.unconcerned(statement):
        change(sqlite_env, Thing, 3)
    with sqlite_env.change_of(statement):
        change(sqlite_env, Thing, 1)
    with sqlite_env.change_of(statement), sqlite_env.transaction() as session:
        session.execute(update(table(Thing)).where(table(Thing).c.id == 2).values(kind="book"))


FLAT = aliased(Manager, flat=True)


@pytest.mark.parametrize(
    "statement",
    [
        select(FLAT).where(FLAT.id == 3),
        select(Person).where(Person.id == 3).options(selectin_polymorphic(Person, [Manager])),
    ],
    ids=["alias", "selectin_polymorphic"],
)
def test_a_class_of_a_hierarchy_with_a_table_each(sqlite_env: Env, statement: Any) -> None:
    """Each of its tables is pinned by the key they share, in an alias and where a second statement reads what subclasses add."""
    manager = Reader(sqlite_env, lambda session: read(session, statement.options(cached())))
    before = manager.served()
    with sqlite_env.transaction() as session:
        employee = session.get_one(Employee, 2)
        employee.name, employee.desk = "yves", "z9"
    assert manager.served() == before
    for column, value in (("name", "xena"), ("budget", 7)):
        with sqlite_env.transaction() as session:
            setattr(session.get_one(Manager, 3), column, value)
        assert manager.fresh() == manager.served()
        assert f"'{column}': {value!r}" in str(manager.fresh())


# --------------------------------------------------------------------------------------------------------- loads


@pytest.mark.parametrize(
    "load",
    [lambda shelf, session: session.scalars(shelf.things.select().options(cached())), lambda shelf, _: shelf.listed],
    ids=["write_only", "dynamic"],
)
def test_a_collection_that_is_never_loaded_as_a_whole(sqlite_env: Env, load: Callable[[Shelf, Session], Any]) -> None:
    """A statement reads it, which names the rows of its owner."""
    env = sqlite_env
    furnish(env)
    for model in (Shelf, Thing):
        env.cache.policy(model)
    values = Reader(env, lambda session: [each.v for each in load(session.get_one(Shelf, 1), session)])
    change(env, Thing, 3)
    assert values.served() == [0, 0]
    change(env, Thing, 2)
    assert values.fresh() == values.served() == [0, 1]
    with env.transaction() as session:
        session.get_one(Shelf, 1).things.add(session.get_one(Thing, 4))
    assert values.fresh() == values.served() == [0, 1, 0]
    with env.transaction() as session:
        session.get_one(Shelf, 1).things.remove(session.get_one(Thing, 1))
    assert values.fresh() == [1, 0]


@pytest.mark.parametrize("strategy", [lazyload, joinedload, selectinload, subqueryload, immediateload])
def test_a_many_to_many_load(sqlite_env: Env, strategy: Callable[[Any], Any]) -> None:
    """Pairs of other rows do not matter, and of the far side only the rows that are paired."""
    env = sqlite_env
    for model in (Product, Tag, product_tags):
        env.cache.policy(model)
    statement = select(Product).where(Product.id == 1).options(strategy(Product.tags))
    names = Reader(env, lambda session: [tag.name for tag in session.scalars(statement).unique().one().tags])
    with env.transaction() as session:
        session.execute(insert(product_tags).values(product_id=3, tag_id=3))
        session.get_one(Tag, 3).name = "rare"
    assert names.served() == ["new", "sale"]
    with env.transaction() as session:
        session.execute(insert(product_tags).values(product_id=1, tag_id=3))
    assert names.fresh() == names.served() == ["new", "sale", "rare"]
    with env.transaction() as session:
        session.get_one(Tag, 1).name = "newest"
    assert names.fresh() == ["newest", "sale", "rare"]


# ------------------------------------------------------------------------------------------------------ criteria


@pytest.mark.parametrize("aliases", [True, False])
def test_loader_criteria_of_an_alias(sqlite_env: Env, aliases: bool) -> None:
    """They pin an alias if they are asked to hold for it, and say nothing of it otherwise."""
    other = aliased(Product)
    criteria = with_loader_criteria(Product, lambda cls: cls.id == 1, include_aliases=aliases)
    statement = select(other.id, other.stock).order_by(other.id).options(criteria)
    with sqlite_env.unconcerned(statement) if aliases else sqlite_env.change_of(statement):
        change(sqlite_env, Product, 2, "stock")
    with sqlite_env.change_of(statement):
        change(sqlite_env, Product, 1, "stock")


FIRST = Product.id == 1


@pytest.mark.parametrize(
    ("options", "restricted"),
    [
        ((with_loader_criteria(Product, FIRST),), True),
        ((with_loader_criteria(Product, FIRST, propagate_to_loaders=False),), False),
        ((with_loader_criteria(Product, FIRST), selectinload(Category.products)), True),
        ((lazyload(Category.products.and_(FIRST)),), True),
    ],
    ids=["lazy", "not handed on", "selectin", "of the relationship"],
)
def test_loader_criteria_of_a_load(sqlite_env: Env, options: Any, restricted: bool) -> None:
    """They pin the rows of a relationship that is loaded with them, and of no other."""
    env = sqlite_env
    for model in (Category, Product):
        env.cache.policy(model)
    statement = select(Category).where(Category.id == 1).options(*options)
    stocks = Reader(env, lambda session: [each.stock for each in session.scalars(statement).one().products])
    change(env, Product, 2, "stock")
    if restricted:
        assert stocks.served() == [3]
    else:
        assert stocks.fresh() == [3, 1]
    change(env, Product, 1, "stock")
    assert stocks.fresh() == stocks.served() == ([4] if restricted else [4, 1])
