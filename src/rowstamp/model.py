"""The values the protocol speaks about: stamps, dependencies, entries. No I/O, no SQLAlchemy."""

from __future__ import annotations

import enum
import os
from typing import Final, NamedTuple

__all__ = [
    "DIGEST_SIZE",
    "Dependency",
    "ManySnapshot",
    "StampState",
    "StoreSnapshot",
    "Unknown",
    "fresh_token",
]

DIGEST_SIZE: Final = 16
"""Bytes of a key, a stamp name and a token: 128 bits, so that neither chance nor a birthday makes two meet."""


class Unknown(enum.Enum):
    """The key value of a row that a write touched without saying which (the ``?`` of ``T.k=?``)."""

    UNKNOWN = "?"


class Dependency(NamedTuple):
    """What a result depends on, and equally what a write touched: everything, a table, rows of a table, or a tag.

    Attributes:
        scope: the identity of the database for tables and rows, ``""`` for tags and for everything.
        kind: ``"everything"``, ``"table"``, ``"rows"`` or ``"tag"``.
        name: the table (``schema.table``, or ``table`` in the default schema) or the tag.
        key: for rows, the names of the key columns.
        value: for rows, the canonical value of the key columns, or ``Unknown.UNKNOWN``.
        facet: which changes count: ``""`` any; ``"rows"``: rows came, went, or got or lost this key value; ``".c"``: column c
            of a row got another value; ``"old"`` and ``"old rows"``, for unknown rows alone: as the first two, but not rows that
            came. Readers of few columns depend on ``"rows"`` and on the facets of their columns, so that
            a write to others leaves them valid; a write touches ``""`` and every narrower facet that it changes.
    """

    scope: str
    kind: str
    name: str
    key: tuple[str, ...] = ()
    value: bytes | Unknown | None = None
    facet: str = ""

    @classmethod
    def everything(cls) -> Dependency:
        """The one stamp that every entry of the namespace depends on."""
        return _EVERYTHING

    @classmethod
    def table(cls, scope: str, name: str) -> Dependency:
        """``T``: any row of the table changed in a way that matters."""
        return cls(scope, "table", name)

    @classmethod
    def rows(cls, scope: str, name: str, key: tuple[str, ...], value: bytes) -> Dependency:
        """``T.k=v``: a row whose key had or got this value changed."""
        return cls(scope, "rows", name, key, value)

    @classmethod
    def unknown_rows(cls, scope: str, name: str, key: tuple[str, ...] = ()) -> Dependency:
        """``T.k=?``: some row changed and its k is not known; without a key, ``T.?``: nothing about it is known.

        The second is for writers that know the table by name only (raw SQL), and so cannot name its keys.
        """
        return cls(scope, "rows", name, key, Unknown.UNKNOWN)

    def of_membership(self) -> Dependency:
        """``T!``, ``T.k=v!``: narrowed to rows that come, go, or get or lose the key value."""
        return self._replace(facet="rows")

    def of_column(self, column: str) -> Dependency:
        """``T:c``, ``T.k=v:c``: narrowed to changes of one column's values. Case is folded, as in tables' names."""
        return self._replace(facet=f".{column.lower()}")

    def of_old_rows(self) -> Dependency:
        """``T.k=?-``, ``T.k=?!-``: narrowed to rows that were there before; those that come do not count."""
        return self._replace(facet=f"old {self.facet}".rstrip())

    @classmethod
    def tag(cls, name: str) -> Dependency:
        """A stamp that the user names."""
        return cls("", "tag", name)


_EVERYTHING: Final = Dependency("", "everything", "")


class StampState(NamedTuple):
    """A stamp as the store sees it at one moment.

    Attributes:
        token: the unique value that stands for the dependency's state; ``None`` when it is missing or held.
        held: whether a writer is between just before COMMIT and just after. A held stamp validates nothing.
    """

    token: bytes | None
    held: bool


class StoreSnapshot(NamedTuple):
    """An entry and the stamps asked for, all read at one moment.

    Attributes:
        entry: the stored bytes, or ``None`` when there are none.
        stamps: one state for each stamp asked for, in that order.
    """

    entry: bytes | None
    stamps: tuple[StampState, ...]


class ManySnapshot(NamedTuple):
    """Several entries and stamps, read together.

    Attributes:
        entries: the stored bytes of each entry asked for, in that order; ``None`` where there are none.
        stamps: one state for each stamp asked for, in that order.
    """

    entries: tuple[bytes | None, ...]
    stamps: tuple[StampState, ...]


def fresh_token() -> bytes:
    """Return a token that was never used and never will be.

    Random rather than counted: a counter that is lost, restored or forked repeats its values, and a repeated
    token would make an old entry valid again.
    """
    return os.urandom(DIGEST_SIZE)
