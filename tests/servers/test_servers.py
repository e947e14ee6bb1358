"""The private servers start, answer, and leave nothing behind: no process, no file, however their owner ends."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

import psycopg
import pymysql
import pytest
import redis
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from rowstamp.testing import servers
from rowstamp.testing.servers import LocalServer, PostgresServer, ServerError, ServerMissing, ValkeyServer
from tests.servers.mariadb import MariaDBServer, make_mariadb_server
from tests.servers.redis import RedisServer, make_redis_server
from tests.servers.support import Database, Databases, find_program

pytestmark = pytest.mark.once

once = pytest.mark.once

FACTORIES: dict[str, Callable[[], LocalServer]] = {
    "postgres": PostgresServer,
    "valkey": ValkeyServer,
    "mariadb": make_mariadb_server,
    "redis": make_redis_server,
}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@once
@pytest.mark.parametrize("kind", FACTORIES)
def test_stopping_ends_the_process_and_removes_the_data(kind: str) -> None:
    with FACTORIES[kind]() as server:
        pid, directory = server.pid, server.directory
        assert alive(pid)
        assert directory.is_dir()
    assert not alive(pid)
    assert not directory.exists()
    with pytest.raises(ServerError, match="is not running"):
        _ = server.pid


@once
@pytest.mark.parametrize("kind", FACTORIES)
def test_an_error_in_the_block_stops_the_server_too(kind: str) -> None:
    server = FACTORIES[kind]()
    pids: list[int] = []

    def fail() -> None:
        with server:
            pids.append(server.pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not alive(pids[0])


@once
@pytest.mark.parametrize("kind", FACTORIES)
def test_starting_twice_is_an_error_and_stopping_twice_is_not(kind: str) -> None:
    with FACTORIES[kind]() as server:
        with pytest.raises(ServerError, match="already running"):
            server.start()
        assert alive(server.pid)
        server.stop()


@once
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux to wait for a process that is not a child")
@pytest.mark.parametrize("class_name", ["PostgresServer", "ValkeyServer"])
def test_a_killed_owner_leaves_no_server_behind(class_name: str) -> None:
    program = f"""
