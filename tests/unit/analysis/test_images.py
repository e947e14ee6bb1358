"""Which rows a write asks for, and what it learns from them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import Dialect

from rowstamp.analysis.effects import effects
from rowstamp.analysis.images import IMAGE_LIMIT, Image, ImagePlan, plan_image
from rowstamp.analysis.schema import NOT_TOLD
from rowstamp.analysis.writes import WriteAnalysis, analyse_dml
from rowstamp.explain import describe
from tests.unit.analysis.shop import MYSQL, POSTGRESQL, SQLITE, categories, codes, lines, products

links = Table(
    "links",
    MetaData(),
    Column("a", Integer, ForeignKey("links.a"), primary_key=True),
    Column("b", Integer, primary_key=True, index=True),
)


def planned(statement: Any, dialect: Dialect = SQLITE) -> tuple[WriteAnalysis, ImagePlan | None, dict[str, Any]]:
    compiled = statement.compile(dialect=dialect)
    analysis = analyse_dml(compiled)
    return analysis, plan_image(analysis, dialect), compiled.params


def question(statement: Any, dialect: Dialect) -> str:
    plan = planned(statement, dialect)[1]
    assert plan is not None
    return " ".join(str(plan.question.compile(dialect=dialect)).split())


def test_the_question_takes_the_lock_that_the_write_will_take() -> None:
    """PostgreSQL has a weaker one for updates that leave the keys alone."""
    by_key = products.c.id == 1
    assert question(update(products).where(by_key).values(price=1), POSTGRESQL).endswith("FOR NO KEY UPDATE")
    assert question(update(products).where(by_key).values(category_id=1), POSTGRESQL).endswith("FOR NO KEY UPDATE")
    assert question(update(products).where(by_key).values(id=2), POSTGRESQL).endswith("FOR UPDATE")
    assert not question(update(products).where(by_key).values(id=2), POSTGRESQL).endswith("NO KEY UPDATE")
    assert not question(delete(products).where(by_key), POSTGRESQL).endswith("NO KEY UPDATE")
    assert question(update(products).where(by_key).values(price=1), MYSQL).endswith("FOR UPDATE")


def test_the_question_names_the_key_columns_and_nothing_else() -> None:
    """What the write changes is not read."""
    asked = question(update(products).where(products.c.id == 1).values(price=1), SQLITE)
    assert asked.startswith("SELECT products.id, products.category_id FROM products WHERE products.id IN")
    asked = question(update(lines).where(lines.c.order_id == 1, lines.c.position == 2).values(product_id=1), SQLITE)
    assert "WHERE (lines.order_id, lines.position) IN" in asked


@pytest.mark.parametrize(
    "statement",
    [
        insert(products).values(id=1),
        update(products).where(products.c.price > 5).values(sold=True),
        update(products).where(products.c.id > 5).values(sold=True),
        update(products).values(sold=True),
        delete(codes).where(codes.c.code == "x"),
        delete(links).where(links.c.a == 1, links.c.b == 2),
        sqlite_insert(products).values(id=1, category_id=2).on_conflict_do_update(set_={"category_id": 3}),
        update(products.join(categories)).where(products.c.id == 1).values({categories.c.name: "x"}),
    ],
    ids=["insert", "no key", "a range", "all rows", "one key", "all keys pinned", "upsert", "several tables"],
)
def test_nothing_is_asked_if_it_would_tell_nothing_or_cost_too_much(statement: Any) -> None:
    """Only rows that a key names are looked up."""
    assert planned(statement, SQLITE if isinstance(statement, SqliteInsert) else MYSQL)[1] is None


def test_further_conditions_do_not_matter() -> None:
    """They can only leave rows of the image alone."""
    statement = update(products).where(products.c.id == 1, func.random() > 0, products.c.price > 5).values(sold=True)
    assert planned(statement)[1] is not None


def image(statement: Any, *rows: tuple[Any, ...], sets: list[dict[str, Any]] | None = None) -> Image | None:
    """Return what a statement learns if the database shows these rows."""
    _, plan, parameters = planned(statement)
    assert plan is not None
    wanted = plan.wanted(sets or [parameters], SQLITE)
    assert wanted is not None
    return Image.of(plan, wanted[0], rows, SQLITE)


def touched(statement: Any, *rows: tuple[Any, ...], sets: list[dict[str, Any]] | None = None) -> set[str]:
    """Return which rows of its table a statement touches if the database shows these."""
    analysis, _, parameters = planned(statement)
    shown = image(statement, *rows, sets=sets)
    assert shown is not None
    found = effects(analysis, sets or [parameters], scope="db", dialect=SQLITE, image=shown)
    return {
        describe(each) for each in found if each.kind == "rows" and each.name == "products" and each.key != NOT_TOLD
    }


def test_an_update_touches_the_values_of_the_image() -> None:
    """The key that WHERE does not say is the row's own."""
    statement = update(products).where(products.c.id == 1).values(price=5)
    assert touched(statement, (1, 7)) == {
        "products.id=<value 1>", "products.id=<value 1>:price",
        "products.category_id=<value 7>", "products.category_id=<value 7>:price",
    }  # fmt: skip


