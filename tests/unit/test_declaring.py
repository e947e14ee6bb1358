"""Declarations that cannot be meant."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from rowstamp import Cache, ConfigurationError

log = Table("log", MetaData(), Column("id", Integer, primary_key=True), Column("text", Integer))


class Base(DeclarativeBase):
    """The base of this module's models."""


class Order(Base):
    """A mapped class."""

    __tablename__ = "declared_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    total: Mapped[int]
    parent_id: Mapped[int | None]
    parent = relationship("Order", primaryjoin="foreign(Order.parent_id) == remote(Order.id)", viewonly=True)


@pytest.mark.parametrize(
    ("name", "what", "message"),
    [
        ("totals", {}, r"declare\('totals'\) of nothing: say depends_on"),
        ("totals", {"writes": []}, r"of nothing"),
        ("", {"depends_on": []}, r"declare\(''\): no name"),
        ("f()", {"depends_on": []}, r"declare\('f\(\)'\): no name"),
        ("a.b.c", {"depends_on": []}, r"no name of a view"),
        (5, {"depends_on": []}, r"name has 5, which is neither"),
        ("totals", {"depends_on": Order}, r"depends_on=<class .*Order'> is no collection: give mapped classes"),
        ("totals", {"depends_on": "orders"}, r"depends_on='orders' is no collection"),
        ("totals", {"depends_on": ["orders"]}, r"depends_on has 'orders', which is neither a mapped class nor a Table"),
        ("totals", {"depends_on": [int]}, r"depends_on has <class 'int'>"),
        ("totals", {"depends_on": [Order.total]}, r"depends_on has .*total"),
        ("orders", {"writes": [Order.parent]}, r"writes has Order.parent, which is no column"),
        ("orders", {"writes": [func.now()]}, r"writes has .*now"),
        ("orders", {"writes": [Column("x", Integer)]}, r"writes has x, which is no column of a table"),
    ],
)
def test_bad_declarations_say_what_is_wrong(name: Any, what: dict[str, Any], message: str) -> None:
    """Each names the value and the remedy."""
    with Cache() as cache, pytest.raises(ConfigurationError, match=message):
        cache.declare(name, **what)


def test_a_name_is_declared_in_one_way() -> None:
    """Twice the same is harmless; otherwise one of the two would be lost."""
    with Cache() as cache:
        cache.declare("Totals", depends_on=[Order], writes=[log, Order.total])
        cache.declare("totals", depends_on=(Order,), writes=[Order.total, log])
        with pytest.raises(ConfigurationError, match=r"declare\('totals'\): it was declared otherwise before"):
            cache.declare("totals", depends_on=[])
