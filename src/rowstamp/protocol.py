"""The stamp protocol, written once and free of I/O.

Each flow is a generator: it yields an operation, is sent the operation's reply, and returns its outcome. What
performs the operations is none of its business: :mod:`rowstamp.drivers` does it against a real store, blocking or in an
event loop; :mod:`rowstamp.testing.scheduler` does it against a model, one step at a time, in every order. (The shape is that
of psycopg's ``generators.py`` and httpx's ``auth_flow``.)

Two rules carry the proof that no hit is stale:

1. A stamp is captured before the snapshot of the query exists, so an entry never carries a token younger than its rows.
2. From before COMMIT until the new token nothing validates, so a hit is never older than what was committed when its
   read began.

A hold is one member of a *set* of in-flight writers. One mark per stamp would be wrong: of two overlapping writers the
first to finish would clear the mark of the other, whose crash then leaves old entries valid for ever.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, TypeVar

from rowstamp.entry import MOST_NAMED, PLAIN, EntryForm, StoredEntry, pack_entry, prove, unpack_entry
from rowstamp.errors import CorruptEntry
from rowstamp.model import StampState, StoreSnapshot, fresh_token

__all__ = [
    "Commit",
    "Committed",
    "Flow",
    "Hit",
    "Hold",
    "Lease",
    "Mint",
    "Miss",
    "NearSnapshot",
    "Operation",
    "Put",
    "PutMany",
    "Read",
    "ReadMany",
    "Release",
    "SnapshotView",
    "Ticket",
    "Touch",
    "Unlease",
    "commit",
    "fill",
    "found_entry",
    "invalidate",
    "lookup",
    "mint_missing",
    "put",
    "standing",
    "tokens_of",
]

T = TypeVar("T")


# ------------------------------------------------------------------------------------------------- operations


@dataclass(frozen=True, slots=True)
class Read:
    """Read an entry (``None``: no entry) and stamps in one round trip. Reply: :class:`~rowstamp.model.StoreSnapshot`."""

    entry: bytes | None
    stamps: Sequence[bytes]


class NearSnapshot(NamedTuple):
    """What a near cache replies to :class:`Read`: an entry that it has unpacked before, and states as the store gave them."""

    entry: StoredEntry
    stamps: tuple[StampState, ...]


@dataclass(frozen=True, slots=True)
class Mint:
    """Give missing stamps a token. Reply: one :class:`~rowstamp.model.StampState` for each."""

    tokens: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Put:
    """Store an entry. No reply."""

    entry: bytes
    blob: bytes
    ttl: float


@dataclass(frozen=True, slots=True)
class ReadMany:
    """Read entries and stamps in one round trip. Reply: :class:`~rowstamp.model.ManySnapshot`."""

    entries: Sequence[bytes]
    stamps: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class PutMany:
    """Touch stamps, store entries (key, blob, seconds) and read other stamps in one round trip. Reply: the states of these."""

    tokens: Mapping[bytes, bytes]
    entries: Sequence[tuple[bytes, bytes, float]]
    stamps: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class Hold:
    """Mark stamps as being written. No reply."""

    stamps: Sequence[bytes]
    writer: bytes
    ttl: float


@dataclass(frozen=True, slots=True)
class Release:
    """Leave the sets of in-flight writers and give new tokens. Reply: for each stamp, was the hold still there."""

    tokens: Mapping[bytes, bytes]
    writer: bytes


@dataclass(frozen=True, slots=True)
class Touch:
    """Give stamps a new token. No reply."""

    tokens: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Lease:
    """Take the lease of an entry, if nobody has it. Reply: who has it now."""

    entry: bytes
    holder: bytes
    ttl: float


@dataclass(frozen=True, slots=True)
class Unlease:
    """Give the lease of an entry back. No reply."""

    entry: bytes
    holder: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """Commit the database transaction. No reply; a failure is thrown into the flow."""


Operation: TypeAlias = Read | ReadMany | Mint | Put | PutMany | Hold | Release | Touch | Lease | Unlease | Commit
Flow: TypeAlias = Generator[Operation, Any, T]


# --------------------------------------------------------------------------------------------------- outcomes


class SnapshotView(enum.Enum):
    """When the database snapshot that a statement will see comes into being, relative to its stamps.

    ``PER_STATEMENT``: with the statement itself (READ COMMITTED, autocommit). A hit is what the statement would see,
    and its rows may be stored.

    ``AHEAD``: with the transaction's first statement, which this is (REPEATABLE READ and above). Its rows are as new as the
    stamps and may be stored. It is not served: a later statement would show another moment than the hit did.

    ``TAKEN``: earlier in the transaction, before the stamps could be captured. Neither.
    """

    PER_STATEMENT = "per statement"
    AHEAD = "ahead"
    TAKEN = "taken"

    @property
    def may_serve(self) -> bool:
        """Whether a hit is allowed."""
        return self is SnapshotView.PER_STATEMENT

    @property
    def may_fill(self) -> bool:
        """Whether the rows of a miss may be stored."""
        return self is not SnapshotView.TAKEN


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to fill one entry: the tokens captured before the query ran, and no others.

    Attributes:
        entry: the entry's key.
        tokens: token by stamp name, in the order the dependencies were given.
        named: those of the stamps that a later reader cannot know before it has the entry, so that the entry names them.
        guard: those of the stamps in whose place the rows that are seen may stand (:mod:`rowstamp.protocol_seen`).
    """

    entry: bytes
    tokens: Mapping[bytes, bytes]
    named: Collection[bytes] = ()
    guard: Collection[bytes] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A valid entry.

    Attributes:
        stored: the entry.
        tokens: token by stamp name: what it stands on, for the cached function that it becomes part of.
    """

    stored: StoredEntry
    tokens: Mapping[bytes, bytes] = field(default_factory=dict[bytes, bytes])

    @property
    def body(self) -> bytes:
        """The encoded result."""
        return self.stored.body

    @property
    def load_time(self) -> float:
        """How long the load took that filled it, in seconds."""
        return self.stored.load_time

    @property
    def ends_at(self) -> float:
        """When its time to live is over, in seconds since 1970 by the clock of whoever stored it."""
        return self.stored.ends_at


@dataclass(frozen=True, slots=True)
class Miss:
    """No valid entry.

    Attributes:
        ticket: the right to fill, or ``None`` when a writer holds one of the stamps (load, but do not fill).
        corrupt: whether there were bytes that are no entry.
        stale: the entry that is there and not valid.
        unchanged: whether that is so because its time to live is over, and not because of a write.
    """

    ticket: Ticket | None
    corrupt: bool = False
    stale: StoredEntry | None = field(default=None, compare=False)
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class Committed:
    """The outcome of a write transaction.

    Attributes:
        late: how many stamps had lost this writer's hold before it was released (the commit outlived it).
    """

    late: int


# ------------------------------------------------------------------------------------------------------ flows


def lookup(
    entry: bytes,
    stamps: Sequence[bytes],
    *,
    guard: Sequence[bytes] = (),
    hint: Sequence[bytes] = (),
    serve: bool = True,
    mint: Callable[[], bytes] = fresh_token,
    form: EntryForm = PLAIN,
) -> Flow[Hit | Miss]:
    """Find a valid entry, or capture the stamps under which one may be filled.

    One round trip for a hit and for most misses; a second one when stamps are missing, or when the entry names more stamps.

    Args:
        entry: the entry's key.
        stamps: the names of the stamps of all dependencies.
        guard: the names of stamps on which an entry stands as well, unless it names others that stand for the rows seen.
        hint: stamps that an entry of this key has named before, to be read with it.
        serve: ``False`` captures the stamps only, for a statement whose snapshot is still ahead.
        mint: makes tokens that were never used; the scheduler gives numbered ones, so that a run can be repeated.
        form: how entries are written.
    """
    asked = tuple(dict.fromkeys((*stamps, *guard, *hint))) if guard else stamps
    snapshot: StoreSnapshot | NearSnapshot = yield Read(entry if serve else None, asked)
    states = dict(zip(asked, snapshot.stamps, strict=True))
    corrupt, stored = False, None
    if snapshot.entry is not None:
        try:
            stored = found_entry(entry, snapshot.entry, form)
        except CorruptEntry:
            corrupt = True
        else:
            tokens = yield from standing(stored, stamps, states)
            if tokens is None and guard and not stored.named:
                tokens = yield from standing(stored, (*stamps, *guard), states)
            if tokens is not None:
                return Hit(stored, tokens)
    captured = yield from mint_missing({stamp: states[stamp] for stamp in (*stamps, *guard)}, mint)
    return Miss(None if captured is None else Ticket(entry, captured, guard=guard), corrupt, stored)


def found_entry(key: bytes, found: bytes | StoredEntry, form: EntryForm) -> StoredEntry:
    """Return the entry in a reply to :class:`Read`, whoever gave it.

    Raises:
        CorruptEntry: bytes that are no entry of this key.
    """
    return found if isinstance(found, StoredEntry) else unpack_entry(key, found, form)


def standing(
    stored: StoredEntry, stamps: Collection[bytes], states: Mapping[bytes, StampState]
) -> Flow[dict[bytes, bytes] | None]:
    """Return the tokens that an entry stands on if all of them are still what they were, else ``None``.

    Args:
        stored: the entry.
        stamps: those that the reader asks for.
        states: the states of stamps, read no earlier than the entry. There may be others among them, and some that count may be
            lacking.
    """
    if stored.named or (*states,) != (*stamps,):  # else, and nearly always, these are just the stamps that count
        names = dict.fromkeys((*stamps, *stored.named))
        more = [stamp for stamp in names if stamp not in states]
        if more:
            # The entry was read before these stamps, as the store's own order would have it.
            second: StoreSnapshot = yield Read(None, more)
            states = {**states, **dict(zip(more, second.stamps, strict=True))}
        states = {stamp: states[stamp] for stamp in names}
    tokens = tokens_of(states)
    # An entry that lacks a stamp of the reader's has another proof, as one with a changed token has.
    return tokens if tokens is not None and prove(tokens) == stored.proof else None


def tokens_of(states: Mapping[bytes, StampState]) -> dict[bytes, bytes] | None:
    """Return the tokens of these stamps, or ``None`` if one is missing or held."""
    tokens = {stamp: state.token for stamp, state in states.items() if state.token is not None}
    return tokens if len(tokens) == len(states) else None


def mint_missing(states: Mapping[bytes, StampState], mint: Callable[[], bytes]) -> Flow[dict[bytes, bytes] | None]:
    """Give the missing stamps a token, and return the tokens of all, in their order; ``None`` if a writer holds one.

    Args:
        states: the states that were read.
        mint: makes tokens that were never used.
    """
    if any(state.held for state in states.values()):
        return None
    missing = {stamp: mint() for stamp, state in states.items() if state.token is None}
    if missing:
        minted: tuple[StampState, ...] = yield Mint(missing)
        states = {**states, **dict(zip(missing, minted, strict=True))}
    return tokens_of(states)


def fill(
    ticket: Ticket,
    body: bytes,
    *,
    ttl: float,
    load_time: float = 0.0,
    ends_at: float = 0.0,
    linger: float = 0.0,
    form: EntryForm = PLAIN,
) -> Flow[None]:
    """Store a result under the tokens captured before its query ran.

    It needs no check: if a writer has come in between, the stamps no longer have these tokens, and the entry is
    unusable from the start.

    Args:
        ticket: what :func:`lookup` returned with the miss.
        body: the encoded result.
        ttl: how long it may live, in seconds.
        load_time: how long the load took, in seconds.
        ends_at: when that time will be over, in seconds since 1970.
        linger: how long it is kept beyond that, for those who may serve it old, in seconds.
        form: how entries are written.
    """
    packed = put(ticket, body, ttl=ttl, load_time=load_time, ends_at=ends_at, linger=linger, form=form)
    if packed is not None:
        yield packed


def put(
    ticket: Ticket,
    body: bytes,
    *,
    ttl: float,
    load_time: float = 0.0,
    ends_at: float = 0.0,
    linger: float = 0.0,
    form: EntryForm = PLAIN,
) -> Put | None:
    """Return the operation of :func:`fill`, or ``None`` if the result depends on more than an entry can say."""
    if len(ticket.named) > MOST_NAMED:
        return None
    blob = pack_entry(
        ticket.entry,
        ticket.tokens,
        body,
        named=ticket.named,
        load_time=load_time,
        ends_at=ends_at,
        lingers=linger > 0,
        form=form,
    )
    return Put(ticket.entry, blob, ttl + linger)


def commit(
    stamps: Sequence[bytes],
    *,
    writer: bytes,
    hold_ttl: float,
    refused: Callable[[BaseException], bool],
    mint: Callable[[], bytes] = fresh_token,
) -> Flow[Committed]:
    """Commit a transaction that wrote: hold, COMMIT, release.

    A COMMIT that the database refused releases, as if it had taken place. One that raised without an answer (a lost
    connection, a cancelled task) may have taken place, *or may still do so*: releasing now would let a reader
    load the old rows under the new tokens. So its stamps are held once more and left to expire, by which time the
    doubt is over. (Found by exploration: ``tests/model/test_schedules.py``.)

    Args:
        stamps: the names of the stamps of everything the transaction touched.
        writer: a name for this writer that nobody else has, and that it uses once.
        hold_ttl: when the holds of a writer that died end, in seconds.
        refused: whether an exception of the COMMIT says for certain that nothing was or will be committed.
        mint: makes tokens that were never used.
    """
    yield Hold(stamps, writer, hold_ttl)
    try:
        yield Commit()
    except GeneratorExit:
        raise
    except BaseException as exc:
        if refused(exc):
            yield _release(stamps, writer, mint)
            raise
        yield Hold(stamps, writer, hold_ttl)
        if len(stamps) > 1:
            # A store need not hold them at one moment: see the second touch below.
            yield Hold(stamps, writer, hold_ttl)
        raise
    still_held: tuple[bool, ...] = yield _release(stamps, writer, mint)
    late = still_held.count(False)
    if late and len(stamps) > 1:
        # A store need not release them at one moment. Without its hold, a table's stamp may still have had its token when a row's
        # was renewed already, and a reader have taken the row for unchanged (`protocol_seen`).
        yield Touch({stamp: mint() for stamp in stamps})
    return Committed(late=late)


def _release(stamps: Sequence[bytes], writer: bytes, mint: Callable[[], bytes]) -> Release:
    return Release({stamp: mint() for stamp in stamps}, writer)


def invalidate(
    stamps: Sequence[bytes], rows: Sequence[bytes] = (), *, mint: Callable[[], bytes] = fresh_token
) -> Flow[None]:
    """Make everything that depends on these stamps unusable, at once; loads in flight included.

    The stamps of rows come after those of the tables that they are in. The other way round a reader who captures a row's stamp in
    between, after its load, would still find the table's as it was before (:mod:`rowstamp.protocol_seen`).

    Args:
        stamps: the names of the stamps.
        rows: the names of further stamps, of single rows.
        mint: makes tokens that were never used.
    """
    for each in (stamps, rows):
        if each:
            yield Touch({stamp: mint() for stamp in each})
