"""One row, several spellings of its key: a write by any of them ends what was read by another."""

from __future__ import annotations

import datetime
import enum
import itertools
import random
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    CHAR,
    VARBINARY,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    TypeDecorator,
    Uuid,
    event,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import CITEXT
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only

from tests.conformance.test_hidden_writes import create
from tests.harness import Env, sync_engine

_numbers = itertools.count()


def spelled(type_: Any) -> Table:
    """A table with a key of some type."""
    # Another name each time: a table that is described in two ways is treated with more care.
    name = f"spelled_{next(_numbers)}"
    return Table(name, MetaData(), Column("k", type_, primary_key=True, autoincrement=False), Column("v", Integer))


def define(env: Env, table: Table, key: str, *values: object) -> None:
    """Create a table by DDL text, whatever its metadata says of the key."""
    with env.behind() as session:
        session.execute(text(f"CREATE TABLE {table.name} (k {key} PRIMARY KEY, v INTEGER)"))
        for value in values:
            session.execute(text(f"INSERT INTO {table.name} VALUES ({value!r}, 1)"))


def by_key(table: Table, value: Any) -> Any:
    return select(table.c.v).where(table.c.k == value)


def change(env: Env, table: Table, value: Any) -> None:
    with env.transaction() as session:
        session.execute(update(table).where(table.c.k == value).values(v=table.c.v + 1))


def check(env: Env, table: Table, read: Any, written: Any, other: Any = None) -> None:
    """A write by one spelling ends what was read by another; a write to another row does not, if one is given."""
    stmt = by_key(table, read)
    with env.change_of(stmt):
        change(env, table, written)
    if other is not None:
        env.warm(stmt)
        with env.transaction() as session:
            done: Any = session.execute(update(table).where(table.c.k == other).values(v=9))
            assert done.rowcount == 1
        assert env.served(stmt), "a write to another row has ended it"


def pins(env: Env, stmt: Any) -> bool:
    """Whether a read depends on single rows."""
    return any(each.kind == "rows" for each in env.cache.explain(stmt).dependencies)


@pytest.mark.parametrize(
    ("collation", "written"), [("NOCASE", "alpha"), ("NOCASE", "ALPHA"), ("RTRIM", "Alpha  "), ("BINARY", "Alpha")]
)
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "in the database alone"])
def test_collations_of_sqlite(sqlite_env: Env, collation: str, written: str, declared: bool) -> None:
    """NOCASE and RTRIM, whether the metadata says so or the DDL alone."""
    table = spelled(String(collation=collation) if declared else String)
    define(sqlite_env, table, f"TEXT COLLATE {collation}", "Alpha", "Beta")
    check(sqlite_env, table, "Alpha", written, other="Beta")


@pytest.mark.parametrize("affinity", ["STRING", "NUMERIC", "REAL", "INTEGER"])
def test_texts_that_sqlite_compares_as_numbers(sqlite_env: Env, affinity: str) -> None:
    """A column of type STRING, say, has numeric affinity: '7' and '07.0' name one row."""
    table = spelled(String)
    define(sqlite_env, table, affinity, "7", "8")
    check(sqlite_env, table, "7", "07.0", other="8")


def test_a_collation_of_the_application(sqlite_env: Env) -> None:
    """What a collation does that the program has made is not known: such a key pins nothing."""
    for engine in (sqlite_env.engine, sync_engine(sqlite_env.plain)):
        event.listen(engine, "connect", _register_initials)
    table = spelled(String(collation="initial"))
    create(sqlite_env, table.metadata, (table, [{"k": "apple", "v": 1}]))
    check(sqlite_env, table, "apple", "apricot")


def _register_initials(connection: Any, _record: Any) -> None:
    def compare(one: str, other: str) -> int:
        return (one[:1] > other[:1]) - (one[:1] < other[:1])

    create_collation = getattr(connection, "create_collation", None)
    if create_collation is None:  # aiosqlite: the driver's own connection lives in a thread of its own
        driver = connection.driver_connection
        await_only(driver._execute(driver._conn.create_collation, "initial", compare))
    else:
        create_collation("initial", compare)


