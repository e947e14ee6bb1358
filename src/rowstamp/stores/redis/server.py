"""Who the server at the other end of a connection is, since when, and what that means for what it says.

**Identity.** A token is stored with a tag, a digest of the server's run id and replication id and of the store's epoch. A stamp of
another tag is missing. So after a restart, a restore or a promotion everything is a miss, and so is a key that a
cluster has moved to another node. Each connection asks for the identity when it is made, and again with the first
command after :data:`RECHECK_SECONDS`: a server that is demoted and promoted again keeps its connections.

**The first moments of an identity.** Such an event may also lose a *hold*. A reader that comes before the writer's COMMIT lands
would store the old rows, and they would be served until the release; or, if the writer dies before it, until they end. So until
``hold_ttl`` seconds have passed every stamp of a new identity counts as held: nothing is served and nothing filled. By then every
hold of before has been released, with a new token, or its writer is late or dead, as it would be without the event.

**Since when** an identity exists is asked once by each process, of the server itself: the first client that meets it leaves a mark
with the server's time. Where the mark is lost the wait begins anew. A server that has never been part of any replication
needs no mark: its identity is as old as its run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from hashlib import blake2b
from math import inf
from typing import Final

from rowstamp.errors import StoreError
from rowstamp.stores.redis import scripts
from rowstamp.stores.redis.scripts import Reply, Words, say

__all__ = [
    "TAG_SIZE",
    "ChangedServer",
    "Identities",
    "Server",
    "UnusableServer",
    "check",
    "confirm",
    "greet",
]

RECHECK_SECONDS: Final = 0.1
"""A connection asks for its server's identity again with the first command after so many seconds."""

TAG_SIZE: Final = 8

_MARK_SECONDS: Final = 30 * 24 * 3600
_NO_REPLICATION_ID: Final = "0" * 40


class UnusableServer(StoreError):
    """The server will never do: it is too old, or of another kind than the URL says."""


class ChangedServer(StoreError):
    """The server is not who it was when the connection was made; a new connection will tell who it is now."""


class Server:
    """The server at the other end of one connection, as far as it is known.

    Attributes:
        identity: its run id, role and replication id.
        evicts_volatile: whether keys with a time to live, and no others, may be evicted before they end.
        evicts_all: whether any key may be.
        checked_at: when the identity was last known to be right, by the client's monotonic clock.
        serves_from: when its tokens begin to validate, by the same clock; never for a server that is asked for the map
            of its cluster and nothing else.
    """

    __slots__ = ("_tag", "_tag_epoch", "checked_at", "evicts_all", "evicts_volatile", "identity", "serves_from")

    def __init__(self, identity: bytes, *, policy: str, checked_at: float, serves_from: float) -> None:
        self.identity = identity
        self.evicts_volatile = policy.startswith("volatile-")
        self.evicts_all = policy.startswith("allkeys-")
        self.checked_at = checked_at
        self.serves_from = serves_from
        self._tag = b""
        self._tag_epoch = b""

    @property
    def lasts(self) -> bool:
        """Whether it is worth keeping the connection."""
        return self.serves_from != inf

    def is_due(self, now: float) -> bool:
        """Whether it is time to ask again who it is."""
        return now - self.checked_at > RECHECK_SECONDS

    def tag(self, epoch: bytes | None) -> bytes:
        """The tag of tokens given by this server in an epoch; empty, as no tag is, where there is no epoch."""
        if epoch is None:
            return b""
        if epoch != self._tag_epoch:
            self._tag = blake2b(self.identity + epoch, digest_size=TAG_SIZE).digest()
            self._tag_epoch = epoch
        return self._tag