def test_a_row_that_moves_touches_the_old_and_the_new_value() -> None:
    """The old one is the image's, the new one the statement's."""
    found = touched(update(products).where(products.c.id == 1).values(category_id=9), (1, 7))
    assert {"products.category_id=<value 7>!", "products.category_id=<value 9>!"} <= found
    assert "products.id=<value 1>!" not in found


def test_each_set_of_parameters_touches_its_own_rows() -> None:
    """Of the rows in one image."""
    statement = update(products).where(products.c.id == bindparam("which")).values(price=5)
    found = touched(statement, (1, 7), (2, None), sets=[{"which": 1, "price": 5}, {"which": 2, "price": 5}])
    assert {"products.category_id=<value 7>", "products.category_id=<value None>"} <= found
    assert "products.category_id=?" not in found


@pytest.mark.parametrize("rows", [[(2, 7)], [(1, 7), (2, 7)], [(1, 7), (1, 8)], [("1", 7)]], ids=str)
def test_an_image_shows_nothing_but_what_was_asked_for(rows: list[Any]) -> None:
    """One row too many shows that something is not understood."""
    assert image(update(products).where(products.c.id == 1).values(price=5), *rows) is None


def shows(statement: Any, *rows: tuple[Any, ...], plain: bool = True, **given: Any) -> list[int]:
    """Return after how many written rows an image of these is believed."""
    found = image(statement, *rows, **given)
    assert found is not None
    return [written for written in range(-1, 4) if found.shows_all(written, plain=plain)]


def test_a_row_that_was_not_there_may_come_in_between() -> None:
    """Then the write writes more rows than the image shows."""
    one = update(products).where(products.c.id == 1).values(price=5)
    assert shows(one, (1, 7)) == [-1, 0, 1]
    assert shows(one) == [0]
    both = update(products).where(products.c.id.in_([1, 2])).values(price=5)
    assert shows(both, (1, 7), (2, 7)) == [-1, 0, 1, 2]
    assert shows(both, (1, 7)) == [0, 1]
    assert shows(both, (1, 7), plain=False) == [0]


def test_rows_that_are_left_alone_make_room_for_others() -> None:
    """By conditions that the question does not put, and by keys that move from one set of parameters to the next."""
    more = update(products).where(products.c.id.in_([1, 2]), products.c.price > 5).values(sold=True)
    assert shows(more, (1, 7)) == [0]
    moving = update(products).where(products.c.id == bindparam("which")).values(id=bindparam("to"))
    assert shows(moving, (1, 7), sets=[{"which": 1, "to": 2}, {"which": 2, "to": 3}]) == [0]
    staying = update(products).where(products.c.id == bindparam("which")).values(price=bindparam("to"))
    assert shows(staying, (1, 7), sets=[{"which": 1, "to": 2}, {"which": 2, "to": 3}]) == [0, 1]


