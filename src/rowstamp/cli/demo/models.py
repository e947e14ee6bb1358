"""The shop: its tables, relationships and the indexes that its queries need."""

from __future__ import annotations

import datetime

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

__all__ = ["MODELS", "PREFIX", "Base", "Category", "Customer", "Item", "Order", "Product"]

PREFIX = "rowstamp_demo_"
"""How the names of all tables begin, so that none is taken for a user's."""


class Base(AsyncAttrs, DeclarativeBase):
    """What all mapped classes of the shop share."""


class Category(Base):
    """A group of products."""

    __tablename__ = f"{PREFIX}categories"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)


class Product(Base):
    """Something for sale.

    ``version`` grows by one with every write to the row, so that a reader can tell how old what it sees is.
    """

    __tablename__ = f"{PREFIX}products"

    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(String(20), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    category_id: Mapped[int] = mapped_column(ForeignKey(Category.id))
    price_cents: Mapped[int]
    stock: Mapped[int]
    active: Mapped[bool]
    added_at: Mapped[datetime.datetime]
    version: Mapped[int]
    category: Mapped[Category] = relationship()

    __table_args__ = (Index(f"{PREFIX}products_by_price", "category_id", "price_cents", "id"),)


class Customer(Base):
    """Someone who buys."""

    __tablename__ = f"{PREFIX}customers"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(120), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    joined_on: Mapped[datetime.date]
    orders: Mapped[list[Order]] = relationship(order_by="Order.id")


class Order(Base):
    """A purchase of one or more products."""

    __tablename__ = f"{PREFIX}orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey(Customer.id), index=True)
    status: Mapped[str] = mapped_column(String(20))
    placed_at: Mapped[datetime.datetime] = mapped_column(index=True)
    items: Mapped[list[Item]] = relationship(lazy="selectin", order_by="Item.id")


class Item(Base):
    """A line of an order."""

    __tablename__ = f"{PREFIX}items"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey(Order.id), index=True)
    product_id: Mapped[int] = mapped_column(ForeignKey(Product.id), index=True)
    quantity: Mapped[int]
    price_cents: Mapped[int]
    product: Mapped[Product] = relationship(lazy="joined", innerjoin=True)


MODELS = (Category, Product, Customer, Order, Item)
