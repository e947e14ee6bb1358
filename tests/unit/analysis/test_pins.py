"""Which rows a condition leaves, and which of its neighbours leave others."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    exists,
    false,
    func,
    lateral,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    union,
)

from tests.unit.analysis.shop import categories, flags, lines, notes, pinned, products, reads

products_ = products.c
ids = select(products_.name)
WHOLE = {"products"}


def by_id(*values: object) -> set[str]:
    return pinned("products", "id", *values)


@pytest.mark.parametrize(
    ("condition", "values"),
    [
        (literal(5) == products_.id, [5]),
        (products_.id == literal_column("5"), [5]),
        (products_.id == literal(5, literal_execute=True), [5]),
        (products_.id.in_([literal(1), literal_column("2")]), [1, 2]),
        (products_.id.between(4, 4), [4]),
        (or_(products_.id == 1, products_.id.in_([2, 3])), [1, 2, 3]),
        (or_(*(products_.id == number for number in range(40))), range(40)),
        (and_(products_.id.in_([1, 2]), or_(products_.name == "a", products_.price > 3)), [1, 2]),
        (or_(and_(products_.id == 1, products_.name == "a"), and_(products_.id == 2, products_.price > 3)), [1, 2]),
        (and_(or_(products_.id == 1, products_.id == 2), or_(products_.name == "a", products_.id == 1)), [1, 2]),
        (and_(products_.id.in_([1, 2]), products_.id == 1), [1]),
        (and_(products_.id.between(0, 9), products_.id == 1), [1]),
        (and_(products_.id > 0, and_(products_.name != "x", products_.id == 7)), [7]),
    ],
    ids=str,
)
def test_conditions_that_name_keys(condition: ColumnElement[bool], values: Any) -> None:
    """However it is written, only these rows can matter."""
    assert reads(ids.where(condition)) == by_id(*values)


@pytest.mark.parametrize(
    "condition",
    [
        products_.id.between(4, 5),
        products_.id.between(4, products_.category_id),
        or_(products_.id == 1, products_.name == "a"),
        or_(products_.id == 1, products_.id > 7),
        or_(and_(products_.id == 1, products_.name == "a"), products_.price > 3),
        and_(*(or_(products_.id == 2 * n, products_.name == str(n)) for n in range(9))),
        ~or_(products_.id == 1, products_.id == 2),
        ~products_.id.in_([1]),
        products_.id.in_([1, products_.category_id]),
        products_.id.in_([1, None]),
        products_.id == bindparam("none", None, products_.id.type),
        products_.id == literal_column("5.0"),
        products_.id == literal_column("'5'"),
        products_.name == literal_column("5"),
        products_.id == func.coalesce(products_.id, 5),
        (products_.id == 5).is_(None),
        (products_.id == 5).is_not(True),
        products_.id.is_distinct_from(5),
    ],
    ids=str,
)
def test_conditions_that_leave_other_rows(condition: ColumnElement[bool]) -> None:
    """Neighbours of the above: any row may matter."""
    assert reads(ids.where(condition)) == WHOLE


def test_alternatives_beyond_the_limit_are_left_out() -> None:
    """What cannot be split further is as if it were not there; what else is known stays."""
    many = and_(*(or_(products_.name == str(n), products_.price == n) for n in range(9)))
    assert reads(ids.where(many, products_.id == 5)) == by_id(5)
    assert reads(ids.where(products_.id == 5, many)) == by_id(5)


# --------------------------------------------------------------------------------------------- composite keys


def test_alternatives_keep_the_parts_of_a_composite_key_together() -> None:
    """`(a = 1 AND b = 2) OR (a = 3 AND b = 4)` are two rows, not four."""
    l = lines.c  # noqa: E741
    condition = or_(and_(l.order_id == 1, l.position == 2), and_(l.order_id == 3, l.position == 4))
    assert reads(select(lines).where(condition)) == pinned("lines", "order_id,position", "1,2", "3,4")


def test_tuples_keep_the_parts_of_a_composite_key_together() -> None:
    """`(a, b) IN ((1, 2), (3, 4))` are two rows, not four, in any order of the columns."""
    expected = pinned("lines", "order_id,position", "1,2", "3,4")
    one = tuple_(lines.c.order_id, lines.c.position).in_([(1, 2), (3, 4)])
    other = tuple_(lines.c.position, lines.c.order_id).in_([(2, 1), (4, 3)])
    assert reads(select(lines).where(one)) == reads(select(lines).where(other)) == expected


def test_a_tuple_with_part_of_a_key_and_more() -> None:
    """Columns that are no key are left out."""
    condition = tuple_(products_.name, products_.id).in_([("a", 1), ("b", 2)])
    assert reads(ids.where(condition)) == by_id(1, 2)


def test_a_tuple_and_an_equality_make_a_key_together() -> None:
    """Each column's values may come from elsewhere."""
    condition = and_(tuple_(lines.c.order_id, lines.c.product_id).in_([(1, 7), (2, 7)]), lines.c.position == 3)
    assert reads(select(lines).where(condition)) == pinned("lines", "order_id,position", "1,3", "2,3")


