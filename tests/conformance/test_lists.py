"""A cached list follows what happens to its rows."""

from sqlalchemy import delete, insert, select, update

from tests.conformance.models import FREE_ID, Product, product
from tests.harness import Env

IN_BOOKS = select(Product).where(Product.category_id == 1).order_by(Product.id)
NOWHERE = select(Product).where(Product.category_id == 3)


def test_a_row_inserted_into_it_appears(env: Env) -> None:
    """A committed INSERT of a matching row is in the next read."""
    with env.change_of(IN_BOOKS), env.transaction() as session:
        session.add(product())


def test_a_row_updated_into_it_appears(env: Env) -> None:
    """A row that begins to match is in the next read."""
    with env.change_of(IN_BOOKS), env.transaction() as session:
        session.get_one(Product, 3).category_id = 1


def test_a_row_updated_out_of_it_disappears(env: Env) -> None:
    """A row that no longer matches is not in the next read."""
    with env.change_of(IN_BOOKS), env.transaction() as session:
        session.get_one(Product, 1).category_id = 2


def test_a_row_updated_in_it_shows_its_new_values(env: Env) -> None:
    """A changed column of a row that still matches is seen."""
    with env.change_of(IN_BOOKS), env.transaction() as session:
        session.get_one(Product, 1).name = "atlas II"


def test_a_row_deleted_from_it_disappears(env: Env) -> None:
    """A committed DELETE is seen."""
    with env.transaction() as session:
        session.add(product())
    with env.change_of(IN_BOOKS), env.transaction() as session:
        session.delete(session.get_one(Product, FREE_ID))


def test_an_empty_one_is_cached_and_fills_up(env: Env) -> None:
    """No rows is a result like another: it is served, and an INSERT ends it."""
    with env.change_of(NOWHERE), env.transaction() as session:
        session.add(product(category_id=3))


def test_a_missing_row_is_cached_and_found_once_it_is_there(env: Env) -> None:
    """`session.get` of nothing is served from the cache, and an INSERT of that key ends it."""
    env.cache.policy(Product)

    def get() -> str | None:
        with env.session() as session:
            found = session.get(Product, FREE_ID)
            return found.name if found else None

    assert get() is None
    with env.traffic() as traffic:
        assert get() is None
    assert not traffic.statements
    with env.transaction() as session:
        session.add(product())
    assert get() == "new 100"


def test_another_order_or_limit_is_another_entry(env: Env) -> None:
    """Statements that differ by ORDER BY, LIMIT or a parameter do not share an entry."""
    ids = select(Product.id)
    statements = [ids.order_by(Product.id), ids.order_by(Product.id.desc()), ids.order_by(Product.id).limit(2),
                  ids.order_by(Product.id).limit(3), ids.where(Product.id == 1), ids.where(Product.id == 2)]  # fmt: skip
    for _ in range(2):
        assert [env.rows(each) for each in statements] == [env.truth(each) for each in statements]


def test_core_writes_on_a_connection_are_seen(env: Env) -> None:
    """INSERT, UPDATE and DELETE on a Connection without any Session reach the cached list."""
    new = {"id": FREE_ID, "name": "new", "price": 1, "category_id": 1}
    for statement in (
        insert(Product).values(new),
        update(Product).where(Product.id == FREE_ID).values(name="newer"),
        delete(Product).where(Product.id == FREE_ID),
    ):
        with env.change_of(IN_BOOKS), env.connect() as connection:
            connection.execute(statement)
            connection.commit()


def test_writes_through_a_second_engine_are_seen(env: Env) -> None:
    """Two engines of one cache on one database share entries and invalidations."""
    with env.change_of(IN_BOOKS), env.elsewhere() as session:
        session.add(product())


def test_writes_of_another_process_are_seen(env: Env) -> None:
    """Another cache on the same store ends this one's entries."""
    other = env.new_node()
    with env.change_of(IN_BOOKS), other.transaction() as session:
        session.add(product())


def test_a_hit_is_what_was_stored_and_no_fresh_read(env: Env) -> None:
    """A write behind the cache's back is not seen: these scenarios really are served from the cache."""
    rows = env.warm(IN_BOOKS)
    with env.behind() as session:
        session.get_one(Product, 1).name = "unseen"
    assert env.rows(IN_BOOKS) == rows
    assert env.truth(IN_BOOKS) != rows
