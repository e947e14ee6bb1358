"""Reads whose rows are named under NOT, or at another place than where they are read: in EXISTS, unions, subqueries and CTEs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Integer, and_, exists, func, literal_column, not_, or_, select, union, union_all

from tests.oracle.key_reads import KeyReads
from tests.oracle.precision import Need, Shows
from tests.oracle.read import Read, rows


class SubqueryReads(KeyReads):
    """Draws them, with what each needs. Most do not show the rows that they name, so that an INSERT of unknown keys ends them, and rightly so."""

    # ------------------------------------------------------------------------------------------------------- NOT

    def read_not_or(self) -> Read:
        number, b = self.number(), self.s.b
        condition = not_(or_(b.c.id != number, b.c.code == "c1"))
        needs = self.of(b, "id", number, shows=Shows.IF_IT_HAS_ROWS)
        return rows("NOT of OR", select(b).where(condition), core=self.core(), needs=needs)

    def read_not_and(self) -> Read:
        number, code, b = self.number(), f"c{self.number()}", self.s.b
        return rows("NOT of AND", select(b).where(not_(and_(b.c.id != number, b.c.code != code))))

    def read_not_null(self) -> Read:
        b = self.s.b
        condition = not_(or_(b.c.a_id.is_not(None), b.c.n > 5))
        return rows("NOT of IS NOT NULL", select(b).where(condition), needs=self.of_b("a_id", None))

    # ---------------------------------------------------------------------------------------------------- EXISTS

    def _exists(self, select_list: Any, number: int) -> Any:
        b, c = self.s.b, self.s.c
        named = self.rng.choice([c.c.b_id, b.c.id]) == number
        return exists(select(select_list).where(c.c.b_id == b.c.id, named).correlate(b))

    def _asked(self, number: int, *columns: str) -> tuple[Need, ...]:
        return self.of(self.s.c, "b_id", number, columns=columns)

    def read_exists_names(self) -> Read:
        number, b, c = self.number(), self.s.b, self.s.c
        statement = select(b.c.code).where(self._exists(c.c.b_id, number))
        needs = self.of(b, "id", number, columns=["code"], shows=Shows.IF_IT_HAS_ROWS)
        return rows("EXISTS names", statement, core=self.core(), needs=needs + self._asked(number))

    def read_exists_count(self) -> Read:
        number, b = self.number(), self.s.b
        needs = self.all_of(b, "code", "id") + self._asked(number)
        return rows("EXISTS of a count", select(b.c.code).where(self._exists(func.count(), number)), needs=needs)

    def read_not_exists_names(self) -> Read:
        number, b = self.number(), self.s.b
        needs = self.all_of(b, "code", "id") + self._asked(number, "v")  # whatever a statement mentions counts as read
        statement = select(b.c.code).where(~self._exists(self.s.c.c.v, number))
        return rows("NOT EXISTS names", statement, needs=needs)

    def read_exists_outer_join(self) -> Read:
        """The ON of an outer join says nothing of the enclosing row, which comes through whatever it says."""
        b, c, p = self.s.b, self.s.c, self.s.p
        joined = c.outerjoin(p, and_(p.c.id == c.c.x, b.c.id == self.number()))
        inner = exists(select(literal_column("1", Integer)).select_from(joined).where(c.c.b_id == b.c.id).correlate(b))
        return rows("EXISTS with an outer join", select(b.c.code, b.c.n).where(inner))

    # ---------------------------------------------------------------------------------------------------- unions

    def read_union_given_out(self) -> Read:
        one, other = self.number(), self.number()
        b, c, p = self.s.b, self.s.c, self.s.p
        some = union(select(b.c.id).where(b.c.id == one), select(p.c.id).where(p.c.id == other))
        if self.rng.random() < 0.5:
            statement = select(c.c.v).where(c.c.b_id.in_(some))
        else:
            part = some.subquery()
            statement = select(c.c.v).join(part, part.c.id == c.c.b_id)
        needs = self.of(b, "id", one, columns=(), shows=Shows.NEVER) + self.of(p, "id", other, columns=())
        needs += self.of(c, "b_id", one, other, columns=["v"])
        return rows("union handed out", statement, core=self.core(), needs=needs)

    def _union(self) -> Any:
        b, p = self.s.b, self.s.p
        return self.rng.choice([union, union_all])(select(b.c.id, b.c.code), select(p.c.id, p.c.name))

    def read_union_taken(self) -> Read:
        number, b, p = self.number(), self.s.b, self.s.p
        some = self.rng.choice([self._union().subquery(), self._union().cte("some")])
        needs = self.of(b, "id", number, columns=["code"], shows=Shows.NEVER)
        needs += self.of(p, "id", number, columns=["name"])
        return rows("union taken", select(some.c.code).where(some.c.id == number), needs=needs)

    def read_cut_union(self) -> Read:
        union_, b, p = self._union(), self.s.b, self.s.p
        some = union_.order_by(union_.selected_columns.id, union_.selected_columns.code).limit(3).subquery()
        needs = self.all_of(b, "id", "code") + self.all_of(p, "id", "name")
        return rows("cut union", select(some.c.code).where(some.c.id == self.number()), needs=needs)

    # ------------------------------------------------------------------------------------------------ subqueries

    def _taken(self, inner: Any) -> Any:
        return inner.subquery() if self.rng.random() < 0.5 else inner.cte("some")

    def read_subquery_taken(self) -> Read:
        number, b = self.number(), self.s.b
        some = self._taken(select(b.c.id, b.c.code, b.c.n))
        needs = self.of(b, "id", number, columns=["code", "n"], shows=Shows.NEVER)
        return rows("subquery taken", select(some.c.code).where(some.c.id == number), core=self.core(), needs=needs)

    def read_group_taken(self) -> Read:
        key, b = self.s.a_key(self.number()), self.s.b
        some = self._taken(select(b.c.a_id, func.count().label("count")).group_by(b.c.a_id))
        needs = self.of_b("a_id", key, columns=set())
        return rows("group taken", select(some.c.count).where(some.c.a_id == key), needs=needs)

    def read_cut_taken(self) -> Read:
        b = self.s.b
        some = self._taken(select(b.c.id, b.c.code).order_by(b.c.n.desc(), b.c.id).limit(2))
        needs = self.all_of(b, "id", "code", "n")
        return rows("subquery with a LIMIT", select(some.c.code).where(some.c.id == self.number()), needs=needs)

    def read_taken_twice(self) -> Read:
        b = self.s.b
        some = select(b.c.id, b.c.code).cte("some")
        one, other = some.alias("one"), some.alias("other")
        condition = and_(one.c.id == self.number(), other.c.id == self.number())
        return rows("CTE taken twice", select(one.c.code, other.c.code).where(condition))

    def read_alternatives_given_out(self) -> Read:
        b, c = self.s.b, self.s.c
        some = self._taken(select(b.c.id).where(or_(b.c.id == self.number(), b.c.code == f"c{self.number()}")))
        return rows("alternatives handed out", select(c.c.v).join(some, some.c.id == c.c.b_id))

    def read_full_join(self) -> Read:
        a, b = self.s.a, self.s.b
        some = select(b.c.code, b.c.a_id).where(b.c.a_id == self.s.a_key(self.number())).subquery()
        joined = select(a.c.name, some.c.code).outerjoin_from(a, some, some.c.a_id == a.c.id, full=True)
        return rows("full join", joined)

    def read_null_taken(self) -> Read:
        a, b = self.s.a, self.s.b
        some = self._taken(select(a.c.name, b.c.a_id).outerjoin_from(a, b, b.c.a_id == a.c.id))
        needs = self.all_of(a, "id", "name") + self.all_of(b, "a_id")
        return rows("subquery with missing rows", select(some.c.name).where(some.c.a_id.is_(None)), needs=needs)

    def read_missing(self) -> Read:
        a, b = self.s.a, self.s.b
        statement = select(a.c.name).outerjoin_from(a, b, b.c.a_id == a.c.id).where(b.c.a_id.is_(None))
        needs = self.all_of(a, "id", "name") + self.all_of(b, "a_id")
        return rows("missing rows", statement, core=self.core(), needs=needs)

    # --------------------------------------------------------------------------------------------------- columns

    def read_where_column(self) -> Read:
        key, b = self.s.a_key(self.number()), self.s.b
        statement = select(b.c.code).where(b.c.a_id == key, b.c.n > self.rng.randint(0, 3))
        return rows("column of WHERE", statement, needs=self.of_b("a_id", key, columns={"code", "n"}))

    def read_joined_where(self) -> Read:
        a, b = self.s.a, self.s.b
        statement = select(b.c.code, b.c.a_id, a.c.name).join_from(b, a, a.c.id == b.c.a_id)
        needs = self.all_of(b, "id", "code", "a_id") + self.all_of(a, "id", "name")
        statement = statement.where(b.c.id < 4, a.c.name > f"w{self.rng.randint(20, 70)}")
        return rows("join that asks", statement, needs=needs)

    # ------------------------------------------------------------------------------ rows that an outer join shows

    def _hanging(self, *columns: Any) -> Any:
        return select(*columns).outerjoin_from(self.s.b, self.s.a, self.s.a.c.id == self.s.b.c.a_id)

    def read_outer_join_that_asks(self) -> Read:
        a, b = self.s.a, self.s.b
        condition = or_(a.c.name.is_(None), a.c.name > f"w{self.rng.randint(20, 70)}")
        return rows("outer join that asks", self._hanging(b.c.code, b.c.a_id).where(condition))

    def read_outer_join_that_sorts(self) -> Read:
        a, b = self.s.a, self.s.b
        statement = self._hanging(b.c.code, b.c.a_id).order_by(func.coalesce(a.c.name, "").desc(), b.c.id).limit(1)
        return rows("outer join that sorts", statement, ordered=True)

    def read_outer_join_that_groups(self) -> Read:
        a, b = self.s.a, self.s.b
        statement = self._hanging(b.c.a_id).group_by(b.c.a_id).having(func.max(a.c.name) > "w4")
        return rows("outer join that groups", statement)
