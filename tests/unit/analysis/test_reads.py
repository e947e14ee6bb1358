"""From a statement's shape to what its results depend on."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import (
    ColumnElement,
    Sequence,
    exists,
    func,
    literal_column,
    or_,
    select,
    text,
    true,
    union_all,
    update,
)
from sqlalchemy.ext.compiler import compiles

from rowstamp.analysis.collations import know_collations
from rowstamp.analysis.reads import Access
from tests.unit.analysis.shop import (
    MYSQL,
    POSTGRESQL,
    analysed,
    categories,
    codes,
    lines,
    pinned,
    products,
    reads,
    tenant_products,
    tokens,
)

other = categories.alias("other")


def test_a_select_without_restriction_depends_on_the_table() -> None:
    """Any row may matter."""
    assert reads(select(products)) == {"products"}


def test_equality_with_a_parameter_pins_the_primary_key() -> None:
    """Only the row of that key, or one whose key is not known, may matter."""
    assert reads(select(products).where(products.c.id == 5)) == pinned("products", "id", 5)


def test_the_parameter_may_stand_on_the_left() -> None:
    """``5 = id`` says what ``id = 5`` says."""
    from sqlalchemy import literal

    assert reads(select(products).where(literal(5) == products.c.id)) == pinned("products", "id", 5)


def test_in_pins_to_each_value() -> None:
    """IN is equality with one of several."""
    assert reads(select(products).where(products.c.id.in_([5, 7]))) == pinned("products", "id", 5, 7)


def test_in_of_nothing_depends_on_no_row() -> None:
    """An empty list finds nothing whatever is written."""
    assert reads(select(products).where(products.c.id.in_([]))) == pinned("products", "id")


def test_a_long_in_depends_on_the_table() -> None:
    """Beyond the limit the table's one stamp is cheaper than many."""
    assert reads(select(products).where(products.c.id.in_(range(1000)))) == {"products"}


@pytest.mark.parametrize(
    "condition",
    [
        products.c.id > 5,
        products.c.id != 5,
        products.c.id.not_in([5]),
        or_(products.c.id == 5, products.c.sold == true()),
        ~(products.c.id == 5),
        products.c.id + 0 == 5,
        func.abs(products.c.id) == 5,
        products.c.id == products.c.category_id,
        products.c.id.is_not(None),
        products.c.id == select(func.max(lines.c.product_id)).scalar_subquery(),
    ],
    ids=str,
)
def test_what_is_no_equality_with_known_values_does_not_pin(condition: ColumnElement[bool]) -> None:
    """Anything not understood widens."""
    assert "products" in reads(select(products.c.name).where(condition))


def test_a_value_of_another_type_does_not_pin() -> None:
    """What a database makes of ``id = '5'`` is its own affair."""
    assert reads(select(products).where(products.c.id == "5")) == {"products"}


def test_a_composite_key_pins_with_all_its_columns() -> None:
    """Both columns together name the row."""
    found = reads(select(lines).where(lines.c.order_id == 1, lines.c.position.in_([1, 2])))
    assert found == pinned("lines", "order_id,position", "1,1", "1,2")


def test_part_of_a_composite_key_does_not_pin() -> None:
    """Many rows share one column of the key."""
    assert reads(select(lines).where(lines.c.order_id == 1)) == {"lines"}


def test_text_keys_pin_where_the_collation_is_exact() -> None:
    """SQLite's collations are folded; PostgreSQL's default is exact once that is known; MySQL ignores case."""
    statement = select(codes).where(codes.c.code == "a")
    assert reads(statement) == pinned("codes", "code", "a")
    assert reads(statement, POSTGRESQL) == {"codes"}
    exact: Any = type(POSTGRESQL)()
    know_collations(exact, exact=True)
    assert reads(statement, exact) == pinned("codes", "code", "a")
    assert reads(statement, MYSQL) == {"codes"}


def test_uuids_pin_by_value() -> None:
    """However the driver spells them."""
    key = uuid.uuid4()
    assert reads(select(tokens).where(tokens.c.id == key)) == pinned("tokens", "id", key.bytes)


def test_an_inner_join_hands_the_pin_to_the_other_side() -> None:
    """What equals a pinned column is pinned."""
    statement = select(products, categories).join(categories, categories.c.id == products.c.category_id)
    found = reads(statement.where(products.c.id == 1, products.c.category_id == 7))
    assert found == pinned("products", "id", 1) | pinned("categories", "id", 7)


def test_a_left_join_does_not_restrict_its_left_side() -> None:
    """Every row of the left side comes through."""
    statement = select(products).outerjoin(
        categories, (categories.c.id == products.c.category_id) & (products.c.id == 1) & (categories.c.id == 7)
    )
    assert reads(statement) == {"products"} | pinned("categories", "id", 7)


def test_a_left_join_does_not_hand_pins_from_right_to_left() -> None:
    """The left row stays although the right one is another."""
    statement = select(products).outerjoin(categories, (categories.c.id == products.c.id) & (categories.c.id == 7))
    assert reads(statement) == {"products"} | pinned("categories", "id", 7)


def test_a_full_join_restricts_nothing() -> None:
    """Rows of both sides come through."""
    statement = select(products).outerjoin(categories, categories.c.id == 7, full=True)
    assert reads(statement) == {"products", "categories"}


def test_two_appearances_pinned_differently_are_both_depended_on() -> None:
    """A self-join reads the table twice."""
    statement = select(categories.c.id, other.c.id).where(categories.c.id == 1, other.c.id == 2)
    assert reads(statement) == pinned("categories", "id", 1, 2)


