"""When key values are one value."""

from __future__ import annotations

from sqlalchemy import Column, Float, Integer, String, TypeDecorator

from rowstamp.analysis.equality import NULL, key_value
from tests.unit.analysis.shop import SQLITE

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