def test_not_in_of_tuples_leaves_other_rows() -> None:
    """The neighbour of the above."""
    condition = tuple_(lines.c.order_id, lines.c.position).not_in([(1, 2)])
    assert reads(select(lines).where(condition)) == {"lines"}


# ------------------------------------------------------------------------------------------------- null, boolean


def test_is_null_names_the_rows_without_a_value() -> None:
    """NULL is a value of the key that `=` never finds."""
    assert reads(select(notes).where(notes.c.topic.is_(None))) == pinned("notes", "topic", None)
    assert reads(select(notes).where(notes.c.topic.is_not(None))) == {"notes"}
    condition = or_(notes.c.topic == 5, notes.c.topic.is_(None))
    assert reads(select(notes).where(condition)) == pinned("notes", "topic", 5, None)


def test_is_null_on_the_nullable_side_asks_for_missing_rows() -> None:
    """`LEFT JOIN … WHERE b.k IS NULL` is an anti-join: any row of b may end a match."""
    joined = products.outerjoin(notes, notes.c.body == products_.name)
    statement = select(products_.id).select_from(joined).where(products_.id == 1, notes.c.topic.is_(None))
    assert reads(statement) == by_id(1) | {"notes"}


OUTER = products.outerjoin(notes, notes.c.body == products_.name)


@pytest.mark.parametrize(
    "joined",
    [
        OUTER.join(flags, true()),
        flags.join(OUTER, true()),
        OUTER.outerjoin(flags, true()),
        flags.outerjoin(OUTER, true()),
        products.outerjoin(notes, notes.c.body == products_.name, full=True),
        notes.outerjoin(products, notes.c.body == products_.name, full=True),
        notes.join(products, notes.c.body == products_.name).outerjoin(flags, true(), full=True),
        flags.outerjoin(notes.join(products, notes.c.body == products_.name), true(), full=True),
    ],
    ids=str,
)
def test_is_null_asks_for_missing_rows_wherever_the_outer_join_stands(joined: Any) -> None:
    """Further joins around it leave the rows that it has extended."""
    assert "notes" in reads(select(products_.id).select_from(joined).where(notes.c.topic.is_(None)))


@pytest.mark.parametrize("joined", [(OUTER, flags), (flags, OUTER)], ids=["left", "right"])
def test_is_null_in_on_above_an_outer_join_asks_for_missing_rows(joined: Any) -> None:
    """ON is asked of rows that were extended below."""
    left, right = joined
    statement = select(products_.id).select_from(left.join(right, notes.c.topic.is_(None)))
    assert "notes" in reads(statement)


def test_is_null_in_on_of_a_left_join_restricts_its_right_side() -> None:
    """There the rows are asked before they are extended."""
    joined = products.outerjoin(notes, and_(notes.c.body == products_.name, notes.c.topic.is_(None)))
    assert reads(select(products_.id).select_from(joined)) == WHOLE | pinned("notes", "topic", None)


def test_null_is_not_handed_on() -> None:
    """`a.x = b.y` is never true of NULL."""
    statement = select(products_.id).where(notes.c.topic == products_.id, notes.c.topic.is_(None))
    assert reads(statement) == WHOLE | pinned("notes", "topic", None)


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        (flags.c.on, True),
        (~flags.c.on, False),
        (flags.c.on.is_(True), True),
        (flags.c.on.is_(False), False),
        (flags.c.on == true(), True),
        (flags.c.on == false(), False),
        (flags.c.on == bindparam("on", True, flags.c.on.type), True),
    ],
    ids=str,
)
def test_flags(condition: ColumnElement[bool], value: bool) -> None:
    """A boolean column is a condition by itself."""
    assert reads(select(flags).where(condition)) == pinned("flags", "on", value)


def test_what_is_not_quite_a_flag() -> None:
    """`IS NOT TRUE` leaves NULL as well."""
    assert reads(select(flags).where(flags.c.on.is_not(True))) == {"flags"}
    assert reads(select(flags).where(or_(flags.c.on, flags.c.name == "x"))) == {"flags"}


