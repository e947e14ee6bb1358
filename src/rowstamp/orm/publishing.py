"""Keep the effects of a write until its transaction commits, or publish them at once where it commits by itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from sqlalchemy.engine import Connection

from rowstamp.model import Dependency
from rowstamp.orm.attachment import Attachment
from rowstamp.orm.consequences import with_consequences
from rowstamp.orm.isolation import autocommits
from rowstamp.orm.settings import may_alter
from rowstamp.orm.sqlite import in_driver_transaction
from rowstamp.orm.transaction import commit_state, state_of

__all__ = ["Execute", "is_alone", "publish", "publish_definition", "verb"]

Execute: TypeAlias = Callable[[], None]
"""Sends the statement."""


def publish(
    attachment: Attachment, connection: Connection, found: set[Dependency], execute: Execute, *, alone: bool
) -> bool:
    """Keep effects, or execute and publish; return whether the statement was executed.

    Args:
        attachment: the engine's attachment.
        connection: where the statement is about to be sent.
        found: its effects.
        execute: sends it.
        alone: whether it commits by itself.
    """
    state = state_of(connection.connection)
    found = with_consequences(attachment, found)
    if Dependency.everything() in found:
        may_alter(attachment, state)
    if not alone:
        state.touch(found)
        return False
    attachment.core.commit(found, execute, refused=attachment.refused)
    if attachment.dialect.name == "sqlite" and in_driver_transaction(connection):
        # The driver has begun a transaction after all: what was written is published by its end.
        state.touch(found)
    return True


def publish_definition(
    attachment: Attachment,
    connection: Connection,
    found: set[Dependency],
    execute: Execute,
    *,
    alone: bool,
    defines: bool,
) -> bool:
    """Do the same for what may be a definition: MySQL and MariaDB commit whatever is open before one, and itself."""
    if defines and attachment.dialect.name in {"mysql", "mariadb"}:
        state = state_of(connection.connection)
        state.touch(with_consequences(attachment, found))
        commit_state(attachment, state, execute)
        return True
    return publish(attachment, connection, found, execute, alone=alone)


def is_alone(attachment: Attachment, connection: Connection, sql: str) -> bool:
    """Return whether a write commits by itself, in no transaction that anybody has begun."""
    return not state_of(connection.connection).manual and autocommits(attachment, connection, verb(sql))


_COMMENTS: Final = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?(?:\*/|$)|;)*", re.DOTALL)


def verb(sql: str) -> str:
    """Return a statement's first word, upper case; SQLite's driver skips comments to find it, and so must we."""
    start = _COMMENTS.match(sql)
    word = re.match(r"\w*", sql[start.end() :] if start else sql)
    return word.group().upper() if word else ""
