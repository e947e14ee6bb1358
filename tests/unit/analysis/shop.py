"""The tables on which the analysis is tested."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Date,
    ForeignKey,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Uuid,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Dialect

from rowstamp.analysis.dependencies import Needs, needs
from rowstamp.analysis.reads import ReadAnalysis, analyse
from rowstamp.explain import describe
from rowstamp.model import Dependency

metadata = MetaData()
categories = Table(
    "categories",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String),
    Column("parent_id", ForeignKey("categories.id", ondelete="SET NULL")),
)
products = Table(
    "products",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("category_id", ForeignKey("categories.id", ondelete="CASCADE")),
    Column("name", String),
    Column("price", Numeric),
    Column("sold", Boolean),
)
lines = Table(
    "lines",
    metadata,
    Column("order_id", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("product_id", ForeignKey("products.id", ondelete="CASCADE")),
)
codes = Table("codes", metadata, Column("code", String, primary_key=True), Column("day", Date))
tokens = Table("tokens", metadata, Column("id", Uuid, primary_key=True))
flags = Table("flags", metadata, Column("on", Boolean, primary_key=True), Column("name", String))
notes = Table(
    "notes",
    metadata,
    Column("topic", Integer, primary_key=True, nullable=True, autoincrement=False),
    Column("body", String),
)
tenant_products = Table("products", metadata, Column("id", Integer, primary_key=True), schema="tenant")

SQLITE: Dialect = sqlite.dialect()
POSTGRESQL: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
MYSQL: Dialect = mysql.dialect()


def analysed(statement: Any, dialect: Dialect = SQLITE) -> ReadAnalysis:
    """Return the analysis of a statement compiled for a dialect."""
    return analyse(statement, dialect, sql=str(statement.compile(dialect=dialect)))


def stamps(statement: Any, dialect: Dialect = SQLITE, **translate: str) -> list[Dependency]:
    """Return what one execution of a statement depends on, if it finds nothing.

    Left out: what is implied by the rest.
    """
    found = needed(statement, dialect, **translate)
    new = [stamp for stamp, _ in found.new]
    implied = [stamp.of_old_rows() for stamp in new]
    return [*(each for each in found.certain if each not in implied), *new, *found.guard]


def needed(statement: Any, dialect: Dialect = SQLITE, **translate: str) -> Needs:
    """Return what one execution of a statement depends on, and on what of it that depends."""
    compiled = statement.compile(dialect=dialect)
    analysis = analyse(statement, dialect, sql=str(compiled))
    parameters = compiled.construct_params()
    return needs(analysis, parameters, scope="db", dialect=dialect, translate=dict(translate) or None)


def facets(statement: Any, dialect: Dialect = SQLITE) -> set[str]:
    """Return what one execution of a statement depends on, in the notation of the documentation."""
    return {describe(each) for each in stamps(statement, dialect)}


def reads(statement: Any, dialect: Dialect = SQLITE, **translate: str) -> set[str]:
    """Return on whose rows one execution of a statement depends, whatever it reads of them."""
    return {describe(each._replace(facet="")) for each in stamps(statement, dialect, **translate)}


def pinned(table: str, key: str, *values: object) -> set[str]:
    """Return what a read of a table pinned to these values of a key depends on."""
    return {f"{table}.?", f"{table}.{key}=?", *(f"{table}.{key}=<value {value}>" for value in values)}
