"""What the open transaction of a driver connection has written, and the commit that publishes it.

The effects are kept with the *driver's* connection, not with a Session or Connection: two of those may share one driver connection
(in-memory SQLite), the pool may commit or roll back when a connection returns to it, and an outer transaction outlives
the session inside it.

COMMIT is caught where it is sent: in the dialect's ``do_commit``. SQLAlchemy's events are not enough. ``ConnectionEvents.commit`` comes
before COMMIT and nothing comes after; the Session's ``after_commit`` also fires for savepoints, and Core connections have no
session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from sqlalchemy.engine import Dialect

from rowstamp._sqlalchemy import connection_info
from rowstamp.analysis.inserted import Inserted
from rowstamp.model import Dependency, Unknown
from rowstamp.orm.attachment import Attachment

__all__ = ["NO_SETTINGS", "Settings", "TransactionState", "guard_commits", "state_of", "unguard_commits"]

EFFECT_LIMIT: Final = 4096
"""Most row effects a transaction keeps apart; beyond it each table's rows are unknown."""

Settings: TypeAlias = tuple[tuple[str, str | None], ...]
"""Settings of a connection and their values; see :mod:`rowstamp.orm.settings`."""

NO_SETTINGS: Final[Settings] = ()
"""Those of a connection as it was when it was opened."""

_KEY: Final = "rowstamp"


@dataclass(slots=True)
class TransactionState:
    """What is known of a driver connection.

    Attributes:
        effects: what its open transaction touched.
        noted: the execution of the statement noted last, of which there may be further batches.
        insert: the INSERT under way, if the database's answer has to tell keys of its rows, with its context.
        altered: why the same SQL may mean something else on this connection than on others; empty if it does not.
        altered_locally: the same, until the transaction ends.
        named: the declared settings that may ever have been changed.
        settings: those, with their values; ``None`` when the connection has to be asked.
        savepoint_begins: whether the open transaction was begun by a savepoint (SQLite), whose release is its commit.
        prepared_as: the name of the open transaction, if it is to be committed in two phases.
        ending: whether its second phase is being sent, as SQL text by some drivers.
        level: the isolation level that the connection has where no option gives it another, once it was asked for.
        spoken: whether a statement was executed since the last transaction ended; then its snapshot may be there.
        left_open: whether a result may be open that SQLite reads from its own snapshot (see :mod:`rowstamp.orm.sqlite`).
        manual: whether a transaction was begun by SQL text, so that AUTOCOMMIT does not commit each statement.
    """

    effects: set[Dependency] = field(default_factory=set[Dependency])
    noted: Any = None
    insert: tuple[Any, Inserted] | None = None
    altered: str = ""
    altered_locally: str = ""
    named: frozenset[str] = frozenset()
    settings: Settings | None = NO_SETTINGS
    level: str = ""
    spoken: bool = False
    left_open: bool = False
    manual: bool = False
    savepoint_begins: bool = False
    prepared_as: object = None
    ending: bool = False

    def touch(self, effects: set[Dependency]) -> None:
        """Add effects to the open transaction."""
        self.effects |= effects
        if len(self.effects) > EFFECT_LIMIT:
            self.effects = {each for effect in self.effects for each in _widened(effect)}

    def meets(self, dependencies: Iterable[Dependency], attachment: Attachment) -> bool:
        """Whether a read would see what this transaction has written and not committed."""
        if not (self.effects or self.insert):
            return False
        effects = self.all_effects(attachment)
        return Dependency.everything() in effects or not effects.isdisjoint(dependencies)

    def executing(self, attachment: Attachment, context: Any) -> None:
        """Note that a statement is about to be executed. An INSERT before it that was never answered has unknown keys."""
        if self.noted is not context:
            self.noted = None
        if self.insert is not None and self.insert[0] is not context:
            self.settle(attachment)

    def awaited(self, context: Any) -> Inserted | None:
        """Return the INSERT of an execution, if its answer has to tell keys of its rows."""
        return self.insert[1] if self.insert is not None and self.insert[0] is context else None

    def settle(self, attachment: Attachment) -> None:
        """Touch what is known by now of the rows of the INSERT, and let go of it."""
        effects, self.insert = self.all_effects(attachment), None
        self.touch(effects)

    def all_effects(self, attachment: Attachment) -> set[Dependency]:
        """Return everything the transaction touched."""
        if self.insert is None:
            return set(self.effects)
        return self.effects | self.insert[1].effects(scope=attachment.scope, dialect=attachment.dialect)

    def undone(self) -> None:
        """Note that a part of the transaction was rolled back, or all of it ended: settings may be what they were before."""
        if self.settings:
            self.settings = None

    def ended(self) -> None:
        """Forget the transaction that has ended."""
        self.undone()
        self.effects.clear()
        self.insert = None
        self.noted = None
        self.altered_locally = ""
        self.manual = False
        self.spoken = False
        self.left_open = False
        self.savepoint_begins = False
        self.prepared_as = None


