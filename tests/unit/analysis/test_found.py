"""A lookup by a unique key that found its rows does not depend on rows that come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    delete,
    exists,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    tuple_,
    union,
    update,
)

from rowstamp.analysis.dependencies import new_rows_matter
from rowstamp.analysis.effects import effects
from rowstamp.analysis.schema import NOT_TOLD
from rowstamp.analysis.writes import analyse_dml
from rowstamp.explain import describe
from rowstamp.model import Unknown
from tests.unit.analysis.shop import POSTGRESQL, SQLITE, categories, codes, lines, needed, products

metadata = MetaData()
tags = Table(
    "tags",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("code", String(8), unique=True),
    Column("kind", Integer, index=True),
    Column("x", Integer),
    Column("y", Integer),
    Index("pair", "x", "y", unique=True),
)
t = tags.c
p = products.c
ONE = select(tags).where(t.id == 5)
ROW = (5, "a", 1, 2, 3)
COUNTED = select(func.count()).where(p.category_id == t.kind).scalar_subquery()
OUTER_COUNT = select(func.count(t.kind)).select_from(products).correlate(tags).scalar_subquery()
"""Its count is of rows of the SELECT around it, which it makes one of."""


def matters(statement: Any, *rows: Sequence[Any]) -> set[str]:
    """Return on which stamps of rows that come, their keys unknown, a result depends."""
    found = needed(statement)
    always = [
        each for each in found.certain if each.value is Unknown.UNKNOWN and each.key and each.facet in {"", "rows"}
    ]
    return {describe(each) for each in (*always, *new_rows_matter(found, rows, dialect=SQLITE))}


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        (ONE, [ROW]),
        (ONE.where(t.kind > 0), [ROW]),
        (ONE.limit(1).offset(0), [ROW]),
        (ONE.distinct(), [ROW]),
        (select(t.kind).where(t.id == 5), [(1,)]),
        (select(t.kind, t.kind.label("again")).where(t.id == 5), [(1, 1)]),
        (select(tags).where(t.id.in_([5, 6])), [(6, "b", 1, 2, 3), ROW]),
        (select(tags).where(t.id.in_([5, 5])), [ROW]),
        (select(tags).where(t.id.in_([])), []),
        (select(tags).where(or_(t.id == 5, t.code == "b")), [ROW, (6, "b", 1, 2, 3)]),
        (select(t.code).where(t.code == "a"), [("a",)]),
        (select(t.id, COUNTED).where(t.id == 5), [(5, 0)]),
        (select(t.x, t.y).where(t.x == 2, t.y == 3), [(2, 3)]),
        (select(t.x, t.y).where(tuple_(t.x, t.y).in_([(2, 3), (2, 4)])), [(2, 3), (2, 4)]),
        (
            select(p.id, categories.c.id).join_from(products, categories).where(p.id == 5, categories.c.id == 7),
            [(5, 7)],
        ),
    ],
    ids=str,
)
def test_what_has_found_its_rows(statement: Any, rows: list[Any]) -> None:
    """Nothing that comes can change it; what it found may go."""
    assert needed(statement).new
    assert matters(statement, *rows) == set()


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        (ONE, []),
        (ONE.where(t.kind > 0), []),
        (select(t.kind).where(t.id == 5), []),
        (select(tags).where(t.id.in_([5, 6])), [ROW]),
        (select(t.kind).where(t.id.in_([5, 6])), [(1,), (1,)]),
        (select(tags).where(or_(t.id == 5, t.id == 6)), [ROW]),
        (select(t.kind).where(or_(t.id == 5, t.id == 6)), [(1,)]),
        (select(t.x, t.y).where(tuple_(t.x, t.y).in_([(2, 3), (2, 4)])), [(2, 3), (2, 5)]),
        (select(t.x, t.y).where(t.x.in_([2, 3]), t.y.in_([2, 3])), [(2, 3), (3, 2), (2, 2)]),
        (select(p.name, t.id).outerjoin_from(products, tags, (p.id == t.kind) & (t.id == 5)), [("x", None)]),
    ],
    ids=str,
)
def test_what_may_come(statement: Any, rows: list[Any]) -> None:
    """A value that the result does not show may be that of a row that comes."""
    assert matters(statement, *rows)


@pytest.mark.parametrize(
    "statement",
    [
        select(tags).where(t.kind == 1),
        select(tags).where(t.code.is_(None)),
        select(t.x).where(t.x == 1, t.y.is_(None)),
        select(tags).where(t.code.in_(["a", "A"])),
        select(func.count(t.id)).where(t.id == 5),
        select(func.max(t.kind), t.id).where(t.id == 5).group_by(t.id),
        select(t.id, OUTER_COUNT).where(t.id == 5),
        select(t.id).where(t.id == 5).having(literal(1) == 1),
        select(t.kind, p.id).outerjoin_from(tags, products, p.id == t.kind).where(t.id == 5),
        select(literal(1)).where(t.id == 5),
        select(literal_column("1")).where(t.id == 5),
        select(exists().where(t.id == 5)),
        select(p.name).where(exists().where(t.id == 5)),
        select(select(tags).where(t.id == 5).subquery()),
        union(ONE, ONE),
        select(p.name).where(p.id.in_(select(t.kind).where(t.id == 5))),
    ],
    ids=str,
)
def test_what_tells_nothing_of_its_rows(statement: Any) -> None:
    """Then the stamp of rows that come is one like any other."""
    assert all(stamp.name != "tags" for stamp, _ in needed(statement).new)
    assert not any(each.facet.startswith("old") for each in needed(statement).certain if each.name == "tags")


JOINED = select(p.id, p.category_id, categories.c.id, categories.c.name).outerjoin_from(products, categories)
CODES = select(t.code, codes).outerjoin_from(tags, codes, codes.c.code == t.code)
TO_MANY = select(categories.c.id, p.id, p.category_id).outerjoin_from(categories, products)
REQUIRED = JOINED.add_columns(categories.c.parent_id).where(categories.c.name == "x")


@pytest.mark.parametrize(
    ("statement", "rows", "table", "found"),
    [
        (JOINED, [(1, 7, 7, "x"), (2, None, None, None)], "categories", True),
        (JOINED, [], "categories", True),
        (JOINED, [(1, 7, 7, "x"), (2, 8, None, None)], "categories", False),
        (JOINED, [()], "categories", False),
        (
            select(p.id, p.category_id, categories.c.name).outerjoin_from(products, categories),
            [(1, 7, "x")],
            "categories",
            False,
        ),
        (CODES, [("a", "a", None)], "codes", False),
        (TO_MANY, [(7, 1, 7)], "products", False),
        (REQUIRED, [(1, 7, 7, "x", None)], "categories", False),
    ],
    ids=[
        "found",
        "no rows",
        "one is not there",
        "other rows",
        "key not shown",
        "text",
        "no unique key",
        "asked of any row",
    ],
)
def test_joined_rows_that_were_found(statement: Any, rows: list[Any], table: str, found: bool) -> None:
    """Under an outer join, by a unique key that the result shows on both sides; text may be equal in more than one way."""
    matter = {each.split(".")[0] for each in matters(statement, *rows) if "=?" in each}
    assert (table not in matter) is found


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_distinct_on_picks_rows() -> None:
    """Another row may be picked."""
    assert not needed(select(tags).distinct(t.kind).where(t.id == 5), POSTGRESQL).new


def test_an_alias_is_told_by_its_own_columns() -> None:
    """What another appearance of the table shows does not count."""
    one, other = tags.alias("one"), tags.alias("other")
    statement = select(one.c.id, other.c.code).where(one.c.id == 5, other.c.id == 6)
    assert matters(statement, (5, "b")) == {"tags.id=?!"}
    assert matters(select(one.c.id, other.c.id).where(one.c.id == 5, other.c.id == 6), (5, 6)) == set()


def test_the_same_table_in_a_subquery_is_not_shown() -> None:
    """It is the same object, without an alias, and other rows."""
    inner = select(t.kind).where(t.id == 6).correlate(None).scalar_subquery()
    assert needed(select(tags).where(t.id == 5, t.kind == inner)).new == ()


def test_rows_that_are_not_what_the_statement_says() -> None:
    """Whatever a driver returns, nothing is raised for the cache's sake."""
    statement = select(tags).where(t.id.in_([5, 6]))
    assert matters(statement, (), ()) == matters(statement, None, None) == {"tags.id=?"}  # type: ignore[arg-type]


