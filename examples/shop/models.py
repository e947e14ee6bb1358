"""The shop's tables. Nothing in them knows of a cache."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import ForeignKey, Numeric, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

__all__ = ["Base", "Category", "Order", "Product"]


class Base(DeclarativeBase):
    """What all mapped classes of the shop share."""


class Category(Base):
    """A group of products."""

    __tablename__ = "example_categories"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)


class Product(Base):
    """Something for sale."""

    __tablename__ = "example_products"

    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(String(20), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    stock: Mapped[int]
    category_id: Mapped[int] = mapped_column(ForeignKey(Category.id), index=True)
    category: Mapped[Category] = relationship()


class Order(Base):
    """One purchase of some pieces of one product."""

    __tablename__ = "example_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey(Product.id), index=True)
    pieces: Mapped[int]
    paid: Mapped[Decimal] = mapped_column(Numeric(10, 2))