# ----------------------------------------------------------------------------------------- joins and alternatives


def test_alternatives_over_two_tables() -> None:
    """Each alternative names the rows of both."""
    first = and_(products_.id == 1, categories.c.id == 2)
    second = and_(products_.id == 3, categories.c.id == 4)
    statement = select(products_.name, categories.c.name).where(or_(first, second))
    assert reads(statement) == by_id(1, 3) | pinned("categories", "id", 2, 4)


def test_an_equality_in_one_alternative_hands_on_there_only() -> None:
    """The other alternative leaves the table open."""
    matching = and_(products_.id == 1, categories.c.id == products_.id)
    statement = select(products_.name, categories.c.name)
    assert reads(statement.where(or_(matching, products_.id == 2))) == by_id(1, 2) | {"categories"}
    both = or_(matching, and_(products_.id == 2, categories.c.id == 9))
    assert reads(statement.where(both)) == by_id(1, 2) | pinned("categories", "id", 1, 9)


# ---------------------------------------------------------------------------------------------------- subqueries


def test_a_correlated_subquery_takes_the_pins_of_the_enclosing_rows() -> None:
    """What it finds for other rows does not matter."""
    inner = select(func.count(categories.c.name)).where(categories.c.id == products_.id).scalar_subquery()
    expected = by_id(5) | pinned("categories", "id", 5)
    assert reads(select(products_.name, inner).where(products_.id == 5)) == expected
    condition = exists().where(categories.c.id == products_.id)
    assert reads(ids.where(products_.id == 5, condition)) == expected
    assert reads(ids.where(products_.id == 5, ~condition)) == expected


def test_a_correlated_subquery_beside_an_open_alternative() -> None:
    """If other rows pass as well, what it finds for them matters."""
    condition = exists().where(categories.c.id == products_.id)
    assert reads(ids.where(or_(products_.id == 5, condition))) == WHOLE | {"categories"}


def test_a_correlated_subquery_two_levels_down() -> None:
    """The pins of any enclosing SELECT count."""
    deep = exists().where(lines.c.order_id == products_.id, lines.c.position == categories.c.id).correlate_except(lines)
    middle = exists().where(categories.c.name == products_.name, categories.c.id == 3, deep).correlate(products)
    expected = by_id(5) | pinned("categories", "id", 3) | pinned("lines", "order_id,position", "5,3")
    assert reads(ids.where(products_.id == 5, middle)) == expected


def test_a_lateral_subquery_sees_its_neighbours() -> None:
    """Unlike others in FROM."""
    inner = lateral(select(categories.c.name).where(categories.c.id == products_.id).correlate(products))
    statement = select(products_.name, inner.c.name).where(products_.id == 5)
    assert reads(statement) == by_id(5) | pinned("categories", "id", 5)


def test_a_subquery_of_the_same_table_is_no_correlation() -> None:
    """Its rows are others, although the table is one."""
    inner = select(func.max(products_.price)).where(products_.name == "a").correlate(None).scalar_subquery()
    assert reads(ids.where(products_.id == 5, products_.price == inner)) == WHOLE


def test_a_subquery_hands_out_the_pins_of_what_it_selects() -> None:
    """`FROM (SELECT id … WHERE id = 5) s JOIN t ON t.id = s.id`: as a limited eager load is rendered."""
    inner = select(products_.id.label("pid"), products_.name).where(products_.id == 5).limit(1).subquery()
    statement = select(inner.c.name, categories.c.name).outerjoin_from(
        inner, categories, categories.c.id == inner.c.pid
    )
    assert reads(statement) == by_id(5) | pinned("categories", "id", 5)


def test_a_cte_hands_out_the_pins_of_what_it_selects() -> None:
    """Read twice, or under another name, it is the same."""
    inner = select(products_.id).where(products_.id == 5).cte("some")
    other = inner.alias("other")
    statement = select(categories.c.name).where(categories.c.id == other.c.id, inner.c.id == other.c.id)
    assert reads(statement) == by_id(5) | pinned("categories", "id", 5)


def test_an_alternative_of_a_subquery_that_pins_nothing() -> None:
    """Not all of what it selects is known."""
    inner = select(products_.id).where(or_(products_.id == 5, products_.name == "x")).subquery()
    statement = select(categories.c.name).where(categories.c.id == inner.c.id)
    assert reads(statement) == WHOLE | {"categories"}


