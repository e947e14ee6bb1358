"""Tasks that are cancelled, and programs that are interrupted, in the middle of `commit()`: nothing is stale afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.util import await_only

from tests.conformance.models import Product
from tests.harness import Env, Rows, sync_engine

NAMES = select(Product.name).order_by(Product.id)

STORE_STEPS = [
    pytest.param("before", "hold", False, id="before the hold"),
    pytest.param("after", "hold", False, id="when the holds are taken"),
    pytest.param("before", "release", True, id="before the release"),
    pytest.param("after", "release", True, id="when the stamps are released"),
]


class Parked:
    """A step at which a task waits for ever, until it is cancelled."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()

    def __call__(self) -> None:
        await_only(self._wait())

    async def _wait(self) -> None:
        self.reached.set()
        await asyncio.Event().wait()


async def commit_and_cancel(target: AsyncEngine, parked: Parked) -> None:
    async with AsyncSession(target) as session:
        (await session.get_one(Product, 1)).name = "cancelled"
        await session.flush()
        commit = asyncio.ensure_future(session.commit())
        await parked.reached.wait()
        commit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await commit


def require_nothing_stale(env: Env, before: Rows, *, committed: bool) -> None:
    """Nothing stale at once, nor when the holds that were left behind have ended; and everything can be used again."""
    assert (env.truth(NAMES) != before) == committed
    assert env.rows(NAMES) == env.rows(NAMES) == env.truth(NAMES)
    env.clock.advance(11)
    assert env.rows(NAMES) == env.truth(NAMES)
    assert env.served(NAMES), "a hold has not ended"
    with env.change_of(NAMES), env.transaction() as session:
        session.get_one(Product, 1).name = "another"


@pytest.mark.parametrize(("when", "operation", "committed"), STORE_STEPS)
def test_cancelled_at_a_step_of_the_store(async_env: Env, when: str, operation: str, committed: bool) -> None:
    """A cancellation before COMMIT prevents it; one after it is told, and what was committed is seen by all."""
    env, parked = async_env, Parked()
    before = env.warm(NAMES)
    traps: list[Callable[[], object]] = getattr(env.store, when)[operation]
    traps.append(parked)
    assert isinstance(env.target, AsyncEngine)
    await_only(commit_and_cancel(env.target, parked))
    assert not traps
    require_nothing_stale(env, before, committed=committed)
    assert env.checked_out == 0


@pytest.mark.parametrize("sent", [False, True], ids=["before it is sent", "before its answer is read"])
def test_cancelled_at_the_commit(async_env: Env, sent: bool) -> None:
    """The database may have committed or not: whichever, nobody is served what may be old."""
    env, parked = async_env, Parked()
    before = env.warm(NAMES)
    target = env.new_engine()
    assert isinstance(target, AsyncEngine)
    dialect: Any = sync_engine(target).dialect
    commit = dialect.do_commit

    def do_commit(connection: Any) -> None:
        if sent:
            commit(connection)
        if not parked.reached.is_set():
            parked()
        if not sent:
            commit(connection)

    dialect.do_commit = do_commit
    env.cache.attach(target)
    await_only(commit_and_cancel(target, parked))
    for _ in range(2):
        assert not env.served(NAMES), "an outcome that nobody knows does not let go of the stamps"
    require_nothing_stale(env, before, committed=sent)
    with env.change_of(NAMES), env.open_session(target) as session:
        session.get_one(Product, 1).name = "by the same engine"
        session.commit()


@pytest.mark.parametrize(("when", "operation", "committed"), STORE_STEPS)
def test_interrupted_at_a_step_of_the_store(env: Env, when: str, operation: str, committed: bool) -> None:
    """Ctrl+C, or the exit of a thread's program, at the same steps."""
    before = env.warm(NAMES)

    def interrupt() -> None:
        raise KeyboardInterrupt

    getattr(env.store, when)[operation].append(interrupt)
    with env.session() as session:
        session.get_one(Product, 1).name = "interrupted"
        with pytest.raises(KeyboardInterrupt):
            session.commit()
    require_nothing_stale(env, before, committed=committed)
    assert env.checked_out == 0
