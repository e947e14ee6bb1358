"""Who takes part in an exploration, and how readers and writers compose the protocol's flows.

:class:`Config` says which readers, writers and faults there are. :class:`Flows` holds the very generators of
:mod:`rowstamp.protocol` and the order in which a reader or writer goes through them; a subclass with one method
replaced is a weakened protocol.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from rowstamp import protocol
from rowstamp.protocol import Committed, Flow, Hit, Miss, SnapshotView, Ticket
from rowstamp.testing.model_database import (
    Change,
    CommitFailed,
    Isolation,
    ReceiveRows,
    TakeSnapshot,
    Update,
    Versions,
    body_of,
    versions_of,
)
from rowstamp.testing.model_store import entry_key, remember_tokens, stamp_name

__all__ = [
    "Answer",
    "Config",
    "Flows",
    "Invalidator",
    "Reader",
    "Script",
    "Served",
    "Stage",
    "Writer",
]

_TTL = 60.0
Minter: TypeAlias = Callable[[], bytes]


def _refused(exc: BaseException) -> bool:
    return isinstance(exc, CommitFailed)


# ------------------------------------------------------------------------------------------------------ who


class Answer(enum.Enum):
    """What may become of a COMMIT, seen from the process that sent it."""

    DONE = "commit"
    FAILED = "commit-fails"
    """It raises, and nothing was committed."""
    LOST = "commit-lost"
    """It raises, although the transaction is committed."""
    IN_DOUBT = "commit-in-doubt"
    """It raises while the database is still at it: the transaction may become visible later, or never."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads entries one after the other, filling what it misses.

    Attributes:
        reads: the numbers of the entries.
        isolation: under REPEATABLE READ all its reads are statements of one transaction.
        begun: whether an uncached statement of the same transaction comes before the first read.
    """

    reads: tuple[int, ...] = (0,)
    isolation: Isolation = Isolation.READ_COMMITTED
    begun: bool = False


@dataclass(frozen=True, slots=True)
class Writer:
    """Commits transactions that touch what these stamps stand for.

    Attributes:
        stamps: the numbers of the stamps.
        transactions: how many, one after the other.
        updates: whether its UPDATE before the hold is a step of its own. Nobody sees it, so that it only multiplies orders.
    """

    stamps: tuple[int, ...] = (0,)
    transactions: int = 1
    updates: bool = False


@dataclass(frozen=True, slots=True)
class Invalidator:
    """Changes rows behind rowstamp's back, then invalidates their stamps."""

    stamps: tuple[int, ...] = (0,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A case to explore: who takes part, and what may go wrong.

    Attributes:
        name: what reports call it.
        entries: for each entry, the numbers of the stamps it depends on (and of the rows it is made of).
        writers: named ``W0``, ``W1``, … in schedules.
        readers: named ``R0``, ``R1``, …
        invalidators: named ``I0``, ``I1``, …
        crashes: whether a writer may die before each of its steps; its holds then expire, each at its own time.
        lapses: whether a *live* writer's hold may expire. What is committed beyond its hold may be stale until it is
            released, and such a writer must not crash as well; everything else must still be right.
        answers: what may become of a COMMIT.
        evictions: how many entries and stamps may be lost, at any time; ``None`` for any number.
        restarts: how often the store may be restarted, which loses every hold and makes every token count for nothing.
        atomic: whether an operation on several stamps is one step. The contract promises it for each stamp only.
    """

    name: str
    entries: tuple[tuple[int, ...], ...] = ((0,),)
    writers: tuple[Writer, ...] = ()
    readers: tuple[Reader, ...] = ()
    invalidators: tuple[Invalidator, ...] = ()
    crashes: bool = False
    lapses: bool = False
    answers: frozenset[Answer] = field(default=frozenset({Answer.DONE}))
    evictions: int | None = 0
    restarts: int = 0
    atomic: bool = True

    @property
    def actors(self) -> tuple[Reader | Writer | Invalidator, ...]:
        """Everyone, writers first."""
        return (*self.writers, *self.readers, *self.invalidators)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each actor."""
        groups = (("W", self.writers), ("R", self.readers), ("I", self.invalidators))
        return tuple(f"{letter}{number}" for letter, group in groups for number in range(len(group)))

    @property
    def stamps(self) -> int:
        """How many stamps there are."""
        touched = (*(w.stamps for w in self.writers), *(i.stamps for i in self.invalidators))
        return 1 + max(stamp for stamps in (*self.entries, *touched) for stamp in stamps)


# ------------------------------------------------------------------------------------------------------ how


class Stage(NamedTuple):
    """A method of :class:`Flows` to go on with. All that is remembered of earlier stages is in the arguments."""

    name: str
    arguments: tuple[object, ...]


class Served(NamedTuple):
    """A read was answered by the cache with rows in these versions."""

    rows: Versions


Script: TypeAlias = Generator[object, Any, Stage | Served | None]


class Flows:
    """The protocol under test: its flows, and how readers and writers go through them.

    The first group of methods are the flows, the second the rules for snapshots, the third the stages. Stages are split
    where the application's own work begins; whoever enters a new stage forgets the old one, which keeps states few.
    """

    # ---------------------------------------------------------------------------------------------- flows

    def lookup(self, entry: bytes, stamps: Sequence[bytes], *, serve: bool, mint: Minter) -> Flow[Hit | Miss]:
        """Find a valid entry or capture its stamps."""
        return protocol.lookup(entry, stamps, serve=serve, mint=mint)

    def fill(self, ticket: Ticket, body: bytes) -> Flow[None]:
        """Store a result."""
        remember_tokens(ticket.tokens)
        return protocol.fill(ticket, body, ttl=_TTL)

    def commit(self, stamps: Sequence[bytes], *, writer: bytes, mint: Minter) -> Flow[Committed]:
        """Commit a transaction that wrote."""
        return protocol.commit(stamps, writer=writer, hold_ttl=_TTL, refused=_refused, mint=mint)

    def invalidate(self, stamps: Sequence[bytes], *, mint: Minter) -> Flow[None]:
        """Make what depends on these stamps unusable."""
        return protocol.invalidate(stamps, mint=mint)

    # ---------------------------------------------------------------------------------------------- rules

    def may_serve(self, view: SnapshotView) -> bool:
        """Whether a read with this view of the database may be answered by the cache."""
        return view.may_serve

    def may_fill(self, view: SnapshotView) -> bool:
        """Whether a read with this view of the database may store its result."""
        return view.may_fill

    # --------------------------------------------------------------------------------------------- stages

    def begin(self, mint: Minter, rows: tuple[int, ...]) -> Script:  # noqa: ARG002 - stages are called alike
        """An uncached statement."""
        yield TakeSnapshot(rows)
        yield ReceiveRows()
        return None

    def read(self, mint: Minter, entry: int, rows: tuple[int, ...], view: SnapshotView) -> Script:
        """A cached read, as far as its lookup."""
        if not self.may_serve(view) and not self.may_fill(view):
            return Stage("load", (entry, rows, None))
        stamps = tuple(map(stamp_name, rows))
        outcome = yield from self.lookup(entry_key(entry), stamps, serve=self.may_serve(view), mint=mint)
        if isinstance(outcome, Hit):
            return Served(versions_of(outcome.body))
        ticket = outcome.ticket if self.may_fill(view) else None
        return Stage("load", (entry, rows, None if ticket is None else tuple(ticket.tokens.items())))

    def load(
        self,
        mint: Minter,  # noqa: ARG002
        entry: int,
        rows: tuple[int, ...],
        tokens: tuple[tuple[bytes, bytes], ...] | None,
    ) -> Script:
        """The query itself."""
        versions: Versions = yield TakeSnapshot(rows)
        yield ReceiveRows()
        return None if tokens is None else Stage("store", (entry, tokens, versions))

    def store(
        self,
        mint: Minter,  # noqa: ARG002
        entry: int,
        tokens: tuple[tuple[bytes, bytes], ...],
        versions: Versions,
    ) -> Script:
        """The fill."""
        yield from self.fill(Ticket(entry_key(entry), dict(tokens)), body_of(versions))
        return None

    def update(self, mint: Minter, rows: tuple[int, ...], writer: bytes) -> Script:  # noqa: ARG002
        """A writer's work before it commits."""
        yield Update(rows)
        return Stage("write", (rows, writer))

    def write(self, mint: Minter, rows: tuple[int, ...], writer: bytes) -> Script:
        """A writer's commit."""
        yield from self.commit(tuple(map(stamp_name, rows)), writer=writer, mint=mint)
        return None

    def change(self, mint: Minter, rows: tuple[int, ...]) -> Script:
        """A change that rowstamp does not see, and the direct invalidation after it."""
        yield Change(rows)
        yield from self.invalidate(tuple(map(stamp_name, rows)), mint=mint)
        return None