def test_text_as_it_is(env: Env) -> None:
    """Without a collation of its own a text key pins its row; in MariaDB it does not, for it ignores case."""
    table = spelled(String(20))
    create(env, table.metadata, (table, [{"k": "alpha", "v": 1}, {"k": "beta", "v": 1}]))
    check(env, table, "alpha", "alpha", other=None if env.dialect == "mariadb" else "beta")


@pytest.mark.parametrize("written", ["ALPHA", "alpha  ", "Álpha"])
@pytest.mark.parametrize("collation", [None, "utf8mb4_unicode_ci"], ids=["default", "declared"])
def test_collations_of_mariadb(mariadb_env: Env, collation: str | None, written: str) -> None:
    """The usual ones ignore case, accents and trailing blanks: such a key pins nothing."""
    table = spelled(String(20, collation=collation))
    create(mariadb_env, table.metadata, (table, [{"k": "Alpha", "v": 1}]))
    check(mariadb_env, table, "alpha", written)
    assert not pins(mariadb_env, by_key(table, "alpha"))


@pytest.mark.parametrize("written", ["Alpha", "Alpha  "])
def test_binary_collations_of_mariadb(mariadb_env: Env, written: str) -> None:
    """A *_bin collation that the column declares is exact, but for trailing blanks: such a key pins its row."""
    table = spelled(String(20, collation="utf8mb4_bin"))
    create(mariadb_env, table.metadata, (table, [{"k": "Alpha", "v": 1}, {"k": "alpha", "v": 1}]))
    check(mariadb_env, table, "Alpha", written, other="alpha")


def test_a_number_that_mariadb_assigns_for_zero(mariadb_env: Env) -> None:
    """An AUTO_INCREMENT column takes 0 for the next number: the row has another key than was written."""
    table = Table("counted", MetaData(), Column("k", Integer, primary_key=True), Column("v", Integer))
    create(mariadb_env, table.metadata, (table, [{"k": 1, "v": 1}]))
    with mariadb_env.change_of(by_key(table, 2)), mariadb_env.transaction() as session:
        session.execute(insert(table).values(k=0, v=1))


def test_a_number_that_mariadb_clamps(mariadb_env: Env) -> None:
    """Without strict mode 99999 becomes the largest SMALLINT."""
    table = spelled(SmallInteger)
    create(mariadb_env, table.metadata, (table, [{"k": 1, "v": 1}]))
    with mariadb_env.change_of(by_key(table, 32767)), mariadb_env.elsewhere() as session:
        session.execute(text("SET SESSION sql_mode = ''"))
        session.execute(insert(table).values(k=99999, v=1))


def test_fractions_of_seconds_that_mariadb_rounds(mariadb_env: Env) -> None:
    """A DATETIME keeps no fractions: the row has another key than was written."""
    table, noon = spelled(DateTime), NOON.replace(tzinfo=None, microsecond=0)
    create(mariadb_env, table.metadata, (table, [{"k": noon.replace(hour=1), "v": 1}]))
    with mariadb_env.change_of(by_key(table, noon)), mariadb_env.transaction() as session:
        session.execute(insert(table).values(k=noon.replace(microsecond=300), v=1))


@pytest.fixture
def citext(postgres_env: Env) -> Iterator[Env]:
    postgres_env.call(_behind, postgres_env, "CREATE EXTENSION citext")
    yield postgres_env
    postgres_env.call(_behind, postgres_env, "DROP EXTENSION citext CASCADE")


def _behind(env: Env, sql: str) -> None:
    with env.behind() as session:
        session.execute(text(sql))


