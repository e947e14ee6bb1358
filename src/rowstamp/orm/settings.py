"""What a connection was told that makes the same SQL mean something else: a search path, a role, a tenant.

Such a connection is neither served nor does it fill, unless the cache was told (``vary=["search_path", "app.tenant"]``) that the setting is
part of what results mean. Then its value is part of every key that is made on the connection. The value is asked of the connection itself,
once after each change and in each transaction since: what a statement sets may be an expression, end with the transaction or be undone
by a rollback. To believe the application's own idea of its tenant instead was rejected: a connection that comes back from the pool
with another one's settings would fill under the wrong name.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

from sqlalchemy.engine import Connection

from rowstamp._sqlalchemy import in_greenlet
from rowstamp.analysis.settings import altered_settings, is_custom, is_local
from rowstamp.codec import canonical
from rowstamp.model import DIGEST_SIZE
from rowstamp.orm.attachment import Attachment
from rowstamp.orm.transaction import Settings, TransactionState, state_of

__all__ = ["UNKNOWN_STATE", "alter", "digest_of", "may_alter", "settings_of"]

UNKNOWN_STATE: Final = "connection state: the connection cannot be asked for it"


def alter(attachment: Attachment, state: TransactionState, sql: str, parameters: object = ()) -> None:
    """Note that a connection's state is no longer what others have.

    Args:
        attachment: the engine's attachment.
        state: what is known of the connection.
        sql: what alters it.
        parameters: the parameters as the driver gets them.
    """
    attachment.alters = True
    names = altered_settings(sql, parameters, attachment.dialect.name)
    if names is not None and names.issubset(attachment.core.config.states):
        state.named, state.settings = state.named | names, None
        return
    shown = " ".join(sql.split())[:60]
    if is_local(sql) and not is_custom(names, sql):
        state.altered_locally = shown
    else:
        state.altered = shown


def may_alter(attachment: Attachment, state: TransactionState) -> None:
    """Note that something was called of which nothing is known: it may have changed declared settings."""
    states = attachment.core.config.states
    variables = frozenset(name for name in states if name.startswith("@"))
    found = variables if attachment.dialect.name != "postgresql" else frozenset(states) - variables
    if found and attachment.dialect.name in _SPELLINGS:
        attachment.alters = True
        state.named, state.settings = state.named | found, None


def settings_of(connection: Connection) -> Settings | None:
    """Return the declared settings of a connection by name, ``()`` if nobody has changed them; ``None`` if they are not to be had.

    Args:
        connection: the connection, which is asked if nobody has since they may have changed.
    """
    state = state_of(connection.connection)
    if state.settings is None and not (connection.dialect.is_async and not in_greenlet()):
        state.settings = _ask(connection, sorted(state.named))
    return state.settings


def _ask(connection: Connection, names: Sequence[str]) -> Settings | None:
    """Ask for settings, on a cursor of the driver: this is no statement of the application."""
    spell = _SPELLINGS[connection.dialect.name]
    cursor: Any = connection.connection.cursor()
    try:
        cursor.execute(f"SELECT {', '.join(map(spell, names))}")
        row = cursor.fetchone()
    except Exception:  # noqa: BLE001 - whatever is wrong with this connection, the statement itself will show
        return None
    finally:
        cursor.close()
    return tuple((name, None if value is None else str(value)) for name, value in zip(names, row, strict=True))


def digest_of(settings: Settings) -> bytes:
    """Return a digest of settings, as part of the key of a call."""
    return blake2b(canonical(settings), digest_size=DIGEST_SIZE).digest()


def _postgresql(name: str) -> str:
    return f"current_setting('{name}', true)"


def _mysql(name: str) -> str:
    if name in _MYSQL_FUNCTIONS:
        return _MYSQL_FUNCTIONS[name]
    return name if name.startswith("@") else f"@@SESSION.{name}"


_MYSQL_FUNCTIONS: Final = {"database": "DATABASE()", "role": "CURRENT_ROLE()"}
_SPELLINGS: Final = {"postgresql": _postgresql, "mysql": _mysql, "mariadb": _mysql}