def test_one_appearance_without_pin_depends_on_the_table() -> None:
    """One pinned alias says nothing about the other."""
    assert "categories" in reads(select(categories.c.id, other.c.id).where(categories.c.id == 1))


@pytest.mark.parametrize(
    "statement",
    [
        select(products.c.id).where(products.c.id == 1, products.c.category_id.in_(select(categories.c.id))),
        select(products.c.id).where(products.c.id == 1, exists().where(categories.c.id == products.c.category_id)),
        select(products.c.id, select(func.count(categories.c.id)).scalar_subquery()).where(products.c.id == 1),
        select(products.c.id, select(categories.c.id).cte("c").c.id).where(products.c.id == 1),
        select(products.c.id, select(categories.c.id).subquery().c.id).where(products.c.id == 1),
        select(products.c.id).where(products.c.id == 1).union(select(categories.c.id)),
    ],
    ids=["in", "exists", "scalar", "cte", "subquery", "union"],
)
def test_tables_inside_are_depended_on(statement: Any) -> None:
    """Wherever a table is rendered, it is read."""
    assert reads(statement) == pinned("products", "id", 1) | {"categories"}


def test_a_pin_inside_a_subquery_counts_there() -> None:
    """A subquery's own WHERE restricts its own table."""
    inner = select(categories.c.id).where(categories.c.id == 3).subquery()
    assert reads(select(inner)) == pinned("categories", "id", 3)


def test_branches_of_a_union_are_pinned_each() -> None:
    """Each branch has its own WHERE."""
    statement = union_all(
        select(products.c.id).where(products.c.id == 1), select(products.c.id).where(products.c.id == 2)
    )
    assert reads(statement) == pinned("products", "id", 1, 2)


def test_a_qualified_table_depends_on_its_schema_and_on_unqualified_writes() -> None:
    """A write that did not name a schema may have meant this one."""
    assert reads(select(tenant_products)) == {"tenant.products", "?.products"}


def test_text_fragments_widen_and_are_searched_for_tables() -> None:
    """A fragment may read what no construct shows."""
    statement = select(products.c.id).where(products.c.id == 1, text("EXISTS (SELECT 1 FROM categories)"))
    assert reads(statement) == {"products", "categories"}


def test_literal_columns_that_are_constants_do_not_widen() -> None:
    """``count(1)`` reads no more than ``count(id)``."""
    statement = select(func.count(literal_column("1"))).select_from(products).where(products.c.id == 1)
    assert reads(statement) == pinned("products", "id", 1)


def test_text_columns_are_parsed() -> None:
    """``text().columns()`` has no tables of its own."""
    assert reads(text("SELECT id FROM products WHERE id = 1").columns(products.c.id)) == {"products"}


class Opaque(ColumnElement[int]):
    """A construct whose text only its compiler knows."""

    inherit_cache = True


@compiles(Opaque)
def _render(_element: Opaque, _compiler: Any, **_kw: Any) -> str:
    return "(SELECT max(id) FROM categories)"


def test_custom_constructs_are_searched_for_tables() -> None:
    """``@compiles`` may render anything."""
    assert reads(select(products.c.id, Opaque()).where(products.c.id == 1)) == {"products", "categories"}


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (select(products).with_for_update(), "locks"),
        (select(products, func.now()), "volatile"),
        (select(products, func.random()), "volatile"),
        (select(products).where(products.c.name == func.my_function()), "unknown function my_function"),
        (select(true()), "no table"),
        (select(text("now()")).select_from(products), "volatile"),
        (select(products).where(text("this is ( no sql")), "not understood"),
    ],
    ids=["lock", "now", "random", "unknown", "no table", "text", "nonsense"],
)
def test_what_is_never_cached_says_why(statement: Any, reason: str) -> None:
    """The reason names what it is about."""
    assert reason in (analysed(statement, POSTGRESQL).refused or "")


def test_locks_are_seen_although_sqlite_renders_none() -> None:
    """The text does not show FOR UPDATE there."""
    assert analysed(select(products).with_for_update()).refused == "it locks rows"


def test_a_lock_inside_is_seen() -> None:
    """A subquery may lock too."""
    inner = select(products.c.id).with_for_update().subquery()
    assert analysed(select(inner), POSTGRESQL).refused == "it locks rows"


def test_sequences_advance() -> None:
    """``nextval`` is a write to something that is no table."""
    assert "sequence" in (analysed(select(Sequence("s").next_value(), products.c.id), POSTGRESQL).refused or "")


def test_dml_in_a_cte_is_a_write() -> None:
    """It looks like a SELECT and is not."""
    changed = update(products).values(sold=True).returning(products.c.id).cte("changed")
    analysis = analysed(select(changed), POSTGRESQL)
    assert analysis.access is Access.MAY_WRITE
    assert [table.name for table in analysis.writes] == ["products"]  # type: ignore[union-attr]


def test_unknown_functions_may_write_in_a_server_database() -> None:
    """A stored function can do anything; a function of the application cannot write to SQLite's connection."""
    statement = select(func.my_function())
    assert analysed(statement, POSTGRESQL).access is Access.MAY_WRITE
    assert analysed(statement).access is Access.READS


def test_a_statement_that_is_rewritten_is_not_pinned() -> None:
    """Parameters are found by name in the very text that is executed."""
    from rowstamp.analysis.reads import analyse
    from tests.unit.analysis.shop import SQLITE

    analysis = analyse(select(products).where(products.c.id == 1), SQLITE, sql="SELECT something else")
    assert not analysis.reads[0].pins
