"""A database as a value: snapshots, transactions and what COMMIT makes visible, for exploring interleavings.

A *row* stands for everything that one stamp stands for, and its version is the number of transactions committed so far
that touched it. Snapshots are prefixes of the order of commits, so comparing versions tells which of two results is older.
Rows have no locks: what a lock would delay is one order among those explored anyway.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

__all__ = [
    "Change",
    "CommitFailed",
    "CommitLost",
    "Database",
    "Isolation",
    "ReceiveRows",
    "TakeSnapshot",
    "Update",
    "Versions",
    "body_of",
    "project",
    "versions_of",
]

Versions: TypeAlias = tuple[int, ...]
"""The version of each row, or of each row that a result contains."""


class Isolation(enum.Enum):
    """When a transaction's snapshots come into being."""

    READ_COMMITTED = "each statement has its own snapshot"
    REPEATABLE_READ = "the first statement takes the snapshot of the whole transaction"


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """The query's statement starts and its snapshot exists. Reply: the versions of these rows in it."""

    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReceiveRows:
    """The result of the query arrives. No reply."""


@dataclass(frozen=True, slots=True)
class Update:
    """A write transaction changes rows; nobody else sees it before COMMIT. No reply."""

    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """Rows change, visible to all, without rowstamp being told yet (another program, a trigger). No reply."""

    rows: tuple[int, ...]


class CommitFailed(Exception):
    """COMMIT was refused by the database: nothing was committed, and nothing will be."""


class CommitLost(Exception):
    """COMMIT was sent and no answer came: it may have taken effect, may do so later, or never."""


class Database(NamedTuple):
    """What the database holds at one moment, and what the cache owes to readers.

    Attributes:
        committed: the version of each row that a new snapshot sees.
        required: the version of each row below which a read that begins now must not be served. The same, except between
            a change that rowstamp was not told of and the invalidation that tells it.
    """

    committed: Versions
    required: Versions

    @classmethod
    def empty(cls, rows: int) -> Database:
        """Return a database with so many rows, each in version 0."""
        return cls((0,) * rows, (0,) * rows)

    def commit(self, rows: Iterable[int]) -> Database:
        """A transaction that touched these rows becomes visible, all at once."""
        return self.change(rows).acknowledge(rows)

    def change(self, rows: Iterable[int]) -> Database:
        """These rows change without rowstamp being told."""
        touched = frozenset(rows)
        return self._replace(committed=tuple(v + (row in touched) for row, v in enumerate(self.committed)))

    def acknowledge(self, rows: Iterable[int]) -> Database:
        """From now on readers are owed what these rows are."""
        touched = frozenset(rows)
        newest = zip(self.committed, self.required, strict=True)
        return self._replace(required=tuple(new if row in touched else old for row, (new, old) in enumerate(newest)))


def project(versions: Versions, rows: Iterable[int]) -> Versions:
    """Return the versions of these rows."""
    return tuple(versions[row] for row in rows)


def body_of(versions: Versions) -> bytes:
    """Encode a result as it is stored in an entry."""
    return bytes(versions)


def versions_of(body: bytes) -> Versions:
    """Decode what :func:`body_of` encoded."""
    return tuple(body)
