"""Cached functions on every database and driver: what they read is seen, whoever reads it for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from rowstamp import AsyncCache, Cache
from rowstamp._sqlalchemy import await_in_greenlet
from tests.conformance.models import Category, Product, product
from tests.harness import Env, Node

Run: TypeAlias = Callable[[Session, int], Any]

OWNER: Final = "owner"
"""Where a session keeps the asynchronous one that it belongs to."""


def opened(node: Node) -> Session:
    """Open a session that cached functions may be given."""
    if not isinstance(node.target, AsyncEngine):
        return node.session()
    owner = AsyncSession(node.target)
    owner.sync_session.info[OWNER] = owner
    return owner.sync_session


def cached_function(node: Node, run: Run, **options: Any) -> Run:
    """Return a cached function around a synchronous one, which asynchronous drivers run with ``run_sync``."""
    if not node.env.asynchronous:

        @cast("Cache", node.cache.real).query(key_version=run.__name__, **options)
        def function_now(session: Session, category: int) -> Any:
            return run(session, category)

        return function_now

    @cast("AsyncCache", node.cache.real).query(key_version=run.__name__, **options)
    async def function(session: AsyncSession, category: int) -> Any:
        return await session.run_sync(run, category)

    def call(session: Session, category: int) -> Any:
        return await_in_greenlet(function(session.info[OWNER], category))

    return call


def names(session: Session, category: int) -> list[str]:
    return list(session.scalars(select(Product.name).where(Product.category_id == category).order_by(Product.id)))


def call(node: Node, function: Run, category: int = 1) -> tuple[Any, bool]:
    """Call in a session of its own; return the result, and whether it was served."""
    with opened(node) as session, node.traffic() as traffic:
        result = function(session, category)
    return result, not traffic.statements


def warm(node: Node, function: Run, category: int = 1) -> Any:
    """Call until it is served."""
    results = [call(node, function, category) for _ in range(3)]
    assert results[-1][1], "the function is not cached at all"
    assert results[-1][0] == results[0][0]
    return results[-1][0]


def test_a_commit_ends_what_it_changes_and_nothing_else(env: Env) -> None:
    """A list that a row is in or comes to; the list of another category is served on."""
    function = cached_function(env, names)
    before, other = warm(env, function, 1), warm(env, function, 2)
    with env.transaction() as session:
        session.add(product(name="new", category_id=1))
    assert call(env, function, 1) == ([*before, "new"], False)
    assert call(env, function, 1) == ([*before, "new"], True)
    assert call(env, function, 2) == (other, True)


def test_a_commit_of_another_process_ends_it(env: Env) -> None:
    """Two processes serve each other's results, until one of them writes."""
    other = env.new_node()
    function, its = cached_function(env, names), cached_function(other, names)
    before = warm(env, function)
    assert warm(other, its) == before
    with other.transaction() as session:
        session.execute(update(Product).where(Product.category_id == 1).values(name="changed"))
    assert call(env, function) == (["changed"] * len(before), False)


def test_what_an_inner_function_has_read_counts_on_its_hits_too(env: Env) -> None:
    """The outer result was made of a hit of the inner one: a commit to what that read ends both."""
    inner = cached_function(env, names)
    before = warm(env, inner)

    def counted(session: Session, category: int) -> int:
        return len(inner(session, category))

    outer = cached_function(env, counted)
    assert warm(env, outer) == len(before)
    with env.transaction() as session:
        session.add(product(name="new", category_id=1))
    assert call(env, outer) == (len(before) + 1, False)


def test_a_function_that_writes_is_not_stored(env: Env) -> None:
    """It has to be run each time."""

    def touched(session: Session, category: int) -> list[str]:
        session.execute(update(Category).where(Category.id == category).values(name="touched"))
        session.commit()
        return names(session, category)

    function = cached_function(env, touched)
    assert [call(env, function)[1] for _ in range(3)] == [False] * 3


def test_a_statement_that_is_never_cached_spoils_the_call(env: Env) -> None:
    """A function that locks rows has to lock them each time; the reason is counted."""

    def locked(session: Session, category: int) -> list[str]:
        return list(session.scalars(select(Product.name).where(Product.category_id == category).with_for_update()))

    function = cached_function(env, locked)
    assert [call(env, function)[1] for _ in range(3)] == [False] * 3
    assert sum(env.cache.stats().bypasses.values()) >= 2


def test_own_writes_are_seen_and_published_with_the_commit_alone(env: Env) -> None:
    """Inside the transaction the function is run; others are served what was committed; a rollback changes nothing."""
    function = cached_function(env, names)
    before = warm(env, function)
    with opened(env) as session:
        session.add(product(name="mine", category_id=1))
        assert function(session, 1) == [*before, "mine"]
        session.rollback()
    assert call(env, function) == (before, True)


def test_results_that_are_empty_are_served(env: Env) -> None:
    """An empty list, and ``None``."""

    def first(session: Session, category: int) -> str | None:
        return next(iter(names(session, category)), None)

    assert warm(env, cached_function(env, names), 404) == []
    assert warm(env, cached_function(env, first), 404) is None


def test_what_raises_is_not_stored(env: Env) -> None:
    """The error is the caller's each time; what was read before it is no result."""

    def failing(session: Session, category: int) -> list[str]:
        raise LookupError(names(session, category))

    function = cached_function(env, failing)
    for _ in range(2):
        with pytest.raises(LookupError):
            call(env, function)
    assert env.cache.stats().fills == 0


def test_a_tag_is_invalidated_by_any_process(env: Env) -> None:
    """At once, whatever was read; other tags' results are served on."""
    other = env.new_node()
    function = cached_function(env, names, tags=lambda category: [f"category:{category}", "lists"])
    before = {category: warm(env, function, category) for category in (1, 2)}
    other.cache.invalidate(tags=["category:1"])
    assert call(env, function, 1) == (before[1], False)
    assert call(env, function, 2) == (before[2], True)
    other.cache.invalidate(tags=["lists"])
    assert [call(env, function, category)[1] for category in (1, 2)] == [False, False]


def test_a_tag_is_invalidated_by_the_commit_of_a_session(env: Env) -> None:
    """Not before it, and not by a rollback."""
    function = cached_function(env, names, tags=["lists"])
    before = warm(env, function)
    for end in (Session.rollback, Session.commit):
        with env.session() as session:
            env.cache.invalidate(tags=["lists"], session=session)
            assert call(env, function) == (before, True)
            end(session)
    assert call(env, function) == (before, False)


def test_a_tag_that_is_invalidated_during_a_load_ends_its_result(env: Env) -> None:
    """What was loaded before is not served after it."""
    other = env.new_node()

    def invalidated(session: Session, category: int) -> list[str]:
        found = names(session, category)
        if invalidations:
            invalidations.pop()
            other.cache.invalidate(tags=["lists"])
        return found

    invalidations: list[None] = []
    function = cached_function(env, invalidated, tags=["lists"])
    before = warm(env, function)
    invalidations.append(None)
    env.cache.invalidate(tags=["lists"])
    assert [call(env, function) for _ in range(3)] == [(before, False), (before, False), (before, True)]
