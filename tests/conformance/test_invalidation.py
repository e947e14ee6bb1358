"""Results made unusable by hand: by tag, by class, by row, by condition, now or with a commit."""

from typing import Any

import pytest
from sqlalchemy import select

from rowstamp import cached
from tests.conformance.models import Category, OrderItem, Product, Tag, product
from tests.harness import Env, everything

FIRST, SECOND = (select(Product).where(Product.id == id_) for id_ in (1, 2))
CATEGORIES = everything(Category)
TAGGED = cached(tags=["home", "shop"])


def test_a_tag_ends_what_carries_it(env: Env) -> None:
    """`invalidate(tags=…)` ends every result with one of the tags, and no other."""
    env.warm(FIRST, rowstamp=TAGGED)
    env.warm(SECOND, rowstamp=cached(tags=["other"]))
    env.cache.invalidate(tags=["home"])
    assert not env.served(FIRST, rowstamp=TAGGED)
    assert env.served(FIRST, rowstamp=TAGGED)
    assert env.served(SECOND, rowstamp=cached(tags=["other"]))


def test_each_of_several_tags_ends_it(env: Env) -> None:
    """A result hangs on all its tags."""
    for tag in ("home", "shop"):
        env.warm(FIRST, rowstamp=TAGGED)
        env.cache.invalidate(tags=[tag, "unused"])
        assert not env.served(FIRST, rowstamp=TAGGED)


def test_an_untagged_reader_is_not_served_what_its_tag_would_have_ended(env: Env) -> None:
    """The same statement with other tags: each reader's own tags count."""
    env.warm(FIRST)
    env.warm(FIRST, rowstamp=cached(tags=["a"]))
    env.cache.invalidate(tags=["a"])
    assert not env.served(FIRST, rowstamp=cached(tags=["a"]))


def test_a_class_ends_all_that_reads_its_table(env: Env) -> None:
    """`invalidate(Model)` ends lists and rows by key, and leaves other tables alone."""
    for each in (FIRST, everything(Product), CATEGORIES):
        env.warm(each)
    env.cache.invalidate(Product)
    assert [env.served(each) for each in (FIRST, everything(Product), CATEGORIES)] == [False, False, True]


def test_a_row_by_its_key(env: Env) -> None:
    """`invalidate(Model, id=…)` ends reads of that row and of the whole table, not those of another row."""
    for each in (FIRST, SECOND, everything(Product)):
        env.warm(each)
    env.cache.invalidate(Product, id=1)
    assert [env.served(each) for each in (FIRST, SECOND, everything(Product))] == [False, True, False]


def test_a_row_by_a_composite_key(env: Env) -> None:
    """All columns of a composite key name the row; a part of it widens to all rows."""
    one = select(OrderItem).where(OrderItem.order_id == 1, OrderItem.product_id == 1)
    other = select(OrderItem).where(OrderItem.order_id == 1, OrderItem.product_id == 3)
    env.warm(one)
    env.warm(other)
    env.cache.invalidate(OrderItem, order_id=1, product_id=1)
    assert [env.served(one), env.served(other)] == [False, True]
    env.cache.invalidate(OrderItem, order_id=1)
    assert [env.served(one), env.served(other)] == [False, False]


def test_a_row_by_a_condition(env: Env) -> None:
    """`invalidate(Model.id == …)` names the row."""
    for each in (FIRST, SECOND):
        env.warm(each)
    env.cache.invalidate(Product.id == 1)
    assert [env.served(FIRST), env.served(SECOND)] == [False, True]


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param(Product.category_id == 1, id="other column"),
        pytest.param(Product.id != 1, id="not equal"),
        pytest.param((Product.id == 1) | (Product.id == 2), id="or"),
        pytest.param(Product.id.in_([1, 2]), id="in"),
        pytest.param(Product.id > 0, id="greater"),
    ],
)
def test_a_condition_that_names_no_row_widens(env: Env, condition: Any) -> None:
    """Whatever the condition means, the rows it selects are never served from before."""
    env.warm(FIRST)
    env.warm(SECOND)
    env.cache.invalidate(condition)
    assert not env.served(SECOND)


