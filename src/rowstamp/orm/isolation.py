"""When the snapshot that a statement will see comes into being.

Which level is in force is asked of each driver connection once, not only of SQLAlchemy: what a ``connect`` listener or the driver's
own options set, SQLAlchemy does not know. Whether a transaction has begun is asked of the driver, or of the server: a listener may
have read on the raw connection, and a snapshot that is older than it seems would make a fill stale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy.engine import Connection, Engine

from rowstamp._sqlalchemy import is_initialized
from rowstamp.orm.attachment import Attachment
from rowstamp.orm.sqlite import begins_before, in_driver_transaction, is_half_read
from rowstamp.orm.transaction import TransactionState, state_of
from rowstamp.protocol import SnapshotView

__all__ = ["autocommits", "observe", "snapshot_view"]

_OPTION: Final = "isolation_level"
_PER_STATEMENT: Final = frozenset({"READ COMMITTED", "AUTOCOMMIT"})
_UNKNOWN: Final = "UNKNOWN"


def _level_by_option(target: Connection | Engine) -> str | None:
    """Return the level that an execution option has put in force, upper case."""
    level = target.get_execution_options().get(_OPTION)
    return level.upper().replace("_", " ") if level else None


def snapshot_view(
    attachment: Attachment,
    connection: Connection | None,
    engine: Engine | None = None,
    *,
    state: TransactionState | None = None,
) -> SnapshotView | None:
    """Return how a statement's snapshot relates to stamps captured now, as far as is known without asking anybody.

    ``AHEAD`` is an expectation, which :func:`observe` confirms; ``None`` says that a connection has to be asked.

    Args:
        attachment: the engine's attachment.
        connection: the connection the statement will run on, if there is one already.
        engine: the engine that will give it one: that attached, or a copy with options of its own.
        state: what is known of the driver connection behind the connection, if it is at hand.
    """
    target = engine or attachment.engine if connection is None else connection
    level = _level_by_option(target)
    if connection is not None and state is None:
        state = state_of(connection.connection)
    if attachment.dialect.name == "sqlite":
        return _sqlite_view(attachment, connection, state, level)
    if state is not None:
        return _view(attachment, level or state.level, ahead=not state.spoken)
    if level is not None:
        return _view(attachment, level, ahead=True) if is_initialized(attachment.dialect) else None
    if not attachment.levels:
        return None
    views = {_view(attachment, each, ahead=True) for each in attachment.levels}
    return views.pop() if len(views) == 1 else None


def _view(attachment: Attachment, level: str, *, ahead: bool) -> SnapshotView | None:
    if not level:
        return None
    if level in _PER_STATEMENT or (level == "READ UNCOMMITTED" and attachment.dialect.name == "postgresql"):
        return SnapshotView.PER_STATEMENT
    if level in {"REPEATABLE READ", "SERIALIZABLE"} and ahead:
        return SnapshotView.AHEAD
    return SnapshotView.TAKEN  # READ UNCOMMITTED may see what is never committed


def observe(attachment: Attachment, connection: Connection, state: TransactionState) -> SnapshotView:
    """Return a statement's view, asking the driver or the server what is not known yet.

    Args:
        attachment: the engine's attachment.
        connection: where the statement is about to run.
        state: what is known of the driver connection behind it.
    """
    if attachment.dialect.name == "sqlite":
        if not (state.effects or state.insert or state.manual):
            # Learn whether this engine really begins its transactions.
            attachment.begins = bool(attachment.begins) or in_driver_transaction(connection)
        state.left_open = True  # in doubt: a result may be open of which nothing was seen here
    elif not state.level and _level_by_option(connection) is None:
        state.level = _ask_level(connection)
        attachment.levels.add(state.level)
    view = snapshot_view(attachment, connection) or SnapshotView.TAKEN
    if view is SnapshotView.AHEAD and _has_begun(attachment, connection):
        return SnapshotView.TAKEN
    return view


def _ask_level(connection: Connection) -> str:
    """Ask the server for the level of a connection to which no execution option has given one."""
    driver: Any = connection.connection.dbapi_connection
    try:
        level = connection.dialect.get_isolation_level(driver)
    except Exception:  # noqa: BLE001 - whatever is wrong with this connection, the statement itself will show
        return _UNKNOWN
    return str(level).upper().replace("-", " ").replace("_", " ")


# ----------------------------------------------------------------------------------- has a transaction begun


def _has_begun(attachment: Attachment, connection: Connection) -> bool:
    """Return whether a snapshot may have been taken; ``True`` where there is no telling."""
    tell = _HAS_BEGUN.get(attachment.dialect.driver)
    return True if tell is None else tell(connection)


def _psycopg_has_begun(connection: Connection) -> bool:
    driver: Any = connection.connection.driver_connection
    return bool(driver.info.transaction_status)  # IDLE is 0


def _asyncpg_has_begun(connection: Connection) -> bool:
    driver: Any = connection.connection.driver_connection
    return bool(driver.is_in_transaction())


def _mariadb_has_begun(connection: Connection) -> bool:
    """Ask the server: these drivers are not told by the answer to a SELECT. The question takes no snapshot.

    MySQL has no such variable, and begins to read at once for all we know.
    """
    cursor: Any = connection.connection.cursor()
    try:
        cursor.execute("SELECT @@in_transaction")
        return bool(cursor.fetchone()[0])
    except Exception:  # noqa: BLE001 - no answer is no
        return True
    finally:
        cursor.close()


_HAS_BEGUN: Final[Mapping[str, Callable[[Connection], bool]]] = {
    "psycopg": _psycopg_has_begun,
    "psycopg_async": _psycopg_has_begun,
    "psycopg2": _psycopg_has_begun,
    "asyncpg": _asyncpg_has_begun,
    "pymysql": _mariadb_has_begun,
    "asyncmy": _mariadb_has_begun,
    "aiomysql": _mariadb_has_begun,
    "mysqldb": _mariadb_has_begun,
}


# ---------------------------------------------------------------------------------------------------- SQLite


def _sqlite_view(
    attachment: Attachment, connection: Connection | None, state: TransactionState | None, level: str | None
) -> SnapshotView | None:
    """SQLite's snapshot belongs to the driver's transaction, which by default only DML begins, or to a result that is half read."""
    configured = level or (attachment.configured_level or "").upper()
    if configured == "READ UNCOMMITTED":
        return SnapshotView.TAKEN
    if connection is not None and state is not None:
        taken = in_driver_transaction(connection) or is_half_read(connection, state)
        return SnapshotView.TAKEN if taken else SnapshotView.PER_STATEMENT
    if attachment.begins is None:
        return None
    return SnapshotView.TAKEN if attachment.begins else SnapshotView.PER_STATEMENT


def autocommits(attachment: Attachment, connection: Connection, verb: str) -> bool:
    """Return whether a write commits by itself instead of waiting for the transaction's end.

    Args:
        attachment: the engine's attachment.
        connection: the connection it runs on.
        verb: the statement's first word, upper case.
    """
    level = _level_by_option(connection) or (attachment.configured_level or "").upper()
    if level == "AUTOCOMMIT":
        return True
    if attachment.dialect.name != "sqlite":
        return _driver_autocommits(connection)
    if in_driver_transaction(connection):
        return False
    return not begins_before(connection.connection.driver_connection, verb)


def _driver_autocommits(connection: Connection) -> bool:
    """Return whether the driver was told to commit each statement, be it without SQLAlchemy's knowledge."""
    try:
        return bool(connection.dialect.detect_autocommit_setting(connection.connection.dbapi_connection))  # type: ignore[arg-type]
    except NotImplementedError:
        return False
