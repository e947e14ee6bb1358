"""Pins that EXISTS, IN and unions hand out of themselves and take from those who read them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    MetaData,
    Select,
    String,
    Table,
    TypeDecorator,
    and_,
    except_,
    exists,
    func,
    intersect,
    or_,
    select,
    true,
    union,
    union_all,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column

from tests.unit.analysis.shop import categories, flags, lines, notes, pinned, products, reads

products_, categories_ = products.c, categories.c
ids = select(products_.name)
WHOLE = {"products"}


def by_id(*values: object) -> set[str]:
    return pinned("products", "id", *values)


def of_categories(*values: object) -> set[str]:
    return pinned("categories", "id", *values)


# -------------------------------------------------------------------------------------------------------- EXISTS


@pytest.mark.parametrize(
    ("inner", "values"),
    [
        (select(1).where(categories_.id == products_.id, categories_.id == 5), [5]),
        (select(1).where(categories_.id == products_.id, products_.id == 5), [5]),
        (select(categories_.name).where(categories_.id == products_.id, categories_.id.in_([5, 6])).limit(1), [5, 6]),
        (
            select(1).where(
                or_(
                    and_(categories_.id == 5, categories_.id == products_.id),
                    and_(categories_.id == 6, products_.id == 6),
                )
            ),
            [5, 6],
        ),
        (
            select(categories_.id).where(categories_.id == products_.id, categories_.id == 5).group_by(categories_.id),
            [5],
        ),
    ],
    ids=["joined", "named inside", "limit", "alternatives", "grouped"],
)
def test_exists_names_the_enclosing_rows(inner: Select[Any], values: list[int]) -> None:
    """Without a row that passes nothing exists."""
    assert reads(ids.where(inner.correlate(products).exists())) == by_id(*values) | of_categories(*values)


def test_what_exists_names_in_on_of_an_inner_join() -> None:
    """Each row that comes out has passed it."""
    inner = select(1).select_from(categories.join(notes, categories_.id == products_.id)).where(notes.c.topic == 3)
    statement = ids.where(inner.where(categories_.id == 5).correlate(products).exists())
    assert reads(statement) == by_id(5) | of_categories(5) | pinned("notes", "topic", 3)


@pytest.mark.parametrize(
    "inner",
    [
        select(func.count()).select_from(categories).where(categories_.id == products_.id, categories_.id == 5),
        select(func.max(categories_.name)).where(categories_.id == products_.id, categories_.id == 5),
        select(1)
        .select_from(categories)
        .where(categories_.id == products_.id, categories_.id == 5)
        .order_by(func.count()),
        select(1)
        .select_from(categories)
        .where(categories_.id == products_.id, categories_.id == 5)
        .having(func.count() == 0),
        select(1).where(categories_.id == products_.id, categories_.id == 5).group_by(func.rollup(categories_.name)),
    ],
    ids=["count", "max", "order", "having", "rollup"],
)
def test_what_has_a_row_although_none_has_passed(inner: Select[Any]) -> None:
    """`EXISTS (SELECT count(*) …)` is true of every row."""
    assert reads(ids.where(inner.correlate(products).exists())) == WHOLE | of_categories(5)


def test_an_alternative_of_exists_that_names_no_row() -> None:
    """Whichever row exists may be of that one."""
    inner = exists().where(or_(and_(categories_.id == products_.id, categories_.id == 5), categories_.name == "a"))
    assert reads(ids.where(inner)) == WHOLE | {"categories"}


def test_not_exists_names_nothing() -> None:
    """Other rows pass just because there is none."""
    inner = exists().where(categories_.id == products_.id, categories_.id == 5)
    assert reads(ids.where(~inner)) == WHOLE | of_categories(5)
    assert reads(ids.where(or_(inner, products_.name == "a"))) == WHOLE | of_categories(5)


def test_a_condition_of_an_outer_join_inside_exists() -> None:
    """A row is there whether it holds or not."""
    joined = categories.outerjoin(notes, and_(notes.c.topic == products_.id, notes.c.topic == 5))
    inner = select(1).select_from(joined).where(categories_.id == 3).correlate(products)
    expected = WHOLE | of_categories(3) | pinned("notes", "topic", 5)
    assert reads(ids.where(inner.exists())) == expected
    on = and_(lines.c.order_id == products_.id, lines.c.order_id == 4)
    inner_join = notes.join(lines, on)
    for lower in (
        categories.outerjoin(inner_join, true()),
        categories.outerjoin(inner_join.join(flags, true()), true()),
        inner_join.outerjoin(categories, true(), full=True),
        categories.join(inner_join, true(), full=True),
    ):
        inner = select(1).select_from(lower).where(categories_.id == 3).correlate(products)
        assert reads(ids.where(inner.exists())) >= WHOLE, str(lower)


def test_exists_on_the_nullable_side_asks_for_missing_rows() -> None:
    """`IS NULL` inside passes for rows that were not found, so any row of the table may matter."""
    joined = products.outerjoin(notes, notes.c.body == products_.name)
    inner = exists().where(categories_.id == 3, notes.c.topic.is_(None))
    statement = select(products_.name).select_from(joined).where(products_.id == 1, inner)
    assert reads(statement) == by_id(1) | of_categories(3) | {"notes"}


def test_exists_two_levels_up() -> None:
    """What the innermost one says of the outermost rows holds if both find a row."""
    deep = exists().where(lines.c.order_id == products_.id, lines.c.position == 4, lines.c.order_id == 5)
    middle = exists().where(categories_.id == 3, deep.correlate(products)).correlate(products)
    expected = by_id(5) | of_categories(3) | pinned("lines", "order_id,position", "5,4")
    assert reads(ids.where(middle)) == expected
    hidden = exists().where(categories_.id == 3, ~deep.correlate(products)).correlate(products)
    assert not by_id(5) & reads(ids.where(hidden))


def test_in_says_what_exists_says() -> None:
    """The row that it finds has passed the conditions of its operand, those on the enclosing row included."""
    inner = select(categories_.parent_id).where(categories_.id == products_.id, categories_.id == 5)
    expected = by_id(5) | of_categories(5)
    assert reads(ids.where(products_.category_id.in_(inner))) == expected
    assert reads(ids.where(products_.category_id == inner.scalar_subquery())) == expected
    assert reads(ids.where(products_.category_id.not_in(inner))) == WHOLE | of_categories(5)


def test_a_correlated_exists_of_mapped_classes() -> None:
    """`any()` and `has()` are such."""

    class Base(DeclarativeBase):
        pass

    class Owner(Base):
        __tablename__ = "owners"
        id: Mapped[int] = mapped_column(primary_key=True)

    other = aliased(Owner)
    inner = select(other.id).where(other.id == Owner.id, other.id == 5).exists()
    assert reads(select(Owner).where(inner)) == pinned("owners", "id", 5)


# ------------------------------------------------------------------------------------------------- other types


class Lowered(TypeDecorator[str]):
    """Binds lower case."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else value.lower()


