"""Results kept in the process: the same as from the store, nobody's to change, and ended by commits like all others."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import selectinload

from rowstamp import cached
from tests.conformance import forms
from tests.conformance.models import Category, Person, Product, product
from tests.conformance.test_hit_equals_miss import ASKED, JOINED_MANY, exactly
from tests.harness import Env, Node

NAMES = select(Product.name).where(Product.category_id == 1).order_by(Product.id)
ALL = select(Product).order_by(Product.id)


def keeping(env: Env) -> Node:
    """A process that keeps results."""
    env.cache.detach(env.target)
    env.cache = env.new_cache(near="4 MiB")
    env.cache.attach(env.target)
    return env


@pytest.fixture
def node(env: Env) -> Node:
    return keeping(env)


def near_hits(node: Node) -> int:
    return node.cache.stats().near_hits


@pytest.mark.parametrize("name", sorted(forms.STATEMENTS))
def test_statements(postgres_env: Env, name: str) -> None:
    """The second hit and the third, of which the latter is of rows decoded before, are what the miss was."""
    node = keeping(postgres_env)
    if name == "selectin_polymorphic":
        node.cache.policy(Person)  # the statement's options are not handed on to these loads
    found: list[object] = []
    for _ in range(4):
        with node.session() as session:
            found.append(exactly(forms.rows(session, forms.STATEMENTS[name], ASKED, unique=name in JOINED_MANY)))
    assert found[0] == found[1] == found[2] == found[3]
    assert near_hits(node) >= 2


def test_a_list_that_a_caller_changes_is_its_own(node: Node) -> None:
    """Rows, scalars, and what is fetched in parts."""
    first = node.warm(NAMES)
    for _ in range(3):
        with node.session() as session:
            result: Any = session.execute(NAMES, execution_options=ASKED)
            rows: Any = result.all()
            rows.clear()
            rows = session.scalars(NAMES, execution_options=ASKED).all()
            rows[0] = "changed"
            parts: Any = session.execute(NAMES, execution_options=ASKED).fetchmany(1)
            parts.append(None)
        with node.connect() as connection:
            found: Any = connection.execute(NAMES, execution_options=ASKED)
            found.all().clear()
    assert node.rows(NAMES) == first


def test_a_value_that_a_caller_changes_is_its_own(node: Node) -> None:
    """Some drivers return JSON as dicts and lists, which are then not shared."""
    statement = select(Product.details).where(Product.id == 1)
    first = node.warm(statement)
    for _ in range(3):
        with node.session() as session:
            value: Any = session.scalars(statement, execution_options=ASKED).one()
            value.clear()
    assert node.rows(statement) == first


def test_an_entity_that_a_caller_changes_is_its_own(node: Node) -> None:
    """Entities are built for each session, from values that nobody can change."""
    statement = ALL.options(selectinload(Product.tags), cached())
    first = node.warm(statement)
    with node.session() as session:
        for entity in session.scalars(statement):
            entity.name = "changed"
            entity.tags.clear()
        session.rollback()
    assert node.rows(statement) == first


def test_a_commit_elsewhere_ends_what_is_kept_here(node: Node, env: Env) -> None:
    """Another process knows nothing of what is kept here; the stamps do."""
    statements = [NAMES, ALL, select(Category)]
    other = env.new_node()
    for statement in statements:
        node.warm(statement)
        node.rows(statement)
    with node.change_of(NAMES, ALL), other.transaction() as session:
        session.add(product(name="new"))
    with node.change_of(NAMES), other.transaction() as session:
        session.execute(update(Product).values(name="renamed"))
    assert near_hits(node)


def test_what_another_process_has_stored_anew_is_taken_from_the_store(node: Node, env: Env) -> None:
    """A copy that has ended does not stand in the way of the entry."""
    other = env.new_node()
    node.warm(NAMES)
    with other.transaction() as session:
        session.add(product(name="new"))
    other.warm(NAMES)
    assert node.served(NAMES)
    assert node.rows(NAMES) == env.truth(NAMES)


def test_own_writes_are_seen(node: Node, env: Env) -> None:
    """A transaction that wrote is not served from here either."""
    node.warm(NAMES)
    with node.session() as session:
        session.execute(update(Product).values(name="mine"))
        assert set(session.scalars(NAMES, execution_options=ASKED)) == {"mine"}
        session.rollback()
    assert node.rows(NAMES) == env.truth(NAMES)


def test_a_closed_cache_keeps_nothing(sqlite_env: Env) -> None:
    """Its memory goes back."""
    node = keeping(sqlite_env)
    node.warm(NAMES)
    near = node.cache.real._core.near
    assert near is not None
    assert len(near) == 1
    node.cache.close()
    assert len(near) == 0
