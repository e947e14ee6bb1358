"""Bounded freshness under exploration: the very code of `mirror.py` and what keeps it fed, with a feed that is delayed, cut and made anew.

One stamp on one server. Another process writes it, this one does too, reads of this one fetch it, and a connection pushes its changes:
first in, first out, delivered at any time or never. After every event a bounded read is tried. Whenever the clock goes on, it does by more
than the bound, so nothing may be served that had ended before.

Mirrors are full of locks and cannot be copied, so a schedule is run from its beginning to reach where it leads; states that are alike are
gone on from once.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any, Final, TypeAlias

from rowstamp.mirror import Feed, Fetch, Mirror
from rowstamp.model import StampState, StoreSnapshot
from rowstamp.stores.redis.commands import HELD, Call, Keys, Read, Write
from rowstamp.stores.redis.feed import heard
from rowstamp.stores.redis.plan import Steps, Tripping, mirrored
from rowstamp.testing.scheduler import Counterexample, Exploration, Property

STAMP: Final = bytes(16)
EPOCH: Final = bytes(16)
SERVER: Final = b"server"
KEYS: Final = Keys.of("rs")
BOUND: Final = 0.5

Action: TypeAlias = Callable[[], None]


class Server:
    """The stamp, and the end of the feed's connection that pushes its changes.

    Attributes:
        token: the number of the stamp's token; 0 while it is held.
        ended_at: since when each token is none any more.
        pushed: what is on its way on the feed: changes, and answers to heartbeats by when they were sent.
        tracks: whether changes are pushed.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._latest = self.token = 1
        self.ended_at: dict[int, float] = {}
        self.pushed: deque[float | None] = deque()
        self.tracks = False

    def hold(self) -> None:
        self._change(0)

    def release(self) -> None:
        self._latest += 1
        self._change(self._latest)

    def _change(self, token: int) -> None:
        self.ended_at.setdefault(self.token, self._clock())
        self.token = token
        if self.tracks:
            self.pushed.append(None)

    def read(self) -> StoreSnapshot:
        state = StampState(self.token.to_bytes(16), held=False) if self.token else HELD
        return StoreSnapshot(None, (state,))


class Request(Tripping):
    """One call of this process: sent, served and answered at three moments."""

    @property
    def epoch_read(self) -> tuple[bytes | None, bytes]:
        return EPOCH, SERVER

    def steps(self) -> Generator[Any, Any, list[Any]]:
        replies: list[Any] = yield []
        return replies

    def witness(self, stamp: bytes) -> bytes:
        assert stamp == STAMP
        return SERVER


