"""`rowstamp demo`: it runs, it tells the truth, and it can fail."""

import asyncio
import sqlite3
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from typer.testing import CliRunner, Result

from rowstamp._sqlalchemy import await_in_greenlet
from rowstamp.cli.app import app
from rowstamp.cli.demo.database import async_url
from rowstamp.cli.demo.figures import MOST_STALE
from rowstamp.cli.demo.settings import DemoError
from rowstamp.cli.demo.verify import Ledger
from rowstamp.core import Core
from tests.servers.support import Database

SMALL = ("--products", "2000", "--seconds", "1")
# A run ends as soon as enough is wrong; the time is for a machine that is busy with other things.
WRONG = ("--products", "100", "--seconds", "60", "--writes", "0.3")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["demo", *arguments])


def last_line(result: Result) -> str:
    return result.stdout.rstrip().splitlines()[-1]


def test_it_runs_and_finds_no_stale_hit() -> None:
    result = run(*SMALL)
    assert result.exit_code == 0, result.output
    assert last_line(result).startswith("verified hits ")
    assert last_line(result).endswith(" · stale hits 0")
    assert "lookup by primary key" in result.stdout
    assert "cached for 300 s" in result.stdout
    assert "cache.attach(engine)" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100


@pytest.mark.once
def test_quiet_prints_the_verdict_alone() -> None:
    result = run(*SMALL, "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [last_line(result)]


def test_it_runs_on_postgresql(postgres_database: Database) -> None:
    url = postgres_database.url()
    result = run(*SMALL, "--db", url)
    assert result.exit_code == 0, result.output
    assert last_line(result).endswith(" · stale hits 0")
    assert asyncio.run(_tables(str(async_url(url)))) == []


async def _tables(url: str) -> list[str]:
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        found = await connection.scalars(text("SELECT tablename FROM pg_tables WHERE tablename LIKE 'rowstamp%'"))
    await engine.dispose()
    return list(found)


# ------------------------------------------------------------------------------------------ the verifier can fail


def touches_nothing(_core: Core, _effects: Iterable[Any], commit_database: Callable[[], Any], **_refused: Any) -> None:
    """Commit as if there were no cache."""
    commit_database()


def touches_too_early(core: Core, effects: Iterable[Any], commit_database: Callable[[], Any], **_refused: Any) -> None:
    """Invalidate, then commit; a reader in between stores the old row for good."""
    core._run(core.invalidation(effects))
    await_in_greenlet(others_fill(core, core.counters.snapshot().fills + 8))
    commit_database()


async def others_fill(core: Core, enough: int) -> None:
    """Let the other tasks go on until they have filled some entries, or are waiting themselves."""
    for _ in range(200):
        if core.counters.snapshot().fills >= enough:
            return
        await asyncio.sleep(0)


def finds_nothing(*_: object) -> list[str]:
    """Stand in for one of the two ways of verifying."""
    return []


@pytest.mark.once
@pytest.mark.parametrize("weakened", [touches_nothing, touches_too_early])
def test_a_cache_that_is_not_invalidated_rightly_is_found_out(
    weakened: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Core, "commit", weakened)
    monkeypatch.setattr("rowstamp.cli.demo.figures.MOST_STALE", 1)
    result = run(*WRONG)
    assert result.exit_code == 1, result.output
    assert int(last_line(result).rpartition(" ")[2]) >= 1


@pytest.mark.once
def test_comparing_at_rest_finds_it_out_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Core, "commit", touches_nothing)
    monkeypatch.setattr(Ledger, "too_old", finds_nothing)
    result = run(*WRONG)
    assert result.exit_code == 1, result.output
    assert " ".join(result.stdout.split()).count(": cached ") >= MOST_STALE


@pytest.mark.once
def test_the_ledger_finds_it_out_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Core, "commit", touches_nothing)
    monkeypatch.setattr("rowstamp.cli.demo.mix.difference", finds_nothing)
    result = run(*WRONG)
    assert result.exit_code == 1, result.output
    assert " ".join(result.stdout.split()).count(": read ") >= MOST_STALE


@pytest.mark.once
def test_a_task_that_fails_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_core: Core, _effects: Iterable[Any], _commit_database: Callable[[], Any], **_refused: Any) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(Core, "commit", fails)
    result = run(*WRONG)
    assert result.exit_code == 1
    assert "a task failed: OSError: the disk is gone" in result.stdout


# --------------------------------------------------------------------------------------------------- bad options


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--store", "nosuch://x"), "unknown store scheme 'nosuch'"),
        (("--db", "not a url"), "--db is not a database URL"),
        (("--db", "sqlite://"), "an in-memory SQLite database has a single connection"),
        (("--db", "nosuch://h/d"), "no asynchronous driver is known for 'nosuch'"),
        (("--db", "postgresql+psycopg2://h/d"), "psycopg2"),
        (("--db", "postgresql+asyncpg://nobody@127.0.0.1:1/d"), "cannot use the database postgresql+asyncpg://nobody@"),
        (("--products", "1"), "--products"),
        (("--writes", "2"), "--writes"),
        (("--tasks", "0"), "--tasks"),
        (("--seconds", "0"), "--seconds"),
    ],
)
def test_a_bad_option_is_named_with_a_remedy(arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.once
def test_a_password_is_not_printed() -> None:
    result = run("--db", "postgresql+asyncpg://me:hunter2@127.0.0.1:1/d")
    assert result.exit_code == 2
    assert "hunter2" not in result.output


def no_module(_name: str) -> None:
    return None


@pytest.mark.once
def test_a_database_without_an_installed_driver_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", no_module)
    with pytest.raises(DemoError, match=r"python -m pip install asyncpg \(or psycopg\)"):
        async_url("postgresql://h/d")


OTHER_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"


@contextmanager
def occupied(path: Path) -> Generator[sqlite3.Connection]:
    connection = sqlite3.connect(path)
    try:
        connection.execute("CREATE TABLE rowstamp_demo_products (mine TEXT)")
        connection.execute("CREATE TABLE products (mine TEXT)")
        connection.commit()
        yield connection
    finally:
        connection.close()


@pytest.mark.once
def test_tables_that_are_there_are_left_alone(tmp_path: Path) -> None:
    with occupied(tmp_path / "shop.db") as connection:
        result = run(*SMALL, "--db", f"sqlite:///{tmp_path / 'shop.db'}")
        assert result.exit_code == 2
        assert "rowstamp_demo_products" in result.stderr
        assert "--drop" in result.stderr
        assert connection.execute("SELECT mine FROM rowstamp_demo_products").fetchall() == []


@pytest.mark.once
def test_drop_replaces_the_demos_own_tables_and_no_others(tmp_path: Path) -> None:
    with occupied(tmp_path / "shop.db") as connection:
        result = run(*SMALL, "--drop", "--db", f"sqlite:///{tmp_path / 'shop.db'}")
        assert result.exit_code == 0, result.output
        assert connection.execute(OTHER_TABLES).fetchall() == [("products",)]
