"""The few hot rows that everybody reads and writes, and the ways to do so."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import Engine, ForeignKey, create_engine, delete, event, func, insert, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from rowstamp import Cache, cached

ROWS: Final = 8
SHELVES: Final = 2
_ON_SHELF: Final = ROWS // SHELVES

TTL: Final = 3600


class Base(DeclarativeBase):
    pass


class Shelf(Base):
    __tablename__ = "shelf"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    uses: Mapped[int] = mapped_column(default=0)


class Item(Base):
    """A hot row. Each write raises its version by one."""

    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    shelf_id: Mapped[int] = mapped_column(ForeignKey(Shelf.id), index=True)
    version: Mapped[int]


class Note(Base):
    """What a write leaves behind: lists into which rows are inserted, and from which they are deleted."""

    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey(Item.id), index=True)
    version: Mapped[int]


def shelf_of(row: int) -> int:
    return row // _ON_SHELF


def rows_on(shelf: int) -> range:
    return range(shelf * _ON_SHELF, (shelf + 1) * _ON_SHELF)


# -------------------------------------------------------------------------------------------------- databases


def open_engine(url: str) -> Engine:
    """Open an engine whose statements wait for a lock, but not for long."""
    dialect = url.partition("+")[0].partition(":")[0]
    options: dict[str, dict[str, Any]] = {
        "sqlite": {"connect_args": {"timeout": 10}},
        "mariadb": {
            "connect_args": {"init_command": "SET innodb_lock_wait_timeout = 5"},
            "isolation_level": LEVELS["mariadb"][0],
        },
    }
    engine = create_engine(url, pool_size=20, **options.get(dialect, {}))
    if dialect == "sqlite":
        event.listen(engine, "connect", do_not_sync)
    return engine


def do_not_sync(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=OFF")
    cursor.close()


def build(url: str, journal: str | None) -> None:
    """Make the tables anew, with version 0 of every row."""
    engine = open_engine(url)
    with engine.connect() as connection:
        if journal is not None:
            connection.exec_driver_sql(f"PRAGMA journal_mode={journal}")
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(Shelf), [{"id": shelf} for shelf in range(SHELVES)])
        connection.execute(insert(Item), [{"id": row, "shelf_id": shelf_of(row), "version": 0} for row in range(ROWS)])
        connection.execute(insert(Note), [{"item_id": row, "version": 0} for row in range(ROWS)])
    engine.dispose()


LEVELS: Final[dict[str, tuple[str, ...]]] = {
    "sqlite": ("SERIALIZABLE", "READ UNCOMMITTED", "AUTOCOMMIT"),
    "postgresql": ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE", "AUTOCOMMIT"),
    "mariadb": ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE", "READ UNCOMMITTED", "AUTOCOMMIT"),
}
"""The isolation levels of each database; the first is that of most readers."""


def is_dirty(dialect: str, level: str) -> bool:
    """Whether the database itself shows what is not committed. (SQLite does so only within one shared cache.)"""
    return dialect == "mariadb" and level == "READ UNCOMMITTED"


def has_snapshot(dialect: str, level: str) -> bool:
    """Whether a transaction goes on seeing what was there when it began."""
    return dialect != "sqlite" and level in {"REPEATABLE READ", "SERIALIZABLE"}


# ------------------------------------------------------------------------------------------------------ reads

_OPTION: Final = cached(ttl=TTL)


def item_of(row: int) -> Any:
    return select(Item.version).where(Item.id == row).options(_OPTION)


def entity_of(row: int) -> Any:
    return select(Item).where(Item.id == row).options(_OPTION)


def items_on(shelf: int) -> Any:
    return select(Item.version).where(Item.shelf_id == shelf).order_by(Item.id).options(_OPTION)


def total_of(shelf: int) -> Any:
    return select(func.sum(Item.version)).where(Item.shelf_id == shelf).options(_OPTION)


def newest_of(row: int) -> Any:
    return select(func.max(Note.version)).where(Note.item_id == row).options(_OPTION)


def notes_of(row: int) -> Any:
    return select(Note.version).where(Note.item_id == row).order_by(Note.version.desc()).options(_OPTION)


def joined(row: int) -> Any:
    return (
        select(Item.version, func.max(Note.version))
        .join(Note, Note.item_id == Item.id)
        .where(Item.id == row)
        .group_by(Item.version)
        .options(_OPTION)
    )


def joined_shelf(shelf: int) -> Any:
    return (
        select(Item.version)
        .join(Shelf, Shelf.id == Item.shelf_id)
        .where(Shelf.id == shelf)
        .order_by(Item.id)
        .options(_OPTION)
    )


def _scalar(session: Session, statement: Any) -> Sequence[int]:
    return (int(session.execute(statement).scalar_one()),)


def _scalars(session: Session, statement: Any) -> Sequence[int]:
    return session.execute(statement).scalars().all()


def _entity(session: Session, statement: Any) -> Sequence[int]:
    session.expunge_all()  # what a session has loaded it does not load again
    return (session.execute(statement).scalar_one().version,)


def _first(session: Session, statement: Any) -> Sequence[int]:
    return _scalars(session, statement)[:1]


def _both(session: Session, statement: Any) -> Sequence[int]:
    return (min(session.execute(statement).one()),)


class Read(NamedTuple):
    """One read through the cache.

    Attributes:
        kind: row, list, aggregate, join or function.
        rows: the rows it shows.
        run: returns their versions in that order; or one number, their sum.
    """

    kind: str
    rows: Sequence[int]
    run: Callable[[Session], Sequence[int]]


def _statement(kind: str, rows: Sequence[int], read: Callable[[Session, Any], Sequence[int]], statement: Any) -> Read:
    return Read(kind, rows, lambda session: read(session, statement))


def statement_reads() -> list[Read]:
    """Return every read that is one statement."""
    found: list[Read] = []
    for row in range(ROWS):
        found += [
            _statement("row", [row], _scalar, item_of(row)),
            _statement("row", [row], _entity, entity_of(row)),
            _statement("aggregate", [row], _scalar, newest_of(row)),
            _statement("list", [row], _first, notes_of(row)),
            _statement("join", [row], _both, joined(row)),
        ]
    for shelf in range(SHELVES):
        rows = rows_on(shelf)
        found += [
            _statement("list", rows, _scalars, items_on(shelf)),
            _statement("aggregate", rows, _scalar, total_of(shelf)),
            _statement("join", rows, _scalars, joined_shelf(shelf)),
        ]
    return found


def function_reads(cache: Cache) -> list[Read]:
    """Return every read that is a function of a session."""

    @cache.query(ttl=TTL)
    def version_of(session: Session, row: int) -> int:
        version: int = session.scalars(item_of(row)).one()
        return version

    @cache.query(ttl=TTL)
    def versions_on(session: Session, shelf: int) -> list[int]:
        return [version_of(session, row) for row in rows_on(shelf)]

    @cache.query(ttl=TTL)
    def newest_on(session: Session, shelf: int) -> list[int]:
        newest = func.max(Note.version)
        statement = select(newest).join(Item, Item.id == Note.item_id).where(Item.shelf_id == shelf)
        return list(session.scalars(statement.group_by(Note.item_id).order_by(Note.item_id)))

    def version_of_row(row: int) -> Read:
        return Read("function", [row], lambda session: (version_of(session, row),))

    def versions(function: Callable[[Session, int], list[int]], shelf: int) -> Read:
        return Read("function", rows_on(shelf), lambda session: function(session, shelf))

    found = [version_of_row(row) for row in range(ROWS)]
    for shelf in range(SHELVES):
        found += [versions(versions_on, shelf), versions(newest_on, shelf)]
    return found


def quick_reads(cache: Cache, engine: Engine) -> list[Read]:
    """Return every read that is a function which finds its database by itself: the cheapest hits there are."""

    @cache.query(ttl=TTL)
    def version_found(row: int) -> int:
        with Session(engine) as session:
            version: int = session.scalars(item_of(row)).one()
            return version

    @cache.query(ttl=TTL)
    def versions_found(shelf: int) -> list[int]:
        with Session(engine) as session:
            return list(session.scalars(items_on(shelf)))

    def one(row: int) -> Read:
        return Read("function", [row], lambda _: (version_found(row),))

    def several(shelf: int) -> Read:
        return Read("function", rows_on(shelf), lambda _: versions_found(shelf))

    return [*map(one, range(ROWS)), *map(several, range(SHELVES))]


def committed_versions(engine: Engine) -> dict[int, int]:
    """Return what the database has now; nothing else is asked."""
    with engine.connect() as connection:
        return dict(connection.execute(select(Item.id, Item.version)).tuples().all())


# ----------------------------------------------------------------------------------------------------- writes

Way: TypeAlias = Callable[[Session, int], Sequence[int]]
"""Raises the versions of some rows, the given one among them; returns which."""


def by_flush(session: Session, row: int) -> Sequence[int]:
    item = session.get_one(Item, row)
    item.version = Item.version + 1
    session.flush()
    return [row]


def by_update(session: Session, row: int) -> Sequence[int]:
    session.execute(update(Item).where(Item.id == row).values(version=Item.version + 1))
    return [row]


def by_bulk_update(session: Session, row: int) -> Sequence[int]:
    session.execute(update(Item).where(Item.shelf_id == shelf_of(row)).values(version=Item.version + 1))
    return rows_on(shelf_of(row))


def by_savepoint(session: Session, row: int) -> Sequence[int]:
    session.execute(update(Shelf).where(Shelf.id == shelf_of(row)).values(uses=Shelf.uses + 1))
    with session.begin_nested():
        by_update(session, row)
    return [row]


def by_text(session: Session, row: int) -> Sequence[int]:
    session.execute(text("UPDATE item SET version = version + 1 WHERE id = :row"), {"row": row})
    return [row]


WAYS: Final[Sequence[Way]] = (*(by_flush, by_update) * 4, by_bulk_update, by_savepoint, by_text)


def write(session: Session, rng: random.Random, hot: int) -> dict[int, int]:
    """Raise the version of one of the hot rows or more, and leave notes; return the new versions, not committed yet."""
    rows = rng.choice(WAYS)(session, rng.randrange(hot))
    statement = select(Item.id, Item.version).where(Item.id.in_(rows))
    versions = dict(session.execute(statement).tuples().all())
    for row, version in versions.items():
        session.add(Note(item_id=row, version=version))
        session.execute(delete(Note).where(Note.item_id == row, Note.version < version - 1))
    session.flush()
    return versions
