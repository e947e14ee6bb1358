"""Keys are matched only where equal for the database is equal for the cache."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    TypeDecorator,
    Uuid,
    insert,
    literal,
    select,
    type_coerce,
    update,
)

from tests.conformance.test_hidden_writes import create
from tests.harness import Env


class Doubled(TypeDecorator[int]):
    """Kept as twice its value."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value * 2

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value // 2


DOUBLED = MetaData()
plain = Table("plain", DOUBLED, Column("id", Integer, primary_key=True), Column("v", Integer))
doubled = Table("doubled", DOUBLED, Column("enc", Doubled, primary_key=True, autoincrement=False))
ROWS: Any = [(plain, [{"id": 10, "v": 1}]), (doubled, [{"enc": 5}])]

BY_OTHER_TYPE = [
    select(plain.c.v).join(doubled, plain.c.id == doubled.c.enc).where(doubled.c.enc == 5),
    select(plain.c.v).where(plain.c.id == doubled.c.enc, doubled.c.enc.in_([5, 6])),
    select(plain.c.v).where(plain.c.id == literal(5, Doubled)),
    select(plain.c.v).where(type_coerce(plain.c.id, Doubled) == 5),
]


@pytest.mark.parametrize("number", range(len(BY_OTHER_TYPE)), ids=["join", "where", "bound value", "coerced"])
def test_a_pin_that_is_bound_by_another_type(env: Env, number: int) -> None:
    """What a type decorator binds is not what the statement holds, and is not the key of another column's row."""
    create(env, DOUBLED, *ROWS)
    with env.change_of(BY_OTHER_TYPE[number]), env.transaction() as session:
        session.execute(update(plain).where(plain.c.id == 10).values(v=2))


@pytest.mark.parametrize("many", [False, True], ids=["one", "list"])
def test_a_write_that_is_bound_by_another_type(env: Env, many: bool) -> None:
    """The same in the WHERE of a write."""
    create(env, DOUBLED, *ROWS)
    value = literal(5, Doubled)
    condition = plain.c.id.in_([value]) if many else plain.c.id == value
    with env.change_of(select(plain.c.v).where(plain.c.id == 10)), env.transaction() as session:
        session.execute(update(plain).where(condition).values(v=2))


def test_a_key_of_a_type_decorator(env: Env) -> None:
    """A key that is decorated is followed, however its rows are named."""
    create(env, DOUBLED, *ROWS)
    same = Table("doubled", MetaData(), Column("enc", Integer, primary_key=True))
    with env.change_of(select(doubled).where(doubled.c.enc == 5)), env.transaction() as session:
        session.execute(update(same).where(same.c.enc == 10).values(enc=12))


def test_a_pin_handed_over_from_a_column_that_ignores_case(sqlite_env: Env) -> None:
    """Through `a.code = b.code` a value of a NOCASE column says nothing about an exact one."""
    metadata = MetaData()
    exact = Table("exact", metadata, Column("code", String, primary_key=True), Column("v", Integer))
    loose = Table("loose", metadata, Column("code", String(collation="NOCASE"), primary_key=True))
    create(sqlite_env, metadata, (exact, [{"code": "X", "v": 1}]), (loose, [{"code": "X"}]))
    stmt = select(exact.c.v).join(loose, exact.c.code == loose.c.code).where(loose.c.code == "x")
    with sqlite_env.change_of(stmt), sqlite_env.transaction() as session:
        session.execute(update(exact).where(exact.c.code == "X").values(v=2))


@pytest.mark.parametrize("named", ["x", "X"])
def test_a_key_that_ignores_case(sqlite_env: Env, named: str) -> None:
    """A NOCASE key read in one case and written in another."""
    metadata = MetaData()
    loose = Table("loose", metadata, Column("code", String(collation="NOCASE"), primary_key=True), Column("v", Integer))
    create(sqlite_env, metadata, (loose, [{"code": "X", "v": 1}]))
    with sqlite_env.change_of(select(loose.c.v).where(loose.c.code == "x")), sqlite_env.transaction() as session:
        session.execute(update(loose).where(loose.c.code == named).values(v=2))


def test_a_boolean_key_that_is_an_integer_elsewhere(sqlite_env: Env) -> None:
    """One program reads the key as a boolean, another writes it as a number."""
    metadata = MetaData()
    flags = Table("flags", metadata, Column("flag", Boolean, primary_key=True), Column("v", Integer))
    create(sqlite_env, metadata, (flags, [{"flag": True, "v": 1}]))
    same = Table("flags", MetaData(), Column("flag", Integer, primary_key=True), Column("v", Integer))
    with sqlite_env.change_of(select(flags.c.v).where(flags.c.flag == True)), sqlite_env.transaction() as session:  # noqa: E712
        session.execute(update(same).where(same.c.flag == 1).values(v=2))


def test_a_uuid_key_that_is_a_string_elsewhere(env: Env) -> None:
    """One program reads the key as a UUID, another writes it as text."""
    metadata, key = MetaData(), uuid.UUID(int=5)
    named = Table("named", metadata, Column("u", Uuid(native_uuid=False), primary_key=True), Column("v", Integer))
    create(env, metadata, (named, [{"u": key, "v": 1}]))
    same = Table("named", MetaData(), Column("u", String(32), primary_key=True), Column("v", Integer))
    with env.change_of(select(named.c.v).where(named.c.u == key)), env.transaction() as session:
        session.execute(update(same).where(same.c.u == key.hex).values(v=2))


def test_a_text_that_is_cut_on_its_way_in(postgres_env: Env) -> None:
    """VARCHAR(3) drops trailing blanks that do not fit: the row has another key than was written."""
    metadata = MetaData()
    short = Table("short", metadata, Column("k", String(3), primary_key=True), Column("v", Integer))
    create(postgres_env, metadata, (short, [{"k": "zzz", "v": 1}]))
    with postgres_env.change_of(select(short.c.v).where(short.c.k == "abc")), postgres_env.transaction() as session:
        session.execute(insert(short).values(k="abc  ", v=1))


@pytest.mark.parametrize("looked_up", ["2.01", "2.010"])
def test_a_decimal_that_is_rounded_on_its_way_in(postgres_env: Env, looked_up: str) -> None:
    """NUMERIC(10, 2) rounds what is inserted, and compares it without regard to trailing zeros."""
    metadata = MetaData()
    exact = Table(
        "amounts", metadata, Column("k", Numeric(10, 2), primary_key=True, autoincrement=False), Column("v", Integer)
    )
    create(postgres_env, metadata, (exact, [{"k": Decimal(1), "v": 1}]))
    stmt = select(exact.c.v).where(exact.c.k == Decimal(looked_up))
    with postgres_env.change_of(stmt), postgres_env.transaction() as session:
        session.execute(insert(exact).values(k=Decimal("2.011"), v=1))


def test_a_decimal_looked_up_with_more_digits(postgres_env: Env) -> None:
    """2.00 and 2.0 name one row."""
    metadata = MetaData()
    exact = Table(
        "amounts", metadata, Column("k", Numeric(10, 2), primary_key=True, autoincrement=False), Column("v", Integer)
    )
    create(postgres_env, metadata, (exact, [{"k": Decimal(2), "v": 1}]))
    stmt = select(exact.c.v).where(exact.c.k == Decimal("2.0"))
    with postgres_env.change_of(stmt), postgres_env.transaction() as session:
        session.execute(update(exact).where(exact.c.k == Decimal("2.00")).values(v=2))
