"""Random schemas: the same few tables, with other keys, foreign keys and relationships each time."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Column,
    Computed,
    Date,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Uuid,
    false,
    insert,
    text,
)
from sqlalchemy.engine import Connection
from sqlalchemy.orm import registry, relationship

DOMAIN: Final = 6
"""Keys are made of the numbers from 1 to this; few, so that reads and writes meet."""

_KINDS: Final[dict[str, tuple[Callable[[], Any], Callable[[int], Any]]]] = {
    "integer": (Integer, lambda number: number),
    "string": (lambda: String(8), lambda number: f"k{number}"),
    "uuid": (Uuid, lambda number: uuid.UUID(int=number)),
    "date": (Date, lambda number: datetime.date(2020, 1, number)),
}


@dataclass(frozen=True)
class Schema:
    """Tables and the classes mapped to them.

    Attributes:
        view: a view of `b` and the rows of `a` that it refers to.
        kinds: what the key of `a` and the second key column of `c` are made of.
    """

    registry: registry
    a: Table
    b: Table
    c: Table
    p: Table
    e: Table
    ab: Table
    A: Any
    B: Any
    C: Any
    P: Any
    E: Any
    F: Any
    view: Table
    kinds: tuple[str, str]
    shown: str

    @property
    def metadata(self) -> MetaData:
        return self.registry.metadata

    @property
    def tables(self) -> list[Table]:
        return [self.a, self.b, self.c, self.p, self.e, self.ab]

    def key(self, table: Table, number: int, second: int = 1) -> tuple[Any, ...]:
        """Return the primary key that these numbers stand for."""
        if table is self.a:
            return (_KINDS[self.kinds[0]][1](number),)
        if table is self.c:
            return number, _KINDS[self.kinds[1]][1](second)
        return (number,)

    def a_key(self, number: int) -> Any:
        return self.key(self.a, number)[0]

    def c_key(self, number: int, second: int) -> tuple[Any, Any]:
        one, other = self.key(self.c, number, second)
        return one, other

    def class_of(self, table: Table) -> Any:
        return {self.a: self.A, self.b: self.B, self.c: self.C, self.p: self.P, self.e: self.E}[table]

    def close(self) -> None:
        self.registry.dispose()


def make_schema(rng: Random, suffix: str) -> Schema:
    """Draw a schema. Its tables have names of their own, for what is known of tables is known by name."""
    mapped = registry()
    kinds = rng.choice(list(_KINDS)), rng.choice(list(_KINDS))
    a, b, c, p, e, ab = _tables(rng, mapped.metadata, suffix, kinds)
    classes: list[Any] = [type(f"{name}_{suffix}", (), {}) for name in "ABCP"]
    classes += [type(f"{name}_{suffix}", (classes[-1],), {}) for name in "EF"]
    passive, orphan = rng.choice([True, False]), rng.choice(["save-update, merge", "all, delete-orphan", "all"])
    shown = f"keys {kinds}, passive_deletes={passive}, cascade={orphan!r}"
    A, B, C, P, E, F = classes  # noqa: N806 - classes
    view = Table(
        f"shown_{suffix}", MetaData(), Column("id", Integer), Column("code", String(8)), Column("name", String(20))
    )
    schema = Schema(mapped, a, b, c, p, e, ab, A, B, C, P, E, F, view, kinds, shown)
    _map(schema, passive=passive, cascade=orphan)
    return schema


def _tables(rng: Random, metadata: MetaData, suffix: str, kinds: tuple[str, str]) -> list[Table]:
    def reference(name: str, *, nullable: bool = True, primary: bool = False) -> Column[Any]:
        actions = ["CASCADE", "SET NULL", None] if nullable else ["CASCADE", None]
        target = f"{name}_{suffix}.id"
        key = ForeignKey(target, ondelete=rng.choice(actions), onupdate=rng.choice(["CASCADE", None]))
        column = "id" if primary else "parent_id" if name == "self" else f"{name}_id"
        return Column(column, key, nullable=nullable, primary_key=primary)

    def table(name: str, *columns: Column[Any]) -> Table:
        return Table(f"{name}_{suffix}", metadata, *columns)

    count = Column("n", Integer, server_default=text("0"))
    parent = ForeignKey(f"b_{suffix}.id", ondelete=rng.choice(["CASCADE", "SET NULL", None]))
    one, other = (_KINDS[kind][0] for kind in kinds)
    link: list[Column[Any]] = [
        Column(f"{n}_id", ForeignKey(f"{n}_{suffix}.id", ondelete="CASCADE", onupdate="CASCADE"), primary_key=True)
        for n in "ab"
    ]
    tables = [
        table("a", Column("id", one(), primary_key=True), Column("name", String(20)), count._copy()),
        table("b", Column("id", Integer, primary_key=True), reference("a"), Column("parent_id", parent),
              Column("code", String(8), unique=True), count._copy(), Column("flag", Boolean, server_default=false()),
              Column("total", Integer, Computed("n * 2", persisted=True))),
        table("c", Column("x", Integer, primary_key=True, autoincrement=False), Column("y", other(), primary_key=True),
              reference("a"), reference("b"), Column("v", Integer), Column("seen", Integer, onupdate=7)),
        table("p", Column("id", Integer, primary_key=True), Column("kind", String(5)), Column("name", String(20))),
        table("e", reference("p", nullable=False, primary=True), reference("a"), Column("desk", String(20))),
        table("ab", *link),
    ]  # fmt: skip
    for number, names in enumerate([("a_id",), ("flag",), ("a_id", "flag"), ("parent_id", "a_id"), ("n",)]):
        if rng.random() < 0.4:
            Index(f"b_{suffix}_{number}", *(tables[1].c[name] for name in names))
    if rng.random() < 0.5:
        Index(f"c_{suffix}_pair", tables[2].c.a_id, tables[2].c.b_id)
    return tables


def _map(s: Schema, *, passive: bool, cascade: str) -> None:
    each = s.registry.map_imperatively
    bs = relationship(s.B, back_populates="a", passive_deletes=passive, cascade=cascade)
    each(s.A, s.a, properties={"bs": bs, "linked": relationship(s.B, secondary=s.ab, passive_deletes=passive)})
    each(s.B, s.b, properties={
        "a": relationship(s.A, back_populates="bs"),
        "parent": relationship(s.B, remote_side=[s.b.c.id], back_populates="children"),
        "children": relationship(s.B, back_populates="parent", passive_deletes=passive),
    })  # fmt: skip
    each(s.C, s.c, properties={"b": relationship(s.B), "a": relationship(s.A)})
    each(s.P, s.p, polymorphic_on=s.p.c.kind, polymorphic_identity="p")
    each(s.E, s.e, inherits=s.P, polymorphic_identity="e", properties={"a": relationship(s.A)})
    each(s.F, inherits=s.P, polymorphic_identity="f")
    s.registry.configure()


def build(s: Schema, connection: Connection) -> None:
    """Create the tables with a few rows, and the view."""
    s.metadata.create_all(connection)
    behind = f"{s.b.name} AS b LEFT JOIN {s.a.name} AS a ON a.id = b.a_id"
    connection.exec_driver_sql(f"CREATE VIEW {s.view.name} AS SELECT b.id, b.code, a.name FROM {behind}")
    for number in range(1, 5):
        connection.execute(insert(s.a).values(id=s.a_key(number), name=f"name{number}"))
    for number in range(1, 5):
        parent = number - 1 or None
        connection.execute(
            insert(s.b).values(
                id=number, a_id=s.a_key(number % 2 + 1), parent_id=parent, code=f"c{number}", flag=number % 2 == 0
            )
        )
        x, y = s.c_key(number, number % 2 + 1)
        connection.execute(insert(s.c).values(x=x, y=y, b_id=(number + 1) // 2, a_id=s.a_key(1), v=number))
        connection.execute(insert(s.ab).values(a_id=s.a_key(number), b_id=number))
        connection.execute(
            insert(s.p).values(id=number, kind="e" if number > 2 else "pf"[number - 1], name=f"p{number}")
        )
        if number > 2:
            connection.execute(insert(s.e).values(id=number, desk="d", a_id=s.a_key(number)))


def drop(s: Schema, connection: Connection) -> None:
    """Undo :func:`build`."""
    connection.exec_driver_sql(f"DROP VIEW {s.view.name}")
    s.metadata.drop_all(connection)
