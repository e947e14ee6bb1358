"""The connection is lost while COMMIT is under way: nobody knows whether it has taken place, so it counts as if it had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, select
from sqlalchemy.exc import DBAPIError

from rowstamp.orm.attachment import database_identity
from tests.conformance.models import Product
from tests.faults.proxy import Proxy
from tests.harness import Env, Target

NAMES = select(Product.name).order_by(Product.id)


@pytest.fixture
def proxy(server_env: Env) -> Iterator[Proxy]:
    """Stands between an engine and the server's socket."""
    query = make_url(server_env.url).query
    path = query.get("unix_socket") or f"{query['host']}/.s.PGSQL.{query['port']}"
    assert isinstance(path, str)
    with Proxy(Path(path)) as proxy:
        yield proxy


def through(env: Env, proxy: Proxy) -> Target:
    """Return an attached engine whose connections pass by the proxy."""
    url = make_url(env.url).difference_update_query(["host", "port", "unix_socket"])
    target = env.new_engine(url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False))
    env.cache.attach(target, database=database_identity(make_url(env.url)))
    return target


@pytest.mark.parametrize("committed", [True, False], ids=["after it", "before it"])
def test_a_connection_that_is_lost_at_the_commit(server_env: Env, proxy: Proxy, committed: bool) -> None:
    """The database's error is raised, the stamps stay held until they expire, and nobody is served what may be old."""
    env = server_env
    before = env.warm(NAMES)
    target = through(env, proxy)
    with env.open_session(target) as session:
        session.get_one(Product, 1).name = "lost"
        session.flush()
        if committed:
            proxy.cut_answer = b"COMMIT"
        else:
            proxy.cut_request = b"COMMIT"
        with pytest.raises(DBAPIError) as raised:
            session.commit()
        assert raised.value.connection_invalidated
    assert (env.truth(NAMES) != before) == committed
    for _ in range(2):
        assert not env.served(NAMES), "an outcome that nobody knows does not let go of the stamps"
    assert env.rows(NAMES) == env.truth(NAMES)
    env.clock.advance(11)
    assert env.rows(NAMES) == env.truth(NAMES)
    assert env.served(NAMES), "a hold has not ended"
    with env.change_of(NAMES), env.open_session(target) as session:  # the pool connects again
        session.get_one(Product, 1).name = "another"
        session.commit()
