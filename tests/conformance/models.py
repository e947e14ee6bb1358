"""A small shop that has one of everything the mapper can do, and a few rows to begin with."""

from __future__ import annotations

import datetime
import enum
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, cast

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Enum,
    ForeignKey,
    LargeBinary,
    Numeric,
    String,
    Table,
    Uuid,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.engine import Connection
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    column_property,
    deferred,
    mapped_column,
    query_expression,
    relationship,
)


class Base(DeclarativeBase):
    pass


class Status(enum.Enum):
    DRAFT = "draft"
    ACTIVE = "active"
    RETIRED = "retired"


class Category(Base):
    __tablename__ = "categories"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("categories.id"))

    parent: Mapped[Category | None] = relationship(back_populates="children", remote_side="Category.id")
    children: Mapped[list[Category]] = relationship(back_populates="parent", order_by="Category.id")
    products: Mapped[list[Product]] = relationship(back_populates="category", order_by="Product.id")


product_tags = Table(
    "product_tags",
    Base.metadata,
    Column[int]("product_id", ForeignKey("products.id", ondelete="CASCADE"), primary_key=True),
    Column[int]("tag_id", ForeignKey("tags.id", ondelete="CASCADE"), primary_key=True),
)


class Tag(Base):
    __tablename__ = "tags"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)


class Review(Base):
    """Deleted by the database with its product."""

    __tablename__ = "reviews"

    id: Mapped[int] = mapped_column(primary_key=True)
    stars: Mapped[int]
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id", ondelete="CASCADE"))

    product: Mapped[Product] = relationship(back_populates="reviews")


class Note(Base):
    """Loses its product, set to NULL by the database."""

    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str] = mapped_column(String(50))
    product_id: Mapped[int | None] = mapped_column(ForeignKey("products.id", ondelete="SET NULL"))


class Product(Base):
    __tablename__ = "products"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    stock: Mapped[int] = mapped_column(server_default=text("0"))
    status: Mapped[Status] = mapped_column(Enum(Status), default=Status.ACTIVE)
    details: Mapped[Any] = mapped_column(JSON, nullable=True)
    sku: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    picture: Mapped[bytes | None] = deferred(mapped_column(LargeBinary))
    released: Mapped[datetime.date | None]
    updated: Mapped[datetime.datetime | None]
    seen: Mapped[datetime.datetime | None] = mapped_column(DateTime(timezone=True))
    weight: Mapped[float | None]
    category_id: Mapped[int | None] = mapped_column(ForeignKey("categories.id"))

    category: Mapped[Category | None] = relationship(back_populates="products")
    tags: Mapped[list[Tag]] = relationship(secondary=product_tags, order_by="Tag.id", passive_deletes=True)
    reviews: Mapped[list[Review]] = relationship(back_populates="product", order_by="Review.id", passive_deletes=True)
    review_count: Mapped[int] = column_property(
        select(func.count(Review.id)).where(Review.product_id == id).correlate_except(Review).scalar_subquery(),  # noqa: A003
        deferred=True,
    )
    rank: Mapped[int | None] = query_expression()

    @hybrid_property
    def cheap(self) -> bool:
        return self.price < 10


class Customer(Base):
    __tablename__ = "customers"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    tenant: Mapped[str] = mapped_column(String(20), server_default="north")

    orders: Mapped[list[Order]] = relationship(back_populates="customer", order_by="Order.id")


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"))

    customer: Mapped[Customer] = relationship(back_populates="orders")
    items: Mapped[list[OrderItem]] = relationship(
        back_populates="order", cascade="all, delete-orphan", order_by="OrderItem.product_id"
    )


class OrderItem(Base):
    __tablename__ = "order_items"

    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"), primary_key=True)
    quantity: Mapped[int]

    order: Mapped[Order] = relationship(back_populates="items")
    product: Mapped[Product] = relationship()


class Person(Base):
    """The root of a hierarchy with a table for each class."""

    __tablename__ = "people"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(50))

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012 - SQLAlchemy's name


class Employee(Person):
    __tablename__ = "employees"

    id: Mapped[int] = mapped_column(ForeignKey("people.id"), primary_key=True)
    desk: Mapped[str] = mapped_column(String(20))

    __mapper_args__ = {"polymorphic_identity": "employee"}  # noqa: RUF012


class Manager(Employee):
    __tablename__ = "managers"

    id: Mapped[int] = mapped_column(ForeignKey("employees.id"), primary_key=True)
    budget: Mapped[int]

    __mapper_args__ = {"polymorphic_identity": "manager"}  # noqa: RUF012


class Payment(Base):
    """The root of a hierarchy in one table."""

    __tablename__ = "payments"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    amount: Mapped[int]

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "payment"}  # noqa: RUF012


class CardPayment(Payment):
    digits: Mapped[str | None] = mapped_column(String(4))

    __mapper_args__ = {"polymorphic_identity": "card"}  # noqa: RUF012


