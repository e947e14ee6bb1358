"""What the fixtures of several servers share."""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NoReturn, Protocol

import pytest

from rowstamp.testing.servers import ServerMissing

# Debian keeps some servers where an ordinary account's PATH does not lead.
_PLACES = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"])


class DatabaseServer(Protocol):
    def url(self, driver: str | None = None, database: str = ...) -> str: ...


class Administration(Protocol):
    """Runs one statement outside any transaction, as the superuser."""

    def __call__(self, sql: str, /) -> object: ...


@dataclass(frozen=True, kw_only=True)
class Database:
    """A database that belongs to whoever asked for it."""

    server: DatabaseServer
    name: str

    def url(self, driver: str | None = None) -> str:
        """Return the SQLAlchemy URL for a driver, or the plain URL."""
        return self.server.url(driver, self.name)


class Databases:
    """Makes fresh databases on one server; `fresh()` fits a test, a module or a part of a test.

    Names are never used twice, so that nothing a cache remembers of one database fits another.
    """

    def __init__(self, server: DatabaseServer, administer: Administration, *, create: str, drop: str) -> None:
        self.server = server
        self._administer = administer
        self._create = create
        self._drop = drop
        self._numbers = count(1)

    @contextmanager
    def fresh(self) -> Generator[Database]:
        """Make an empty database; drop it afterwards, whoever is still connected."""
        name = f"test_{next(self._numbers)}"
        self._administer(self._create.format(name))
        try:
            yield Database(server=self.server, name=name)
        finally:
            self._administer(self._drop.format(name))


def find_program(name: str, *folders: str, remedy: str) -> Path:
    """Find a server that the machine may or may not have; skip the test, with the remedy, where it has not.

    Args:
        name: the program.
        folders: where to look first.
        remedy: the command that installs it.
    """
    found = shutil.which(name, path=os.pathsep.join([*folders, _PLACES]))
    if found is None:
        unavailable(f"{name} is not installed; to run this test: {remedy}")
    return Path(found)


def unavailable(reason: str) -> NoReturn:
    """Skip the test; fail it where ROWSTAMP_REQUIRE_SERVERS says that every server has to be there (as CI does)."""
    if os.environ.get("ROWSTAMP_REQUIRE_SERVERS"):
        raise ServerMissing(reason)
    pytest.skip(reason)