def test_rows_by_another_key_are_asked_for_by_the_conditions_themselves() -> None:
    """As many must be written as are found, no fewer and no more."""
    statement = update(products).where(products.c.category_id == 7, products.c.price > 5).values(sold=True)
    assert "WHERE products.category_id = ? AND products.price > ?" in question(statement, SQLITE)
    assert shows(statement, (1, 7), (2, 7)) == [0, 2]
    assert shows(statement, (1, 7), (2, 7), plain=False) == [0]
    rows = touched(statement, (1, 7), (2, 7))
    assert {"products.id=<value 1>", "products.id=<value 2>", "products.category_id=<value 7>"} <= rows
    assert not any("?" in each for each in rows)


def test_conditions_that_are_put_twice_answer_the_same() -> None:
    """The question has the parameters of the write; several sets might move rows into each other's conditions."""
    statement = delete(products).where(products.c.category_id.in_([7, 8]), products.c.name.is_(None))
    _, plan, parameters = planned(statement)
    assert plan is not None
    wanted = plan.wanted([parameters], SQLITE)
    assert wanted is not None
    assert list(wanted[1].values()) == [[7, 8]]
    assert plan.wanted([parameters, parameters], SQLITE) is None
    assert plan.wanted([{}], SQLITE) is None


@pytest.mark.parametrize(
    "condition",
    [
        func.random() > 0,
        products.c.price == select(func.max(products.c.price)).scalar_subquery(),
        products.c.price.op("~")(5),
        products.c.category_id == categories.c.id,
        text("price > 5"),
    ],
    ids=["function", "subquery", "operator", "other table", "text"],
)
def test_conditions_that_look_at_more_than_the_row_are_not_put_twice(condition: Any) -> None:
    """They may answer otherwise the second time."""
    assert planned(delete(products).where(products.c.category_id == 7, condition), POSTGRESQL)[1] is None


def test_rows_that_no_key_names_are_not_asked_for() -> None:
    """Finding them might take a long time; nor where one alternative of OR names none."""
    assert planned(update(products).where(products.c.price > 5).values(sold=True))[1] is None
    either = or_(products.c.category_id == 7, products.c.price > 5)
    assert planned(update(products).where(either).values(sold=True))[1] is None
    both = or_(products.c.category_id == 7, products.c.id == 5)
    assert planned(update(products).where(both).values(sold=True))[1] is not None


def test_too_many_rows_are_not_asked_for() -> None:
    """Nor keys whose equality is not known."""
    _, plan, parameters = planned(update(products).where(products.c.id == bindparam("which")).values(price=5))
    assert plan is not None
    sets = [{**parameters, "which": number} for number in range(IMAGE_LIMIT + 1)]
    assert plan.wanted(sets, SQLITE) is None
    assert plan.wanted(sets[1:], SQLITE) is not None
    assert plan.wanted([{**parameters, "which": "x"}], SQLITE) is None


def test_a_list_of_keys_is_asked_for_at_once() -> None:
    """And composite ones as tuples."""
    _, plan, parameters = planned(update(products).where(products.c.id.in_([3, 4])).values(price=5))
    assert plan is not None
    wanted = plan.wanted([parameters], SQLITE)
    assert wanted is not None
    assert list(wanted[1].values()) == [[3, 4]]
    _, plan, parameters = planned(delete(lines).where(lines.c.order_id.in_([1, 2]), lines.c.position == 5))
    assert plan is not None
    wanted = plan.wanted([parameters], SQLITE)
    assert wanted is not None
    assert list(wanted[1].values()) == [[(1, 5), (2, 5)]]


def test_the_question_can_be_put_again() -> None:
    """One statement object for all executions of a shape, so that it is compiled once."""
    _, plan, _ = planned(update(products).where(products.c.id == 1).values(price=5))
    assert plan is not None
    assert plan.question._generate_cache_key() is not None


def test_no_row_comes_to_a_value_if_none_was_there() -> None:
    """What the statement sets is the value of no row then."""
    statement = update(products).where(products.c.category_id == 7).values(category_id=9)
    assert any("category_id=<value 9>" in each for each in touched(statement, (1, 7)))
    assert not any("category_id=<value 9>" in each for each in touched(statement))
