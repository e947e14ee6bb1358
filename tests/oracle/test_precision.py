"""What no write concerned stays usable."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, select, update
from sqlalchemy.orm import Session

from rowstamp import Cache, cached
from tests.oracle.databases import sqlite_engine
from tests.oracle.program import Figures, explore, program

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")

KNOWN = ("update_row", "update_entity_row", "attribute", "insert_row", "update_many_rows", "bulk_update_by_key", "delete_leaf")  # fmt: skip
"""Kinds of writes whose rows are known by primary key."""


@pytest.mark.parametrize("seed", range(500, 504))
def test_reads_by_primary_key_outlive_writes_of_other_rows(seed: int, tmp_path: Path, figures: Figures) -> None:
    """Not one entry that pins primary keys is lost to a write of other rows; the program itself asserts it."""
    with sqlite_engine(tmp_path / "oracle.db") as engine:
        explore(seed, 40, engine, figures, KNOWN)
    assert figures.pinned > 40


def test_lists_by_a_default_outlive_rows_that_come_to_others(tmp_path: Path, figures: Figures) -> None:
    """A row whose keys the database gives ends the lists by them that it comes to, and no others."""
    before = figures.pinned
    for seed in (508, 512):  # schemas in which such a list has an index of its own
        with (
            sqlite_engine(tmp_path / f"{seed}.db") as engine,
            program(seed, engine, figures, ("add_without_key",), "flag") as each,
        ):
            each.run(range(20))
    assert figures.pinned > before + 40


@pytest.mark.parametrize("listed", ["read", "write"])
def test_lists_of_primary_keys(listed: str, tmp_path: Path) -> None:
    """`IN` names rows as `=` does, in a read and in a write."""
    table = Table("listed", MetaData(), Column("id", Integer, primary_key=True), Column("v", Integer))
    with sqlite_engine(tmp_path / "oracle.db") as engine, Cache(namespace="lists") as cache:
        with engine.begin() as connection:
            table.metadata.create_all(connection)
            connection.execute(insert(table), [{"id": number, "v": 0} for number in range(1, 6)])
        cache.attach(engine)
        read, write = select(table), update(table).values(v=1)
        read = read.where(table.c.id.in_([1, 2])) if listed == "read" else read.where(table.c.id == 1)
        write = write.where(table.c.id.in_([3, 4])) if listed == "write" else write.where(table.c.id == 3)
        for _ in range(2):
            with Session(engine) as session:
                session.execute(read.options(cached()))
        with Session(engine) as session:
            session.execute(write)
            session.commit()
            before = cache.stats().hits
            session.execute(read.options(cached()))
        assert cache.stats().hits == before + 1
