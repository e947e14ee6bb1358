"""MariaDB, where the machine has it."""

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import pymysql
import pytest

from rowstamp.testing.servers import LocalServer
from tests.servers.support import Database, Databases, find_program

_REMEDY = "apt-get install mariadb-server"


class MariaDBServer(LocalServer):
    """A private MariaDB on a Unix socket, tuned for throw-away data. Its superuser is `root`, without a password."""

    name = "mariadb"

    def __init__(self, server: Path, installer: Path) -> None:
        super().__init__()
        self._server = server
        self._installer = installer

    @property
    def socket_path(self) -> Path:
        return self.directory / "mariadb.sock"

    def url(self, driver: str | None = None, database: str = "mysql") -> str:
        scheme = f"mariadb+{driver}" if driver else "mariadb"
        return f"{scheme}://root@localhost/{database}?unix_socket={quote(str(self.socket_path))}&charset=utf8mb4"

    def prepare(self) -> None:
        self.run([
            str(self._installer),
            *self._common(),
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ])  # fmt: skip

    def command(self) -> Sequence[str]:
        return [
            str(self._server),
            *self._common(),
            f"--socket={self.socket_path}",
            f"--pid-file={self.directory / 'mariadb.pid'}",
            "--skip-networking",
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
            "--default-time-zone=+00:00",
            "--innodb-buffer-pool-size=64M",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-flush-method=nosync",
            "--debug-no-sync",
            "--max-connections=250",
        ]

    def is_ready(self) -> bool:
        """The server greets whoever connects; the fifth byte is the version of the protocol, 10."""
        with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
            connection.settimeout(1.0)
            connection.connect(str(self.socket_path))
            return connection.recv(5)[4:] == b"\x0a"
        return False

    def _common(self) -> Sequence[str]:
        # It has to be told that running as root is meant.
        as_root = ["--user=root"] if os.geteuid() == 0 else []
        # Another server that starts, the installer's included, clears away what it finds of temporary tables in its tmpdir.
        own = [f"--datadir={self.directory / 'data'}", f"--tmpdir={self.directory}"]
        return ["--no-defaults", *own, *as_root]


def make_mariadb_server() -> MariaDBServer:
    """Return a server that is not started yet, or skip the test."""
    return MariaDBServer(find_program("mariadbd", remedy=_REMEDY), find_program("mariadb-install-db", remedy=_REMEDY))


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDBServer]:
    with make_mariadb_server() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_databases(mariadb_server: MariaDBServer) -> Iterator[Databases]:
    connection = pymysql.connect(unix_socket=str(mariadb_server.socket_path), user="root", autocommit=True)
    with connection, connection.cursor() as cursor:
        yield Databases(mariadb_server, cursor.execute, create="CREATE DATABASE {}", drop="DROP DATABASE {}")


@pytest.fixture
def mariadb_database(mariadb_databases: Databases) -> Iterator[Database]:
    """An empty database for one test; a fixture of wider scope takes one from `mariadb_databases.fresh()`."""
    with mariadb_databases.fresh() as database:
        yield database