class Caller:
    """A thread of this process that calls the server, one call after the other.

    Args:
        case: how calls are made.
        mirror: that of the process.
        calls: the calls, and what the server does for each.
    """

    def __init__(self, case: Case, mirror: Mirror, calls: list[tuple[Call, Callable[[], Any]]]) -> None:
        self._case = case
        self._mirror = mirror
        self._calls = calls
        self._steps: Steps | None = None
        self._reply: list[Any] = []
        self.made = 0

    @property
    def next(self) -> tuple[str, Action] | None:
        if self.made == 3 * len(self._calls):
            return None
        return (("send", self._send), ("serve", self._serve), ("hear", self._hear))[self.made % 3]

    def _send(self) -> None:
        self._steps = self._case.made(Request(), [self._calls[self.made // 3][0]], self._mirror)
        next(self._steps)
        self.made += 1

    def _serve(self) -> None:
        self._reply = [self._calls[self.made // 3][1]()]
        self.made += 1

    def _hear(self) -> None:
        assert self._steps is not None
        with suppress(StopIteration):
            self._steps.send(self._reply)
        self.made += 1

    @property
    def state(self) -> object:
        """Where it stands, in terms of what can still come of it."""
        return self.made, repr(self._reply) if self.made % 3 == 2 else None


class Listener:
    """The thread that follows the server; see :class:`~rowstamp.stores.redis.feed.Follower`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._mirror = world.mirror
        self._feed: Feed | None = None
        self._connected = self._cut = False
        self._asked: list[float] = []
        """When the heartbeat was sent that the server has not seen yet."""
        self._waits = False
        self.connections = 0

    @property
    def events(self) -> dict[str, Action]:
        world, found = self._world, dict[str, Action]()
        if not self._connected:
            if self.connections < world.case.connections:
                found["feed:connect"] = self._connect
            return found
        if self._cut:
            return {"feed:notice": self._notice}
        if self.connections < world.case.connections:
            found["feed:cut"] = self._be_cut
        if self._feed is None:
            return {**found, "feed:join": self._join}
        if self._asked:
            found["feed:serve"] = self._serve_heartbeat
        if not self._waits:
            found["feed:beat"] = self._beat
        if world.server.pushed:
            found["feed:deliver"] = self._deliver
        return found

    def _connect(self) -> None:
        self._connected, self.connections = True, self.connections + 1
        self._world.server.tracks = True

    def _join(self) -> None:
        self._feed = self._mirror.joined(SERVER)

    def _beat(self) -> None:
        self._asked, self._waits = [self._mirror.clock()], True

    def _serve_heartbeat(self) -> None:
        self._world.server.pushed.append(self._asked.pop())

    def _deliver(self) -> None:
        sent_at = self._world.server.pushed.popleft()
        if sent_at is None:
            heard(self._mirror, KEYS, [b"invalidate", [KEYS.stamps + STAMP]])
            return
        self._waits = False
        assert self._feed is not None
        self._world.case.proved(self._mirror, self._feed, sent_at)

    def _be_cut(self) -> None:
        self._cut, self._asked, self._waits = True, [], False
        self._world.server.tracks = False
        self._world.server.pushed.clear()

    def _notice(self) -> None:
        self._connected = self._cut = False
        if self._feed is not None:
            self._mirror.lost(self._feed)
            self._feed = None

    @property
    def state(self) -> object:
        proven = None if self._feed is None else self._feed.proven_at
        return self._connected, self._cut, tuple(self._asked), self._waits, self.connections, proven


def as_of_its_request(mirror: Mirror, feed: Feed, sent_at: float) -> None:
    """What :class:`~rowstamp.stores.redis.feed.Follower` concludes from a heartbeat's answer."""
    mirror.proved(feed, sent_at)


@dataclass(frozen=True, slots=True)
class Case:
    """Who takes part.

    Attributes:
        name: what is explored.
        fetches: how many reads this process makes, each a thread's.
        own: whether it writes.
        others: what another process does to the stamp.
        connections: how often the feed connects; before the last time it may be cut at any moment.
        ticks: how far the clock goes.
        begun: what has happened already.
        mirror: makes the mirror.
        made: makes calls, and lets the mirror know.
        proved: what the feed concludes from a heartbeat's answer.
    """

    name: str
    fetches: int = 1
    own: bool = False
    others: tuple[str, ...] = ("hold", "release")
    connections: int = 1
    ticks: int = 1
    begun: tuple[str, ...] = ()
    mirror: Callable[[Callable[[], float]], Mirror] = Mirror
    made: Callable[[Tripping, Sequence[Call], Mirror], Steps] = mirrored
    proved: Callable[[Mirror, Feed, float], None] = as_of_its_request


class World:
    """A process, the server it uses, and another writer, somewhere in a schedule."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.now = 0.0
        self.mirror = case.mirror(lambda: self.now)
        self.server = server = Server(lambda: self.now)
        self.listener = Listener(self)
        read: list[tuple[Call, Callable[[], Any]]] = [(Read(None, [STAMP]), server.read)]
        self._callers = {f"R{number}": Caller(case, self.mirror, [*read]) for number in range(case.fetches)}
        if case.own:
            self._callers["own"] = Caller(case, self.mirror, [(Write([], lambda _: None, [STAMP]), server.release)])
        self._others = [*case.others]

    def events(self) -> dict[str, Action]:
        """What can happen next, by its label."""
        found = {f"{name}:{step[0]}": step[1] for name, caller in self._callers.items() if (step := caller.next)}
        if self._others:
            found[f"other:{self._others[0]}"] = self._write
        if self.now < self.case.ticks:
            found["clock"] = self._tick
        return {**found, **self.listener.events}

    def _write(self) -> None:
        step = self._others.pop(0)
        self.server.hold() if step == "hold" else self.server.release()

    def _tick(self) -> None:
        self.now += 1

    def wrong(self) -> str | None:
        """Say what a bounded read is served that it must not be."""
        known = self.mirror.states([STAMP], BOUND)
        if known is None:
            return None
        number = int.from_bytes(known[STAMP].token or b"")
        if self.now - self.server.ended_at.get(number, inf) > BOUND:
            return "older than the bound"
        own = self._callers.get("own")
        if own is not None and own.next is None and number == 1:
            return "misses the process's own write"
        return None

    @property
    def serves(self) -> bool:
        return self.mirror.states([STAMP], BOUND) is not None

    def state(self) -> object:
        """All that what can still happen depends on."""
        mirror, server = self.mirror, self.server
        kept = mirror._tokens.get(STAMP)
        fetches = sorted((_told(fetch, mirror) for fetch in mirror._fetches), key=repr)
        return (
            self.now,
            server.token,
            tuple(server.ended_at.items()),
            tuple(server.pushed),
            len(self._others),
            tuple(caller.state for caller in self._callers.values()),
            self.listener.state,
            None if kept is None else (kept[0].token, kept[1] in mirror._feeds.values()),
            tuple(fetches),
            mirror._epoch_is_known,
            mirror._epoch_feed in mirror._feeds.values(),
        )


def _told(fetch: Fetch, mirror: Mirror) -> tuple[bool, bool]:
    return STAMP in fetch.changed, bool(fetch.feeds) and [*fetch.feeds.values()] == [*mirror._feeds.values()]


def arrive(case: Case, schedule: tuple[str, ...]) -> World:
    """Run a schedule from its beginning."""
    world = World(case)
    for label in schedule:
        world.events()[label]()
    return world


def explore_mirror(case: Case) -> Exploration:
    """Go through every interleaving of a case, shortest first, until a bounded read is served what it must not be."""
    began = time.perf_counter()
    start = arrive(case, case.begun)
    seen = {start.state()}
    frontier = [(case.begun, [*start.events()])]
    steps = hits = 0

    def report(found: Counterexample | None) -> Exploration:
        seconds = time.perf_counter() - began
        return Exploration(case.name, len(seen), steps, hits, 0, seconds, found is None, found)

    while frontier:
        following: list[tuple[tuple[str, ...], list[str]]] = []
        for schedule, labels in frontier:
            for label in labels:
                longer = (*schedule, label)
                world = arrive(case, longer)
                steps += 1
                wrong = world.wrong()
                if wrong is not None:
                    return report(Counterexample(Property.FRESH, wrong, longer))
                state = world.state()
                if state not in seen:
                    seen.add(state)
                    hits += world.serves
                    following.append((longer, [*world.events()]))
        frontier = following
    return report(None)
