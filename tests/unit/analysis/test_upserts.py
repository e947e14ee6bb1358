"""Which rows an upsert wrote, found by the key that stood in its way."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, Index, Integer, MetaData, Table, UniqueConstraint, func, select, text
from sqlalchemy.dialects import mysql, postgresql

from rowstamp.analysis.schema import NOT_TOLD
from rowstamp.analysis.upserts import Upsert, plan_upsert
from rowstamp.analysis.writes import analyse_dml
from rowstamp.explain import describe
from tests.unit.analysis.shop import MYSQL, POSTGRESQL

METADATA = MetaData()
seats = Table(
    "seats",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("row", Integer),
    Column("place", Integer),
    Column("guest", Integer, index=True),
    Column("price", Integer),
    UniqueConstraint("row", "place", name="one_chair"),
)
partial = Table(
    "partial", METADATA, Column("id", Integer, primary_key=True), Column("n", Integer), Column("m", Integer)
)
Index("some", partial.c.n, unique=True, postgresql_where=partial.c.n > 0)
Index("shown", func.abs(partial.c.m), unique=True)

ROW = {"id": 1, "row": 2, "place": 3, "guest": 4, "price": 5}


def plan(statement: Any, dialect: Any = POSTGRESQL) -> tuple[Upsert | None, dict[str, Any]]:
    compiled = statement.compile(dialect=dialect)
    return plan_upsert(analyse_dml(compiled), compiled), compiled.params


def insert(table: Any = seats, values: Any = ROW) -> Any:
    return postgresql.insert(table).values(values)


BY_CHAIR = insert().on_conflict_do_update(index_elements=["row", "place"], set_={"price": 9})


@pytest.mark.parametrize(
    "statement",
    [
        insert().on_conflict_do_nothing(),
        insert(values={"guest": 4}).on_conflict_do_nothing(),
        insert().prefix_with("IGNORE"),
        insert().on_conflict_do_update(index_elements=["guest"], set_={"price": 9}),
        insert().on_conflict_do_update(index_elements=["id"], index_where=seats.c.id > 0, set_={"price": 9}),
        insert().on_conflict_do_update(index_elements=[text("id")], set_={"price": 9}),
        insert().on_conflict_do_update(constraint="another", set_={"price": 9}),
        insert().on_conflict_do_update(index_elements=["id"], set_={"id": 9}),
        insert().on_conflict_do_update(index_elements=["row", "place"], set_={"place": 9}),
        insert(partial, {"id": 1, "n": 2}).on_conflict_do_update(index_elements=["n"], set_={"id": 9}),
        postgresql.insert(seats)
        .from_select(["id"], select(seats.c.id))
        .on_conflict_do_update(index_elements=["id"], set_={"price": 9}),
    ],
    ids=[
        "nothing left out",
        "no unique key given",
        "not PostgreSQL's",
        "no unique key",
        "some rows",
        "text",
        "unknown",
        "the key",
        "a part of it",
        "partial",
        "select",
    ],
)
def test_upserts_of_which_no_row_can_be_looked_up(statement: Any) -> None:
    """The key is not understood, or the row has another value of it afterwards."""
    assert plan(statement)[0] is None


def found(statement: Any, *rows: Any, dialect: Any = POSTGRESQL, sets: Any = None) -> set[str] | None:
    """Return which rows were touched if the database shows these (`None`: it has made none); nothing is known: `None`."""
    made, parameters = plan(statement, dialect)
    assert made is not None
    given = sets or [parameters]
    if made.asked(given, dialect) is None:
        return None
    seen = None if rows == (None,) else rows
    touched = made.effects(seen, given, scope="db", dialect=dialect, translate=None)
    if touched is None:
        return None
    shown = {
        describe(each) for each in touched if each.kind == "rows" and each.name == "seats" and each.key != NOT_TOLD
    }
    return {each.removeprefix("seats.") for each in shown if each.endswith((">", "?"))}


def test_the_row_that_was_there_has_keys_of_its_own() -> None:
    """Not those of VALUES."""
    rows = found(BY_CHAIR, (77, 3, 2, 8))
    assert rows is not None
    assert {"id=<value 77>", "guest=<value 8>"} <= rows
    assert "id=<value 1>" not in rows
    assert not any("?" in each for each in rows)


def skipping(dialect: Any, values: Any) -> Any:
    """An INSERT that leaves out the rows in whose way others stand."""
    if dialect is MYSQL:
        return mysql.insert(seats).values(values).prefix_with("IGNORE")
    return postgresql.insert(seats).values(values).on_conflict_do_nothing()


@pytest.mark.parametrize("dialect", [MYSQL, POSTGRESQL], ids=["IGNORE", "DO NOTHING"])
@pytest.mark.parametrize("values", [{"id": 1, "row": 2}, {"row": 2, "place": 3}], ids=["primary", "unique"])
def test_a_row_that_is_made_or_left_out(dialect: Any, values: Any) -> None:
    """It is looked up with the keys that VALUES does not give; what stood in the way may be what is found."""
    rows = found(skipping(dialect, values), (1, 3, 2, 8), dialect=dialect)
    assert rows is not None
    assert {"id=<value 1>", "guest=<value 8>"} <= rows
    assert not any("?" in each for each in rows)


def test_a_row_that_is_not_there_was_left_out() -> None:
    """Unless it may be there under another value than was given."""
    values = {"id": 1, "row": 2}
    assert found(skipping(POSTGRESQL, values)) == set()
    assert found(skipping(MYSQL, values), dialect=MYSQL) is None
    assert found(skipping(MYSQL, values), None, dialect=MYSQL) == set()


def test_a_unique_key_that_is_null_finds_no_row() -> None:
    """It is made all the same, for nothing is in its way."""
    assert found(skipping(POSTGRESQL, {"row": 2, "place": None})) is None


def test_a_named_constraint_is_a_key() -> None:
    """As its columns are."""
    named = insert().on_conflict_do_update(constraint="one_chair", set_={"price": 9})
    assert found(named, (77, 3, 2, 8)) == found(BY_CHAIR, (77, 3, 2, 8))


def test_the_old_value_of_a_key_that_is_set_is_not_known() -> None:
    """Its new one is."""
    rows = found(insert().on_conflict_do_update(index_elements=["id"], set_={"guest": 9}), (1, 3, 2, 9))
    assert rows is not None
    assert {"id=<value 1>", "guest=<value 9>", "guest=?"} <= rows
    assert "id=?" not in rows


def test_a_row_that_is_not_shown_may_be_any() -> None:
    """It is not as VALUES say, or not all of them are there."""
    assert found(BY_CHAIR) is None
    assert found(BY_CHAIR, (1, 4, 2, 4)) is None
    two = insert(values=[ROW, ROW | {"id": 2, "place": 4}])
    two = two.on_conflict_do_update(index_elements=["row", "place"], set_={"price": 9})
    assert found(two, (77, 3, 2, 8)) is None
    assert found(two, (77, 3, 2, 8), (78, 4, 2, 8)) is not None


def test_values_that_are_not_known_are_not_looked_up() -> None:
    """The database works them out; and NULL meets nobody."""
    worked_out = insert(values=ROW | {"place": func.abs(3)})
    assert (
        found(worked_out.on_conflict_do_update(index_elements=["row", "place"], set_={"price": 9}), (1, 2, 3, 4))
        is None
    )
    nobody = insert(values=ROW | {"place": None})
    assert (
        found(nobody.on_conflict_do_update(index_elements=["row", "place"], set_={"price": 9}), (1, None, 2, 4)) is None
    )


def test_with_on_duplicate_key_any_unique_key_may_have_met_a_row() -> None:
    """All that have one of the values are touched."""
    statement = mysql.insert(seats).values(ROW).on_duplicate_key_update(price=9)
    rows = found(statement, (1, 8, 8, 4), (77, 3, 2, 8), dialect=MYSQL)
    assert rows is not None
    assert {"id=<value 1>", "id=<value 77>", "guest=<value 4>", "guest=<value 8>"} <= rows
    assert plan(mysql.insert(partial).values(id=1).on_duplicate_key_update(m=9), MYSQL)[0] is None
