"""Readers whose results show rows of a joined table, and the cases in which they are explored.

Stamp 0 is the guard: the stamp of the joined table, which every write to it touches. An entry is made of rows 1 and 2: the joined row
that its result shows, and a row of another table that its statement names beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rowstamp import protocol
from rowstamp.protocol import Flow, Hit, SnapshotView, Ticket
from rowstamp.protocol_seen import narrow
from rowstamp.testing.actors import Script, Served, Stage
from rowstamp.testing.model_database import ReceiveRows, TakeSnapshot, Versions, body_of, versions_of
from rowstamp.testing.model_store import entry_key, stamp_name
from rowstamp.testing.scheduler import ALL_ANSWERS, Answer, Config, Flows, Invalidator, Isolation, Reader, Writer

Minter = Callable[[], bytes]
Pairs = tuple[tuple[bytes, bytes], ...]

GUARD: Final = stamp_name(0)
SEEN: Final = stamp_name(1)
KNOWN: Final = stamp_name(2)


class SeenRows(Flows):
    """The stamp of the row that is seen is captured after the load, and the guard looked at again."""

    hint: tuple[bytes, ...] = ()

    def read(self, mint: Minter, entry: int, rows: tuple[int, ...], view: SnapshotView) -> Script:
        if not self.may_serve(view) and not self.may_fill(view):
            return Stage("load", (entry, rows, None))
        stamps = (KNOWN,) if 2 in rows else ()
        serve = self.may_serve(view)
        outcome = yield from protocol.lookup(
            entry_key(entry), stamps, guard=(GUARD,), hint=self.hint, serve=serve, mint=mint
        )
        if isinstance(outcome, Hit):
            return Served(versions_of(outcome.body))
        ticket = outcome.ticket if self.may_fill(view) else None
        return Stage("load", (entry, rows, None if ticket is None else tuple(ticket.tokens.items())))

    def load(self, mint: Minter, entry: int, rows: tuple[int, ...], tokens: Pairs | None) -> Script:
        versions: Versions = yield TakeSnapshot(rows)
        yield ReceiveRows()
        return None if tokens is None else Stage("look_again", (entry, tokens, versions))

    def look_again(self, mint: Minter, entry: int, tokens: Pairs, versions: Versions) -> Script:
        """What takes the place of the guard, if anything does."""
        ticket = yield from self.narrow(Ticket(entry_key(entry), dict(tokens), guard=(GUARD,)), mint)
        return Stage("put", (entry, tuple(ticket.tokens.items()), tuple(ticket.named), versions))

    def narrow(self, ticket: Ticket, mint: Minter) -> Flow[Ticket]:
        return narrow(ticket, (SEEN,), mint=mint)

    def put(self, mint: Minter, entry: int, tokens: Pairs, named: tuple[bytes, ...], versions: Versions) -> Script:
        """The fill."""
        yield from self.fill(Ticket(entry_key(entry), dict(tokens), named=named), body_of(versions))
        return None

    def change(self, mint: Minter, rows: tuple[int, ...]) -> Script:
        """A direct invalidation, which is told apart what tables and what rows are."""
        tables = tuple(stamp_name(row) for row in rows if row != 1)
        flow = super().change(mint, rows)
        yield next(flow)  # the change itself
        flow.close()
        yield from self.invalidate_in_order(tables, (SEEN,) if 1 in rows else (), mint)
        return None

    def invalidate_in_order(self, tables: tuple[bytes, ...], rows: tuple[bytes, ...], mint: Minter) -> Flow[None]:
        return protocol.invalidate(tables, rows, mint=mint)


class HintedRows(SeenRows):
    """The row's stamp is known from the last time, so that the lookup reads it together with the entry."""

    hint = (SEEN,)


R: Final = Reader()
BOTH: Final = Writer((0, 1))
"""Changes the row that is seen."""
OTHER: Final = Writer((0,))
"""Changes another row of the joined table."""

RR: Final = Isolation.REPEATABLE_READ

SEEN_BASE: Final = Config(
    name="rows seen: writers of the row and of another one × 2 readers, crash anywhere, lost answers, expiry",
    entries=((1, 2),),
    writers=(BOTH, OTHER),
    readers=(Reader(), Reader()),
    crashes=True,
    answers=ALL_ANSWERS,
)
SEEN_TWICE: Final = Config(
    name="rows seen: 1 writer of the row and of what joins it × 1 reader that reads twice, crash anywhere, lost answers, eviction",
    entries=((1, 2),),
    writers=(Writer((0, 1, 2)), OTHER),
    readers=(Reader((0, 0)),),
    crashes=True,
    answers=ALL_ANSWERS,
    evictions=1,
)
SEEN_PIECEWISE: Final = Config(
    name="rows seen: 1 writer × 1 reader that reads twice, store atomic for one stamp only, crash anywhere, lost answers, eviction",
    entries=((1,),),
    writers=(Writer((1, 0)),),
    readers=(Reader((0, 0)),),
    crashes=True,
    answers=ALL_ANSWERS,
    evictions=1,
    atomic=False,
)
SEEN_TWO_PIECEWISE: Final = Config(
    name="rows seen: 2 writers × 1 reader that reads twice, store atomic for one stamp only, crash anywhere, expiry",
    entries=((1,),),
    writers=(BOTH, Writer((1, 0))),
    readers=(Reader((0, 0)),),
    crashes=True,
    atomic=False,
)
SEEN_INVALIDATION: Final = Config(
    name="rows seen: 1 writer, 1 direct invalidation × 1 reader that reads twice, store atomic for one stamp only, crash anywhere",
    entries=((1,),),
    writers=(BOTH,),
    invalidators=(Invalidator((0, 1)),),
    readers=(Reader((0, 0)),),
    crashes=True,
    atomic=False,
)
SEEN_LAPSES: Final = Config(
    name="rows seen: 1 writer × 1 reader that reads twice, holds of live writers expire, store atomic for one stamp only, crash, lost answers",
    entries=((1,),),
    writers=(Writer((1, 0)),),
    readers=(Reader((0, 0)),),
    crashes=True,
    lapses=True,
    answers=ALL_ANSWERS,
    atomic=False,
)
SEEN_SNAPSHOTS: Final = Config(
    name="rows seen: 1 writer × 2 readers, one REPEATABLE READ with two reads, COMMIT in doubt, crash anywhere, expiry",
    entries=((1,),),
    writers=(BOTH,),
    readers=(Reader((0, 0), RR), Reader()),
    crashes=True,
    answers=frozenset(Answer),
)
SEEN_RESTARTS: Final = Config(
    name="rows seen: 2 writers × 1 reader that reads twice, the store is restarted at any time, crash anywhere, lost answers",
    entries=((1,),),
    writers=(BOTH, OTHER),
    readers=(Reader((0, 0)),),
    crashes=True,
    answers=ALL_ANSWERS,
    restarts=1,
)

SEEN_CASES: Final = (
    SEEN_PIECEWISE,
    SEEN_TWO_PIECEWISE,
    SEEN_INVALIDATION,
    SEEN_SNAPSHOTS,
)
SEEN_DEEP: Final = (SEEN_BASE, SEEN_TWICE, SEEN_RESTARTS)
