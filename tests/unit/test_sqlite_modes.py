"""When SQLite's driver begins a transaction by itself: its modes, told by the attributes that each version shows."""

from __future__ import annotations

import sqlite3
from types import SimpleNamespace
from typing import Any

import pytest

from rowstamp.orm.isolation import _sqlite_begins_before  # pyright: ignore[reportPrivateUsage]

MODES: dict[str, tuple[dict[str, Any], bool]] = {
    "legacy": ({"isolation_level": "", "autocommit": -1}, True),
    "legacy before Python 3.12": ({"isolation_level": ""}, True),
    "legacy without transactions": ({"isolation_level": None, "autocommit": -1}, False),
    "autocommit": ({"isolation_level": "", "autocommit": True}, False),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wrapped", [False, True], ids=["sqlite3", "aiosqlite"])
def test_modes(mode: str, wrapped: bool) -> None:
    """A write that no transaction is begun for commits by itself. (aiosqlite keeps the driver's connection inside.)"""
    attributes, begins = MODES[mode]
    driver: Any = SimpleNamespace(**attributes)
    driver = SimpleNamespace(_conn=driver) if wrapped else driver
    assert _sqlite_begins_before(driver, "INSERT") is begins
    assert not _sqlite_begins_before(driver, "CREATE")


def test_the_default_mode() -> None:
    """What `sqlite3.connect` gives without arguments is the legacy mode."""
    connection = sqlite3.connect(":memory:")
    assert _sqlite_begins_before(connection, "UPDATE")
    connection.close()
