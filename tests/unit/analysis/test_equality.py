"""When key values are one value."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any, cast

import pytest
from sqlalchemy import (
    CHAR,
    BigInteger,
    Column,
    DateTime,
    Enum,
    Float,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    String,
    TypeDecorator,
)
from sqlalchemy.dialects import mysql, sqlite

from rowstamp.analysis.equality import NULL, compares_alike, key_value
from tests.unit.analysis.shop import MYSQL, POSTGRESQL, SQLITE

integer, word = Column("n", Integer), Column("w", String)


class Stored(TypeDecorator[str]):
    """May bind anything for None."""

    impl = String
    cache_ok = True


def test_null_is_a_value_of_its_own() -> None:
    """Rows whose key is NULL have a stamp that no value has."""
    null = key_value([word], SQLITE, [NULL])
    assert null is not None
    assert null not in {key_value([word], SQLITE, [text]) for text in ("", "NULL", "None")}
    assert key_value([integer, word], SQLITE, [1, NULL]) != key_value([integer, word], SQLITE, [NULL, "1"])


def test_a_parameter_that_is_none_is_not_null() -> None:
    """``column = NULL`` finds no row, and so not those whose column is NULL."""
    assert key_value([integer], SQLITE, [None]) is None


def test_null_does_not_depend_on_how_values_compare() -> None:
    """``IS NULL`` finds the same rows whatever the type makes of values."""
    assert key_value([Column("x", Float)], SQLITE, [NULL]) is not None


def test_a_type_decorator_may_keep_null_as_something_else() -> None:
    """What is None for the program need not be NULL for the database."""
    assert key_value([Column("x", Stored)], SQLITE, [NULL]) is None


@pytest.mark.parametrize(
    ("type_", "value", "certain"),
    [
        (Integer(), 1, True),
        (Integer(), True, True),
        (Integer(), 0, False),  # AUTO_INCREMENT takes it for the next number
        (Integer(), 1 << 31, False),  # clamped
        (BigInteger(), 1 << 31, True),
        (SmallInteger(), 1 << 15, False),
        (mysql.INTEGER(unsigned=True), -1, False),
        (mysql.TINYINT(), 127, True),
        (mysql.TINYINT(), 128, False),
        (mysql.YEAR(), 24, False),
        (String(8, collation="utf8mb4_bin"), "a", True),
        (String(8, collation="utf8mb4_bin"), "a" * 9, False),  # cut
        (String(8, collation="utf8mb4_general_ci"), "a", False),
        (mysql.VARCHAR(8, collation="utf8mb4_bin"), "a", True),
        (DateTime(), datetime.datetime(2024, 1, 1), True),  # noqa: DTZ001 - naive is what is meant
        (DateTime(), datetime.datetime(2024, 1, 1, microsecond=5), False),  # noqa: DTZ001 - rounded
        (DateTime(), datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), False),
        (mysql.TIMESTAMP(), datetime.datetime(2024, 1, 1), False),  # noqa: DTZ001 - read in the session's zone
        (Enum("a", "b"), "a", True),
        (Enum("a", "b"), "A", False),
        (Enum("a", "A", native_enum=False), "a", False),
        (Enum("é", "e", native_enum=False), "e", False),
        (LargeBinary(2), b"abc", False),
    ],
)  # fmt: skip
def test_what_is_certain_in_mysql(type_: Any, value: object, certain: bool) -> None:
    """What MySQL may round, clamp, cut, fold or convert is left to the table's own stamp."""
    assert (key_value([Column("x", type_)], MYSQL, [value]) is not None) is certain


def test_trailing_blanks_under_bin_collations() -> None:
    """They are exact but for what PAD SPACE ignores."""
    column = Column("x", String(8, collation="utf8mb4_bin"))
    assert key_value([column], MYSQL, ["a"]) == key_value([column], MYSQL, ["a  "])
    assert key_value([column], MYSQL, ["a"]) != key_value([column], MYSQL, ["A"])


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("7", "07.0", True),
        ("7", " 7", True),
        ("1e3", "1000", True),
        ("9223372036854775807", "9223372036854775806", False),
        ("0x10", "16", False),
        ("1_0", "10", False),
        ("a", "A ", True),
        ("é", "É", False),
        ("1e999", "9e999", True),
        ("nan", "NaN", True),
        ("7", "7.5", False),
    ],
)
def test_texts_that_may_be_numbers_in_sqlite(one: str, other: str, alike: bool) -> None:
    """A column's affinity, which the metadata need not tell, decides whether they are."""
    column = Column("x", String)
    assert (key_value([column], SQLITE, [one]) == key_value([column], SQLITE, [other])) is alike


_SQLITE_DATETIME: Any = cast("Any", sqlite).DATETIME()


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (String(3), String(5), True),
        (String(3), CHAR(3), False),
        (String(3), String(3, collation="x"), False),
        (String(3, collation="x"), String(3, collation="x"), True),
        (DateTime(), DateTime(timezone=True), False),
        (DateTime(), _SQLITE_DATETIME, False),
        (Numeric(), Integer(), False),
        (Float(), Float(), True),
    ],
)
def test_which_types_compare_alike(one: Any, other: Any, alike: bool) -> None:
    """A value bound as the one means the same under the other."""
    assert compares_alike(one, other) is alike


def test_a_type_with_variants_is_like_itself_alone() -> None:
    """What it is on a database is not known before there is one."""
    varied = String(3).with_variant(Integer(), "sqlite")
    assert compares_alike(varied, varied)
    assert not compares_alike(varied, String(3))
    assert not compares_alike(String(3), varied)


class Shifted(Integer):
    """A type of the application's own that is no decorator."""


def test_a_type_of_the_application_pins_nothing() -> None:
    """It may bind and compare as it likes."""
    assert key_value([Column("x", Shifted)], SQLITE, [1]) is None


class Failing(TypeDecorator[str]):
    """Refuses every value."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        raise ValueError(value)


class Renamed(TypeDecorator[str]):
    """Binds what it is given."""

    impl = String
    cache_ok = True


def test_decorators() -> None:
    """One that refuses a value pins nothing; one that adds nothing is what it decorates."""
    assert key_value([Column("x", Failing)], SQLITE, ["a"]) is None
    assert key_value([Column("x", Renamed)], SQLITE, ["a"]) == key_value([word], SQLITE, ["a"])


def test_a_decimal_of_very_many_digits() -> None:
    """It is not written out."""
    assert key_value([Column("x", Numeric)], POSTGRESQL, [Decimal("1E+100000")]) is None
    assert key_value([Column("x", Numeric)], POSTGRESQL, [Decimal("1.50")]) is not None
