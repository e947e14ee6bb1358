"""A small shop for the tests of cached functions, and what they return. Its tables are nobody's namesakes."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "query_users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Category(Base):
    __tablename__ = "query_categories"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]

    products: Mapped[list[Product]] = relationship(back_populates="category", order_by="Product.id")


class Product(Base):
    __tablename__ = "query_products"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    stock: Mapped[int] = mapped_column(default=0)
    category_id: Mapped[int | None] = mapped_column(ForeignKey("query_categories.id"))

    category: Mapped[Category | None] = relationship(back_populates="products")


class Grade(enum.Enum):
    GOOD = "good"
    POOR = "poor"


@dataclass
class CategoryStats:
    name: str
    products: int
    value: Decimal
    grade: Grade = Grade.GOOD


class Runs:
    """Counts how often a function really ran."""

    def __init__(self) -> None:
        self.number = 0

    def since(self) -> int:
        number, self.number = self.number, 0
        return number


def fill(connection: object) -> None:
    from sqlalchemy import Connection, insert

    assert isinstance(connection, Connection)
    Base.metadata.create_all(connection)
    connection.execute(insert(User), [{"id": 1, "name": "ann"}, {"id": 2, "name": "bob"}])
    connection.execute(insert(Category), [{"id": 7, "name": "books"}, {"id": 8, "name": "games"}])
    connection.execute(
        insert(Product),
        [
            {"id": 1, "name": "atlas", "stock": 3, "category_id": 7},
            {"id": 2, "name": "bestiary", "stock": 1, "category_id": 7},
            {"id": 3, "name": "chess", "stock": 5, "category_id": 8},
        ],
    )