def test_citext(citext: Env) -> None:
    """CITEXT ignores case: such a key pins nothing."""
    table = spelled(CITEXT)
    create(citext, table.metadata, (table, [{"k": "Alpha", "v": 1}]))
    check(citext, table, "Alpha", "ALPHA")


def test_citext_by_variant(citext: Env) -> None:
    """A type that is CITEXT on PostgreSQL alone is taken for what it is there."""
    table = spelled(String(20).with_variant(CITEXT(), "postgresql"))
    create(citext, table.metadata, (table, [{"k": "Alpha", "v": 1}]))
    check(citext, table, "Alpha", "ALPHA")


def test_citext_in_the_database_alone(citext: Env) -> None:
    """Whatever it means that the metadata calls a CITEXT column a String, what is read is followed."""
    table = spelled(String)
    define(citext, table, "CITEXT", "Alpha")
    check(citext, table, "Alpha", "Alpha")


@pytest.mark.parametrize("type_", [CHAR(8), String(8)], ids=["declared", "in the database alone"])
@pytest.mark.parametrize("written", ["ab", "ab    "])
def test_char_padding(postgres_env: Env, type_: Any, written: str) -> None:
    """CHAR(n) compares without trailing blanks."""
    table = spelled(type_)
    define(postgres_env, table, "CHAR(8)", "ab", "cd")
    stmt = by_key(table, "ab")
    postgres_env.warm(stmt)
    with postgres_env.transaction() as session:
        # Blanks count for a VARCHAR parameter and not for a CHAR: let the database say which rows are meant.
        session.execute(text(f"UPDATE {table.name} SET v = v + 1 WHERE k = 'ab'"))
        session.execute(update(table).where(table.c.k == written).values(v=table.c.v + 1))
    assert postgres_env.rows(stmt) == postgres_env.truth(stmt)
    postgres_env.warm(stmt)
    change(postgres_env, table, "cd")
    assert postgres_env.served(stmt)


_ICU = "CREATE COLLATION loose (provider=icu, locale='und-u-ks-level2', deterministic=false)"


@pytest.fixture
def loose_collation(postgres_env: Env) -> Iterator[Env]:
    """A database with a nondeterministic collation; where the server was built without ICU, one that only claims to be."""
    postgres_env.call(_make_collation, postgres_env)
    yield postgres_env
    postgres_env.call(_behind, postgres_env, "DROP COLLATION loose CASCADE")


def _make_collation(env: Env) -> None:
    with env.behind() as session:
        try:
            with session.begin_nested():
                session.execute(text(_ICU))
        except DBAPIError:
            session.execute(text("CREATE COLLATION loose (provider=libc, locale='C')"))
            session.execute(text("UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'loose'"))


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "in the database alone"])
def test_nondeterministic_collations(loose_collation: Env, declared: bool) -> None:
    """Where a database has such a collation, text pins nothing, unless the column names an exact one."""
    table = spelled(String(collation="loose") if declared else String)
    define(loose_collation, table, 'TEXT COLLATE "loose"', "Alpha")
    check(loose_collation, table, "Alpha", "Alpha")
    assert not pins(loose_collation, by_key(table, "Alpha"))


def test_an_exact_collation_beside_a_nondeterministic_one(loose_collation: Env) -> None:
    """A column that names an exact collation pins its rows all the same."""
    table = spelled(String(20, collation="C"))
    create(loose_collation, table.metadata, (table, [{"k": "alpha", "v": 1}, {"k": "beta", "v": 1}]))
    check(loose_collation, table, "alpha", "alpha", other="beta")


def test_a_collation_made_while_the_program_runs(postgres_env: Env) -> None:
    """Once a collation was created through the engine, text is no longer taken for exact."""
    table = spelled(String(20))
    create(postgres_env, table.metadata, (table, [{"k": "alpha", "v": 1}]))
    postgres_env.warm(by_key(table, "alpha"))
    assert pins(postgres_env, by_key(table, "alpha"))
    with postgres_env.session() as session:
        session.execute(text("CREATE COLLATION other (provider=libc, locale='C')"))
        session.rollback()
    check(postgres_env, table, "alpha", "alpha")
    assert not pins(postgres_env, by_key(table, "alpha"))