def test_in_hands_out_nothing_to_a_column_that_compares_otherwise() -> None:
    """What a decorator binds is not what the statement holds."""
    metadata = MetaData()
    lowered = Table("lowered", metadata, Column("code", Lowered, primary_key=True))
    plain = Table("plain", metadata, Column("code", String, primary_key=True))
    inner = select(lowered.c.code).where(lowered.c.code == "ABC")
    assert reads(select(plain).where(plain.c.code.in_(inner))) & {"plain"}
    both = union(select(lowered.c.code), select(plain.c.code)).subquery()
    assert reads(select(both.c.code).where(both.c.code == "ABC")) >= {"plain"}


# -------------------------------------------------------------------------------------------------------- unions


@pytest.mark.parametrize("make", [union, union_all, intersect, except_])
def test_a_union_hands_out_what_all_its_parts_pin(make: Any) -> None:
    """Whichever part a row is from, it has one of these values."""
    one, other = (
        select(categories_.id).where(categories_.id == 5),
        select(lines.c.order_id).where(lines.c.order_id == 6),
    )
    some = make(one, other).subquery()
    found = reads(ids.where(products_.id == some.c.id))
    assert found >= by_id(5, 6)
    assert not WHOLE & found
    assert reads(ids.where(products_.id.in_(make(one, other)))) >= by_id(5, 6)


