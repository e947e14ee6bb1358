"""What becomes of rows that others refer to, and of those that refer to them."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from sqlalchemy import Column, Computed, ForeignKey, Index, Integer, MetaData, String, Table, delete, update

from rowstamp.analysis.cascades import Fate, fate_effects, fates, referring
from rowstamp.analysis.images import Image, plan_image
from rowstamp.analysis.schema import NOT_TOLD
from rowstamp.analysis.tables import acting_keys, know
from rowstamp.analysis.writes import analyse_dml
from rowstamp.explain import describe
from tests.unit.analysis.shop import POSTGRESQL, SQLITE

_numbers = count()


def tables(on_delete: str | None = None, on_update: str | None = None, kind: Any = Integer) -> tuple[Table, Table]:
    """Return two tables of which nobody else speaks, the second with a column that follows its foreign key."""
    metadata = MetaData()
    name = next(_numbers)
    parent = Table(f"parents_{name}", metadata, Column("id", Integer, primary_key=True))
    reference = ForeignKey(parent.c.id, ondelete=on_delete, onupdate=on_update)
    child = Table(
        f"children_{name}",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("parent_id", kind, reference),
        Column("twice", Integer, Computed("parent_id * 2")),
        Column("name", String),
    )
    Index("named", child.c.name)
    know([parent, child])
    return parent, child


GONE = [Fate({"id": 1}, None)]
MOVED = [Fate({"id": 1}, {"id": 9})]
LOST = [Fate({"id": 1}, {})]
ROW = (5, 1, "x")


def becomes(causes: list[Fate], **rules: Any) -> list[Fate]:
    """Return what becomes of a row that refers to row 1."""
    parent, _ = tables(**rules)
    (key,) = acting_keys(parent.name)
    if not causes[0].reaches(key):
        return []
    plan = referring(parent, key, SQLITE)
    assert plan is not None
    return plan.fates([ROW], causes)


@pytest.mark.parametrize(
    ("causes", "rules", "after"),
    [
        (GONE, {"on_delete": "CASCADE"}, None),
        (GONE, {"on_delete": "SET NULL"}, {"id": 5, "parent_id": None, "name": "x"}),
        (GONE, {"on_delete": "SET DEFAULT"}, {"id": 5, "name": "x"}),
        (MOVED, {"on_update": "CASCADE"}, {"id": 5, "parent_id": 9, "name": "x"}),
        (MOVED, {"on_update": "SET NULL"}, {"id": 5, "parent_id": None, "name": "x"}),
        (LOST, {"on_update": "CASCADE"}, {"id": 5, "name": "x"}),
    ],
    ids=str,
)
def test_what_a_foreign_key_does(causes: list[Fate], rules: Any, after: Any) -> None:
    """What is not known of the new value is left out."""
    (fate,) = becomes(causes, **rules)
    assert (dict(fate.before), fate.after) == ({"id": 5, "parent_id": 1, "name": "x"}, after)


def test_what_a_foreign_key_does_not() -> None:
    """It has rules for one thing and not for the other, or the value stays."""
    assert becomes(MOVED, on_delete="CASCADE") == []
    assert becomes(GONE, on_update="CASCADE") == []
    assert becomes([Fate({"id": 1}, {"id": 1})], on_update="CASCADE") == []


def test_a_row_of_which_the_key_is_not_known_reaches_whoever_refers_to_it() -> None:
    """It may have been changed."""
    parent, _ = tables(on_update="CASCADE")
    (key,) = acting_keys(parent.name)
    unknown = Fate({"other": 1}, {"other": 1})
    plan = referring(parent, key, SQLITE)
    assert plan is not None
    assert unknown.reaches(key)
    assert plan.referred([unknown]) is None


def test_a_row_that_equals_none_for_us_may_have_had_any_fate() -> None:
    """What the database calls equal may differ."""
    parent, _ = tables(on_update="CASCADE")
    plan = referring(parent, acting_keys(parent.name)[0], SQLITE)
    assert plan is not None
    found = plan.fates([(5, 77, "x")], [*MOVED, Fate({"id": 2}, {"id": 8})])
    assert [fate.after and fate.after["parent_id"] for fate in found] == [9, 8]


def test_the_question_takes_the_lock_of_the_write() -> None:
    """PostgreSQL has a weaker one for rows that stay, with their keys."""
    asked = []
    for rule in ("CASCADE", "SET NULL"):
        parent, _ = tables(on_delete=rule)
        plan = referring(parent, acting_keys(parent.name)[0], POSTGRESQL)
        assert plan is not None
        asked.append(" ".join(str(plan.question.compile(dialect=POSTGRESQL)).split()))
    assert asked[0].endswith("FOR UPDATE")
    assert asked[1].endswith("FOR NO KEY UPDATE")


def test_tables_of_which_there_are_two_descriptions_are_not_asked() -> None:
    """One may be another table; nor where the two sides compare differently."""
    parent, child = tables(on_delete="CASCADE")
    (key,) = acting_keys(parent.name)
    other = Table(child.name, MetaData(), Column("id", Integer, primary_key=True))
    know([other])
    assert referring(parent, key, SQLITE) is None
    parent, _ = tables(on_delete="CASCADE", kind=String)
    assert referring(parent, acting_keys(parent.name)[0], SQLITE) is None


def stamps(table: Table, *rows: Fate) -> set[str]:
    found = fate_effects(table, rows, scope="db", dialect=SQLITE, translate=None)
    shown = {
        describe(each) for each in found if each.kind == "rows" and each.name == table.name and each.key != NOT_TOLD
    }
    return {each.removeprefix(f"{table.name}.") for each in shown}


def test_what_is_touched_by_a_fate() -> None:
    """A row that goes has all its keys; one that stays the old and the new value of those that change, and these columns of others."""
    _, child = tables(on_delete="CASCADE", on_update="CASCADE")
    row = {"id": 5, "parent_id": 1, "name": "x"}
    both = {"", "!"}
    gone = {f"{key}{facet}" for key in ("id=<value 5>", "parent_id=<value 1>", "name=<value x>") for facet in both}
    assert stamps(child, Fate(row, None)) == gone
    moved = stamps(child, Fate(row, row | {"parent_id": 2}))
    assert {"parent_id=<value 1>!", "parent_id=<value 2>!", "id=<value 5>:parent_id", "id=<value 5>:twice"} <= moved
    assert "id=<value 5>!" not in moved
    assert "parent_id=?!" in stamps(child, Fate(row, {"id": 5, "name": "x"}))


def test_the_fates_of_rows_that_a_statement_writes() -> None:
    """Deleted, or with the values that it says; of others nothing is known."""
    parent, _ = tables(on_delete="CASCADE", on_update="SET NULL")

    def of(statement: Any) -> list[Fate]:
        compiled = statement.compile(dialect=SQLITE)
        analysis = analyse_dml(compiled)
        plan = plan_image(analysis, SQLITE)
        assert plan is not None
        wanted = plan.wanted([compiled.params], SQLITE)
        assert wanted is not None
        image = Image.of(plan, wanted[0], [(1,)], SQLITE)
        assert image is not None
        return fates(analysis, image, [compiled.params], SQLITE)

    assert of(delete(parent).where(parent.c.id == 1)) == GONE
    assert of(update(parent).where(parent.c.id == 1).values(id=9)) == MOVED
    assert of(update(parent).where(parent.c.id == 1).values(id=parent.c.id + 1)) == LOST