UTC = datetime.UTC
EAST = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
NOON = datetime.datetime(2024, 3, 31, 12, 0, 0, 250, tzinfo=UTC)


def test_zoned_datetimes(postgres_env: Env) -> None:
    """Two offsets, one moment."""
    table = spelled(DateTime(timezone=True))
    later = NOON + datetime.timedelta(seconds=1)
    create(postgres_env, table.metadata, (table, [{"k": NOON, "v": 1}, {"k": later, "v": 1}]))
    check(postgres_env, table, NOON, NOON.astimezone(EAST), other=later.astimezone(EAST))


@pytest.mark.parametrize("precision", [0, 3])
def test_datetimes_that_are_rounded(postgres_env: Env, precision: int) -> None:
    """TIMESTAMP(n) rounds what comes in: such a key pins nothing."""
    from sqlalchemy.dialects.postgresql import TIMESTAMP

    table = spelled(TIMESTAMP(timezone=True, precision=precision))
    create(postgres_env, table.metadata, (table, [{"k": NOON + datetime.timedelta(days=1), "v": 1}]))
    stmt = by_key(table, NOON.replace(microsecond=0))
    with postgres_env.change_of(stmt), postgres_env.transaction() as session:
        session.execute(insert(table).values(k=NOON, v=1))


def test_naive_datetimes(env: Env) -> None:
    """A naive datetime is what the clock reads."""
    table, noon = spelled(DateTime), NOON.replace(tzinfo=None, microsecond=0)
    later = noon + datetime.timedelta(seconds=1)
    create(env, table.metadata, (table, [{"k": noon, "v": 1}, {"k": later, "v": 1}]))
    check(env, table, noon, noon.replace(fold=1), other=later)


def test_offsets_that_sqlite_drops(sqlite_env: Env) -> None:
    """SQLite keeps the clock's reading and drops the offset: two moments, one row."""
    table = spelled(DateTime(timezone=True))
    create(sqlite_env, table.metadata, (table, [{"k": NOON, "v": 1}]))
    check(sqlite_env, table, NOON, NOON.replace(tzinfo=EAST))


def test_dates(env: Env) -> None:
    """A date pins; a datetime in its place is not taken for it."""
    table, day = spelled(Date), datetime.date(2024, 3, 31)
    create(env, table.metadata, (table, [{"k": day, "v": 1}, {"k": day.replace(day=1), "v": 1}]))
    check(env, table, day, day, other=day.replace(day=1))


@pytest.mark.parametrize("written", ["1.5", "1.50", "1.500"])
def test_the_scale_of_decimals(postgres_env: Env, written: str) -> None:
    """Trailing zeros are no digits."""
    for type_ in (Numeric(10, 3), Numeric()):
        table = spelled(type_)
        create(postgres_env, table.metadata, (table, [{"k": Decimal("1.5"), "v": 1}, {"k": Decimal("1.51"), "v": 1}]))
        check(postgres_env, table, Decimal("1.5"), Decimal(written), other=Decimal("1.51"))
        with postgres_env.behind() as session:
            table.drop(session.connection())


def test_decimals_of_sqlite(sqlite_env: Env) -> None:
    """SQLite keeps decimals as floats: they pin nothing."""
    table = spelled(Numeric(10, 2))
    create(sqlite_env, table.metadata, (table, [{"k": Decimal("1.5"), "v": 1}]))
    check(sqlite_env, table, Decimal("1.5"), Decimal("1.50"))


def test_floats(env: Env) -> None:
    """A float pins nothing: 16777217 and 16777216 are one REAL."""
    table = spelled(Float(24))
    create(env, table.metadata, (table, [{"k": 0.5, "v": 1}]))
    check(env, table, 0.5, 0.5)


