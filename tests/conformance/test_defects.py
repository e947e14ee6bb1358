"""A statement that the analysis fails on works as it does without a cache, and is analysed by its text."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert, select, update

from rowstamp import RowstampWarning
from rowstamp.orm import attachment
from tests.conformance.models import FREE_ID, Category, Product
from tests.harness import Env

FAILS = pytest.warns(RowstampWarning, match=r"ZeroDivisionError: unheard of.*please report")


def fail(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("unheard of")


def test_a_read_that_cannot_be_analysed(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cached by its text."""
    monkeypatch.setattr(attachment, "analyse", fail)
    statement = select(Category.name).order_by(Category.id)
    with FAILS, env.change_of(statement), env.transaction() as session:
        session.execute(update(Category).where(Category.id == 1).values(name="paper"))


def test_a_write_that_cannot_be_analysed(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends what reads its table, and nothing else."""
    categories, products = select(Category.name).order_by(Category.id), select(Product.name).order_by(Product.id)
    monkeypatch.setattr(attachment, "analyse_dml", fail)
    with env.change_of(categories), env.unconcerned(products), FAILS, env.transaction() as session:
        session.execute(update(Category).where(Category.id == 1).values(name="paper"))


def test_a_write_whose_functions_cannot_be_told(sqlite_env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have called any."""
    categories = select(Category.name).order_by(Category.id)
    monkeypatch.setattr(attachment, "functions_of_dml", fail)
    everything = pytest.warns(RowstampWarning, match="invalidates everything")
    with sqlite_env.change_of(categories), everything, FAILS, sqlite_env.transaction() as session:
        session.execute(insert(Category).values(id=FREE_ID, name="paper"))
