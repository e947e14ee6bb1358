"""What passes NOT: the rows for which a condition is false, and not those for which it is unknown."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import ColumnElement, and_, bindparam, exists, func, not_, null, or_, select, tuple_
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import inv

from tests.unit.analysis.shop import categories, flags, lines, notes, pinned, products, reads

products_ = products.c
ids = select(products_.name)


def negated(condition: Any) -> ColumnElement[bool]:
    """Return NOT of a condition, which SQLAlchemy would turn into its opposite where there is one."""
    return UnaryExpression(condition.self_group(against=inv), operator=inv, type_=condition.type)


@pytest.mark.parametrize(
    ("condition", "values"),
    [
        (products_.id != 5, [5]),
        (products_.id.not_in([5, 6]), [5, 6]),
        (~products_.id.between(5, 5), [5]),
        (products_.id.is_distinct_from(5), [5]),
        (negated(products_.id == 5), [5]),
        (or_(products_.id != 5, products_.name == "a"), [5]),
        (or_(products_.name == "a", products_.price > 3, products_.id != 5), [5]),
        (and_(products_.id != 5, products_.id != 6), [5, 6]),
        (and_(products_.id != 5, negated(or_(products_.id == 6, products_.id == 7))), [5, 6, 7]),
        (or_(and_(products_.id != 5, products_.id != 6), products_.name == "a"), [5, 6]),
    ],
    ids=str,
)
def test_not_of_what_leaves_the_others(condition: Any, values: list[int]) -> None:
    """These are false for rows of these keys alone."""
    assert reads(ids.where(negated(condition))) == pinned("products", "id", *values)


@pytest.mark.parametrize(
    "condition",
    [
        products_.id == 5,
        products_.id.in_([5]),
        products_.id > 5,
        products_.id.is_not_distinct_from(5),
        products_.id.between(5, 5),
        or_(products_.id == 5, products_.id == 6),
        and_(products_.id == 5, products_.name == "a"),
        and_(products_.id != 5, products_.name == "a"),
        and_(products_.id != 5, products_.id == 6),
        products_.id != products_.category_id,
        func.coalesce(products_.id, 5) != 5,
        tuple_(products_.id, products_.name).in_([(5, "a")]),
        products_.id.is_distinct_from(bindparam("key", None, products_.id.type)),
        negated(products_.id != 5),
    ],
    ids=str,
)
def test_not_of_what_leaves_few(condition: Any) -> None:
    """Neighbours of the above: they are false for rows of many keys, or nobody can tell of which."""
    assert reads(ids.where(negated(condition))) == {"products"}


def test_not_of_not_in_of_tuples() -> None:
    """It names the tuples."""
    condition = tuple_(lines.c.order_id, lines.c.position).not_in([(1, 2), (3, 4)])
    assert reads(select(lines).where(negated(condition))) == pinned("lines", "order_id,position", "1,2", "3,4")


def test_null_under_not() -> None:
    """`NOT (k IS NOT NULL)` names the rows without a value, `NOT (k <> 5)` does not let them pass."""
    of_notes = select(notes.c.body)
    assert reads(of_notes.where(negated(notes.c.topic.is_not(None)))) == pinned("notes", "topic", None)
    assert reads(of_notes.where(negated(notes.c.topic.is_distinct_from(null())))) == pinned("notes", "topic", None)
    assert reads(of_notes.where(negated(notes.c.topic != 5))) == pinned("notes", "topic", 5)
    assert reads(of_notes.where(negated(notes.c.topic.is_(None)))) == {"notes"}


def test_not_distinct_from_a_value_is_equality() -> None:
    """Beside a parameter that may be None any row may matter; two columns may both be NULL, which is handed on to nobody."""
    assert reads(select(notes.c.body).where(notes.c.topic.is_not_distinct_from(5))) == pinned("notes", "topic", 5)
    unknown = bindparam("topic", None, notes.c.topic.type)
    assert reads(select(notes.c.body).where(notes.c.topic.is_not_distinct_from(unknown))) == {"notes"}
    same = notes.c.topic.is_not_distinct_from(products_.id)
    assert reads(ids.where(same, products_.id == 5)) == pinned("products", "id", 5) | {"notes"}


def test_flags_under_not() -> None:
    """`NOT flag` lets false pass, and NOT of that true; neither lets NULL."""
    either = or_(flags.c.on, flags.c.name == "x")
    assert reads(select(flags.c.name).where(negated(either))) == pinned("flags", "on", False)
    assert reads(select(flags.c.name).where(negated(or_(~flags.c.on, flags.c.name == "x")))) == pinned(
        "flags", "on", True
    )


def test_an_equality_of_columns_under_not_hands_pins_on() -> None:
    """`NOT (a.x <> b.y)` is `a.x = b.y`."""
    condition = negated(or_(products_.id != categories.c.id, categories.c.id != 5))
    expected = pinned("products", "id", 5) | pinned("categories", "id", 5)
    assert reads(ids.where(condition)) == expected


def test_not_exists_says_nothing_and_its_opposite_does() -> None:
    """`NOT (NOT EXISTS … OR …)` finds a row."""
    inner = exists().where(categories.c.id == products_.id, categories.c.id == 5)
    expected = pinned("categories", "id", 5)
    assert reads(ids.where(~inner)) == {"products"} | expected
    assert reads(ids.where(not_(or_(~inner, products_.name == "a")))) == pinned("products", "id", 5) | expected
