"""Which keys a table has."""

from __future__ import annotations

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    func,
    insert,
)

from rowstamp.analysis import tables
from rowstamp.analysis.effects import effects
from rowstamp.analysis.schema import KEY_LIMIT, NOT_TOLD, key_columns, name_keys
from rowstamp.analysis.writes import analyse_dml
from rowstamp.explain import describe
from tests.unit.analysis.shop import SQLITE


def rooms(metadata: MetaData | None = None, *more: Column[int]) -> Table:
    """Describe a table with one key of each kind."""
    return Table(
        "rooms",
        metadata or MetaData(),
        Column("id", Integer, primary_key=True),
        Column("house", Integer, ForeignKey("houses.id")),
        Column("number", Integer),
        Column("code", String, unique=True),
        Column("colour", String, index=True),
        Column("note", String),
        UniqueConstraint("number", "house"),
        ForeignKeyConstraint(["house", "note"], ["houses.id", "houses.note"]),
        *more,
    )


def test_every_constraint_and_index_is_a_key() -> None:
    """Composite ones with their columns in one order, so that every description of the table names them alike."""
    assert set(key_columns(rooms())) == {
        ("id",),
        ("house",),
        ("house", "number"),
        ("house", "note"),
        ("code",),
        ("colour",),
    }
    assert key_columns(rooms())[0] == ("id",)


def test_indexes_of_expressions_or_of_some_rows_are_no_keys() -> None:
    """They say nothing of the values of a column."""
    table = rooms()
    before = key_columns(table)
    Index("lower_note", func.lower(table.c.note))
    Index("newest", table.c.note.desc())
    Index("some", table.c.note, postgresql_where=table.c.number > 5)
    assert key_columns(table) == before


def test_an_index_that_is_added_later_is_a_key_from_then_on() -> None:
    """And a statement that was analysed before does not know it."""
    table = rooms()
    tables.know([table])
    compiled = insert(table).values(id=1).compile(dialect=SQLITE)
    analysis = analyse_dml(compiled)
    assert "rooms.?" not in touched(analysis, dict(compiled.params))
    Index("by_note", table.c.note)
    assert ("note",) in key_columns(table)
    assert "rooms.?" in touched(analysis, dict(compiled.params))


def test_named_keys_count_although_the_metadata_does_not_show_them() -> None:
    """They may be composite."""
    table = rooms()
    name_keys(table, [("note",), ("number", "note")])
    assert {("note",), ("note", "number")} <= set(key_columns(table))


def test_whoever_was_given_no_keys_says_so() -> None:
    """Reads pinned by a named key depend on it."""
    table = rooms()
    compiled = insert(table).values(id=1).compile(dialect=SQLITE)
    untold = [
        each
        for each in effects(analyse_dml(compiled), [compiled.params], scope="db", dialect=SQLITE)
        if each.key == NOT_TOLD
    ]
    assert {each.name for each in untold} == {"rooms", "?.rooms"}
    name_keys(table, [("note",)])
    analysis = analyse_dml(insert(table).values(id=1).compile(dialect=SQLITE))
    assert not any(each.key == NOT_TOLD for each in effects(analysis, [compiled.params], scope="db", dialect=SQLITE))


def test_keys_are_limited() -> None:
    """The same ones are left out by everybody."""
    columns = [Column(f"c{number}", Integer, index=True) for number in range(30)]
    found = key_columns(rooms(None, *columns))
    again = [Column(f"c{number}", Integer, index=True) for number in reversed(range(30))]
    assert len(found) == KEY_LIMIT
    assert found == key_columns(rooms(None, *again))


@pytest.mark.parametrize(
    ("schema", "unqualified", "qualified"), [(None, True, False), ("a", False, True), ("b", False, False)]
)
def test_other_descriptions_concern_the_readers_that_may_use_them(
    schema: str | None, unqualified: bool, qualified: bool
) -> None:
    """A table of that name in another schema is another table, unless one of them does not say its schema."""
    own = Table("t", MetaData(), Column("id", Integer, primary_key=True), schema="a")
    other = Table(
        "t", MetaData(), Column("id", Integer, primary_key=True), Column("x", Integer, index=True), schema=schema
    )
    tables.know([own, other])
    assert tables.keys_differ(own, key_columns(own), translated=False) == (unqualified, qualified)


def touched(analysis: object, parameters: dict[str, object]) -> set[str]:
    found = effects(analysis, [parameters], scope="db", dialect=SQLITE)  # type: ignore[arg-type]
    return set(map(describe, found))


def test_a_description_in_the_place_of_one_that_is_gone_is_noticed() -> None:
    """As many tables as before are not the same tables."""
    for name in ("first", "second"):
        metadata = MetaData()
        parent = Table(name, metadata, Column("id", Integer, primary_key=True))
        child = Table(
            f"{name}_child", metadata, Column("id", ForeignKey(f"{name}.id", ondelete="CASCADE"), primary_key=True)
        )
        tables.know([parent])
        assert tables.cascaded([tables.Change(name, deletes=True, updates=None)]) == {(None, child.name)}
        tables._known._shown.discard(metadata)
