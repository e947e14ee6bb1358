"""Notice what raw SQL does: what it writes, and when it begins or ends a transaction."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy.engine import Connection

from rowstamp.analysis.functions import ALTERING
from rowstamp.analysis.text import TextFacts, TextKind, parse_text
from rowstamp.model import Dependency
from rowstamp.orm.attachment import Attachment
from rowstamp.orm.collations import note_collation
from rowstamp.orm.consequences import called_effects, named_effects, warn_of_everything, with_consequences
from rowstamp.orm.publishing import Execute, is_alone, publish_definition, verb
from rowstamp.orm.settings import alter, may_alter
from rowstamp.orm.sqlite import in_driver_transaction
from rowstamp.orm.transaction import TransactionState, commit_state, state_of

__all__ = ["commit_what_is_open", "note_release", "note_savepoint", "note_text"]

_MYSQL: Final = frozenset({"mysql", "mariadb"})


def note_text(
    attachment: Attachment, connection: Connection, sql: str, execute: Execute, parameters: object = ()
) -> bool:
    """Note raw SQL; return whether it was executed here because it may commit."""
    state = state_of(connection.connection)
    note_collation(attachment.dialect, sql)
    if state.ending or _BRANCHES.match(sql):
        return False  # what ends a prepared transaction belongs to a commit that is guarded as a whole
    if _CHANGES_NO_ROWS.fullmatch(sql):
        return commit_what_is_open(attachment, state, execute)
    facts = parse_text(sql, attachment.dialect.name)
    if facts.understood and facts.kind in _ENDS:
        return _ENDS[facts.kind](attachment, connection, sql, execute)
    if facts.understood and facts.kind is TextKind.SESSION:
        alter(attachment, state, sql, parameters)
    found = _effects(attachment, facts, sql)
    if attachment.dialect.name in _MYSQL and (not facts.understood or "call" in facts.functions):
        return _perhaps_commit(attachment, state, found, execute)
    if not found:
        return False
    alone = is_alone(attachment, connection, sql)
    defines = facts.kind is TextKind.DEFINE
    return publish_definition(attachment, connection, found, execute, alone=alone, defines=defines)


def _effects(attachment: Attachment, facts: TextFacts, sql: str) -> set[Dependency]:
    if not facts.understood:
        return warn_of_everything(sql, facts.reason)
    # What alters the connection has been noted as that; it changes no rows.
    found = called_effects(attachment, facts.functions - ALTERING, sql)
    for schema, name in facts.writes:
        found |= named_effects(attachment, schema, name)
    return found


# -------------------------------------------------------------------------------------------------- transactions


def _begin(attachment: Attachment, connection: Connection, _sql: str, execute: Execute) -> bool:
    """In MySQL and MariaDB whatever is open is committed first."""
    state = state_of(connection.connection)
    done = commit_what_is_open(attachment, state, execute)
    state.manual = True
    return done


def _commit(attachment: Attachment, connection: Connection, _sql: str, execute: Execute) -> bool:
    commit_state(attachment, state_of(connection.connection), execute)
    return True


def _rollback(_attachment: Attachment, connection: Connection, _sql: str, execute: Execute) -> bool:
    execute()
    state_of(connection.connection).ended()
    return True


def _savepoint(attachment: Attachment, connection: Connection, sql: str, execute: Execute) -> bool:
    if verb(sql) == "RELEASE":
        return note_release(attachment, connection, execute)
    if verb(sql) == "ROLLBACK":
        state_of(connection.connection).undone()
    note_savepoint(attachment, connection)
    return False


_ENDS: Final[Mapping[TextKind, Callable[[Attachment, Connection, str, Execute], bool]]] = {
    TextKind.BEGIN: _begin,
    TextKind.COMMIT: _commit,
    TextKind.ROLLBACK: _rollback,
    TextKind.SAVEPOINT: _savepoint,
}


def commit_what_is_open(attachment: Attachment, state: TransactionState, execute: Execute) -> bool:
    """Execute what commits the open transaction on MySQL and MariaDB, and does not touch it elsewhere."""
    if attachment.dialect.name not in _MYSQL:
        return False
    commit_state(attachment, state, execute)
    return True


def _perhaps_commit(attachment: Attachment, state: TransactionState, found: set[Dependency], execute: Execute) -> bool:
    """Execute what may commit on MySQL and MariaDB, where procedures can and many statements do without saying so.

    What is open is published now, and again at the end of the transaction: it may be open still.
    """
    may_alter(attachment, state)
    state.touch(with_consequences(attachment, found))
    pending = state.all_effects(attachment)
    if not pending:
        return False
    attachment.core.commit(pending, execute, refused=attachment.refused)
    return True


def note_savepoint(attachment: Attachment, connection: Connection) -> None:
    """Note the beginning of a savepoint.

    In SQLite the outermost savepoint of a connection that is in no transaction *is* the transaction, and its release the
    commit.
    """
    if attachment.dialect.name == "sqlite" and not in_driver_transaction(connection):
        state_of(connection.connection).savepoint_begins = True


def note_release(attachment: Attachment, connection: Connection, execute: Execute) -> bool:
    """Note the release of a savepoint; return whether it was executed here because it may commit."""
    state = state_of(connection.connection)
    found = state.all_effects(attachment) if state.savepoint_begins else set[Dependency]()
    if not found:
        return False
    attachment.core.commit(found, execute, refused=attachment.refused)
    if not in_driver_transaction(connection):
        state.ended()
    return True


_CHANGES_NO_ROWS: Final = re.compile(
    r"\s*(PREPARE\s+TRANSACTION|CREATE\s+(SEQUENCE|TYPE|DOMAIN|EXTENSION|COLLATION|ROLE|USER)|COMMENT\s+ON|GRANT|REVOKE)"
    r"\b[^;]*;?\s*",
    re.IGNORECASE,
)
"""Single statements that define something beside the tables, or prepare a commit."""

_BRANCHES: Final = re.compile(r"\s*XA\s+(BEGIN|START|END|PREPARE|RECOVER)\b[^;]*$", re.IGNORECASE)
"""What MySQL's two-phase transactions say before they are committed."""