audit_log = Table(
    "audit_log",
    Base.metadata,
    Column("id", Uuid, primary_key=True),
    Column("message", String(100), nullable=False),
    Column("made", DateTime, server_default=func.current_timestamp()),
)
"""A table that no class is mapped to."""

FREE_ID = 100
"""Ids from here on belong to the scenarios."""
FIRST_GENERATED = 1001
"""Where PostgreSQL and MariaDB count on from; SQLite takes the next."""

_ROWS: Sequence[tuple[Any, list[dict[str, Any]]]] = [
    (Category, [
        {"id": 1, "name": "books", "parent_id": None},
        {"id": 2, "name": "games", "parent_id": None},
        {"id": 3, "name": "novels", "parent_id": 1},
    ]),
    (Tag, [{"id": 1, "name": "new"}, {"id": 2, "name": "sale"}, {"id": 3, "name": "unused"}]),
    (Product, [
        {
            "id": 1, "name": "atlas", "price": Decimal("30.00"), "stock": 3, "status": Status.ACTIVE,
            "details": {"pages": 200, "maps": ["sea", "sky"], "ratio": 0.5}, "sku": uuid.UUID(int=1), "picture": b"\0\xff",
            "released": datetime.date(2020, 2, 29), "updated": datetime.datetime(2021, 3, 4, 5, 6, 7, 8),  # noqa: DTZ001
            "seen": datetime.datetime(2022, 1, 1, 12, tzinfo=datetime.UTC), "weight": 1.25, "category_id": 1,
        },
        {
            "id": 2, "name": "bestiary", "price": Decimal("9.99"), "stock": 0, "status": Status.DRAFT, "details": None,
            "sku": None, "picture": None, "released": None, "updated": None, "seen": None, "weight": None, "category_id": 1,
        },
        {
            "id": 3, "name": "chess", "price": Decimal("15.50"), "stock": 7, "status": Status.ACTIVE, "details": [],
            "sku": uuid.UUID(int=3), "picture": b"", "released": None, "updated": None, "seen": None, "weight": -0.0,
            "category_id": 2,
        },
        {
            "id": 4, "name": "dominoes", "price": Decimal("5.00"), "stock": 1, "status": Status.RETIRED, "details": "x",
            "sku": None, "picture": None, "released": None, "updated": None, "seen": None, "weight": 0.1,
            "category_id": None,
        },
    ]),
    (product_tags, [{"product_id": 1, "tag_id": 1}, {"product_id": 1, "tag_id": 2}, {"product_id": 3, "tag_id": 2}]),
    (Review, [
        {"id": 1, "stars": 5, "product_id": 1}, {"id": 2, "stars": 3, "product_id": 1}, {"id": 3, "stars": 4, "product_id": 4},
    ]),
    (Note, [{"id": 1, "body": "fragile", "product_id": 1}, {"id": 2, "body": "dusty", "product_id": 4}]),
    (Customer, [{"id": 1, "name": "ann", "tenant": "north"}, {"id": 2, "name": "bob", "tenant": "south"}]),
    (Order, [{"id": 1, "customer_id": 1}, {"id": 2, "customer_id": 1}]),
    (OrderItem, [
        {"order_id": 1, "product_id": 1, "quantity": 2}, {"order_id": 1, "product_id": 3, "quantity": 1},
        {"order_id": 2, "product_id": 2, "quantity": 4},
    ]),
    (Person.__table__, [
        {"id": 1, "kind": "person", "name": "zoe"}, {"id": 2, "kind": "employee", "name": "yan"},
        {"id": 3, "kind": "manager", "name": "xia"},
    ]),
    (Employee.__table__, [{"id": 2, "desk": "a1"}, {"id": 3, "desk": "b2"}]),
    (Manager.__table__, [{"id": 3, "budget": 100}]),
    (Payment.__table__, [
        {"id": 1, "kind": "payment", "amount": 10, "digits": None}, {"id": 2, "kind": "card", "amount": 20, "digits": "4242"},
    ]),
    (audit_log, [{"id": uuid.UUID(int=7), "message": "opened", "made": datetime.datetime(2020, 1, 1)}]),  # noqa: DTZ001
]  # fmt: skip


def build(connection: Connection) -> None:
    """Create the tables and their first rows."""
    Base.metadata.create_all(connection)
    for target, rows in _ROWS:
        table = cast("Table", getattr(target, "__table__", target))
        connection.execute(insert(table), rows)
    if connection.dialect.name == "postgresql":
        for name in COUNTED:
            connection.exec_driver_sql(f"SELECT setval('{name}_id_seq', {FIRST_GENERATED - 1})")


COUNTED = [table.name for table in Base.metadata.sorted_tables if table.autoincrement_column is not None]
"""Tables whose keys PostgreSQL takes from a sequence."""


def product(id_: int = FREE_ID, **values: Any) -> Product:
    """Make a product of the first category."""
    return Product(**{"id": id_, "name": f"new {id_}", "price": Decimal(1), "category_id": 1, **values})