import sys
from rowstamp.testing.servers import {class_name}
server = {class_name}()
server.start()
print(server.pid, server._watchdog.pid, server.directory, flush=True)
sys.stdin.read()
"""
    owner = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        server_pid, watchdog_pid, directory = owner.stdout.readline().split()
        handles = [os.pidfd_open(int(pid)) for pid in (server_pid, watchdog_pid)]
        owner.kill()
    try:
        for handle in handles:
            ended, _, _ = select.select([handle], [], [], 20)
            assert ended
    finally:
        for handle in handles:
            os.close(handle)
    assert not Path(directory).exists()


@once
def test_a_server_that_cannot_start_says_why_and_leaves_nothing() -> None:
    server = PostgresServer({"shared_buffers": "a lot"})
    with pytest.raises(ServerError, match=r"ended while starting:(?s:.*)shared_buffers"):
        server.start()
    with pytest.raises(ServerError, match="has not been started"):
        _ = server.directory


@once
def test_a_wheel_that_is_not_installed_is_named_with_its_remedy() -> None:
    with pytest.raises(ServerMissing, match="pip install no-such-wheel"):
        servers.wheel_folder("no_such_wheel", "no-such-wheel")


@once
def test_a_program_that_is_not_installed_skips_the_test_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROWSTAMP_REQUIRE_SERVERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install nothing"):
        find_program("no-such-program", remedy="apt-get install nothing")


@once
def test_a_program_that_is_required_and_not_installed_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROWSTAMP_REQUIRE_SERVERS", "1")
    with pytest.raises(ServerMissing, match="apt-get install nothing"):
        find_program("no-such-program", remedy="apt-get install nothing")


class TestPostgres:
    def test_answers_through_psycopg(self, postgres_server: PostgresServer) -> None:
        engine = sa.create_engine(postgres_server.url("psycopg"))
        with engine.connect() as connection:
            version = cast("str", connection.scalar(sa.text("SELECT version()")))
            room = int(cast("str", connection.scalar(sa.text("SHOW max_connections"))))
        engine.dispose()
        assert version.startswith("PostgreSQL 18")
        assert room >= 200

    async def test_answers_through_asyncpg(self, postgres_server: PostgresServer) -> None:
        engine = create_async_engine(postgres_server.url("asyncpg"))
        async with engine.connect() as connection:
            version = cast("str", await connection.scalar(sa.text("SELECT version()")))
        await engine.dispose()
        assert version.startswith("PostgreSQL 18")

    def test_compares_text_exactly(self, postgres_server: PostgresServer) -> None:
        with psycopg.connect(postgres_server.url()) as connection:
            row = connection.execute("SELECT datlocale FROM pg_database WHERE datname = current_database()").fetchone()
        assert row == ("C.UTF-8",)

    def test_a_fresh_database_is_empty_and_nobody_elses(self, postgres_databases: Databases) -> None:
        with postgres_databases.fresh() as one, postgres_databases.fresh() as other:
            with psycopg.connect(one.url()) as connection:
                connection.execute("CREATE TABLE here (id int)")
            with psycopg.connect(other.url()) as connection:
                assert connection.execute("SELECT to_regclass('here')").fetchone() == (None,)

    def test_a_database_is_dropped_even_while_somebody_is_connected(self, postgres_databases: Databases) -> None:
        with postgres_databases.fresh() as database:
            connection = psycopg.connect(database.url())
        with connection, pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")

    def test_a_crash_loses_nothing_committed_and_leaves_no_helper_process(self) -> None:
        with PostgresServer() as server:
            with psycopg.connect(server.url(), autocommit=True) as connection:
                connection.execute("CREATE TABLE t (id int)")
                helpers = [pid for (pid,) in connection.execute("SELECT pid FROM pg_stat_activity").fetchall()]
                server.kill()
            assert [pid for pid in helpers if alive(pid)] == []
            server.start()
            with psycopg.connect(server.url()) as connection:
                assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only a server that root starts changes its account")
    def test_runs_from_a_copy_where_its_account_cannot_read_the_wheel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def closed(_program: Path) -> bool:
            return False

        monkeypatch.setattr(servers, "_open_to_all", closed)
        with PostgresServer() as server, psycopg.connect(server.url()) as connection:
            assert Path(f"/proc/{server.pid}/exe").resolve().is_relative_to(server.directory)
            assert connection.execute("SELECT 1").fetchone() == (1,)


class Cache(Protocol):
    port: int

    def url(self, database: int = 0) -> str: ...


def check_ping(server: Cache, name: str, version: int) -> None:
    with redis.Redis.from_url(server.url(), decode_responses=True) as client:
        assert client.ping() is True
        facts = cast("dict[str, str]", client.info("server"))
    assert int(facts[f"{name}_version"].split(".")[0]) >= version


class TestValkey:
    def test_answers(self, valkey_server: ValkeyServer) -> None:
        check_ping(valkey_server, "valkey", 9)

    def test_is_empty_for_every_test(self, valkey_server: ValkeyServer, request: pytest.FixtureRequest) -> None:
        with redis.Redis.from_url(valkey_server.url()) as client:
            client.set("left", "over")
            assert request.getfixturevalue("valkey_url") == valkey_server.url()
            assert client.dbsize() == 0

    def test_comes_back_on_the_same_port_after_a_crash(self) -> None:
        with ValkeyServer() as server:
            port = server.port
            server.kill()
            server.start()
            assert server.port == port
            check_ping(server, "valkey", 9)

    def test_takes_another_port_where_the_first_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        free = servers.free_port
        with socket.socket() as occupant:
            occupant.bind(("127.0.0.1", 0))
            occupant.listen()
            taken: int = occupant.getsockname()[1]
            offers = iter([taken])
            monkeypatch.setattr(servers, "free_port", lambda: next(offers, 0) or free())
            with ValkeyServer() as server:
                assert server.port != taken
                check_ping(server, "valkey", 9)


class TestRedis:
    def test_answers(self, redis_server: RedisServer) -> None:
        check_ping(redis_server, "redis", 7)

    def test_is_empty_for_every_test(self, redis_server: RedisServer, redis_url: str) -> None:
        assert redis_url == redis_server.url()
        with redis.Redis.from_url(redis_url) as client:
            assert client.dbsize() == 0


class TestMariaDB:
    def test_answers_through_pymysql(self, mariadb_server: MariaDBServer) -> None:
        engine = sa.create_engine(mariadb_server.url("pymysql"))
        with engine.connect() as connection:
            version = cast("str", connection.scalar(sa.text("SELECT version()")))
        engine.dispose()
        assert "MariaDB" in version

    async def test_answers_through_asyncmy(self, mariadb_server: MariaDBServer) -> None:
        engine = create_async_engine(mariadb_server.url("asyncmy"))
        async with engine.connect() as connection:
            version = cast("str", await connection.scalar(sa.text("SELECT version()")))
        await engine.dispose()
        assert "MariaDB" in version

    def test_a_fresh_database_is_empty(self, mariadb_database: Database) -> None:
        engine = sa.create_engine(mariadb_database.url("pymysql"))
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT database()")) == mariadb_database.name
            assert connection.execute(sa.text("SHOW TABLES")).all() == []
        engine.dispose()

    def test_a_crash_keeps_what_was_flushed(self) -> None:
        with make_mariadb_server() as server:
            server.kill()
            server.start()
            with pymysql.connect(unix_socket=str(server.socket_path), user="root") as connection:
                connection.ping()


@once
def test_signals_are_those_of_the_servers_manuals() -> None:
    """PostgreSQL's "immediate" and "fast" shutdowns; SIGKILL would leave its children, SIGTERM would wait for clients."""
    assert (PostgresServer.kill_signal, PostgresServer.stop_signal) == (signal.SIGQUIT, signal.SIGINT)
