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

from rowstamp.analysis.reads import ReadAnalysis, analyse, dependencies
from rowstamp.explain import describe

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
tenant_products = Table("products", metadata, Column("id", Integer, primary_key=True), schema="tenant")

SQLITE: Dialect = sqlite.dialect()
POSTGRESQL: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
MYSQL: Dialect = mysql.dialect()


def analysed(statement: Any, dialect: Dialect = SQLITE) -> ReadAnalysis:
    """Return the analysis of a statement compiled for a dialect."""
    return analyse(statement, dialect, sql=str(statement.compile(dialect=dialect)))


def reads(statement: Any, dialect: Dialect = SQLITE, **translate: str) -> set[str]:
    """Return what one execution of a statement depends on, in the notation of the documentation."""
    compiled = statement.compile(dialect=dialect)
    analysis = analyse(statement, dialect, sql=str(compiled))
    found = dependencies(
        analysis, compiled.construct_params(), scope="db", dialect=dialect, translate=dict(translate) or None
    )
    return {describe(each) for each in found}


def pinned(table: str, key: str, *values: object) -> set[str]:
    """Return what a read of a table pinned to these values of a key depends on."""
    return {f"{table}.?", f"{table}.{key}=?", *(f"{table}.{key}=<value {value}>" for value in values)}