def touched(statement: Any) -> set[str]:
    compiled = statement.compile(dialect=SQLITE)
    found = effects(analyse_dml(compiled), [compiled.construct_params()], scope="db", dialect=SQLITE)
    return {
        describe(each) for each in found if each.value is not None and each.key != NOT_TOLD and each.name == "lines"
    }


SOME = select(products.c.id, literal(1), literal(2)).where(products.c.id > 3)


def test_new_rows_of_unknown_keys() -> None:
    """They come; what is there stays as it is."""
    found = touched(insert(lines).from_select(["order_id", "position", "product_id"], SOME))
    assert {"lines.order_id,position=?", "lines.order_id,position=?!"} <= found
    assert not any(each.endswith("-") for each in found)


@pytest.mark.parametrize(
    "statement",
    [
        update(lines).where(lines.c.position > 1).values(position=3),
        delete(lines).where(lines.c.position > 1),
        insert(lines).prefix_with("OR REPLACE").from_select(["order_id", "position", "product_id"], SOME),
    ],
    ids=["update", "delete", "replace"],
)
def test_old_rows_of_unknown_keys(statement: Any) -> None:
    """They get other keys or go, be they replaced by new ones."""
    assert {"lines.order_id,position=?-", "lines.order_id,position=?!-"} <= touched(statement)