class Colour(enum.Enum):
    """An enum with an alias."""

    RED = "r"
    GREEN = "g"
    CRIMSON = "r"  # noqa: PIE796 - the very point


@pytest.mark.parametrize("native", [True, False], ids=["native", "text"])
def test_enums(env: Env, native: bool) -> None:
    """Members pin; an alias is the same member."""
    table = spelled(Enum(Colour, native_enum=native, name="colour"))
    create(env, table.metadata, (table, [{"k": Colour.RED, "v": 1}, {"k": Colour.GREEN, "v": 1}]))
    try:
        check(env, table, Colour.RED, Colour.CRIMSON, other=Colour.GREEN)
    finally:
        with env.behind() as session:
            table.metadata.drop_all(session.connection())


def test_uuids(env: Env) -> None:
    """A UUID may be given as text in any spelling."""
    one, other = uuid.UUID(int=1), uuid.UUID(int=2)
    table = spelled(Uuid(as_uuid=False))
    create(env, table.metadata, (table, [{"k": str(one), "v": 1}, {"k": str(other), "v": 1}]))
    check(env, table, str(one), str(one), other=str(other))


def test_binary(env: Env) -> None:
    """Bytes are compared byte by byte."""
    table = spelled(LargeBinary().with_variant(VARBINARY(16), "mariadb", "mysql"))
    create(env, table.metadata, (table, [{"k": b"a", "v": 1}, {"k": b"a\0", "v": 1}]))
    check(env, table, b"a", bytearray(b"a"), other=None if env.dialect == "mariadb" else b"a\0")


class Reversed(TypeDecorator[str]):
    """Text kept in reverse order, lower case."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value[::-1].lower()

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value[::-1]


class Salted(TypeDecorator[str]):
    """Text that is bound with a salt."""

    impl = String(40)
    cache_ok = True
    salts = random.Random(7)

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else f"{value}-{self.salts.getrandbits(64):x}"


class Lowered(TypeDecorator[str]):
    """Text that the database itself folds."""

    impl = String(20)
    cache_ok = True

    def bind_expression(self, bindparam: Any) -> Any:
        return func.lower(bindparam)


class Shouting(String):
    """A type of the application's own, no decorator."""

    cache_ok = True

    def bind_processor(self, dialect: Any) -> Any:
        def process(value: Any) -> Any:
            return None if value is None else value.upper()

        return process


def test_a_decorator_is_compared_by_what_it_binds(env: Env) -> None:
    """Two values that are bound as one name one row."""
    table = spelled(Reversed)
    create(env, table.metadata, (table, [{"k": "alpha", "v": 1}, {"k": "beta", "v": 1}]))
    other = None if env.dialect == "mariadb" else "Beta"
    check(env, table, "alpha", "ALPHA", other=other)


def test_a_decorator_that_binds_at_random(env: Env) -> None:
    """What is bound otherwise each time pins nothing."""
    table = spelled(Salted)
    create(env, table.metadata, (table, [{"k": "alpha", "v": 1}]))
    assert not pins(env, by_key(table, "alpha"))
    with env.change_of(select(table.c.v)), env.transaction() as session:
        session.execute(update(table).where(table.c.k != "alpha").values(v=2))


def test_a_decorator_that_binds_in_sql(env: Env) -> None:
    """A bind expression pins nothing."""
    table = spelled(Lowered)
    create(env, table.metadata, (table, [{"k": "Alpha", "v": 1}]))
    check(env, table, "Alpha", "ALPHA")


def test_a_type_of_the_application(sqlite_env: Env) -> None:
    """A type that is no decorator and binds in its own way pins nothing."""
    table = spelled(Shouting(20))
    create(sqlite_env, table.metadata, (table, [{"k": "Alpha", "v": 1}]))
    check(sqlite_env, table, "Alpha", "ALPHA")
    assert not pins(sqlite_env, by_key(table, "Alpha"))
