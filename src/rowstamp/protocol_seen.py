"""The stamp protocol for joined rows, which show only in the result: they take the place of the table they are in.

A statement that joins table T by a key has to depend on all of T before it is loaded: which rows it will meet nobody knows. The rows
it has met stand in its result. So it captures the stamp of T, the **guard**, with its other stamps; it loads; and then it

1. captures the stamp ``T.k=v`` of each row seen, and
2. reads the guard once more.

If the guard still has the token captured *before* the load, nobody has committed a change of T from before the load until after
step 1: a writer takes the guard's token away before COMMIT, and a token never comes back. So the state that the stamps of step 1
stand for is the state that was loaded, and the entry may stand on them in place of the guard. Otherwise it stands on the guard, as it
would without all this, and is unusable from the start.

Both steps are needed in this order. A guard that is read first says nothing of the time until the rows' stamps are captured; and a
row's stamp that a writer holds has no token to stand on. For the same reason whoever touches stamps without holding them
touches a table's before those of its rows (:func:`rowstamp.protocol.invalidate`).

Stamps of the guard for which nothing has to stand, because the result shows that it never depended on them
(:mod:`rowstamp.analysis.found`), are simply left out: what remains was captured before the load like any other stamp.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

from rowstamp.model import StampState, StoreSnapshot, fresh_token
from rowstamp.protocol import Flow, Mint, Read, Ticket, tokens_of

__all__ = ["Instead", "narrow", "narrowed_call"]


class Instead(NamedTuple):
    """What an entry stands on in place of its ticket's guard, as the result shows.

    Attributes:
        rows: the names of the stamps of rows that it shows.
        guard: those of the guard for which they stand.
        stays: those of the guard on which it stands all the same.
    """

    rows: Collection[bytes]
    guard: Collection[bytes]
    stays: Collection[bytes]


def narrow(
    ticket: Ticket,
    rows: Collection[bytes],
    *,
    guard: Collection[bytes] | None = None,
    stays: Collection[bytes] = (),
    mint: Callable[[], bytes] = fresh_token,
) -> Flow[Ticket]:
    """Return the right to fill an entry that stands on the rows seen in place of the guard, or the ticket as it is.

    Two round trips, after the load; none without a guard that is to be read again.

    Args:
        ticket: what the lookup returned with the miss, with its guard.
        rows: the names of the stamps of every row that the result shows.
        guard: those of the ticket's guard for which the rows stand, and which are read again; by default all. The others were never
            needed: the result shows that it does not depend on them.
        stays: those of the ticket's guard on which the entry stands all the same.
        mint: makes tokens that were never used.
    """
    tokens = {stamp: token for stamp, token in ticket.tokens.items() if stamp not in ticket.guard or stamp in stays}
    left = ticket.guard if guard is None else guard
    found = yield from _with_rows(tokens, rows, {stamp: ticket.tokens[stamp] for stamp in left}, mint)
    if found is None:
        return ticket
    more = [stamp for stamp in found if stamp not in tokens]
    return replace(ticket, tokens=found, named=(*stays, *more), guard=())


def narrowed_call(
    captured: Mapping[bytes, bytes],
    rows: Collection[bytes],
    *,
    guard: Collection[bytes],
    without: Collection[bytes],
    mint: Callable[[], bytes] = fresh_token,
) -> Flow[Mapping[bytes, bytes]]:
    """Return the tokens that a function's result stands on: the rows seen by all its statements in place of their guards, if it may.

    One time for the whole function, after its last statement: two round trips, however many statements have a guard, and none if
    none has. Each guard was captured before the first load that depends on it, so that the argument holds for each of these loads.

    Args:
        captured: what its statements have captured, the guards included.
        rows: the names of the stamps of the rows that they have shown.
        guard: the stamps in whose place these stand.
        without: the stamps on which it does not depend then, the guards among them.
        mint: makes tokens that were never used.
    """
    tokens = {stamp: token for stamp, token in captured.items() if stamp not in without}
    found = yield from _with_rows(tokens, rows, {stamp: captured[stamp] for stamp in guard}, mint)
    return captured if found is None else found


def _with_rows(
    tokens: dict[bytes, bytes], rows: Collection[bytes], guard: Mapping[bytes, bytes], mint: Callable[[], bytes]
) -> Flow[dict[bytes, bytes] | None]:
    """Return tokens with those of rows seen, captured now, or ``None`` if the guard has other tokens after that."""
    more = [stamp for stamp in dict.fromkeys(rows) if stamp not in tokens]
    captured: Mapping[bytes, bytes] | None = {}
    if more:
        minted: tuple[StampState, ...] = yield Mint({stamp: mint() for stamp in more})
        captured = tokens_of(dict(zip(more, minted, strict=True)))
    if captured is None:
        return None
    if guard:
        again: StoreSnapshot = yield Read(None, tuple(guard))
        if any(state.token != token for state, token in zip(again.stamps, guard.values(), strict=True)):
            return None
    return {**tokens, **captured}
