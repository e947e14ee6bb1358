"""What random statements depend on, held against SQLite itself: a row that no dependency names cannot change their result."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from hypothesis import given, note, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    and_,
    create_engine,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    union,
    union_all,
)
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import inv

from rowstamp.analysis.dependencies import TableUse, uses
from rowstamp.analysis.equality import NULL, key_value
from rowstamp.analysis.schema import iterate_keys
from tests.unit.analysis.shop import SQLITE, analysed

metadata = MetaData()
TABLES: Final = {
    name: Table(
        name,
        metadata,
        Column("id", Integer, primary_key=True),
        Column("k", Integer, index=True),
        Column("v", Integer),
        UniqueConstraint("k", "v", "id"),
    )
    for name in ("t", "u")
}
NUMBERS: Final = (0, 1, 2)
VALUES: Final = (None, *NUMBERS)
Row: TypeAlias = tuple[int, int | None, int | None]

# -------------------------------------------------------------------------------------------------------- statements

Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]
numbers = st.sampled_from(NUMBERS)
names = st.sampled_from(["id", "k", "v"])


def negated(condition: Any) -> Any:
    """Return NOT of a condition as it stands: SQLAlchemy would turn it into its opposite."""
    return UnaryExpression(condition.self_group(against=inv), operator=inv, type_=condition.type)


Compare: TypeAlias = Callable[[Any, Any, Any], Any]

COMPARISONS: Final[tuple[Compare, ...]] = (
    lambda column, one, _: column == one,
    lambda column, one, _: column == one,
    lambda column, one, _: column != one,
    lambda column, one, _: column > one,
    lambda column, one, other: column.in_([one, other]),
    lambda column, one, other: column.not_in([one, other]),
    lambda column, one, other: column.between(one, other),
    lambda column, one, other: ~column.between(one, other),
    lambda column, _, __: column.is_(None),
    lambda column, _, __: column.is_not(None),
    lambda column, one, _: column.is_distinct_from(one),
    lambda column, one, _: column.is_not_distinct_from(one),
    lambda column, one, _: func.coalesce(column, one) == one,
)


def condition_on(draw: Draw, sources: Sequence[Any], depth: int, *, queries: bool = True) -> Any:
    """Draw a condition on columns of these FROM elements, of which the last one is the innermost."""
    kinds = ["compare", "compare", "columns", *(["and", "or", "not"] if depth else [])]
    kind = draw(st.sampled_from([*kinds, *(["exists", "in"] if depth and queries else [])]))
    column = draw(st.sampled_from([sources[-1], *sources])).c[draw(names)]
    if kind == "compare":
        return draw(st.sampled_from(COMPARISONS))(column, draw(numbers), draw(numbers))
    if kind == "columns":
        other = draw(st.sampled_from(list(sources))).c[draw(names)]
        return column == other if draw(st.booleans()) else column != other
    if kind in {"exists", "in"}:
        return subquery(draw, column, sources, depth - 1, operand=kind == "in")
    parts = [condition_on(draw, sources, depth - 1, queries=queries) for _ in range(1 if kind == "not" else 2)]
    return negated(parts[0]) if kind == "not" else and_(*parts) if kind == "and" else or_(*parts)


def subquery(draw: Draw, column: Any, outer: Sequence[Any], depth: int, *, operand: bool) -> Any:
    """Draw EXISTS or IN of a correlated subquery, or of a union of two."""
    parts: list[Any] = []
    for _ in range(draw(st.sampled_from([1, 1, 2]))):
        source = TABLES[draw(st.sampled_from(["t", "u"]))].alias()
        whats: list[Any] = [source.c[draw(names)], func.count()]
        what = whats[not operand and draw(st.integers(0, 3)) == 0]
        part: Any = select(what).select_from(source).where(condition_on(draw, [*outer, source], depth))
        parts.append(part.correlate(*outer))
    make: Any = union_all
    query = parts[0] if len(parts) == 1 else make(*parts)
    if operand:
        return column.in_(query) if draw(st.booleans()) else column.not_in(query)
    return exists(query) if draw(st.booleans()) else ~exists(query)


def inner_query(draw: Draw) -> Any:
    """Draw what may stand in FROM: a table, a subquery of one, or a union of two."""
    kind = draw(st.sampled_from(["table", "subquery", "group", "limit", "union", "cut union"]))
    parts: list[Any] = []
    for _ in range(2 if "union" in kind else 1):
        source = TABLES[draw(st.sampled_from(["t", "u"]))].alias()
        if kind == "table":
            return source
        part = select(source.c.id, source.c.k, source.c.v)
        if kind == "group":
            part = select(func.max(source.c.id).label("id"), source.c.k, source.c.v).group_by(source.c.k, source.c.v)
        parts.append(part.where(condition_on(draw, [source], 1)) if draw(st.booleans()) else part)
    query: Any = parts[0] if len(parts) == 1 else draw(st.sampled_from([union, union_all]))(*parts)
    if kind in {"limit", "cut union"}:
        query = query.order_by(*query.selected_columns).limit(2)
    return query.subquery() if draw(st.booleans()) else query.cte()


@st.composite
def statements(draw: Draw) -> Any:
    """Draw a SELECT of one or two sources, joined in some way."""
    one = inner_query(draw)
    if draw(st.booleans()):
        return select(one).where(condition_on(draw, [one], 2))
    other = inner_query(draw)
    join, on = draw(st.sampled_from(["inner", "left", "full"])), condition_on(draw, [one, other], 1)
    joined = one.join(other, on, isouter=join == "left", full=join == "full")
    return select(one.c.k, other.c.v).select_from(joined).where(condition_on(draw, [one, other], 2))


# ------------------------------------------------------------------------------------------------------------ checks


def named(use: TableUse, table: Table, row: Row) -> bool:
    """Whether what a statement depends on of a table names a row."""
    values: dict[str, object] = dict(
        zip(("id", "k", "v"), (NULL if value is None else value for value in row), strict=True)
    )
    keys = dict(iterate_keys(table))
    return any(
        key_value(keys[rows.key], SQLITE, [values[name] for name in rows.key]) in rows.values for rows in use.rows
    )


def uses_of(statement: Any) -> dict[str, TableUse]:
    parameters = statement.compile(dialect=SQLITE).construct_params()
    return {use.table.name: use for use in uses(analysed(statement), parameters, dialect=SQLITE)}  # type: ignore[union-attr]


def result(connection: Connection, statement: Any) -> list[Any]:
    return sorted(map(repr, connection.execute(statement)))


def put(connection: Connection, table: Table, number: int, row: Row | None) -> None:
    """Make this the row of a number, or have none."""
    connection.execute(delete(table).where(table.c.id == number))
    if row is not None:
        connection.execute(insert(table), dict(zip(("id", "k", "v"), row, strict=True)))


def other_rows(number: int) -> Iterator[Row | None]:
    yield None
    for k, v in itertools.product(VALUES, (None, 1)):
        yield number, k, v


engine = create_engine("sqlite://")
contents = st.fixed_dictionaries({
    name: st.lists(st.sampled_from(VALUES), min_size=6, max_size=6) for name in TABLES
})  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(statement=statements(), content=contents)
def test_a_row_that_no_dependency_names_changes_nothing(statement: Any, content: dict[str, list[int | None]]) -> None:
    """Whatever row comes, goes or changes, the result stays the same unless the statement depends on the row."""
    found = uses_of(statement)
    note(str(statement.compile(dialect=SQLITE, compile_kwargs={"literal_binds": True})))
    with engine.begin() as connection:
        metadata.create_all(connection)
        rows: dict[str, list[Row]] = {}
        for name, table in TABLES.items():
            rows[name] = [(number, content[name][number], content[name][number + 3]) for number in NUMBERS]
            for row in rows[name]:
                put(connection, table, row[0], row)
        before = result(connection, statement)
        for name, use in found.items():
            for old in rows[name] if use.rows and not use.seen else ():
                for new in other_rows(old[0]):
                    if any(row is not None and named(use, TABLES[name], row) for row in (old, new)):
                        continue
                    put(connection, TABLES[name], old[0], new)
                    assert result(connection, statement) == before, f"{old} became {new}; depends on {use.rows}"
                    put(connection, TABLES[name], old[0], old)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), number=numbers, name=st.sampled_from(["id", "k"]))
def test_a_conjunction_that_names_a_key_is_pinned(data: st.DataObject, number: int, name: str) -> None:
    """Whatever else it says."""
    table = TABLES["t"]
    others = [condition_on(data.draw, [table], 2, queries=False) for _ in range(data.draw(st.integers(0, 3)))]
    at = data.draw(st.integers(0, len(others)))
    condition = and_(*others[:at], table.c[name] == number, *others[at:])
    (use,) = uses_of(select(table).where(condition)).values()
    assert use.rows
    assert not use.why_any_row
