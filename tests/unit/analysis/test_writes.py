"""From DML to what it touches."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.engine import Dialect

from rowstamp.analysis.effects import awaited_keys, effects, wide_effects
from rowstamp.analysis.images import IMAGE_LIMIT
from rowstamp.analysis.inserted import Inserted
from rowstamp.analysis.schema import NOT_TOLD
from rowstamp.analysis.upserts import plan_upsert
from rowstamp.analysis.writes import WriteAnalysis, analyse_dml
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
    """Return what a DML statement touches as far as it is known before it runs.

    Left out: the names for readers of other schemas, the facets, and what processes without named keys touch.
    """
    column_keys = list(parameter_sets[0]) if parameter_sets else None
    compiled = statement.compile(dialect=dialect, column_keys=column_keys)
    sets = [compiled.construct_params(each) for each in parameter_sets] or [compiled.construct_params()]
    analysis = analyse_dml(compiled)
    awaited = awaited_keys(analysis, sets, dialect)
    found = effects(analysis, sets, scope="db", dialect=dialect, awaited=awaited)
    stamps = {describe(each) for each in found if not each.facet and each.key != NOT_TOLD}
    return {name for name in stamps if not name.startswith("?.")}


def told(
    analysis: WriteAnalysis, sets: Any, keys: Any, returned: Any = None, *, shown: Any = (), plan: Any = None
) -> set[str]:
    """Return which rows of products an INSERT touched, from what the database has told of those that it made."""
    made = Inserted(analysis, awaited_keys(analysis, sets, SQLITE), sets, plan, None)
    made.answered(keys, returned)
    if made.question() is not None:
        made.shown(shown)
    found = {describe(each) for each in made.effects(scope="db", dialect=SQLITE)}
    names = {each.removeprefix("products.") for each in found if each.startswith("products.") and "!" not in each}
    assert found == {
        f"{name}.{each}{facet}" for name in ("products", "?.products") for each in names for facet in ("", "!")
    }
    return names


def test_an_update_of_one_row_touches_the_table_and_the_row() -> None:
    """Reads of other rows by key stay valid; of the keys that WHERE does not say nothing is known."""
    statement = update(products).where(products.c.id == 1).values(name="x")
    assert touched(statement) == {"products", "products.id=<value 1>", "products.category_id=?"}


def test_a_delete_of_one_row_touches_the_row() -> None:
    """A delete by key is as precise as an update."""
    assert "products.id=<value 1>" in touched(delete(products).where(products.c.id == 1))


def test_a_bulk_update_touches_unknown_rows() -> None:
    """Without a key any row may have changed."""
    statement = update(products).where(products.c.price > 5).values(sold=True)
    assert touched(statement) == {"products", "products.id=?", "products.category_id=?"}


def test_an_update_of_a_key_touches_the_old_and_the_new_value() -> None:
    """The row leaves the one and comes to the other."""
    found = touched(update(products).where(products.c.id == 1).values(id=2))
    assert {"products.id=<value 1>", "products.id=<value 2>"} <= found
    found = touched(update(products).where(products.c.id == 1).values(category_id=2))
    assert {"products.category_id=?", "products.category_id=<value 2>"} <= found


def test_an_update_of_a_key_by_parameters_touches_the_new_value() -> None:
    """The new key may come from the call instead of the statement."""
    found = touched(update(products).where(products.c.name == "x"), {"id": 2})
    assert {"products.id=<value 2>", "products.id=?"} <= found


def test_a_key_set_by_an_expression_is_unknown() -> None:
    """Only the database knows the new value."""
    found = touched(update(products).where(products.c.id == 1).values(id=products.c.id + 1))
    assert {"products.id=<value 1>", "products.id=?"} <= found


def test_a_part_of_a_composite_key_is_changed() -> None:
    """The other part stays."""
    found = touched(update(lines).where(lines.c.order_id == 1, lines.c.position == 2).values(position=3))
    assert {"lines.order_id,position=<value 1,2>", "lines.order_id,position=<value 1,3>"} <= found
    assert "lines.order_id,position=?" not in found


def test_each_set_of_parameters_names_its_row() -> None:
    """``executemany`` has one row for each set."""
    statement = update(products).where(products.c.id == bindparam("key")).values(name="x")
    found = touched(statement, {"key": 1}, {"key": 2})
    assert {"products.id=<value 1>", "products.id=<value 2>"} <= found
    assert "products.id=?" not in found


def test_deletes_touch_what_cascades() -> None:
    """ON DELETE changes tables that no statement names, and theirs in turn."""
    found = touched(delete(categories).where(categories.c.id == 1))
    assert {"products", "products.?", "lines", "lines.?", "categories"} <= found


def test_generated_keys_of_inserts_wait_for_the_result() -> None:
    """The database assigns them; other keys are in the parameters."""
    statement = insert(products).values(name="x", category_id=3)
    compiled = statement.compile(dialect=SQLITE)
    analysis = analyse_dml(compiled)
    assert touched(statement) == {"products", "products.category_id=<value 3>"}
    assert told(analysis, [compiled.construct_params()], [(7,)]) == {"id=<value 7>"}


def test_keys_that_inserts_give_themselves_wait_for_nothing() -> None:
    """Neither does ``executemany``."""
    analysis = analyse_dml(insert(products).compile(dialect=SQLITE, column_keys=["id", "name"]))
    assert not awaited_keys(analysis, [{"id": 1, "name": "x"}, {"id": 2, "name": "x"}], SQLITE)
    assert awaited_keys(analysis, [{"id": 1, "name": "x"}, {"id": None, "name": "x"}], SQLITE)


@pytest.mark.parametrize("rows", [None, [None], [(None,)], [("7",)]], ids=str)
def test_keys_of_inserts_that_are_not_known_touch_unknown_rows(rows: Any) -> None:
    """A read that found nothing may find the new row."""
    analysis = analyse_dml(insert(products).values(name="x").compile(dialect=SQLITE))
    assert told(analysis, [{}], rows) == {"id=?", "category_id=?"}


LEFT_OUT = insert(products).values(name="x")
"""An INSERT that gives neither the primary key nor another."""


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ([(7, 3)], {"id=<value 7>", "category_id=<value 3>"}),
        ([(7, None)], {"id=<value 7>", "category_id=<value None>"}),
        ([], {"id=<value 7>", "category_id=?"}),
    ],
    ids=["shown", "null", "hidden"],
)
def test_keys_that_are_left_out_are_asked_for(shown: Any, expected: set[str]) -> None:
    """By the primary key that the database has given; a row that is not shown is not believed to have none."""
    compiled = LEFT_OUT.compile(dialect=SQLITE)
    analysis = analyse_dml(compiled)
    assert told(analysis, [{}], [(7,)], shown=shown, plan=plan_upsert(analysis, compiled)) == expected
    assert told(analysis, [{}], [(7,)]) == {"id=<value 7>", "category_id=?"}


def test_keys_that_were_returned_are_not_asked_for() -> None:
    """SQLAlchemy has asked for them, by RETURNING."""
    compiled = LEFT_OUT.compile(dialect=SQLITE)
    analysis = analyse_dml(compiled)
    returned = [{products.c.category_id: 3}]
    plan = plan_upsert(analysis, compiled)
    assert told(analysis, [{}], [(7,)], returned, shown=[(7, 4)], plan=plan) == {
        "id=<value 7>",
        "category_id=<value 3>",
    }


@pytest.mark.parametrize("number", [1, 2])
def test_primary_keys_of_which_a_part_is_given(number: int) -> None:
    """Of several rows it is not known which of the parts that the database gives belongs to which parameters."""
    first, second = Column("x", Integer, primary_key=True), Column("y", Integer, primary_key=True, server_default="1")
    sets = [{"x": each} for each in range(number)]
    analysis = analyse_dml(
        insert(Table("halves", MetaData(), first, second)).compile(dialect=SQLITE, column_keys=["x"])
    )
    made = Inserted(analysis, awaited_keys(analysis, sets, SQLITE), sets, None, None)
    made.answered([(each, 7 + each) for each in range(number)], None)
    assert (made.images is not None) is (number == 1)


def test_of_many_rows_the_keys_that_are_left_out_are_not_asked_for() -> None:
    """No more than an image has."""
    compiled = LEFT_OUT.compile(dialect=SQLITE)
    analysis = analyse_dml(compiled)
    made = Inserted(analysis, awaited_keys(analysis, [{}], SQLITE), [{}], plan_upsert(analysis, compiled), None)
    made.answered([(number,) for number in range(IMAGE_LIMIT)], None)
    assert made.question() is not None
    made.answered([(number,) for number in range(IMAGE_LIMIT + 1)], None)
    assert made.question() is None


def test_every_row_of_values_is_known() -> None:
    """One INSERT may make several."""
    found = touched(insert(products).values([{"id": 1, "category_id": 5}, {"id": 2, "category_id": None}]))
    assert found == {
        "products",
        "products.id=<value 1>",
        "products.id=<value 2>",
        "products.category_id=<value 5>",
        "products.category_id=<value None>",
    }


def test_what_an_insert_leaves_out_is_unknown() -> None:
    """The database may have a default for it that the metadata does not show."""
    assert "products.category_id=?" in touched(insert(products).values(id=1))


def test_defaults_of_the_program_are_known() -> None:
    """They are parameters like others, in every row."""
    table = Table(
        "owned", MetaData(), Column("id", Integer, primary_key=True), Column("owner", Integer, default=7, index=True)
    )
    compiled = insert(table).values([{"id": 1}, {"id": 2}]).compile(dialect=SQLITE)
    found = effects(analyse_dml(compiled), [{**compiled.params, "owner": 7, "owner_m1": 8}], scope="db", dialect=SQLITE)
    assert {"owned.owner=<value 7>", "owned.owner=<value 8>"} <= set(map(describe, found))
    assert "owned.owner=?" not in set(map(describe, found))


@pytest.mark.parametrize(
    "value",
    [literal("3"), func.abs(3), select(categories.c.id).scalar_subquery(), bindparam("x", "3", type_=String)],
    ids=["text", "function", "subquery", "parameter of another type"],
)
def test_values_that_the_database_works_out_are_unknown(value: Any) -> None:
    """Also those that it converts."""
    assert "products.category_id=?" in touched(insert(products).values(id=1, category_id=value))


def test_null_in_a_column_that_cannot_have_it_is_unknown() -> None:
    """The database puts something else in its place."""
    assert "lines.product_id=<value None>" in touched(insert(lines).values(order_id=1, position=1, product_id=None))
    assert "lines.order_id,position=<value 1,None>" not in touched(insert(lines).values(order_id=1, position=None))


def test_zero_asks_mysql_for_a_key() -> None:
    """As NULL does."""
    compiled = insert(products).values(id=0).compile(dialect=MYSQL)
    assert awaited_keys(analyse_dml(compiled), [compiled.params], MYSQL)


@pytest.mark.parametrize(
    "statement",
    [
        postgresql_insert(products).values(id=1).on_conflict_do_update(index_elements=["id"], set_={"name": "x"}),
        insert(products).from_select(["id"], select(categories.c.id)),
        insert(products).prefix_with("OR REPLACE").values(id=1),
    ],
    ids=["upsert", "from select", "replace"],
)
def test_inserts_that_may_touch_other_rows_touch_unknown_rows(statement: Any) -> None:
    """Their result does not tell all the rows they changed."""
    assert "products.category_id=?" in touched(statement, dialect=POSTGRESQL)


def test_an_insert_that_leaves_out_conflicting_rows_changes_none() -> None:
    """What it inserts has the keys of VALUES; what the database generates for it is not told."""
    insert_ = postgresql_insert(products)
    found = touched(insert_.values(id=1, category_id=2).on_conflict_do_nothing(), dialect=POSTGRESQL)
    assert found == {"products", "products.id=<value 1>", "products.category_id=<value 2>"}
    assert "products.id=?" in touched(insert_.values(category_id=2).on_conflict_do_nothing(), dialect=POSTGRESQL)


def test_text_keys_are_unknown_where_the_collation_is_not_exact() -> None:
    """A row found as 'A' in MySQL may be the row 'a'."""
    statement = update(codes).where(codes.c.code == "A").values(day=None)
    assert "codes.code=?" in touched(statement, dialect=MYSQL)
    assert "codes.code=<value a>" in touched(statement)


def test_composite_keys_name_the_row_together() -> None:
    """Both columns are needed."""
    statement = delete(lines).where(lines.c.order_id == 1, lines.c.position == 2)
    assert touched(statement) == {"lines", "lines.order_id,position=<value 1,2>", "lines.product_id=?"}
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


def test_a_table_that_an_update_sets_beside_its_own() -> None:
    """MySQL updates further tables, which stand in SET and nowhere else."""
    statement = update(products).values({products.c.name: "x", categories.c.name: "y"})
    found = touched(statement.where(products.c.category_id == categories.c.id, products.c.id == 1), dialect=MYSQL)
    assert {"products", "categories", "categories.?"} <= found


def test_mysql_may_store_another_key_than_it_was_given() -> None:
    """IGNORE has it store what fits."""
    assert "products.id=?" in touched(insert(products).prefix_with("IGNORE").values(id=1), dialect=MYSQL)


def test_rows_that_refer_to_those_that_an_insert_changes() -> None:
    """An upsert may give a row another key, and REPLACE removes rows."""
    metadata = MetaData()
    seats = Table("seats", metadata, Column("id", Integer, primary_key=True))
    key = ForeignKey("seats.id", ondelete="CASCADE", onupdate="CASCADE")
    Table("seat_guests", metadata, Column("id", Integer, primary_key=True), Column("seat_id", key))
    upsert = postgresql_insert(seats).values(id=1).on_conflict_do_update(index_elements=["id"], set_={"id": 2})
    replace = insert(seats).prefix_with("OR REPLACE").values(id=1)
    assert "seat_guests.?" in touched(upsert, dialect=POSTGRESQL)
    assert "seat_guests.?" in touched(replace)
    assert "seat_guests.?" not in touched(insert(seats).values(id=1))


def test_writes_to_a_schema_touch_it_and_the_table_of_any_schema() -> None:
    """Who reads without naming a schema may have meant this one."""
    compiled = delete(tenant_products).where(tenant_products.c.id == 1).compile(dialect=SQLITE)
    found = effects(analyse_dml(compiled), [compiled.construct_params()], scope="db", dialect=SQLITE)
    # Foreign keys are followed by name, whatever the schema.
    touched_here = {
        describe(each) for each in found if "lines" not in each.name and not each.facet and each.key != NOT_TOLD
    }
    # The table without a schema has a key that this one does not show.
    assert touched_here == {
        "products", "products.?", "tenant.products", "products.id=<value 1>", "tenant.products.id=<value 1>"
    }  # fmt: skip


def test_a_write_by_name_touches_whatever_is_pinned() -> None:
    """Raw SQL knows a table's name and nothing of its keys."""
    found = {describe(each) for each in wide_effects(None, "Products", "db")}
    assert found == {
        f"{name}{rows}{facet}" for name in ("products", "?.products") for rows in ("", ".?") for facet in ("", "!")
    }