class Identities:
    """The identities that a process has met, and from when on each of them serves.

    Args:
        hold_ttl: how long a hold may last, in seconds; 0 lets every identity serve at once.
        clock: the client's monotonic clock, in seconds.
    """

    def __init__(self, hold_ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.hold_ttl = hold_ttl
        self.clock = clock
        self._serve_from: dict[bytes, float] = {}

    def settled(
        self, identity: bytes, age: float, mark: Callable[[bytes], bytes]
    ) -> Generator[list[Words], list[Reply], float]:
        """Return from when on an identity serves; the server is asked if it is new to this process.

        Args:
            identity: the identity.
            age: how old it is for certain, in seconds.
            mark: makes the key of its mark.
        """
        known = self._serve_from.get(identity)
        if known is not None:
            return known
        if age < self.hold_ttl:
            words: Words = ("EVALSHA", scripts.meet().sha, 1, mark(_digest(identity)), _MARK_SECONDS * 1000)
            (reply,) = yield from say([words])
            age = max(age, reply / 1000 if isinstance(reply, int) else 0.0)
        # Asked after the answer: the time that it took to come has not passed for the server.
        serve_from = self.clock() + max(0.0, self.hold_ttl - age)
        return self._serve_from.setdefault(identity, serve_from)


def _info(reply: Reply) -> dict[str, str]:
    if isinstance(reply, Exception):
        raise reply
    text = reply if isinstance(reply, str) else bytes(reply).decode("utf-8", "replace")
    pairs = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def _identity(run_id: str, replication: Mapping[str, str]) -> bytes:
    return f"{run_id} {replication.get('role', '')} {replication.get('master_replid', '')}".encode()


def _digest(identity: bytes) -> bytes:
    return blake2b(identity, digest_size=16).digest()


def mark_name(info: Mapping[str, str]) -> bytes:
    """Return how the key of a server's mark ends; for tests that cannot wait."""
    return _digest(_identity(info["run_id"], info))


def _require_primary(replication: Mapping[str, str]) -> None:
    role = replication.get("role")
    if role != "master":
        raise StoreError(
            f"the server is a {role or 'server of unknown role'} and may lag behind: connect to the primary"
        )


def _age(info: Mapping[str, str]) -> float:
    """How many seconds ago the server's identity began, at least."""
    replicated = info.get("master_replid2") != _NO_REPLICATION_ID or info.get("master_repl_offset") != "0"
    # Whole seconds, each end rounded down, and read from a clock that the server looks at now and then.
    return 0.0 if replicated else max(0.0, float(info.get("uptime_in_seconds", 0)) - 2)


def greet(
    identities: Identities, mark: Callable[[bytes], bytes] | None, *, in_cluster: bool, more: Sequence[Words]
) -> Generator[list[Words], list[Reply], tuple[Server, list[Reply]]]:
    """Learn who the server is and see that it has the scripts; the first talk on each new connection.

    Args:
        identities: the identities met so far.
        mark: makes the key of the server's mark from a digest of its identity; ``None`` if there is no telling yet.
        in_cluster: whether it has to be a node of a cluster.
        more: what else to say in the same round trip; the replies are returned.
    """
    now = identities.clock()
    replies = yield [
        ("INFO", "server", "replication", "memory"),
        *more,
        *(("SCRIPT", "LOAD", source) for source in scripts.sources().values()),
    ]
    info = _info(replies[0])
    _require_usable(info, in_cluster=in_cluster)
    identity = _identity(info.get("run_id", ""), info)
    if mark is None or (in_cluster and info.get("role") == "slave"):
        serves_from = inf
    else:
        _require_primary(info)
        serves_from = yield from identities.settled(identity, _age(info), mark)
    policy = info.get("maxmemory_policy", "")
    server = Server(identity, policy=policy, checked_at=now, serves_from=serves_from)
    return server, replies[1 : 1 + len(more)]


def _require_usable(info: Mapping[str, str], *, in_cluster: bool) -> None:
    version = info.get("redis_version", "0")
    if int(version.partition(".")[0]) < 7:
        raise UnusableServer(
            f"the server speaks as Redis {version}: Redis 7.0 or Valkey 8 is the oldest that can be used"
        )
    mode = info.get("redis_mode") or info.get("server_mode")  # Valkey has renamed it
    if (mode == "cluster") is not in_cluster:
        wanted = "is on its own: write redis://" if in_cluster else "is a node of a cluster: write redis+cluster://"
        raise UnusableServer(f"the server {wanted} in the URL")


def confirm(server: Server, now: float) -> Generator[list[Words], list[Reply], None]:
    """See that the server is still who it was, in a talk of its own; see :func:`check`."""
    replies = yield [("INFO", "replication")]
    check(server, replies[0], now)


def check(server: Server, reply: Reply, now: float) -> None:
    """See in a reply to ``INFO replication`` that the server is who it was.

    Raises:
        ChangedServer: it is not; nothing that it said is used, and the connection is to be closed.
    """
    run_id = server.identity.partition(b" ")[0].decode()
    if _identity(run_id, _info(reply)) != server.identity:
        raise ChangedServer("the server has been demoted or promoted since this connection was made")
    server.checked_at = now
