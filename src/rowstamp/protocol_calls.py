"""The stamp protocol for whole functions, whose dependencies are known only once they have run.

A statement names its stamps before it runs, so that one read fetches entry and stamps together. A function does not: what it
depends on shows statement by statement. So its entry is asked which stamps it was made under, and while it runs each part
of it captures its own stamps *before* that part is loaded. The two rules of :mod:`rowstamp.protocol` then hold for each
part, hence for the whole: an entry never carries a token younger than any of its rows.

A stamp that two parts share is captured once, by the first. The later part is loaded under a token that is older than it
need be, which errs on the safe side: if the token has changed in between, the entry is unusable from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from rowstamp.entry import PLAIN, EntryForm, StoredEntry
from rowstamp.errors import CorruptEntry
from rowstamp.model import StampState, StoreSnapshot, fresh_token
from rowstamp.protocol import Flow, Hit, NearSnapshot, Read, Ticket, found_entry, mint_missing, standing

__all__ = ["CallHit", "CallMiss", "call_ticket", "capture", "lookup_call", "still_holds"]


@dataclass(frozen=True, slots=True)
class CallHit(Hit):
    """A valid entry; its tokens are what the result depends on, and so does whatever is made of it.

    Attributes:
        blob: the bytes of the entry, if the store gave them.
    """

    blob: bytes | None = None


@dataclass(frozen=True, slots=True)
class CallMiss:
    """No valid entry.

    Attributes:
        captured: the tokens of stamps that were read on the way. They are older than anything loaded from now on, so a part
            that depends on one of these stamps need not capture it again.
        corrupt: whether there were bytes that are no entry.
        stale: the entry that is there and not valid.
        unchanged: whether that is so because its time to live is over, and not because of a write.
    """

    captured: Mapping[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    corrupt: bool = False
    stale: StoredEntry | None = None
    unchanged: bool = False


def lookup_call(
    entry: bytes, known: Sequence[bytes], required: Collection[bytes], *, form: EntryForm = PLAIN
) -> Flow[CallHit | CallMiss]:
    """Find a valid entry whose dependencies it names itself.

    One round trip if ``known`` has them all, which it usually does: they are remembered from the last time. Else a second one.

    Args:
        entry: the entry's key.
        known: the stamps that the entry was made under when it was last met.
        required: stamps that it must have been made under to count, such as those of its tags.
        form: how entries are written.
    """
    snapshot: StoreSnapshot | NearSnapshot = yield Read(entry, known)
    states = dict(zip(known, snapshot.stamps, strict=True))
    if snapshot.entry is None:
        return CallMiss(_captured(states))
    try:
        stored = found_entry(entry, snapshot.entry, form)
    except CorruptEntry:
        return CallMiss(_captured(states), corrupt=True)
    # All stamps of a call are named in its entry: one that is required and not among them makes another proof.
    tokens = yield from standing(stored, required, states)
    if tokens is not None:
        return CallHit(stored, tokens, snapshot.entry if isinstance(snapshot, StoreSnapshot) else None)
    return CallMiss(_captured(states), stale=stored)


def still_holds(blob: bytes | None, tokens: Sequence[bytes], snapshot: StoreSnapshot) -> bool:
    """Return whether an entry that was a hit is one again, without taking it apart again.

    Args:
        blob: its bytes, which were found to be an entry of this key that has all the stamps it must have; ``None`` if the stamps
            alone were read again, as for a copy that a near cache keeps.
        tokens: the tokens that it stands on, in the order of the stamps.
        snapshot: what ``Read`` of the entry and of its stamps says now.
    """
    if snapshot.entry != blob:
        return False
    # A missing or held stamp has no token, and None never equals one.
    return [state.token for state in snapshot.stamps] == tokens


def _captured(states: Mapping[bytes, StampState]) -> dict[bytes, bytes]:
    return {stamp: state.token for stamp, state in states.items() if state.token is not None}


def capture(stamps: Sequence[bytes], *, mint: Callable[[], bytes] = fresh_token) -> Flow[Mapping[bytes, bytes] | None]:
    """Capture stamps for the part of a result that is loaded next; ``None`` when a writer holds one of them.

    Args:
        stamps: the names of the stamps of all that the part depends on.
        mint: makes tokens that were never used.
    """
    snapshot: StoreSnapshot = yield Read(None, stamps)
    return (yield from mint_missing(dict(zip(stamps, snapshot.stamps, strict=True)), mint))


def call_ticket(entry: bytes, tokens: Mapping[bytes, bytes]) -> Ticket:
    """Return the right to fill the entry of a call; it names all the stamps that it was made under."""
    return Ticket(entry, tokens, named=tuple(tokens))
