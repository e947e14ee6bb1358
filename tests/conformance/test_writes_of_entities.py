"""What the unit of work and bulk statements write of entities: exactly the results that their rows are in are read again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import ForeignKey, insert, inspect, select, update
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    defer,
    make_transient_to_detached,
    mapped_column,
    relationship,
)

from tests.conformance.test_rows_seen import tables
from tests.harness import Env, read


class Base(DeclarativeBase):
    pass


class Shelf(Base):
    """Its boxes follow its key, and go with it."""

    __tablename__ = "shelves"

    id: Mapped[int] = mapped_column(primary_key=True)
    boxes: Mapped[list[Box]] = relationship(back_populates="shelf", passive_deletes=True)


class Box(Base):
    """It has a version, and may have a twin."""

    __tablename__ = "boxes"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[int]
    version: Mapped[int] = mapped_column()
    weight: Mapped[int | None]
    shelf_id: Mapped[int | None] = mapped_column(
        ForeignKey("shelves.id", ondelete="CASCADE", onupdate="CASCADE"), index=True
    )
    twin_id: Mapped[int | None] = mapped_column(ForeignKey("boxes.id", ondelete="SET NULL"), index=True)

    shelf: Mapped[Shelf | None] = relationship(back_populates="boxes")
    twin: Mapped[Box | None] = relationship(remote_side="Box.id", post_update=True)

    __mapper_args__ = {  # noqa: RUF012 - SQLAlchemy's name
        "polymorphic_on": "kind", "polymorphic_identity": 1, "version_id_col": version, "eager_defaults": True,
    }  # fmt: skip


class Crate(Box):
    """A box with a row in a second table."""

    __tablename__ = "crates"

    id: Mapped[int] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE", onupdate="CASCADE"), primary_key=True)
    lid: Mapped[int | None]
    owner: Mapped[int | None] = mapped_column(index=True)

    __mapper_args__ = {"polymorphic_identity": 2}  # noqa: RUF012


class Rack(Base):
    """A shelf whose boxes the unit of work changes itself, with its key."""

    __table__ = Shelf.__table__
    boxes: Mapped[list[Box]] = relationship(Box, passive_updates=False, overlaps="boxes,shelf")


shelves: Any = Shelf.__table__
boxes: Any = Box.__table__
crates: Any = Crate.__table__


def by(column: Any, value: Any) -> Any:
    condition = column.is_(None) if value is None else column == value
    return select(column.table).where(condition).order_by(column.table.c.id)


READS = {
    **{f"shelf {number}": by(shelves.c.id, number) for number in (1, 2, 9)},
    **{f"box {number}": by(boxes.c.id, number) for number in (1, 2, 3, 4, 30)},
    **{f"crate {number}": by(crates.c.id, number) for number in (3, 4, 30)},
    **{f"on {number}": by(boxes.c.shelf_id, number) for number in (1, 2, 9)},
    **{f"twin of {number}": by(boxes.c.twin_id, number) for number in (1, 2, 3, None)},
    **{f"owned by {number}": by(crates.c.owner, number) for number in (5, 6, 7)},
    **{f"shelf of {number}": select(boxes.c.shelf_id).where(boxes.c.id == number) for number in (1, 3)},
}
"""Shelf 1 has boxes 1 and 2, shelf 2 crates 3 and 4; box 1 is the twin of box 2; crate 3 is owned by 5, crate 4 by 6."""


def settle(env: Env) -> None:
    with tables(env, shelves, boxes, crates) as session:
        connection = session.connection()
        connection.execute(insert(shelves), [{"id": 1}, {"id": 2}])
        rows = [{"id": 1, "shelf_id": 1}, {"id": 2, "shelf_id": 1}, {"id": 3, "shelf_id": 2}, {"id": 4, "shelf_id": 2}]
        connection.execute(insert(boxes), [row | {"kind": 1 + (row["id"] > 2), "version": 1} for row in rows])
        connection.execute(update(boxes).where(boxes.c.id == 1).values(twin_id=2))
        connection.execute(insert(crates), [{"id": 3, "owner": 5}, {"id": 4, "owner": 6}])


def of_expired(session: Session) -> None:
    """After a commit nothing is loaded any more."""
    box = session.get_one(Box, 1)
    session.commit()
    assert "shelf_id" not in inspect(box).dict
    box.weight = 5


def of_deferred(session: Session) -> None:
    session.get_one(Box, 1, options=[defer(Box.shelf_id)]).shelf_id = 2


def of_collection(session: Session) -> None:
    shelf = session.get_one(Shelf, 2)
    shelf.boxes.append(session.get_one(Box, 1))


def of_merged(session: Session) -> None:
    session.merge(Box(id=1, shelf_id=2))


def of_saved(session: Session) -> None:
    box = Box(id=1, kind=1, version=1, shelf_id=1, twin_id=2)
    make_transient_to_detached(box)
    box.shelf_id = 2
    session.bulk_save_objects([box])


def of_twins(session: Session) -> None:
    """Rows that refer to each other are written by UPDATEs of their own."""
    session.get_one(Box, 2).twin = session.get_one(Box, 1)


def of_deleted_shelf(session: Session) -> None:
    session.delete(session.get_one(Shelf, 2))


def of_renamed_shelf(session: Session) -> None:
    session.get_one(Shelf, 1).id = 9


def of_renamed_rack(session: Session) -> None:
    rack: Any = session.get_one(Rack, 1)
    rack.id = 9


def of_lid(session: Session) -> None:
    session.get_one(Crate, 3).lid = 1


def of_owner(session: Session) -> None:
    session.execute(update(Crate).where(Crate.id == 3).values(owner=7))


def of_owners_in_bulk(session: Session) -> None:
    session.execute(update(Crate), [{"id": 3, "version": 1, "owner": 7}])


def of_owner_by_core(session: Session) -> None:
    session.connection().execute(update(crates).where(crates.c.id == 3).values(owner=7))


def of_owner_by_owner(session: Session) -> None:
    session.execute(update(Crate).where(Crate.owner == 5).values(owner=7))


def of_deleted_crate(session: Session) -> None:
    session.delete(session.get_one(Box, 3))


def of_renamed_crate(session: Session) -> None:
    session.get_one(Crate, 3).id = 30


def of_new_crate(session: Session) -> None:
    values = {"id": 30, "version": 1, "weight": None, "shelf_id": 2, "twin_id": 3, "lid": None, "owner": 7}
    session.execute(insert(Crate), [values], execution_options={"render_nulls": True})


def of_new_box_returned(session: Session) -> None:
    statement = insert(Box).returning(Box, sort_by_parameter_order=True)
    assert [
        each.id for each in session.scalars(statement, [{"id": 30, "version": 1, "shelf_id": 2, "twin_id": 3}])
    ] == [30]


WRITES = [each for name, each in list(globals().items()) if name.startswith("of_")]


def look(env: Env) -> tuple[dict[str, Any], set[str]]:
    """Return the results of all reads, and the names of those that were served."""
    found, served = dict[str, Any](), set[str]()
    with env.session() as session:
        for name, statement in READS.items():
            hits = env.cache.stats().hits
            found[name] = read(session, statement)
            if env.cache.stats().hits > hits:
                served.add(name)
    return found, served


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__.removeprefix("of_"))
def test_writes_of_entities(sync_env: Env, write: Callable[[Session], None]) -> None:
    """With each key that a write does not say, old and new, results are lost that change, and no others."""
    env = sync_env
    settle(env)
    look(env)
    before, served = look(env)
    assert served == READS.keys()
    with env.transaction() as session:
        write(session)
    with env.open_session(env.plain) as session:
        truth = {name: read(session, statement, rowstamp=False) for name, statement in READS.items()}
    after, served = look(env)
    assert after == truth
    changed = {name for name in READS if truth[name] != before[name]}
    assert len(changed) > 2
    assert READS.keys() - served == changed
