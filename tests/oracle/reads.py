"""Random reads: statements of many shapes, `session.get` and lazy loads."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    Integer,
    Table,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    or_,
    select,
    text,
    tuple_,
    union,
    union_all,
)
from sqlalchemy.orm import Session, aliased, immediateload, joinedload, selectinload, subqueryload

from tests.harness import plain
from tests.oracle.precision import Shows
from tests.oracle.read import OPTIONS, Read, need, rows, typed, unordered
from tests.oracle.subquery_reads import SubqueryReads

EAGER: Final = (joinedload, selectinload, subqueryload, immediateload)


class Reads(SubqueryReads):
    """Draws reads of a schema."""

    def pool(self, size: int, only: str = "") -> list[Read]:
        """Draw reads: a quarter of them by primary key and the rest of all shapes, or all of one shape."""
        if only:
            return [getattr(self, f"read_{only}")() for _ in range(size)]
        shapes = [getattr(self, name) for name in dir(self) if name.startswith("read_")]
        self.rng.shuffle(shapes)
        return [self.read_key() for _ in range(size // 4)] + [shape() for shape in shapes][: size - size // 4]

    def table(self) -> Table:
        return self.rng.choice(self.s.tables[:4])

    def key_condition(self, table: Table, source: Any = None) -> tuple[Any, Any]:
        key = self.s.key(table, self.number(), self.rng.randint(1, 2))
        columns = [column for column in (table if source is None else source).c if column.primary_key]
        conditions = [column == value for column, value in zip(columns, key, strict=True)]
        return and_(*conditions), (need(table, key),)

    # ----------------------------------------------------------------------------------------------- with pins

    def read_key(self) -> Read:
        table, core = self.rng.choice([self.s.a, self.s.b, self.s.c, self.s.p]), self.core()
        condition, needs = self.key_condition(table)
        what = table if core or self.rng.random() < 0.5 else self.s.class_of(table)
        if table is self.s.p:
            what = table  # the class is found with the rows of its subclass
        return rows(f"{table.name} by key", select(what).where(condition), core=core, needs=needs)

    def read_key_parameter(self) -> Read:
        value = self.number()
        statement = select(self.s.b).where(self.s.b.c.id == bindparam("key"))
        return rows("parameter", statement, {"key": value}, core=self.core(), needs=(need(self.s.b, (value,)),))

    def read_in(self) -> Read:
        values = [self.s.a_key(self.number()) for _ in range(self.rng.randint(0, 3))]
        needs = (need(self.s.a, *[(value,) for value in values]),)
        return rows("IN", select(self.s.A).where(self.s.a.c.id.in_(values)), needs=needs)

    def read_tuple_in(self) -> Read:
        keys = [self.s.c_key(self.number(), 1), self.s.c_key(self.number(), 2)]
        statement = select(self.s.c).where(tuple_(self.s.c.c.x, self.s.c.c.y).in_(keys))
        return rows("tuple IN", statement, needs=(need(self.s.c, *keys),))

    def read_or(self) -> Read:
        one, other = self.number(), self.number()
        b, key = self.s.b, self.s.a_key(other)
        needs = self.of(b, "id", one) + self.of_b("a_id", key)
        return rows("OR", select(self.s.B).where(or_(b.c.id == one, b.c.a_id == key)), needs=needs)

    def read_or_of_keys(self) -> Read:
        other = self.number()
        statement = select(self.s.B).where(or_(self.s.b.c.id == 1, self.s.b.c.id == other))
        return rows("OR of keys", statement, needs=(need(self.s.b, (1,), (other,)),))

    def read_and_or(self) -> Read:
        b = self.s.b.c
        condition = and_(b.id.in_([1, 2, self.number()]), or_(b.parent_id.is_(None), b.code == "c1", b.n > 2))
        return rows("AND/OR", select(b.id, b.code).where(condition))

    def read_null(self) -> Read:
        return rows("IS NULL", select(self.s.B).where(self.s.b.c.a_id.is_(None)), needs=self.of_b("a_id", None))

    def read_not(self) -> Read:
        return rows("NOT", select(self.s.b).where(self.s.b.c.id != self.number()))

    def read_get(self) -> Read:
        s, number = self.s, self.number()
        class_, key = self.rng.choice(
            [(s.A, s.key(s.a, number)), (s.B, (number,)), (s.C, s.c_key(number, 1)), (s.P, (number,)), (s.E, (number,))]
        )

        def run(session: Session) -> Any:
            found = session.get(class_, key)
            return None if found is None else typed(plain(session.get(class_, key, execution_options=OPTIONS)))

        return Read(f"get {class_.__name__}", run)

    # --------------------------------------------------------------------------------------------------- joins

    def read_inner_join(self) -> Read:
        a, b = self.s.a, self.s.b
        statement = select(a.c.name, b.c.code).join_from(a, b, a.c.id == b.c.a_id)
        condition, _ = self.key_condition(self.rng.choice([a, b]))
        return rows("inner join", statement.where(condition), core=self.core())

    def read_left_join_on(self) -> Read:
        a, b = self.s.a, self.s.b
        onclause = and_(a.c.id == b.c.a_id, self.key_condition(self.rng.choice([a, b]))[0])
        return rows("left join, pin in ON", select(a, b.c.id.label("bid")).outerjoin_from(a, b, onclause))

    def read_left_join_where(self) -> Read:
        b, c = self.s.b, self.s.c
        number = self.number()
        statement = select(b, c.c.v).outerjoin_from(b, c, c.c.b_id == b.c.id).where(b.c.id == number)
        needs = self.of_b("id", number) + self.of(c, "b_id", number, columns=["v"])
        return rows("left join, pin in WHERE", statement, needs=needs)

    def read_self_join(self) -> Read:
        other = aliased(self.s.B)
        statement = select(self.s.B, other).join(other, other.id == self.s.b.c.parent_id)
        return rows("self-join", statement.where(self.s.b.c.id == self.number()))

    def read_alias(self) -> Read:
        one, other = self.s.b.alias("one"), self.s.b.alias("other")
        condition = and_(one.c.id == self.number(), other.c.id == self.number())
        return rows("aliases", select(one.c.code, other.c.code).where(condition), core=self.core())

    def read_eager(self) -> Read:
        s = self.s
        strategy = self.rng.choice(EAGER)
        class_, attribute = self.rng.choice(
            [(s.A, s.A.bs), (s.A, s.A.linked), (s.B, s.B.children), (s.B, s.B.parent), (s.C, s.C.b)]
        )
        return rows(f"{strategy.__name__} {attribute}", select(class_).options(strategy(attribute)))

    def read_eager_key(self) -> Read:
        strategy, number = self.rng.choice(EAGER), self.number()
        statement = select(self.s.A).where(self.s.a.c.id == self.s.a_key(number))
        return rows(f"{strategy.__name__} by key", statement.options(strategy(self.s.A.bs)))

    def read_lazy(self) -> Read:
        s, number = self.s, self.number()
        class_, name = self.rng.choice([(s.A, "bs"), (s.A, "linked"), (s.B, "children"), (s.B, "a"), (s.C, "a")])
        key = {s.A: s.key(s.a, number), s.B: (number,), s.C: s.c_key(number, 1)}[class_]

        def run(session: Session) -> Any:
            found = session.get(class_, key)
            if found is None:
                return None
            related: Any = getattr(found, name)
            several: list[Any] = related if name in {"bs", "linked", "children"} else [related]
            return unordered([plain(each) for each in several])

        return Read(f"lazy {class_.__name__}.{name}", run)

    def read_inheritance(self) -> Read:
        return rows("inheritance", select(self.rng.choice([self.s.P, self.s.E])))

    # --------------------------------------------------------------------------------------- aggregates, queries

    def read_aggregate(self) -> Read:
        table = self.table()
        column = self.rng.choice(list(table.c))
        return rows("aggregate", select(func.count(), func.count(column)).select_from(table), core=self.core())

    def read_group(self) -> Read:
        b = self.s.b.c
        return rows("GROUP BY", select(b.a_id, func.count(b.id)).group_by(b.a_id).having(func.count(b.id) > 1))

    def read_in_subquery(self) -> Read:
        number, a = self.number(), self.s.a
        inner = select(self.s.b.c.a_id).where(self.s.b.c.id == number)
        needs = self.of(self.s.b, "id", number, columns=["a_id"], shows=Shows.NEVER) + self.all_of(a, *a.c.keys())
        return rows("IN subquery", select(self.s.A).where(a.c.id.in_(inner)), needs=needs)

    def read_exists(self) -> Read:
        inner = exists().where(self.s.b.c.a_id == self.s.a.c.id)
        statement = select(self.s.A).where(~inner if self.rng.random() < 0.5 else inner)
        return rows("EXISTS", statement)

    def read_exists_key(self) -> Read:
        inner = exists().where(self.s.b.c.a_id == self.s.a.c.id, self.s.b.c.code.is_not(None))
        key, a = self.s.a_key(self.number()), self.s.a
        needs = self.of(a, "id", key, columns=["name"]) + self.of_b("a_id", key, columns=["code"])
        return rows("EXISTS by key", select(a.c.name).where(a.c.id == key, inner), core=self.core(), needs=needs)

    def read_scalar_subquery(self) -> Read:
        b, c, number = self.s.b, self.s.c, self.number()
        inner = select(func.count(c.c.v)).where(c.c.b_id == b.c.id).scalar_subquery()
        needs = self.of_b("id", number, columns=()) + self.of(c, "b_id", number, columns=["v"])
        return rows("scalar subquery", select(b.c.id, inner).where(b.c.id == number), needs=needs)

    def read_cte(self) -> Read:
        some = select(self.s.b.c.a_id, func.count().label("n")).group_by(self.s.b.c.a_id).cte("some")
        return rows("CTE", select(self.s.a.c.name, some.c.n).join(some, some.c.a_id == self.s.a.c.id))

    def read_cte_twice(self) -> Read:
        some = select(self.s.b).where(self.s.b.c.id == self.number()).cte("some")
        other = self.s.b
        statement = select(some.c.code, other.c.code).where(other.c.id == some.c.parent_id)
        return rows("CTE beside its table", statement, core=self.core())

    def read_recursive(self) -> Read:
        b = self.s.b
        tree = select(b.c.id, b.c.parent_id).where(b.c.id == self.number()).cte("tree", recursive=True)
        below = b.alias("below")
        tree = tree.union(select(below.c.id, below.c.parent_id).join(tree, below.c.parent_id == tree.c.id))
        return rows("recursive CTE", select(tree.c.id))

    def read_union(self) -> Read:
        make = self.rng.choice([union, union_all])
        named = [(table, self.number()) for table in (self.s.b, self.s.p, self.s.e)]
        parts = [select(table.c.id).where(table.c.id == number) for table, number in named]
        needs = [self.of(table, "id", number, columns=(), shows=Shows.NEVER) for table, number in named]
        return rows("union", make(*parts), core=self.core(), needs=sum(needs, ()))

    def read_distinct(self) -> Read:
        return rows("DISTINCT", select(self.s.c.c.v, self.s.c.c.b_id).distinct())

    def read_limit(self) -> Read:
        statement = (
            select(self.s.B).order_by(self.s.b.c.code.desc(), self.s.b.c.id).limit(2).offset(self.rng.randint(0, 1))
        )
        return rows("ORDER/LIMIT", statement, ordered=True)

    def read_view(self) -> Read:
        shown = self.s.view
        return rows("view", select(shown).where(shown.c.id == self.number()), core=self.core())

    # ---------------------------------------------------------------------------------------------------- text

    def read_like(self) -> Read:
        return rows("LIKE", select(self.s.a).where(self.s.a.c.name.like("%2%")), core=self.core())

    def read_fragment(self) -> Read:
        b, ab = self.s.b, self.s.ab.name
        inside = text(f"id IN (SELECT b_id FROM {ab})")
        return rows("text fragment", select(b).where(inside, b.c.id.in_([1, 2, 3])))

    def read_literal_column(self) -> Read:
        count = literal_column(f"(SELECT count(*) FROM {self.s.c.name})", Integer)
        condition, _ = self.key_condition(self.s.a)
        return rows("literal column", select(self.s.a.c.id, count).where(condition))

    def read_text(self) -> Read:
        statement = text(f"SELECT id, code, n FROM {self.s.b.name} WHERE id <> :id")
        return rows("text", statement, {"id": self.number()}, core=True)

    def read_from_text(self) -> Read:
        statement = select(self.s.B).from_statement(text(f"SELECT * FROM {self.s.b.name} WHERE n >= 0"))
        return rows("from_statement", statement)
