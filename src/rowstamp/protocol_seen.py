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
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from rowstamp.model import StampState, StoreSnapshot, fresh_token
from rowstamp.protocol import Flow, Mint, Read, Ticket, tokens_of

__all__ = ["narrow"]


def narrow(ticket: Ticket, rows: Collection[bytes], *, mint: Callable[[], bytes] = fresh_token) -> Flow[Ticket]:
    """Return the right to fill an entry that stands on the rows seen in place of the guard, or the ticket as it is.

    Two round trips, after the load.

    Args:
        ticket: what the lookup returned with the miss, with its guard.
        rows: the names of the stamps of every row that the result shows.
        mint: makes tokens that were never used.
    """
    guard = dict.fromkeys(ticket.guard)
    tokens = {stamp: token for stamp, token in ticket.tokens.items() if stamp not in guard}
    more = [stamp for stamp in dict.fromkeys(rows) if stamp not in tokens]
    if more:
        minted: tuple[StampState, ...] = yield Mint({stamp: mint() for stamp in more})
        captured = tokens_of(dict(zip(more, minted, strict=True)))
        if captured is None:
            return ticket
        tokens.update(captured)
    again: StoreSnapshot = yield Read(None, tuple(guard))
    states = zip(guard, again.stamps, strict=True)
    if any(state.token != ticket.tokens[stamp] for stamp, state in states):
        return ticket
    return replace(ticket, tokens=tokens, named=more, guard=())