def test_a_computed_column_of_a_subquery_hands_out_nothing() -> None:
    """`id + 1` is not `id`."""
    inner = select((products_.id + 1).label("id")).where(products_.id == 5).subquery()
    assert reads(select(categories.c.name).where(categories.c.id == inner.c.id)) == by_id(5) | {"categories"}


def test_in_hands_out_the_pins_of_what_its_operand_selects() -> None:
    """`id IN (SELECT id … WHERE id = 5)` names one row; NOT IN names none."""
    inner = select(categories.c.id).where(categories.c.id == 5)
    assert reads(ids.where(products_.id.in_(inner))) == by_id(5) | pinned("categories", "id", 5)
    assert reads(ids.where(products_.id.not_in(inner))) == WHOLE | pinned("categories", "id", 5)
    assert reads(ids.where(products_.id == inner.scalar_subquery())) == by_id(5) | pinned("categories", "id", 5)


def plain(inner: Select[Any]) -> Select[Any]:
    return inner


@pytest.mark.parametrize(
    "change",
    [
        plain,
        lambda inner: inner.distinct(),
        lambda inner: inner.group_by(products_.id, products_.name),
        lambda inner: inner.add_columns(func.count().label("n")).group_by(products_.id, products_.name),
        lambda inner: inner.where(products_.price > 3),
    ],
    ids=["plain", "distinct", "grouped", "counted", "restricted"],
)
def test_a_subquery_takes_the_pins_of_its_reader(change: Any) -> None:
    """Where each of its rows is made of one row, or of a group that the pin names."""
    inner = change(select(products_.id, products_.name)).subquery()
    assert reads(select(inner.c.name).where(inner.c.id == 5)) == by_id(5)
    named = change(select(products_.id, products_.name)).cte("named")
    assert reads(select(named.c.name).where(named.c.id == 5)) == by_id(5)


@pytest.mark.parametrize(
    "change",
    [
        lambda inner: inner.limit(3),
        lambda inner: inner.offset(3),
        lambda inner: inner.fetch(3),
        lambda inner: inner.group_by(products_.name),
        lambda inner: inner.having(func.count() > 1),
        lambda inner: inner.add_columns(func.row_number().over(order_by=products_.price).label("n")),
        lambda inner: inner.add_columns(func.sum(products_.price).label("n")),
    ],
    ids=["limit", "offset", "fetch", "group", "having", "window", "aggregate"],
)
def test_a_subquery_that_looks_at_other_rows_takes_no_pins(change: Any) -> None:
    """Which rows come out depends on rows that the pin leaves out."""
    inner = change(select(products_.id, products_.name)).subquery()
    assert reads(select(inner.c.name).where(inner.c.id == 5)) == WHOLE


def test_what_is_read_twice_takes_no_pins() -> None:
    """Another reader wants other rows."""
    inner = select(products_.id, products_.name).cte("all_of_them")
    other = inner.alias("other")
    assert reads(select(inner.c.name, other.c.name).where(inner.c.id == 5)) == WHOLE
    query = select(products_.id, products_.name).subquery()
    first = select(query.c.name).where(query.c.id == 5)
    assert reads(union(first, select(query.c.name))) == WHOLE


def test_the_operand_of_in_takes_the_pins_of_the_column() -> None:
    """Rows that select something else do not matter; to NOT IN they do, if it is NULL."""
    inner = select(categories.c.id)
    assert reads(ids.where(products_.id == 5, products_.id.in_(inner))) == by_id(5) | pinned("categories", "id", 5)
    assert reads(ids.where(products_.id == 5, products_.id.not_in(inner))) == by_id(5) | {"categories"}
    maybe = or_(products_.id.in_(inner), products_.name == "a")
    assert reads(ids.where(products_.id == 5, maybe)) == by_id(5) | {"categories"}
    few = inner.limit(3)
    assert reads(ids.where(products_.id == 5, products_.id.in_(few))) == by_id(5) | {"categories"}


def test_a_recursive_cte_depends_on_the_table() -> None:
    """Its rows are made of its own rows, which no condition names."""
    tree = select(categories.c.id, categories.c.parent_id).where(categories.c.id == 1).cte("tree", recursive=True)
    below = categories.alias("below")
    tree = tree.union(select(below.c.id, below.c.parent_id).join(tree, below.c.parent_id == tree.c.id))
    assert reads(select(tree.c.id)) == {"categories"}
    assert reads(select(tree.c.id).where(tree.c.id == 1)) == {"categories"}
    assert reads(select(products_.name).where(products_.id == tree.c.id)) == WHOLE | {"categories"}
