"""Random writes of every kind. Each says which rows it names; what it changes shows in the tables. `None`: that cannot be known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Final, TypeAlias

from sqlalchemy import Table, bindparam, column, delete, insert, or_, select, table, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tests.oracle.precision import Touch, Touched
from tests.oracle.schema import DOMAIN, Schema

Write: TypeAlias = Callable[[Session], Touched]

NOTHING_NAMED: Final[Touched] = ()
"""What an ORM names are rows that it has found."""


class Writes:
    """Draws writes of a schema.

    Args:
        schema: what is written to.
        rng: decides.
    """

    def __init__(self, schema: Schema, rng: Random) -> None:
        self.s = schema
        self.rng = rng
        self.names = [name.removeprefix("write_") for name in dir(self) if name.startswith("write_")]

    def draw(self, only: str | None = None) -> tuple[str, Write]:
        """Return a kind of write, and what does it."""
        name = only or self.rng.choice(self.names)
        return name, getattr(self, f"write_{name}")

    # ---------------------------------------------------------------------------------------------- small parts

    def number(self) -> int:
        return self.rng.randint(1, DOMAIN)

    def word(self) -> str:
        return f"w{self.rng.randint(0, 99)}"

    def a_key(self) -> Any:
        return self.s.a_key(self.number())

    def maybe_a(self) -> Any:
        return self.rng.choice([None, self.a_key(), self.a_key()])

    def one(self, session: Session, class_: Any) -> Any:
        """Return one of the entities, if there is any."""
        found: list[Any] = list(session.scalars(select(class_), execution_options={"rowstamp": False}))
        found.sort(key=lambda each: repr([getattr(each, name) for name in ("id", "x", "y") if hasattr(each, name)]))
        return self.rng.choice(found) if found else None

    def row(self) -> tuple[Table, tuple[Any, ...], Any]:
        """Return a table, a key of it, and the condition that names that row."""
        target = self.rng.choice([self.s.a, self.s.b, self.s.c, self.s.p])
        key = self.s.key(target, self.number(), self.rng.randint(1, 2))
        columns = list(target.primary_key.columns)
        return target, key, [column == value for column, value in zip(columns, key, strict=True)]

    def data(self, target: Table) -> dict[str, Any]:
        """Return a change of a column that is no key."""
        if target is self.s.c:
            return {"v": self.rng.randint(0, 99)}
        if target is self.s.b and self.rng.random() < 0.5:
            return self.rng.choice([{"a_id": self.maybe_a()}, {"flag": self.rng.random() < 0.5}, {"parent_id": None}])
        return {"name": self.word()} if target in {self.s.a, self.s.p} else {"n": self.rng.randint(0, 9)}

    def new_values(self, target: Table) -> dict[str, Any]:
        key = self.s.key(target, self.number(), self.rng.randint(1, 2))
        names = [column.name for column in target.primary_key.columns]
        values = dict(zip(names, key, strict=True))
        if target is self.s.b:
            values["a_id"] = self.maybe_a()
        if target is self.s.p:
            values["kind"] = "p"
        return values | self.data(target)

    def touched(self, target: Table, *keys: tuple[Any, ...], columns: Iterable[str] | None = None) -> Touched:
        """Name rows by primary key, of which an UPDATE sets some columns, or which come or go."""
        names = [column.name for column in target.primary_key.columns]
        return self.named(target, *[dict(zip(names, key, strict=True)) for key in keys], columns=columns)

    def named(self, target: Table, *images: dict[str, Any], columns: Iterable[str] | None = None) -> Touched:
        """Name rows by what is known of them."""
        changed = None if columns is None else self.changed(target, columns)
        return tuple(Touch(target.name, image, changed) for image in images)

    def changed(self, target: Table, columns: Iterable[str]) -> frozenset[str]:
        """Add the columns that change along with others."""
        found = {*columns}
        if target is self.s.b and "n" in found:
            found.add("total")
        if target is self.s.c:
            found.add("seen")
        return frozenset(found)

    # --------------------------------------------------------------------------------------------- unit of work

    def write_attribute(self, session: Session) -> Touched:
        target = self.rng.choice([self.s.a, self.s.b, self.s.c])
        found = self.one(session, self.s.class_of(target))
        if found is None:
            return NOTHING_NAMED
        changes = self.data(target)
        for name, value in changes.items():
            setattr(found, name, value)
        key = tuple(getattr(found, column.name) for column in target.primary_key.columns)
        session.flush()
        return self.touched(target, key, columns=changes)

    def write_add(self, session: Session) -> Touched:
        target = self.rng.choice([self.s.a, self.s.b, self.s.c, self.s.p])
        values = self.new_values(target)
        values.pop("kind", None)
        made = self.s.class_of(target)()
        for name, value in values.items():
            setattr(made, name, value)
        session.add(made)
        session.flush()
        key = tuple(values[column.name] for column in target.primary_key.columns)
        return self.touched(target, key)

    def write_add_without_key(self, session: Session) -> Touched:
        """Leave the primary key to the database, and other keys that have a default."""
        a = self.one(session, self.s.A)
        if self.rng.random() < 0.5:
            values = {"code": self.word(), "a_id": None if a is None else a.id}
            session.connection().execute(insert(self.s.b).values(**values))
            return NOTHING_NAMED
        made = self.s.B()
        made.code, made.a = self.word(), a
        session.add(made)
        session.flush()
        return NOTHING_NAMED

    def write_delete(self, session: Session) -> Touched:
        found = self.one(session, self.rng.choice([self.s.A, self.s.B, self.s.C, self.s.P, self.s.E]))
        if found is not None:
            session.delete(found)
        return NOTHING_NAMED

    def write_reference(self, session: Session) -> Touched:
        b = self.one(session, self.s.B)
        if b is not None:
            b.a = self.rng.choice([None, self.one(session, self.s.A)])
            b.parent = self.rng.choice([None, self.one(session, self.s.B)])
        return NOTHING_NAMED

    def write_collection(self, session: Session) -> Touched:
        a, b = self.one(session, self.s.A), self.one(session, self.s.B)
        if a is None or b is None:
            return NOTHING_NAMED
        name = self.rng.choice(["bs", "linked"])
        collection = getattr(a, name)
        if b in collection:
            collection.remove(b)
        elif self.rng.random() < 0.2:
            setattr(a, name, [b])
        else:
            collection.append(b)
        return NOTHING_NAMED

    def write_single_table(self, session: Session) -> Touched:
        found = self.one(session, self.s.F)
        if found is None or self.rng.random() < 0.3:
            made = self.s.F()
            made.id, made.name = self.number(), self.word()
            session.add(made)
            return self.touched(self.s.p, (made.id,))
        found.name = self.word()
        session.flush()
        return self.touched(self.s.p, (found.id,), columns=["name"])

    def write_inherited(self, session: Session) -> Touched:
        if self.rng.random() < 0.5:
            made = self.s.E()
            made.id, made.name, made.desk = self.number(), self.word(), self.word()
            session.add(made)
            return NOTHING_NAMED
        found = self.one(session, self.s.E)
        if found is not None:
            setattr(found, self.rng.choice(["name", "desk"]), self.word())
        return NOTHING_NAMED

    def write_key_of_entity(self, session: Session) -> Touched:
        found = self.one(session, self.rng.choice([self.s.B, self.s.C]))
        if found is not None:
            setattr(found, "id" if isinstance(found, self.s.B) else "x", self.number())
        return NOTHING_NAMED

    # ----------------------------------------------------------------------------------------- statements

    def write_update_row(self, session: Session) -> Touched:
        target, key, condition = self.row()
        where: Any = session if self.rng.random() < 0.5 else session.connection()
        changes = self.data(target)
        where.execute(update(target).where(*condition).values(**changes))
        return self.touched(target, key, columns=changes)

    def write_update_entity_row(self, session: Session) -> Touched:
        target, key, condition = self.row()
        if target is self.s.p:
            return NOTHING_NAMED
        changes = self.data(target)
        session.execute(update(self.s.class_of(target)).where(*condition).values(**changes))
        return self.touched(target, key, columns=changes)

    def write_update_many_rows(self, session: Session) -> Touched:
        b, numbers = self.s.b, sorted({self.number(), self.number()})
        statement = update(b).where(b.c.id == bindparam("which")).values(n=bindparam("count"))
        session.connection().execute(statement, [{"which": each, "count": self.number()} for each in numbers])
        return self.touched(b, *[(each,) for each in numbers], columns=["n"])

    def write_bulk_update_by_key(self, session: Session) -> Touched:
        numbers = sorted({self.number(), self.number()})
        session.execute(update(self.s.B), [{"id": each, "n": self.number()} for each in numbers])
        return self.touched(self.s.b, *[(each,) for each in numbers], columns=["n"])

    def write_update_in(self, session: Session) -> Touched:
        a, keys = self.s.a, [self.a_key(), self.a_key()]
        session.execute(update(a).where(a.c.id.in_(keys)).values(name=self.word()))
        return self.touched(a, *[(key,) for key in keys], columns=["name"])

    def write_update_either(self, session: Session) -> Touched:
        b, number, code, changes = self.s.b, self.number(), f"c{self.number()}", {"n": self.number()}
        session.execute(update(b).where(or_(b.c.id == number, b.c.code == code)).values(**changes))
        return self.named(b, {"id": number}, {"code": code}, columns=changes)

    def write_update_some(self, session: Session) -> Touched:
        target = self.rng.choice([self.s.a, self.s.b, self.s.c])
        other = next(each for each in target.c if not each.primary_key and each.name != "a_id")
        session.execute(update(self.s.class_of(target)).where(other.is_not(None)).values(**self.data(target)))
        return None

    def write_update_from(self, session: Session) -> Touched:
        a, b = self.s.a, self.s.b
        session.execute(update(a).where(a.c.id == b.c.a_id, b.c.id == self.number()).values(name=self.word()))
        return None

    def write_with(self, session: Session) -> Touched:
        """A statement whose CTE writes, which SQLite does not have."""
        if session.connection().dialect.name == "sqlite":
            return NOTHING_NAMED
        a, c = self.s.a, self.s.c
        gone = delete(c).where(c.c.x == self.number()).returning(c.c.a_id).cte("gone")
        if self.rng.random() < 0.5:
            session.execute(select(gone.c.a_id)).all()
        else:
            session.execute(update(a).where(a.c.id.in_(select(gone.c.a_id))).values(name=self.word()))
        return None

    def write_change_key(self, session: Session) -> Touched:
        a, b, old, new, key = self.s.a, self.s.b, self.number(), self.number(), self.maybe_a()
        if self.rng.random() < 0.5:
            session.execute(update(a).where(a.c.id == self.s.a_key(old)).values(id=self.s.a_key(new)))
            return self.touched(a, (self.s.a_key(old),), (self.s.a_key(new),))
        session.execute(update(b).where(b.c.id == old).values(id=new, a_id=key))
        return self.named(b, {"id": old}, {"id": new, "a_id": key})

    def write_insert_row(self, session: Session) -> Touched:
        target = self.rng.choice([self.s.a, self.s.b, self.s.c, self.s.p])
        values = self.new_values(target)
        where: Any = session if self.rng.random() < 0.5 else session.connection()
        where.execute(insert(target).values(**values))
        return self.touched(target, tuple(values[column.name] for column in target.primary_key.columns))

    def write_insert_many(self, session: Session) -> Touched:
        target = self.rng.choice([self.s.a, self.s.b])
        values = [self.new_values(target) for _ in range(2)]
        session.execute(insert(self.rng.choice([target, self.s.class_of(target)])), values)
        return NOTHING_NAMED

    def write_insert_several_values(self, session: Session) -> Touched:
        session.execute(insert(self.s.a).values([self.new_values(self.s.a) for _ in range(2)]))
        return NOTHING_NAMED

    def write_insert_many_without_keys(self, session: Session) -> Touched:
        b, connection = self.s.b, session.connection()
        there = set(connection.scalars(select(b.c.id), execution_options={"rowstamp": False}))
        others = {"parent_id": None, "n": 0, "flag": False}
        values = [others | {"code": self.word(), "a_id": self.maybe_a()} for _ in range(self.rng.randint(1, 2))]
        connection.execute(insert(b), [*values, others | {"code": self.word(), "a_id": None}])
        # No result tells the keys. So they may be any that somebody has looked for in vain.
        in_vain = self.touched(b, *[(number,) for number in range(1, DOMAIN + 1) if number not in there]) or ()
        return (*in_vain, Touch(b.name, {}, untold=frozenset({"id"})))

    def write_insert_from_select(self, session: Session) -> Touched:
        b, p = self.s.b, self.s.p
        source = select(b.c.id + self.rng.randint(0, 3), b.c.code, text("'p'")).where(b.c.id == self.number())
        session.execute(insert(p).from_select(["id", "name", "kind"], source))
        return None

    def write_upsert(self, session: Session) -> Touched:
        make: Any = (sqlite if session.connection().dialect.name == "sqlite" else postgresql).insert
        values = self.new_values(self.s.b) | {"code": f"c{self.number()}"}
        statement = make(self.s.b).values(**values)
        on = [self.rng.choice(["id", "code"])]
        if self.rng.random() < 0.3:
            session.execute(statement.on_conflict_do_nothing(index_elements=on))
            return self.named(self.s.b, values)
        sets = self.rng.choice([{"n": self.number()}, {"n": self.number(), "a_id": self.maybe_a()}])
        session.execute(statement.on_conflict_do_update(index_elements=on, set_=sets))
        # How the row was that SET gave another key, nobody can tell who does not know whether it was there.
        return self.named(self.s.b, {name: values[name] for name in on}) if "a_id" not in sets else None

    def write_replace(self, session: Session) -> Touched:
        target = self.rng.choice([self.s.a, self.s.b, self.s.c])
        session.execute(insert(target).values(**self.new_values(target)).prefix_with("OR REPLACE", dialect="sqlite"))
        return None

    def write_link(self, session: Session) -> Touched:
        ab, values = self.s.ab, {"a_id": self.a_key(), "b_id": self.number()}
        if self.rng.random() < 0.5:
            session.execute(insert(ab).values(**values))
            return self.named(ab, values)
        session.execute(delete(ab).where(ab.c.b_id == values["b_id"]))
        return self.named(ab, {"b_id": values["b_id"]})

    def write_delete_row(self, session: Session) -> Touched:
        target, key, condition = self.row()
        session.execute(delete(target).where(*condition))
        return self.touched(target, key)

    def write_delete_leaf(self, session: Session) -> Touched:
        c, key = self.s.c, self.s.c_key(self.number(), self.rng.randint(1, 2))
        session.execute(delete(self.s.C).where(c.c.x == key[0], c.c.y == key[1]))
        return self.touched(c, key)

    def write_delete_some(self, session: Session) -> Touched:
        b, key = self.s.b, self.a_key()
        session.execute(delete(self.s.B).where(b.c.a_id == key))
        return self.named(b, {"a_id": key})

    def write_update_list(self, session: Session) -> Touched:
        b, key, number = self.s.b, self.a_key(), self.number()
        what, changes = self.rng.choice([b, self.s.B]), self.data(b)
        session.execute(update(what).where(b.c.a_id == key, b.c.n < number).values(**changes))
        return self.named(b, {"a_id": key}, columns=changes)

    def write_update_by_code(self, session: Session) -> Touched:
        b, code, changes = self.s.b, f"c{self.number()}", self.data(self.s.b)
        session.connection().execute(update(b).where(b.c.code == code).values(**changes))
        return self.named(b, {"code": code}, columns=changes)

    def write_delete_all(self, session: Session) -> Touched:
        if self.rng.random() < 0.3:
            session.execute(delete(self.rng.choice([self.s.ab, self.s.c, self.s.e, self.s.b])))
        return None

    def write_lightweight(self, session: Session) -> Touched:
        light = table(self.s.b.name, column("id"), column("n"))
        session.execute(update(light).where(light.c.id == self.number()).values(n=self.number()))
        return None

    # --------------------------------------------------------------------------------------------------- raw SQL

    def write_text(self, session: Session) -> Touched:
        choices: list[tuple[str, dict[str, Any]]] = [
            (f"UPDATE {self.s.b.name} SET n = n + 1 WHERE id = :id", {"id": self.number()}),
            (f"DELETE FROM {self.s.b.name} WHERE id = :id", {"id": self.number()}),
            (f"/* app */ UPDATE {self.s.a.name} SET name = :name", {"name": self.word()}),
            (f"INSERT INTO {self.s.b.name} (id, code) VALUES (:id, :code)", {"id": self.number(), "code": self.word()}),
        ]  # fmt: skip
        statement, values = self.rng.choice(choices)
        session.execute(text(statement), values)
        return None

    def write_driver(self, session: Session) -> Touched:
        sql = self.rng.choice([
            f"UPDATE {self.s.c.name} SET v = v + 1",
            f"DELETE FROM {self.s.c.name} WHERE b_id = {self.number()}",
            f"-- app\nDELETE FROM {self.s.a.name} WHERE name = '{self.word()}'",
            f"UPDATE {self.s.b.name} SET id = id + 1 WHERE id = {self.number()}",
        ])  # fmt: skip
        session.connection().exec_driver_sql(sql)
        return None
