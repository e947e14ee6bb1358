"""Hear from a server which stamps change: ``CLIENT TRACKING`` in broadcast mode, on a connection of its own, in RESP3.

A thread listens, for stores that block and for stores that are awaited: a task would share its loop with the application, whose busy
moments would delay the heartbeat, and would end with the loop, while a store may be used from several. What it hears goes
into a :class:`~rowstamp.mirror.Mirror`, which also says what may be concluded.

**Broadcast, not the keys that were read**: the server then remembers nothing for each client, and no read has to be made on the feed.

**The heartbeat is a PING on this very connection.** Every change before the PING was sent precedes the reply: pushes are written at the
end of each round of the server's event loop, and a PING that is served in a round had arrived before that round began.

**The epoch's key is broadcast, too**; what cannot be understood counts as "everything has changed".
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Generator, Sequence
from typing import Any, Final

from redis.exceptions import ResponseError

from rowstamp.mirror import Feed, Mirror
from rowstamp.stores.redis.commands import Keys
from rowstamp.stores.redis.errors import FOREIGN, is_permanent, store_error
from rowstamp.stores.redis.plan import Plan
from rowstamp.stores.redis.scripts import Words
from rowstamp.stores.redis.sentinel import find
from rowstamp.stores.redis.server import Server, confirm
from rowstamp.stores.redis.talk import lead
from rowstamp.stores.redis.trip import Node

__all__ = ["Feeds", "Follower", "heard"]

_log: Final = logging.getLogger("rowstamp.redis")

_SHORTEST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0
_LONGEST_WAIT: Final = 0.1
"""The thread looks at least so often whether it is to end, in seconds."""


def heard(mirror: Mirror, keys: Keys, message: Sequence[Any]) -> None:
    """Take a push in: the names of stamps that have changed, or that everything may have.

    Args:
        mirror: where it goes.
        keys: how the keys of the store begin.
        message: ``[b"invalidate", keys]``; the keys are ``None`` after ``FLUSHALL``.
    """
    changed: Any = message[1] if len(message) > 1 else None
    if not isinstance(changed, list):
        mirror.all_changed()
        return
    names: list[bytes] = []
    for key in changed:  # pyright: ignore[reportUnknownVariableType]
        if isinstance(key, bytes) and key.startswith(keys.stamps):
            names.append(key[len(keys.stamps) :])
        elif isinstance(key, bytes) and key.startswith(keys.epoch):
            mirror.epoch_changed()
        else:
            mirror.all_changed()
    mirror.changed(names)


class Follower:
    """A thread that keeps a mirror fed by one server, and connects again when the connection is lost.

    Args:
        mirror: what it feeds.
        plan: what the store knows.
        node: the server.
    """

    def __init__(self, mirror: Mirror, plan: Plan, node: Node) -> None:
        self._mirror = mirror
        self._plan = plan
        self._node = node
        self._keys = plan.keys
        self._stopped = threading.Event()
        self._blamed = False
        self._thread = threading.Thread(target=self._follow, name="rowstamp-redis-feed", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs; it does not in a forked process."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the thread, soon."""
        self._stopped.set()

    def join(self, seconds: float) -> None:
        """Wait until the thread has ended, for so long at most."""
        self._thread.join(seconds)

    def _follow(self) -> None:
        pause = _SHORTEST_PAUSE
        while not self._stopped.is_set():
            began = time.monotonic()
            try:
                self._listen()
            except Exception as exc:  # noqa: BLE001 - a thread that died would be started again by the next read, and the next
                if not self._blamed and (is_permanent(exc) or not isinstance(exc, FOREIGN)):
                    self._blamed = True
                    _log.error(
                        "the changes of stamps cannot be followed, so bounded reads are strict: %s", store_error(exc)
                    )
            if time.monotonic() - began > _LONGEST_PAUSE:
                pause = _SHORTEST_PAUSE
            self._stopped.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _listen(self) -> None:
        """Listen until the connection is lost or the thread is to end."""
        connection: Any = find(self._plan.route.address_of(self._node)).blocking(protocol=3)
        feed: Feed | None = None
        try:
            connection.connect()
            server = lead(connection, self._plan.greet(self._node))
            # redis-py's own client-side cache uses its parser so; there is no other way to what is pushed.
            connection._parser.set_invalidation_push_handler(self._heard)  # noqa: SLF001
            lead(connection, _track(self._keys))
            feed = self._mirror.joined(server.identity)
            while not self._stopped.is_set():
                self._beat(connection, server, feed)
                self._hear(connection, self._mirror.clock() + self._mirror.beat())
        finally:
            if feed is not None:
                self._mirror.lost(feed)
            connection.disconnect()

    def _beat(self, connection: Any, server: Server, feed: Feed) -> None:
        sent_at, now = self._mirror.clock(), time.monotonic()
        # The question who the server is is as good a heartbeat as any.
        lead(connection, confirm(server, now) if server.is_due(now) else _ping())
        self._mirror.proved(feed, sent_at)

    def _hear(self, connection: Any, until: float) -> None:
        """Take in what is pushed until the next heartbeat is due."""
        while not self._stopped.is_set():
            left = until - self._mirror.clock()
            if left <= 0:
                return
            if connection.can_read(min(left, _LONGEST_WAIT)):
                connection.read_response(push_request=True)

    def _heard(self, message: Sequence[Any]) -> None:
        heard(self._mirror, self._keys, message)


class Feeds:
    """The mirror of a store and the threads that feed it, from when they are first wanted. For any number of threads.

    In a cluster each node that has slots feeds it; what another says is not kept.

    Args:
        plan: what the store knows.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._mirror: Mirror | None = None
        self._followers: dict[Node, Follower] = {}
        self._closed = False

    @property
    def mirror(self) -> Mirror | None:
        """The mirror, if it has been asked for in this process."""
        if self._mirror is not None and self._pid != os.getpid():
            # A forked process has no thread to feed it, and the locks may be held by one that is not there.
            self._pid, self._lock, self._mirror, self._followers = os.getpid(), threading.Lock(), None, {}
        return self._mirror

    def follow(self) -> Mirror:
        """Return the mirror, and see that it is being fed."""
        mirror, followers = self.mirror, self._followers
        fed = followers.keys() == self._plan.route.nodes and all(each.alive for each in followers.values())
        if mirror is None or not (fed or self._closed):
            with self._lock:
                mirror = self._mirror = self._mirror or Mirror()
                if not self._closed:
                    self._follow_nodes(mirror)
        return mirror

    def _follow_nodes(self, mirror: Mirror) -> None:
        nodes, followers = self._plan.route.nodes, self._followers
        for node in followers.keys() - nodes:
            followers[node].stop()
        self._followers = {
            node: known
            if (known := followers.get(node)) is not None and known.alive
            else Follower(mirror, self._plan, node)
            for node in nodes
        }

    def close(self) -> None:
        """End the threads, soon."""
        self._closed = True
        for follower in self._followers.values():
            follower.stop()

    def join(self, seconds: float) -> None:
        """Wait until the threads have ended, for so long at most each."""
        for follower in self._followers.values():
            follower.join(seconds)


def _track(keys: Keys) -> Generator[list[Words], list[Any], None]:
    replies = yield [("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", keys.stamps, "PREFIX", keys.epoch)]
    _granted(replies)


def _ping() -> Generator[list[Words], list[Any], None]:
    replies = yield [("PING",)]
    _granted(replies)


def _granted(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise reply
