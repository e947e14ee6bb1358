"""A process with a near cache, under exploration: the very code of `near.py`, its copies beside the entries of the store.

The copy of entry e is entry `COPIES` + e of the model. So it is evicted, and told from others, like any; and what the checker tries at
rest is tried on the copies too. A copy is never taken away when it is found outdated, which is the worse case: another thread may
have put it there since.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import inf

from rowstamp.entry import pack_entry, unpack_entry
from rowstamp.errors import CorruptEntry
from rowstamp.model import StampState, StoreSnapshot
from rowstamp.near import NearCache
from rowstamp.protocol import Flow, Hit, Miss, Put, Read, Ticket
from rowstamp.testing.model_store import entry_key, index_of, remember_tokens, tokens_of
from rowstamp.testing.scheduler import Flows

Minter = Callable[[], bytes]

COPIES = 1
"""There is one entry, so its copy is the second."""


def copy_key(entry: bytes) -> bytes:
    return entry_key(index_of(entry) + COPIES)


def kept(entry: bytes, tokens: Mapping[bytes, bytes], body: bytes) -> Put:
    """Keep a copy, which is done by this process alone and at once."""
    key = copy_key(entry)
    return Put(key, pack_entry(key, tokens, body), inf)


class Near(Flows):
    """Reads go through the near cache of a process that all readers are threads of; what they store is kept there, too."""

    def lookup(self, entry: bytes, stamps: Sequence[bytes], *, serve: bool, mint: Minter) -> Flow[Hit | Miss]:
        flow = super().lookup(entry, stamps, serve=serve, mint=mint)
        if not serve or index_of(entry) >= COPIES:  # the latter is the checker, which tries a copy by itself
            return (yield from flow)
        near = NearCache(1 << 20, clock=lambda: 0.0, wall_clock=lambda: -inf)
        found: StoreSnapshot = yield Read(copy_key(entry), ())
        # The checker, which tries what a read would be served, offers the store's entry here: that is no copy.
        with suppress(CorruptEntry):
            copy = unpack_entry(copy_key(entry), found.entry or b"")
            near.keep(entry, copy, tokens_of(copy))
        before = near._copies.get(entry)
        outcome = yield from self.through(near, flow)
        after = near._copies.get(entry)
        if after is not None and after is not before:
            yield kept(entry, after.tokens, after.stored.body)
        return outcome

    def through(self, near: NearCache, flow: Flow[Hit | Miss]) -> Flow[Hit | Miss]:
        return near.through(flow)

    def fill(self, ticket: Ticket, body: bytes) -> Flow[None]:
        yield from super().fill(ticket, body)
        yield kept(ticket.entry, ticket.tokens, body)


class ServesCopiesUnasked(Near):
    """A copy counts without its stamps, as in a cache with nothing but a time to live."""

    def through(self, near: NearCache, flow: Flow[Hit | Miss]) -> Flow[Hit | Miss]:
        for copy in near._copies.values():
            flow.close()
            return Hit(copy.stored, copy.tokens)
        return (yield from near.through(flow))


class BelievesMissingStamps(Near):
    """A copy counts unless one of its stamps has another token: a missing or held one has none."""

    def through(self, near: NearCache, flow: Flow[Hit | Miss]) -> Flow[Hit | Miss]:
        for copy in near._copies.values():
            names = list(copy.tokens)
            snapshot: StoreSnapshot = yield Read(None, names)
            states: dict[bytes, StampState] = dict(zip(names, snapshot.stamps, strict=True))
            if all(states[name].token in {None, token} for name, token in copy.tokens.items()):
                flow.close()
                return Hit(copy.stored, copy.tokens)
        return (yield from near.through(flow))


class KeepsUnderNewTokens(Near):
    """A result is kept under the tokens that its stamps have when it has been stored, not under those from before its query."""

    def fill(self, ticket: Ticket, body: bytes) -> Flow[None]:
        yield from Flows.fill(self, ticket, body)
        names = list(ticket.tokens)
        snapshot: StoreSnapshot = yield Read(None, names)
        tokens = {name: state.token for name, state in zip(names, snapshot.stamps, strict=True) if state.token}
        if len(tokens) == len(names):
            remember_tokens(tokens)
            yield kept(ticket.entry, tokens, body)
