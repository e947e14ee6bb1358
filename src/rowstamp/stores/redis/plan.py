"""What a store on Redis knows and what it says, without I/O: the part that the blocking and the awaited skin share."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol, TypeAlias

from rowstamp.mirror import Fetched, Mirror
from rowstamp.model import StoreSnapshot
from rowstamp.stores.breaker import Breakers
from rowstamp.stores.redis.address import Address
from rowstamp.stores.redis.cluster import ClusterAddress, route_to
from rowstamp.stores.redis.commands import Call, Epoch, Keys, Read, Write
from rowstamp.stores.redis.deadline import Deadline
from rowstamp.stores.redis.errors import log_eviction
from rowstamp.stores.redis.reading import Reading
from rowstamp.stores.redis.scripts import Reply, Words
from rowstamp.stores.redis.sentinel import SentinelAddress
from rowstamp.stores.redis.server import ChangedServer, Identities, Server, greet
from rowstamp.stores.redis.trip import Answer, Errand, Node, Trip

__all__ = ["Plan", "Steps", "Tripping", "mirrored"]

Steps: TypeAlias = Generator[list[Errand], list[Answer | Exception], list[Any]]


class Plan:
    """The keys, the epoch, the servers met and the way to each of them; for any number of threads and event loops.

    Args:
        address: where the server is.
        hold_ttl: how long holds last at most, in seconds.

    Attributes:
        clock: seconds from any fixed moment, never going back.
        timeout: how long one round trip may take, in seconds.
        connect_timeout: how long making a connection may take, in seconds.
        breakers: those of all servers met.
    """

    def __init__(self, address: Address | SentinelAddress | ClusterAddress, hold_ttl: float) -> None:
        self.clock: Callable[[], float] = time.monotonic
        self.address = address
        self.timeout = address.timeout_ms / 1000
        self.connect_timeout = address.connect_timeout_ms / 1000
        self.keys = Keys.of(address.prefix)
        self.epoch = Epoch()
        self.breakers = Breakers()
        self.route = route_to(address)
        self._identities = Identities(hold_ttl, self._now)
        self._latest: dict[Node, bytes] = {}
        self._warned = False

    def _now(self) -> float:
        return self.clock()

    def deadline(self) -> Deadline:
        """Return when a call is over that begins now: it may have to connect and to make its round trip, and no more."""
        return Deadline(self.connect_timeout + self.timeout, self.clock)

    def trip(self, calls: Sequence[Call], mirror: Mirror | None) -> Steps:
        """Make calls: yields the errands that are to be run at the same time, and returns the outcome of each call.

        Args:
            calls: the calls.
            mirror: is told of what is read and changed.
        """
        trip = self.reading(calls) or Trip(calls, self.keys, self.epoch, self.route, self.clock())
        return trip.steps() if mirror is None else mirrored(trip, calls, mirror)

    def reading(self, calls: Sequence[Call]) -> Reading | None:
        """Return calls that are nothing but reads, on a server that has all the keys."""
        if self.route.in_cluster:
            return None
        reads: list[Read] = []
        for call in calls:
            if not isinstance(call, Read):
                return None
            reads.append(call)
        return Reading(reads, self.keys, self.epoch, self.route.node_of(self.keys.epoch))

    def meet(self, node: Node, identity: bytes) -> None:
        """Take note of who is there; lines to another that was there before are of no use any more."""
        self._latest[node] = identity

    def is_settled(self, node: Node, server: Server) -> bool:
        """Whether reads on a line are all that has to be said on it now; what else there may be is in `talk` and in `Errand.talk`."""
        now = self.clock()
        return (
            not server.is_due(now)
            and now >= server.serves_from
            and server.identity == self._latest.get(node)
            and not server.evicts_volatile
        )

    def talk(self, errand: Errand, server: Server) -> Generator[list[Words], list[Reply], Answer]:
        """Run an errand: what is said on a line.

        Raises:
            ChangedServer: a newer line has met another server there. After a failover that was asked for, Sentinel lets both
                primaries be for a while: whoever used the old one for some stamps would miss what the new one is told.
        """
        if server.identity != self._latest.get(errand.node):
            raise ChangedServer("another server has taken this one's place")
        return errand.talk(server, self.clock(), in_cluster=self.route.in_cluster)

    def greet(self, node: Node) -> Generator[list[Words], list[Reply], Server]:
        """Learn who a server is: what is said first on a new line."""
        # In a cluster the epoch may be another node's; on a server alone it comes at no cost.
        more = [] if self.route.in_cluster else self.epoch.commands(self.keys)
        server, replies = yield from greet(
            self._identities,
            self.route.marker(node, self.keys.marks),
            in_cluster=self.route.in_cluster,
            more=more,
        )
        if more and isinstance(replies[1], bytes):
            self.epoch.learnt(replies[1], self.clock())
        self.meet(node, server.identity)
        if server.evicts_all and not self._warned:
            self._warned = True
            log_eviction(self.address)
        return server


class Tripping(Protocol):
    """What :func:`mirrored` needs of a trip; see :class:`~rowstamp.stores.redis.trip.Trip`."""

    def steps(self) -> Steps:
        """Go."""
        ...

    @property
    def epoch_read(self) -> tuple[bytes | None, bytes]:
        """The epoch that was read with stamps, and the identity of its server."""
        ...

    def witness(self, stamp: bytes) -> bytes:
        """The identity of the server that said what a stamp's state is."""
        ...


def mirrored(trip: Tripping, calls: Sequence[Call], mirror: Mirror) -> Steps:
    """Make a trip, and let a mirror know what it reads and changes.

    Args:
        trip: the trip.
        calls: what it is made for.
        mirror: is told.
    """
    changes = [stamp for call in calls if isinstance(call, Write) for stamp in call.changes]
    mirror.changed(changes)
    fetch = mirror.begin()
    found: list[Fetched] = []
    try:
        outcomes = yield from trip.steps()
        for call, outcome in zip(calls, outcomes, strict=True):
            if isinstance(call, Read) and isinstance(outcome, StoreSnapshot):
                states = zip(call.stamps, outcome.stamps, strict=True)
                found.extend([Fetched(stamp, state, trip.witness(stamp)) for stamp, state in states])
        return outcomes
    finally:
        # Whatever became of it: the server may have done it.
        mirror.changed(changes)
        if fetch is not None:
            epoch, by = trip.epoch_read if found else (None, b"")
            mirror.end(fetch, epoch, found, by=by)
