"""Of which columns a result is made, and which it only looked as if it were."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    case,
    column,
    exists,
    func,
    literal_column,
    select,
    table,
    text,
    union,
)

from rowstamp.analysis.dependencies import COLUMN_LIMIT, STAMP_LIMIT
from tests.unit.analysis.shop import (
    POSTGRESQL,
    analysed,
    categories,
    facets,
    products,
    tenant_products,
)

p = products.c
other = products.alias("other")


def whole(name: str, *columns: str) -> set[str]:
    """What a read of these columns of any row depends on."""
    return {f"{name}!", *(f"{name}:{each}" for each in columns)}


def row(name: str, key: str, value: object, *columns: str) -> set[str]:
    """What a read of these columns of one row depends on."""
    known, unknown = f"{name}.{key}=<value {value}>", f"{name}.{key}=?"
    return {f"{name}.?!", f"{known}!", f"{unknown}!", *(f"{each}:{c}" for each in (known, unknown) for c in columns)}


@pytest.mark.parametrize(
    ("statement", "columns"),
    [
        (select(p.name), ["name"]),
        (select(p.name.label("title")), ["name"]),
        (select(p.name).where(p.price > 3), ["name", "price"]),
        (select(p.name).order_by(p.price), ["name", "price"]),
        (select(p.name.label("x")).order_by("x"), ["name"]),
        (select(func.sum(p.price)).group_by(p.category_id), ["price", "category_id"]),
        (select(p.name).group_by(p.name).having(func.max(p.price) > 1), ["name", "price"]),
        (select(case((p.sold, p.name), else_="")), ["sold", "name"]),
        (select(func.count(p.id).over(partition_by=p.sold)), ["id", "sold"]),
        (select(func.count()).select_from(products), []),
        (select(func.count(literal_column("1"))).select_from(products), []),
        (select(other.c.name), ["name"]),
        (select(select(p.id, p.name, p.price).subquery().c.id), ["id", "name", "price"]),
        (select(select(p.name).cte().c.name), ["name"]),
        (union(select(p.name), select(p.price)), ["name", "price"]),
        (select(p.name).distinct(), ["name"]),
        (select(select(p.name).limit(1).scalar_subquery()), ["name"]),
    ],
    ids=str,
)
def test_columns_are_found_wherever_they_are_mentioned(statement: Any, columns: list[str]) -> None:
    """Select list, WHERE, ORDER BY, GROUP BY, HAVING, functions, subqueries."""
    assert facets(statement) == whole("products", *columns)


def test_the_conditions_of_joins_and_subqueries_are_mentions() -> None:
    """Each column counts for its own table."""
    joined = select(p.name).join(categories, categories.c.id == p.category_id)
    assert facets(joined) == whole("products", "name", "category_id") | whole("categories", "id")
    existing = select(p.name).where(exists().where(categories.c.id == p.category_id))
    assert facets(existing) == whole("products", "name", "category_id") | whole("categories", "id")


def test_a_pinned_row_depends_on_the_columns_read_of_it() -> None:
    """Another value of the key itself is a matter of membership."""
    assert facets(select(p.name).where(p.id == 5)) == row("products", "id", 5, "name")
    assert facets(select(p.id, p.name).where(p.id == 5)) == row("products", "id", 5, "name")


def test_each_appearance_has_columns_of_its_own() -> None:
    """What is read of one row is not read of the other."""
    statement = select(p.name, other.c.price).where(p.id == 1, other.c.id == 2)
    assert facets(statement) == row("products", "id", 1, "name") | row("products", "id", 2, "price")


def test_a_qualified_table() -> None:
    """Under both of its names."""
    assert facets(select(func.count()).select_from(tenant_products)) == {"tenant.products!", "?.products!"}


@pytest.mark.parametrize(
    "statement",
    [
        select(products),
        select(literal_column("*")).select_from(products),
        select(text("*")).select_from(products),
        select(literal_column("products.*")).select_from(products),
        select(column("name")).select_from(products),
        select(literal_column("name")).select_from(products),
        select(p.name).where(text("price > 3")),
        select(p.name).order_by(text("price")),
        select(func.row_to_json(products.table_valued())),
        select(p.name, func.to_jsonb(products.table_valued())),
        text("SELECT name FROM products").columns(p.name),
    ],
    ids=str,
)
def test_where_any_column_may_be_read(statement: Any) -> None:
    """Stars, text, columns without a table, whole rows; and every column is simply all of them."""
    assert facets(statement, POSTGRESQL) == {"products"}


def test_columns_of_a_lightweight_table() -> None:
    """It shows no keys, but it shows its columns."""
    light = table("products", column("id"), column("name"), column("price"))
    assert facets(select(light.c.name).where(light.c.id == 5)) == whole("products", "id", "name")


def test_columns_that_change_with_the_whole_row() -> None:
    """PostgreSQL's `xmin` is another one after each UPDATE."""
    versioned = Table(
        "v",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("xmin", Integer, system=True),
        Column("n", Integer),
    )
    assert facets(select(versioned.c.id, versioned.c.xmin)) == {"v"}


def wide_table(columns: int) -> Table:
    return Table(
        "wide", MetaData(), Column("id", Integer, primary_key=True), *(Column(f"c{n}", Integer) for n in range(columns))
    )


def test_many_columns_are_the_whole_row() -> None:
    """One stamp costs less than many."""
    wide = wide_table(20).c
    few = [wide[f"c{number}"] for number in range(COLUMN_LIMIT)]
    assert len(facets(select(*few))) == COLUMN_LIMIT + 1
    assert facets(select(*few, wide.c9)) == {"wide"}


def test_many_rows_are_depended_on_as_a_whole() -> None:
    """The stamps of a statement are bounded; rows stay told apart."""
    wide = wide_table(20)
    statement = select(wide.c.c1, wide.c.c2, wide.c.c3).where(wide.c.id.in_(range(40)))
    found = facets(statement)
    assert len(found) == 42
    assert not any(":" in each or "!" in each for each in found)


def test_the_bound_holds_for_all_tables_together() -> None:
    """Tables that come first have the stamps."""
    names = [wide_table(20) for _ in range(9)]
    tables = [each.to_metadata(MetaData(), name=f"t{number}") for number, each in enumerate(names)]
    statement = select(*(column for each in tables for column in list(each.c)[:8]))
    found = facets(statement)
    assert len([each for each in found if ":" in each or "!" in each]) <= STAMP_LIMIT
    assert {"t0!", "t8"} <= found


def test_explanations_say_why_any_column_counts() -> None:
    """`explain` shows them."""
    starred = analysed(select(literal_column("*")).select_from(products)).reads[0]
    assert starred.columns is None
    assert "*" in starred.why_any_column


def test_a_composite_key_with_more_columns() -> None:
    """Only the columns that are no part of the key count besides."""
    keyed = Table("keyed", MetaData(), *(Column(n, Integer, primary_key=n in "ab") for n in "abcd")).c
    assert facets(select(keyed.a, keyed.c).where(keyed.a == 1, keyed.b == 2)) == row("keyed", "a,b", "1,2", "c")