def _widened(effect: Dependency) -> Iterator[Dependency]:
    if effect.kind != "rows" or effect.value is Unknown.UNKNOWN:
        yield effect
        return
    widened = effect._replace(value=Unknown.UNKNOWN)
    yield widened
    if effect.facet in {"", "rows"}:
        yield widened.of_old_rows()  # whether these came or were there before the stamp of a value does not say


def state_of(dbapi_connection: Any) -> TransactionState:
    """Return the state kept with the driver's connection behind a pooled one; it lives as long as that does."""
    info = connection_info(dbapi_connection)
    state: TransactionState | None = info.get(_KEY)
    if state is None:
        state = info[_KEY] = TransactionState()
    return state


def _known_state(dbapi_connection: Any) -> TransactionState | None:
    state: TransactionState | None = connection_info(dbapi_connection).get(_KEY)
    return state


_GUARDED: Final = ("do_commit", "do_rollback", "do_commit_twophase", "do_rollback_twophase")
_BEGIN: Final = "do_begin_twophase"


def guard_commits(attachment: Attachment) -> None:
    """Have every COMMIT of the engine hold and release what its transaction touched."""
    dialect = attachment.dialect
    for name in _GUARDED:
        setattr(dialect, name, _guarded(attachment, name, getattr(dialect, name)))
    vars(dialect)[_BEGIN] = _noting_names(dialect.do_begin_twophase)


def unguard_commits(dialect: Dialect) -> None:
    """Undo :func:`guard_commits`."""
    for name in (*_GUARDED, _BEGIN):
        dialect.__dict__.pop(name, None)


def _noting_names(begin: Callable[..., None]) -> Callable[..., None]:
    def noting(connection: Any, xid: Any) -> None:
        begin(connection, xid)
        state_of(connection.connection).prepared_as = xid

    return noting


def _guarded(attachment: Attachment, name: str, original: Callable[..., None]) -> Callable[..., None]:
    commits = "commit" in name
    two_phase = "twophase" in name

    def guarded(connection: Any, *args: Any, **kwargs: Any) -> None:
        # The two-phase forms are given SQLAlchemy's Connection, the others the pooled driver connection.
        state = state_of(connection.connection) if two_phase else _known_state(connection)
        if state is None:
            original(connection, *args, **kwargs)
            return
        state.ending = two_phase
        try:
            end(state, connection, *args, **kwargs)
        finally:
            state.ending = False

    def end(state: TransactionState, connection: Any, *args: Any, **kwargs: Any) -> None:
        if commits:
            if two_phase and state.prepared_as != args[0]:
                # It was prepared on another connection, perhaps by another process: nobody here can tell what it did.
                state.touch({Dependency.everything()})
            commit_state(attachment, state, lambda: original(connection, *args, **kwargs))
        else:
            try:
                original(connection, *args, **kwargs)
            finally:
                state.ended()

    return guarded


def commit_state(attachment: Attachment, state: TransactionState, commit_database: Callable[[], Any]) -> None:
    """Commit, with holds on everything the transaction touched."""
    effects = state.all_effects(attachment)
    if not effects:
        commit_database()
        state.ended()
        return
    # After a failure the effects stay: the transaction may still be open, and be committed by a second try.
    attachment.core.commit(effects, commit_database, refused=attachment.refused)
    state.ended()