def test_a_core_table(env: Env) -> None:
    """A Table is as good as a class."""
    env.warm(FIRST)
    env.cache.invalidate(Product.__table__)
    assert not env.served(FIRST)


def test_clear_ends_everything(env: Env) -> None:
    """After `clear()` nothing of before is served."""
    env.warm(FIRST)
    env.warm(CATEGORIES)
    env.cache.clear()
    assert not env.served(FIRST)
    assert not env.served(CATEGORIES)
    assert env.served(FIRST)


def test_clear_reaches_other_processes(env: Env) -> None:
    """`clear()` of one cache ends the entries of another on the same store and namespace."""
    env.warm(FIRST)
    env.new_node().cache.clear()
    assert not env.served(FIRST)


def test_namespaces_are_separate(env: Env) -> None:
    """A cache of another namespace on the same store shares nothing with this one."""
    env.warm(FIRST)
    other = env.new_node(namespace="other")
    assert not other.served(FIRST)
    other.cache.clear()
    assert env.served(FIRST)


def test_with_a_session_it_takes_effect_with_the_commit(env: Env) -> None:
    """`invalidate(session=…)` waits for the commit."""
    env.warm(FIRST, rowstamp=TAGGED)
    with env.session() as session:
        env.cache.invalidate(tags=["home"], session=session)
        assert env.served(FIRST, rowstamp=TAGGED)
        session.commit()
    assert not env.served(FIRST, rowstamp=TAGGED)


def test_with_a_session_that_has_written_too(env: Env) -> None:
    """It joins what the session's transaction has touched."""
    env.warm(CATEGORIES)
    with env.session() as session:
        session.add(product())
        session.flush()
        env.cache.invalidate(Category, session=session)
        assert env.served(CATEGORIES)
        session.commit()
    assert not env.served(CATEGORIES)


def test_with_a_session_that_writes_afterwards(env: Env) -> None:
    """A session that had no connection yet takes it along when it gets one."""
    env.warm(CATEGORIES)
    with env.session() as session:
        env.cache.invalidate(Category, session=session)
        session.add(product())
        session.flush()
        assert env.served(CATEGORIES)
        session.commit()
    assert not env.served(CATEGORIES)


def test_a_rollback_forgets_it(env: Env) -> None:
    """Rolled back, it never happens, now or with the next commit."""
    env.warm(FIRST, rowstamp=TAGGED)
    with env.session() as session:
        env.cache.invalidate(tags=["home"], session=session)
        session.rollback()
        session.add(Tag(name="other"))
        session.commit()
    assert env.served(FIRST, rowstamp=TAGGED)


def test_a_savepoint_does_not_publish_it(env: Env) -> None:
    """The release of a savepoint is no commit."""
    env.warm(FIRST, rowstamp=TAGGED)
    with env.session() as session:
        with session.begin_nested():
            env.cache.invalidate(tags=["home"], session=session)
        assert env.served(FIRST, rowstamp=TAGGED)
        session.commit()
    assert not env.served(FIRST, rowstamp=TAGGED)


def test_the_rollback_of_a_savepoint_never_loses_the_outer_one(env: Env) -> None:
    """What was asked before the savepoint happens with the outer commit."""
    env.warm(FIRST, rowstamp=TAGGED)
    with env.session() as session:
        env.cache.invalidate(tags=["home"], session=session)
        session.begin_nested().rollback()
        session.commit()
    assert not env.served(FIRST, rowstamp=TAGGED)


def test_a_closed_session_forgets_it(env: Env) -> None:
    """A session closed without commit publishes nothing."""
    env.warm(FIRST, rowstamp=TAGGED)
    with env.session() as session:
        env.cache.invalidate(tags=["home"], session=session)
    assert env.served(FIRST, rowstamp=TAGGED)


def test_results_end_with_their_time_to_live(env: Env) -> None:
    """The statement's `ttl` counts, else the cache's own."""
    short = cached(ttl=10)
    env.warm(FIRST, rowstamp=short)
    env.warm(SECOND)
    env.clock.advance(9)
    assert env.served(FIRST, rowstamp=short)
    env.clock.advance(2)
    assert not env.served(FIRST, rowstamp=short)
    assert env.served(SECOND)
    env.clock.advance(300)
    assert not env.served(SECOND)
