"""Read replicas: what one returns may be older than the stamps that were captured before.

A hit on a replica is at least as new as what the replica would say, so it is served. A fill is another matter: the stamps tell of writes that
the replica may not have applied yet, and the old rows would be stored under the new tokens. So a replica fills only if the user's
``caught_up`` says, *after* the stamps were captured and *before* the query has a snapshot, that it has applied everything its primary
had committed by then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy.engine import Connection

from rowstamp.errors import ConfigurationError
from rowstamp.orm.attachment import Attachment
from rowstamp.protocol import SnapshotView

__all__ = ["BEHIND", "CaughtUp", "Role", "check_role", "may_be_behind"]

CaughtUp: TypeAlias = Callable[[Any], bool]
"""Given the pooled driver connection that is about to run the query, says whether it has applied what its primary has committed."""

Role: TypeAlias = Literal["primary", "replica"]

BEHIND: Final = "a replica may be older than the stamps"


def check_role(role: object, caught_up: object) -> None:
    """Check what ``attach`` was told of an engine's part in replication.

    Raises:
        ConfigurationError: the role is unknown, or ``caught_up`` is given for a primary or cannot be called.
    """
    if role not in {"primary", "replica"}:
        msg = f"role={role!r} is unknown: give 'primary' or 'replica'"
        raise ConfigurationError(msg)
    if caught_up is None:
        return
    if role != "replica":
        msg = f"caught_up={caught_up!r} says something about a replica: give role='replica' too"
        raise ConfigurationError(msg)
    if not callable(caught_up):
        msg = f"caught_up={caught_up!r} cannot be called: give a function such as postgres_caught_up(primary)"
        raise ConfigurationError(msg)


def may_be_behind(attachment: Attachment, connection: Connection, view: SnapshotView) -> bool:
    """Return whether rows read now may be older than stamps captured before; to be asked just before the query.

    Args:
        attachment: the engine's attachment.
        connection: where the query will run.
        view: when its snapshot will be taken. To ask is to read: where a transaction has one snapshot for all, that of
            the question would be older than the answer.
    """
    if not attachment.replica:
        return False
    if attachment.caught_up is None or view is not SnapshotView.PER_STATEMENT:
        return True
    try:
        return not attachment.caught_up(connection.connection)
    except Exception:  # noqa: BLE001 - a primary that cannot be asked must not fail the query
        return True
