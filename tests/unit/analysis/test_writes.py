"""From DML to what it touches."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.engine import Dialect

from rowstamp.analysis.effects import effects, inserted_effects, wide_effects
from rowstamp.analysis.writes import analyse_dml
from rowstamp.explain import describe
from tests.unit.analysis.shop import (
    MYSQL,
    POSTGRESQL,
    SQLITE,
    categories,
    codes,
    lines,
    products,
    tenant_products,
)


def touched(statement: Any, *parameter_sets: dict[str, Any], dialect: Dialect = SQLITE) -> set[str]:
    """Return what a DML statement touches as far as it is known before it runs, with the marks of any schema left out."""
    column_keys = list(parameter_sets[0]) if parameter_sets else None
    compiled = statement.compile(dialect=dialect, column_keys=column_keys)
    sets = [compiled.construct_params(each) for each in parameter_sets] or [compiled.construct_params()]
    found = effects(analyse_dml(compiled), sets, scope="db", dialect=dialect)
    return {name for name in map(describe, found) if not name.startswith("?.")}


def test_an_update_of_one_row_touches_the_table_and_the_row() -> None:
    """Reads of other rows by key stay valid."""
    statement = update(products).where(products.c.id == 1).values(name="x")
    assert touched(statement) == {"products", "products:name", "products.id=<value 1>", "products.id=<value 1>:name"}


def test_a_delete_of_one_row_touches_the_row() -> None:
    """A delete by key is as precise as an update."""
    assert "products.id=<value 1>" in touched(delete(products).where(products.c.id == 1))


def test_a_bulk_update_touches_unknown_rows() -> None:
    """Without a key any row may have changed."""
    statement = update(products).where(products.c.price > 5).values(sold=True)
    assert touched(statement) >= {"products", "products.id=?"}


def test_an_update_of_the_key_itself_touches_unknown_rows() -> None:
    """The row gets a key that nobody pinned."""
    assert "products.id=?" in touched(update(products).where(products.c.id == 1).values(id=2))


def test_an_update_of_the_key_by_parameters_touches_unknown_rows() -> None:
    """The new key may come from the call instead of the statement."""
    assert "products.id=?" in touched(update(products).where(products.c.name == "x"), {"id": 2})


def test_each_set_of_parameters_names_its_row() -> None:
    """``executemany`` has one row image per set."""
    from sqlalchemy import bindparam

    statement = update(products).where(products.c.id == bindparam("key")).values(name="x")
    found = touched(statement, {"key": 1}, {"key": 2})
    assert {"products.id=<value 1>", "products.id=<value 2>"} <= found
    assert "products.id=?" not in found


def test_deletes_touch_what_cascades() -> None:
    """ON DELETE changes tables that no statement names, and theirs in turn."""
    found = touched(delete(categories).where(categories.c.id == 1))
    assert {"products", "products.?", "lines", "lines.?", "categories"} <= found


def test_keys_of_inserts_wait_for_the_result() -> None:
    """The database assigns them."""
    compiled = insert(products).values(name="x").compile(dialect=SQLITE)
    analysis = analyse_dml(compiled)
    assert analysis.awaits_result
    known = {describe(each) for each in inserted_effects(analysis, [(7,)], scope="db", dialect=SQLITE)}
    assert known == {f"{name}.id=<value 7>{facet}" for name in ("products", "?.products") for facet in ("", "!")}


@pytest.mark.parametrize("rows", [None, [None], [(None,)], [("7",)]], ids=str)
def test_keys_of_inserts_that_are_not_known_touch_unknown_rows(rows: Any) -> None:
    """A read that found nothing may find the new row."""
    analysis = analyse_dml(insert(products).values(name="x").compile(dialect=SQLITE))
    found = {describe(each) for each in inserted_effects(analysis, rows, scope="db", dialect=SQLITE)}
    assert found == {f"{name}.id=?{facet}" for name in ("products", "?.products") for facet in ("", "!")}


@pytest.mark.parametrize(
    "statement",
    [
        postgresql_insert(products).values(id=1).on_conflict_do_update(index_elements=["id"], set_={"name": "x"}),
        insert(products).from_select(["id"], select(categories.c.id)),
        insert(products).values([{"id": 1}, {"id": 2}]),
        insert(products).prefix_with("OR REPLACE").values(id=1),
    ],
    ids=["upsert", "from select", "several rows", "replace"],
)
def test_inserts_that_may_touch_other_rows_touch_unknown_rows(statement: Any) -> None:
    """Their result does not tell all the rows they changed."""
    assert "products.id=?" in touched(statement, dialect=POSTGRESQL)


def test_text_keys_are_unknown_where_the_collation_is_not_exact() -> None:
    """A row found as 'A' in MySQL may be the row 'a'."""
    statement = update(codes).where(codes.c.code == "A").values(day=None)
    assert "codes.code=?" in touched(statement, dialect=MYSQL)
    assert "codes.code=<value a>" in touched(statement)


def test_composite_keys_name_the_row_together() -> None:
    """Both columns are needed."""
    statement = delete(lines).where(lines.c.order_id == 1, lines.c.position == 2)
    row = "lines.order_id,position=<value 1,2>"
    assert touched(statement) == {"lines", "lines!", row, f"{row}!"}
    assert "lines.order_id,position=?" in touched(delete(lines).where(lines.c.order_id == 1))


def test_dml_inside_a_cte_is_found() -> None:
    """``WITH gone AS (DELETE …) INSERT …`` changes two tables."""
    gone = delete(lines).returning(lines.c.product_id).cte("gone")
    statement = insert(products).from_select(["id"], select(gone.c.product_id)).add_cte(gone)
    assert {"lines", "lines.?", "products"} <= touched(statement, dialect=POSTGRESQL)


def test_a_multi_table_update_touches_every_target() -> None:
    """MySQL updates joins."""
    target = products.join(categories, products.c.category_id == categories.c.id)
    statement = update(target).values({products.c.name: "x", categories.c.name: "y"}).where(products.c.id == 1)
    found = touched(statement, dialect=MYSQL)
    assert {"products", "categories"} <= found
    assert "products.id=?" in found


def test_writes_to_a_schema_touch_it_and_the_table_of_any_schema() -> None:
    """Who reads without naming a schema may have meant this one."""
    compiled = delete(tenant_products).where(tenant_products.c.id == 1).compile(dialect=SQLITE)
    found = effects(analyse_dml(compiled), [compiled.construct_params()], scope="db", dialect=SQLITE)
    # Foreign keys are followed by name, whatever the schema.
    touched_here = {name for name in map(describe, found) if "lines" not in name and not name.endswith("!")}
    assert touched_here == {"products", "tenant.products", "products.id=<value 1>", "tenant.products.id=<value 1>"}


def test_a_write_by_name_touches_whatever_is_pinned() -> None:
    """Raw SQL knows a table's name and nothing of its keys."""
    found = {describe(each) for each in wide_effects(None, "Products", "db")}
    assert found == {
        f"{name}{rows}{facet}" for name in ("products", "?.products") for rows in ("", ".?") for facet in ("", "!")
    }
