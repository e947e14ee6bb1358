"""Reads that name rows by keys besides the primary one, or read few columns, with what each of them needs."""

from __future__ import annotations

from collections.abc import Collection
from random import Random
from typing import Any

from sqlalchemy import Table, and_, func, or_, select
from sqlalchemy.orm import load_only, selectinload, with_loader_criteria

from tests.oracle.precision import Need, Shows
from tests.oracle.read import Read, need, rows
from tests.oracle.schema import DOMAIN, Schema


class KeyReads:
    """Draws them.

    Args:
        schema: what is read.
        rng: decides.
    """

    def __init__(self, schema: Schema, rng: Random) -> None:
        self.s = schema
        self.rng = rng

    def number(self) -> int:
        return self.rng.randint(1, DOMAIN)

    def core(self) -> bool:
        return self.rng.random() < 0.3

    def of(
        self,
        table: Table,
        name: str,
        *values: Any,
        columns: Collection[str] | None = None,
        shows: Shows = Shows.IF_THERE,
    ) -> tuple[Need, ...]:
        """Name rows of a table by the values of one column."""
        narrow = None if columns is None else frozenset({*columns, name})
        return (Need(table.name, (name,), frozenset((value,) for value in values), narrow, shows),)

    def of_b(self, name: str, *values: Any, columns: Collection[str] | None = None) -> tuple[Need, ...]:
        """Name rows of `b` by the values of one column."""
        return self.of(self.s.b, name, *values, columns=columns)

    def all_of(self, table: Table, *columns: str) -> tuple[Need, ...]:
        """Name all rows of a table, and the columns of which a result is made."""
        return (Need(table.name, (), frozenset({()}), frozenset(columns)),)

    def indexed(self, name: str) -> bool:
        """Whether a column of `b` has an index of its own."""
        return any([column.name for column in index.columns] == [name] for index in self.s.b.indexes)

    # ------------------------------------------------------------------------------------------- keys of all kinds

    def read_unique(self) -> Read:
        code = f"c{self.number()}"
        what = self.rng.choice([self.s.b, self.s.B])
        return rows("unique", select(what).where(self.s.b.c.code == code), needs=self.of_b("code", code))

    def read_foreign_key(self) -> Read:
        key = self.s.a_key(self.number())
        what = self.rng.choice([self.s.b, self.s.B])
        return rows("foreign key", select(what).where(self.s.b.c.a_id == key), needs=self.of_b("a_id", key))

    def read_foreign_key_in(self) -> Read:
        keys = [self.s.a_key(self.number()) for _ in range(2)]
        needs = self.of_b("a_id", *keys)
        return rows("foreign key IN", select(self.s.B).where(self.s.b.c.a_id.in_(keys)), needs=needs)

    def read_foreign_key_or(self) -> Read:
        keys = [self.s.a_key(self.number()) for _ in range(2)]
        condition = or_(*(self.s.b.c.a_id == key for key in keys))
        return rows(
            "foreign key OR", select(self.s.b).where(condition), core=self.core(), needs=self.of_b("a_id", *keys)
        )

    def read_foreign_key_null(self) -> Read:
        statement = select(self.s.b).where(self.s.b.c.a_id.is_(None))
        return rows("foreign key IS NULL", statement, needs=self.of_b("a_id", None))

    def read_between(self) -> Read:
        number = self.number()
        statement = select(self.s.b).where(self.s.b.c.id.between(number, number))
        return rows("BETWEEN", statement, needs=(need(self.s.b, (number,)),))

    def read_flag(self) -> Read:
        flag, b = self.rng.random() < 0.5, self.s.b
        needs = self.of(b, "flag", flag, shows=Shows.NEVER) if self.indexed("flag") else None
        return rows("boolean", select(b).where(b.c.flag if flag else ~b.c.flag), core=self.core(), needs=needs)

    def read_pair(self) -> Read:
        c, pair = self.s.c, (self.s.a_key(self.number()), self.number())
        condition = and_(c.c.a_id == pair[0], c.c.b_id == pair[1])
        paired = any(len(index.columns) > 1 for index in c.indexes)
        needs = Need(c.name, ("a_id", "b_id"), frozenset({pair})) if paired else None
        return rows("pair", select(self.s.C).where(condition), needs=None if needs is None else (needs,))

    def read_pairs(self) -> Read:
        b, keys = self.s.b.c, [self.s.a_key(self.number()) for _ in range(2)]
        condition = or_(and_(b.a_id == keys[0], b.flag), and_(b.a_id == keys[1], ~b.flag))
        return rows("OR of pairs", select(self.s.B).where(condition))

    # -------------------------------------------------------------------------------------------------- few columns

    def read_narrow_key(self) -> Read:
        number, b = self.number(), self.s.b
        statement = select(b.c.code).where(b.c.id == number)
        return rows("column by key", statement, core=self.core(), needs=(need(b, (number,), columns=["id", "code"]),))

    def read_narrow_foreign_key(self) -> Read:
        key, b = self.s.a_key(self.number()), self.s.b
        statement = select(b.c.id, b.c.code).where(b.c.a_id == key).order_by(b.c.id)
        return rows("columns by foreign key", statement, needs=self.of_b("a_id", key, columns={"id", "code"}))

    def read_narrow_table(self) -> Read:
        statement = select(self.s.b.c.code).order_by(self.s.b.c.parent_id)
        return rows("column", statement, core=self.core(), needs=self.all_of(self.s.b, "code", "parent_id"))

    def read_count(self) -> Read:
        return rows("count", select(func.count()).select_from(self.s.b), core=self.core(), needs=self.all_of(self.s.b))

    def read_count_of_key(self) -> Read:
        key = self.s.a_key(self.number())
        statement = select(func.count(self.s.b.c.id)).where(self.s.b.c.a_id == key)
        return rows("count by foreign key", statement, needs=self.of_b("a_id", key, columns={"id"}))

    def read_computed(self) -> Read:
        number, b = self.number(), self.s.b
        statement = select(b.c.total).where(b.c.id == number)
        return rows("computed column", statement, needs=(need(b, (number,), columns=["id", "total"]),))

    def read_changed_along(self) -> Read:
        needs = self.all_of(self.s.c, "x", "seen")
        return rows("column with onupdate", select(self.s.c.c.x, self.s.c.c.seen), needs=needs)

    def read_load_only(self) -> Read:
        number = self.number()
        statement = select(self.s.B).where(self.s.b.c.id == number).options(load_only(self.s.B.code))
        return rows("load_only", statement, needs=(need(self.s.b, (number,), columns=["id", "code"]),))

    def read_loader_criteria(self) -> Read:
        criteria = with_loader_criteria(self.s.B, self.s.b.c.n > self.rng.randint(0, 4))
        return rows("with_loader_criteria", select(self.s.A).options(selectinload(self.s.A.bs), criteria))
