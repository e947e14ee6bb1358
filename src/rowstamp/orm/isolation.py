"""When the snapshot that a statement will see comes into being."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection, Engine

from rowstamp._sqlalchemy import default_isolation
from rowstamp.orm.attachment import Attachment
from rowstamp.protocol import SnapshotView

__all__ = ["autocommits", "in_driver_transaction", "isolation_level", "snapshot_view"]


def isolation_level(attachment: Attachment, connection: Connection | None, engine: Engine | None = None) -> str | None:
    """Return the isolation level in force, upper case; ``None`` if no connection was ever made to tell."""
    level = connection.get_execution_options().get("isolation_level") if connection is not None else None
    level = level or default_isolation(connection.engine if connection is not None else engine or attachment.engine)
    return level.upper().replace("_", " ") if level else None


def snapshot_view(
    attachment: Attachment, connection: Connection | None, engine: Engine | None = None
) -> SnapshotView | None:
    """Return how a statement's snapshot relates to stamps captured now; ``None``: not known before a connection is made.

    Args:
        attachment: the engine's attachment.
        connection: the connection the statement will run on, if there is one already.
        engine: the engine that will give it one: that attached, or a copy with options of its own.
    """
    level = isolation_level(attachment, connection, engine)
    if attachment.dialect.name == "sqlite":
        return _sqlite_view(attachment, connection, level)
    if level is None:
        return None
    return SnapshotView.PER_STATEMENT if level in {"READ COMMITTED", "AUTOCOMMIT"} else SnapshotView.TAKEN


def _sqlite_view(attachment: Attachment, connection: Connection | None, level: str | None) -> SnapshotView | None:
    """SQLite's snapshot belongs to the driver's transaction, which by default only DML begins."""
    if level == "READ UNCOMMITTED":
        return SnapshotView.TAKEN
    if connection is not None:
        return SnapshotView.TAKEN if in_driver_transaction(connection) else SnapshotView.PER_STATEMENT
    if attachment.begins is None:
        return None
    return SnapshotView.TAKEN if attachment.begins else SnapshotView.PER_STATEMENT


def in_driver_transaction(connection: Connection) -> bool:
    """Return whether the SQLite driver has a transaction open."""
    driver: Any = connection.connection.driver_connection
    return bool(getattr(driver, "in_transaction", True))


def autocommits(attachment: Attachment, connection: Connection, verb: str) -> bool:
    """Return whether a write commits by itself instead of waiting for the transaction's end.

    Args:
        attachment: the engine's attachment.
        connection: the connection it runs on.
        verb: the statement's first word, upper case.
    """
    if isolation_level(attachment, connection) == "AUTOCOMMIT":
        return True
    if attachment.dialect.name != "sqlite" or in_driver_transaction(connection):
        return False
    driver: Any = connection.connection.driver_connection
    # sqlite3 begins a transaction before these verbs only, and before none when its isolation_level is None.
    begins = getattr(driver, "isolation_level", "") is not None
    return not (begins and verb in {"INSERT", "UPDATE", "DELETE", "REPLACE"})
