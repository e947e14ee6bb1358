"""Which columns an UPDATE may change, and which facets of the stamps that touches."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    Column,
    Computed,
    DateTime,
    FetchedValue,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    bindparam,
    column,
    delete,
    func,
    insert,
    table,
    text,
    types,
    update,
)
from sqlalchemy.engine import Dialect

from rowstamp.analysis import tables
from rowstamp.analysis.changed import changed_along
from rowstamp.analysis.effects import effects
from rowstamp.analysis.schema import NOT_TOLD
from rowstamp.analysis.writes import analyse_dml
from rowstamp.explain import describe
from tests.unit.analysis.shop import MYSQL, POSTGRESQL, SQLITE, categories, products


class Moment(TypeDecorator[Any]):
    impl = types.TIMESTAMP
    cache_ok = True


metadata = MetaData()
things = Table(
    "things",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("width", Integer, key="w"),
    Column("height", Integer),
    Column("note", String),
    Column("parts", ARRAY(Integer)),
    Column("area", Integer, Computed("width * height")),
    Column("twice", Integer, Computed("area * 2")),
)
watched = Table(
    "watched",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("note", String),
    Column("seen", DateTime, onupdate=func.now()),
    Column("version", Integer, server_onupdate=FetchedValue()),
    Column("stamped", DateTime, server_default=text("CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP")),
)
moments = Table(
    "moments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("note", String),
    Column("implicit", types.TIMESTAMP),
    Column("decorated", Moment),
    Column("explicit", types.TIMESTAMP, server_default=text("CURRENT_TIMESTAMP")),
)


def changed(statement: Any, *keys: str, dialect: Dialect = SQLITE) -> set[str] | None:
    """Return the columns that the analysis expects to change."""
    found = analyse_dml(statement.compile(dialect=dialect, column_keys=list(keys) or None)).changed
    return None if found is None else set(found)


def test_columns_of_set_change() -> None:
    """Whether they are named by column, by key or by parameter."""
    assert changed(update(things).values({things.c.note: "x"})) == {"note"}
    assert changed(update(things).values(note="x", height=func.length("x"))) == {"note", "height", "area", "twice"}
    assert changed(update(things).where(things.c.id == bindparam("which")), "note", "which") == {"note"}
    assert changed(update(things).ordered_values((things.c.note, "x"))) == {"note"}


def test_a_column_whose_key_is_not_its_name_counts_by_its_name() -> None:
    """Stamps are named as the database names the column."""
    assert changed(update(things).values(w=1)) == {"width", "area", "twice"}


def test_a_part_of_a_column_counts_as_the_column() -> None:
    """Elements of arrays can be set one by one."""
    assert changed(update(things).values({things.c.parts[1]: 5}), dialect=POSTGRESQL) == {"parts"}


def test_computed_columns_change_with_what_they_are_computed_from() -> None:
    """Also with other computed columns, and not with anything else."""
    assert changed(update(things).values(height=2)) == {"height", "area", "twice"}
    assert changed(update(things).values(note="x")) == {"note"}


def test_columns_that_change_with_every_update() -> None:
    """From SQLAlchemy, from the database, or by a MySQL default."""
    assert changed(update(watched).values(note="x")) == {"note", "seen", "version", "stamped"}


def test_what_a_foreign_key_sets_is_not_followed_by_defaults_of_sqlalchemy() -> None:
    assert changed_along(watched, {"note"}, SQLITE, by_foreign_key=True) == {"note", "version", "stamped"}


def test_timestamps_without_default_change_in_mysql() -> None:
    """They may be ON UPDATE CURRENT_TIMESTAMP, which nobody wrote."""
    assert changed(update(moments).values(note="x"), dialect=MYSQL) == {"note", "implicit", "decorated"}
    assert changed(update(moments).values(note="x")) == {"note"}


def test_what_another_description_of_the_table_says_counts() -> None:
    """The same table, described without its computed column."""
    sketch = Table("things", MetaData(), Column("id", Integer, primary_key=True), Column("height", Integer))
    tables.know([things, sketch])
    assert changed(update(sketch).values(height=2)) == {"height", "area", "twice"}


@pytest.mark.parametrize(
    "statement",
    [
        update(table("things", column("id"), column("note"))).values(note="x"),
        delete(things),
        insert(things).values(note="x"),
        update(products.join(categories)).values({products.c.name: "x", categories.c.name: "y"}),
    ],
    ids=["no metadata", "delete", "insert", "several tables"],
)
def test_where_the_columns_are_not_known_any_may_change(statement: Any) -> None:
    """Rows come or go, or nothing is known of the table."""
    assert changed(statement, dialect=MYSQL) is None


def facets(statement: Any, name: str = "things") -> set[str]:
    compiled = statement.compile(dialect=SQLITE)
    found = effects(analyse_dml(compiled), [compiled.construct_params()], scope="db", dialect=SQLITE)
    return {describe(each) for each in found if each.name == name and each.key != NOT_TOLD}


def test_an_update_of_columns_touches_no_membership() -> None:
    """No row comes or goes, and none gets another key."""
    row = "things.id=<value 1>"
    assert facets(update(things).where(things.c.id == 1).values(note="x")) == {
        "things", "things:note", row, f"{row}:note",
    }  # fmt: skip


def test_an_update_of_a_key_touches_the_membership_of_that_key() -> None:
    """Not that of the table: the number of its rows stays."""
    rows = ("things.id=?", "things.id=<value 2>")
    assert facets(update(things).where(things.c.note == "x").values(id=2)) == {
        "things", "things:id", *(f"{row}{facet}" for row in rows for facet in ("", "!", ":id")), "things.id=?-", "things.id=?!-",
    }  # fmt: skip


@pytest.mark.parametrize("statement", [delete(things).where(things.c.id == 1), delete(things)], ids=["one", "all"])
def test_a_delete_touches_the_membership(statement: Any) -> None:
    """And no column: readers of columns depend on the membership too."""
    found = facets(statement)
    assert {each for each in found if not each.endswith("!")} == {each.rstrip("!") for each in found}
    assert not any(":" in each for each in found)


def test_a_table_without_metadata_is_written_altogether() -> None:
    """Its keys and generated columns are not known."""
    light = table("things", column("id"), column("note"))
    assert facets(update(light).where(light.c.id == 1).values(note="x")) == {
        "things", "things!", "things.?", "things.?!",
    }  # fmt: skip