def test_a_part_of_a_union_that_pins_nothing() -> None:
    """It may give out any value."""
    some = union(select(categories_.id).where(categories_.id == 5), select(lines.c.order_id)).subquery()
    assert reads(ids.where(products_.id == some.c.id)) == WHOLE | of_categories(5) | {"lines"}


@pytest.mark.parametrize("make", [union, union_all, intersect, except_])
def test_each_part_of_a_union_takes_the_pins_of_its_reader(make: Any) -> None:
    """Rows of another value are no rows of the result."""
    some = make(select(products_.id, products_.name), select(categories_.id, categories_.name))
    expected = by_id(5) | of_categories(5)
    for source in (some.subquery(), some.cte("some"), some.subquery().alias("other")):
        assert reads(select(source.c.name).where(source.c.id == 5)) == expected
    assert reads(
        select(notes.c.body).where(
            notes.c.topic == 5, notes.c.topic.in_(make(ids.with_only_columns(products_.id), select(categories_.id)))
        )
    ) == expected | pinned("notes", "topic", 5)


def test_a_union_of_unions() -> None:
    """The parts of its parts are its parts."""
    inner = union(select(products_.id, products_.name), select(categories_.id, categories_.name))
    some = union_all(inner, select(notes.c.topic, notes.c.body)).subquery()
    expected = by_id(5) | of_categories(5) | pinned("notes", "topic", 5)
    assert reads(select(some.c.name).where(some.c.id == 5)) == expected


def test_a_union_that_looks_at_other_rows_takes_no_pins() -> None:
    """Which rows are beyond its LIMIT depends on all; the same in a part, or in a union inside."""
    one, other = select(products_.id, products_.name), select(categories_.id, categories_.name)
    whole = WHOLE | {"categories"}
    cut = union(one, other).limit(3).subquery()
    assert reads(select(cut.c.name).where(cut.c.id == 5)) == whole
    part = union(one.limit(3), other).subquery()
    assert reads(select(part.c.name).where(part.c.id == 5)) == WHOLE | of_categories(5)
    nested = union_all(union(one, other).limit(3), select(notes.c.topic, notes.c.body)).subquery()
    assert reads(select(nested.c.name).where(nested.c.id == 5)) == whole | pinned("notes", "topic", 5)


def test_a_column_that_is_made_differently_in_a_part() -> None:
    """`id + 1` is not `id`, and another place is another column."""
    made = union(select(products_.id, products_.name), select(categories_.id + 1, categories_.name)).subquery()
    assert reads(select(made.c.name).where(made.c.id == 5)) == by_id(5) | {"categories"}
    swapped = union(
        select(products_.id, products_.category_id), select(categories_.parent_id, categories_.id)
    ).subquery()
    found = reads(select(swapped.c.category_id).where(swapped.c.id == 5))
    assert found == by_id(5) | pinned("categories", "parent_id", 5)


def test_a_union_that_is_read_twice_takes_no_pins() -> None:
    """Another reader wants other rows."""
    some = union(select(products_.id, products_.name), select(categories_.id, categories_.name)).cte("some")
    other = some.alias("other")
    statement = select(some.c.name, other.c.name).where(some.c.id == 5)
    assert reads(statement) == WHOLE | {"categories"}


def test_exists_of_a_union_names_what_all_its_parts_name() -> None:
    """Whichever part has the row."""
    one = select(1).where(categories_.id == products_.id, categories_.id == 5).correlate(products)
    other = select(1).where(lines.c.order_id == products_.id, lines.c.order_id == 6).correlate(products)
    assert reads(ids.where(union_all(one, other).subquery().select().exists())) >= of_categories(5)
    assert reads(ids.where(exists(union_all(one, other)))) >= by_id(5, 6)
    unnamed = select(1).where(lines.c.order_id == products_.id).correlate(products)
    assert reads(ids.where(exists(union_all(one, unnamed)))) >= WHOLE
