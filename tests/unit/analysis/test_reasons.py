"""Where a read depends on more than the rows and columns it names, the analysis says why: in the words that `explain` shows."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, literal_column, or_, select, text
from sqlalchemy.engine import Dialect

from rowstamp.analysis.dependencies import TableUse, uses
from rowstamp.analysis.reads import analyse, analyse_text
from tests.unit.analysis.shop import MYSQL, POSTGRESQL, SQLITE, analysed, codes, products

p = products.c


def use(statement: Any, dialect: Dialect = SQLITE) -> TableUse:
    """Return how one execution of a statement reads its only table."""
    (found,) = uses(
        analysed(statement, dialect), statement.compile(dialect=dialect).construct_params(), dialect=dialect
    )
    return found


@pytest.mark.parametrize(
    ("statement", "dialect", "why"),
    [
        (select(products).where(p.name == "x"), SQLITE, "no key column is restricted to known values"),
        (
            select(products).where(or_(p.id == 1, p.name == "x")),
            SQLITE,
            "an alternative of OR restricts no key of products",
        ),
        (select(products).where(p.id.between(1, 2)), SQLITE, "BETWEEN two different values"),
        (select(products).where(p.id.in_(range(65))), SQLITE, "more than 64 values"),
        (select(codes).where(codes.c.code == "a"), MYSQL, "a value of code does not compare exactly"),
        (select(products).where(p.id == 1, text("1 = 1")), SQLITE, "a text fragment may read more of its rows"),
        (
            select(products.tablesample(func.bernoulli(1)).c.id).where(p.id == 1),
            POSTGRESQL,
            "it also appears where its rows cannot be told",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_why_any_row_matters(statement: Any, dialect: Dialect, why: str) -> None:
    """One reason for each way in which rows are not told."""
    assert use(statement, dialect).why_any_row == why


@pytest.mark.parametrize(
    ("statement", "dialect", "why"),
    [
        (select(products).where(p.id == 1), SQLITE, "every column is read"),
        (select(literal_column("*")).select_from(products), SQLITE, "* reads every column"),
        (select(p.name).where(p.id.in_(range(40))), SQLITE, "it would take too many stamps"),
        (select(products.table_valued()), POSTGRESQL, "a whole row is read as one value"),
        (select(p.name).where(text("1 = 1")), SQLITE, "a text fragment may read more of them"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_why_any_column_matters(statement: Any, dialect: Dialect, why: str) -> None:
    """One reason for each way in which columns are not told apart."""
    assert use(statement, dialect).why_any_column == why


def test_why_a_rewritten_statement_names_no_rows() -> None:
    """Its parameters are found by name, in the text that is really sent."""
    (read,) = analyse(select(products).where(p.id == 1), SQLITE, sql="SELECT 1").reads
    assert read.why == "the statement is rewritten when it is compiled"


def test_why_raw_sql_names_neither() -> None:
    """Of its text the tables are read."""
    (read,) = analyse_text("SELECT name FROM products WHERE id = 1", SQLITE).reads
    assert read.why
    assert read.why_any_column == "raw SQL is read table by table"
