"""What a cache is attached to: engines, and sessionmakers with the engines behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Engine

from rowstamp.errors import AttachError, ConfigurationError
from rowstamp.orm.attach import install, remove
from rowstamp.orm.attachment import Attachment, attachment_of, database_identity, same_name
from rowstamp.orm.deferred import listen_to_commits
from rowstamp.orm.replica import CaughtUp, Role, check_role
from rowstamp.orm.session import SESSION_CACHE, listen_to_sessions
from rowstamp.orm.targets import engines_of

if TYPE_CHECKING:
    from rowstamp.core import Core

__all__ = ["Attaching"]


class Attaching:
    """The methods of a cache that attach and detach."""

    _asynchronous: bool
    _core: Core
    _attachments: list[Attachment]
    _makers: list[Any]

    def attach(
        self,
        target: object,
        *,
        database: str | None = None,
        role: Role = "primary",
        caught_up: CaughtUp | None = None,
    ) -> None:
        """Serve the reads and notice the writes of an engine, or of the sessions of a sessionmaker.

        Attaching a sessionmaker serves its sessions only, and notices the writes of its engine whoever makes them.

        Args:
            target: an ``Engine`` or ``sessionmaker`` (for ``AsyncCache``: an ``AsyncEngine`` or ``async_sessionmaker``).
            database: a name for the database; engines of the same name are one database. By default it follows from the
                URL's host, port and database, so that engines of different drivers on one database are one. A replica is
                by default of the database of the attached primary whose URL names the same.
            role: ``"replica"`` for an engine that may be behind: it is served what the primary has filled, its writes are noticed, and
                what it reads is not stored unless ``caught_up`` allows it.
            caught_up: called with the pooled driver connection of a replica (its ``cursor()`` works, also on asynchronous
                drivers) after stamps were captured and before the query; returns whether it has applied all that its primary had committed by
                then. An exception counts as no. For PostgreSQL see :func:`rowstamp.contrib.postgres.postgres_caught_up`.

        Raises:
            ConfigurationError: the role is unknown, ``caught_up`` is given without it, or it is not known of which database
                the replica is one.
            AttachError: the target is of the wrong kind or colour, or something is attached to it already.
            ClosedError: the cache is closed.
        """
        self._core.require_open()
        check_role(role, caught_up)
        engines, maker = engines_of(target, asynchronous=self._asynchronous)
        if maker is not None and any(known is maker for known in self._makers):
            raise AttachError(_twice(target))
        for engine in engines:
            scope = database or self._scope(engine, role, caught_up)
            made = Attachment(
                self._core, engine, scope, serves=maker is None, replica=role == "replica", caught_up=caught_up
            )
            self._attach_engine(made, target)
        if maker is not None:
            maker.configure(info={**(maker.kw.get("info") or {}), SESSION_CACHE: self._core})
            self._makers.append(maker)
        listen_to_sessions()
        listen_to_commits()

    def _scope(self, engine: Engine, role: Role, caught_up: CaughtUp | None) -> str:
        """Return the identity of an engine's database, as it follows from what is attached and from the URL."""
        if role == "replica":
            known = {each.scope for each in self._attachments if not each.replica and same_name(each.engine, engine)}
            if len(known) == 1:
                return known.pop()
            if caught_up is not None:
                msg = (
                    f"{engine!r} may fill, but of which database is it a replica? Attach the primary first, or give both "
                    "the same database='...'"
                )
                raise ConfigurationError(msg)
        return database_identity(engine.url)

    def _attach_engine(self, made: Attachment, target: object) -> None:
        known = attachment_of(made.dialect)
        if known is None:
            install(made)
            self._attachments.append(made)
        elif known.core is not self._core or (made.serves and known.serves) or known.replica is not made.replica:
            raise AttachError(_twice(target))
        else:
            known.serves = known.serves or made.serves

    def detach(self, target: object) -> None:
        """Undo :meth:`attach`: from now on the target is as if the cache did not exist.

        Raises:
            AttachError: the target is not attached to this cache.
        """
        engines, maker = engines_of(target, asynchronous=self._asynchronous)
        if maker is not None:
            self._detach_maker(maker)
            return
        attachment = attachment_of(engines[0].dialect)
        if attachment is None or attachment not in self._attachments:
            msg = f"{target!r} is not attached to this cache: detach takes what attach was given"
            raise AttachError(msg)
        if any(
            attachment.engine.dialect is engine.dialect for maker in self._makers for engine in self._engines(maker)
        ):
            attachment.serves = False  # the sessions of an attached sessionmaker still need its writes
            return
        remove(attachment)
        self._attachments.remove(attachment)

    def _detach_maker(self, maker: Any) -> None:
        if not any(known is maker for known in self._makers):
            msg = f"{maker!r} is not attached to this cache: detach takes what attach was given"
            raise AttachError(msg)
        self._makers = [known for known in self._makers if known is not maker]
        maker.configure(info={key: value for key, value in maker.kw["info"].items() if key != SESSION_CACHE})
        still_used = {id(engine.dialect) for each in self._makers for engine in self._engines(each)}
        for engine in self._engines(maker):
            attachment = attachment_of(engine.dialect)
            if attachment in self._attachments and not attachment.serves and id(engine.dialect) not in still_used:
                remove(attachment)
                self._attachments.remove(attachment)

    def _engines(self, maker: Any) -> list[Any]:
        return engines_of(maker, asynchronous=self._asynchronous)[0]

    def is_attached(self, target: object) -> bool:
        """Return whether this cache notices what happens on an engine, or on the engine behind a connection."""
        attachment = attachment_of(engines_of(target, asynchronous=self._asynchronous)[0][0].dialect)
        return attachment is not None and attachment in self._attachments

    def _detach_all(self) -> None:
        for maker in list(self._makers):
            self._detach_maker(maker)
        for attachment in list(self._attachments):
            remove(attachment)
        self._attachments.clear()


def _twice(target: object) -> str:
    return f"{target!r} has a cache attached already: detach() that one first"
