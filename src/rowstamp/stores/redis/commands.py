"""What is said to a Redis or Valkey server and what its answers mean: commands as data, no I/O.

**Stamps are strings**, in the forms that `lua/common.lua` describes. A stamp with a token, a missing one and a held one
can be told apart by a plain GET, so that an entry and all its stamps are read by one MGET, atomically. What changes a
stamp is a script on that one key; its clock is the server's (`TIME`).

**Holds end by themselves.** The key of a held stamp ends with its last hold, and a missing stamp is just what an expired
hold has to leave. Under a `volatile-*` policy that would not do: there whatever has a time to live may be evicted, under
`volatile-ttl` before all else. So under these policies a held stamp has none, is hence never evicted, and the reader
compares the ends of the holds with the server's `TIME`, asked for in the same round trip. The price: what a writer held
that was killed between hold and release stays until somebody asks for that stamp.

**Under `allkeys-*` policies the server may evict a held stamp**, and nothing that a client does can prevent it. A reader
that mints it then, and loads before COMMIT, is served old rows from COMMIT until the release, which always puts a new
token; if the writer is killed in that time, until the entry ends. A guard would have to survive the eviction itself: a
second key may be evicted as well, and to distrust every stamp minted within `hold_ttl` of an eviction is to distrust all
of them on a server that is full. `allkeys-lru` takes what was unused longest and a hold is milliseconds old, so it takes one
only if it turns all of its memory over within a second. `allkeys-random` does not mind age, and `allkeys-lfu` prefers new
keys: take `volatile-lru`, `volatile-ttl` or `noeviction` where that matters.

**A full server can still be held.** `hold` and `release` may allocate where ordinary writes are refused (`allow-oom`): a
writer that could not hold while readers are served would make them stale. Only fills fail then.

**Server identity and epoch.** A token is stored with a tag, a digest of the server's run id and replication id and of the
epoch, a random value under one key. A stamp of another tag is missing. The first two change when a server restarts, is
restored or promoted, the last when the store is cleared. Each connection asks for the identity when it is made, and again
with the first command after :data:`RECHECK_SECONDS`: a server that is demoted and promoted again keeps its connections.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b, sha1
from importlib.resources import files
from math import ceil
from struct import Struct
from typing import Any, Final, NamedTuple, TypeAlias

from redis.exceptions import NoScriptError

from rowstamp.errors import StoreError
from rowstamp.mirror import Fetched, Mirror
from rowstamp.model import StampState, StoreSnapshot

__all__ = [
    "RECHECK_SECONDS",
    "Call",
    "Keys",
    "Read",
    "Reply",
    "Server",
    "UnusableServer",
    "Words",
    "Write",
    "clear",
    "confirm",
    "converse",
    "delete",
    "greet",
    "hold",
    "mint",
    "put",
    "release",
    "touch",
]

Words: TypeAlias = tuple[bytes | str | int, ...]
Reply: TypeAlias = Any
RECHECK_SECONDS: Final = 0.1
"""A connection asks for its server's identity again with the first command after so many seconds."""

STAMP_SECONDS: Final = 24 * 3600
"""How long a token lives. When it ends, what depended on it is a miss, so this only has to be long."""

UNREAD_SECONDS: Final = 20 * 60
"""How long a token lives that a writer left behind and that no reader is known to want.

Rows that are written and never read would else leave a stamp for a day each.
"""

EPOCH_SECONDS: Final = 30 * 24 * 3600
_LONGEST_SECONDS: Final = 10 * 365 * 24 * 3600

_TAG_SIZE: Final = 8
_TOKEN_AT: Final = 1 + _TAG_SIZE
_HOLDS_AT: Final = 2
_HOLD: Final = Struct(">d16x")

_MISSING: Final = StampState(token=None, held=False)
_HELD: Final = StampState(token=None, held=True)


class UnusableServer(StoreError):
    """The server will never do: it is too old."""


# ------------------------------------------------------------------------------------------------------- keys


@dataclass(frozen=True, slots=True)
class Keys:
    """How the keys of a store begin, so that several stores can share a server and an ACL can name them."""

    entries: bytes
    stamps: bytes
    epoch: bytes

    @classmethod
    def of(cls, prefix: str) -> Keys:
        """Return the keys of a prefix."""
        start = prefix.encode()
        return cls(start + b":e:", start + b":s:", start + b":epoch")


# ----------------------------------------------------------------------------------------------------- scripts


class Script(NamedTuple):
    """A script on one key."""

    sha: str
    source: bytes


@lru_cache
def _script(name: str, *, flags: str = "") -> Script:
    folder = files("rowstamp.stores.redis") / "lua"
    parts = (f"#!lua{flags and ' flags='}{flags}\n".encode(), (folder / "common.lua").read_bytes())
    source = b"".join((*parts, (folder / f"{name}.lua").read_bytes()))
    return Script(sha1(source, usedforsecurity=False).hexdigest(), source)


def _mint_script() -> Script:
    return _script("mint")


def _hold_script() -> Script:
    return _script("hold", flags="allow-oom")


def _release_script() -> Script:
    return _script("release", flags="allow-oom")


# ------------------------------------------------------------------------------------------------------ server


class Server:
    """The server at the other end of one connection, as far as it is known.

    Attributes:
        identity: its run id and replication id.
        evicts_volatile: whether keys with a time to live may be evicted before they end.
        epoch: the epoch when it was last seen; ``None`` if there was none.
        checked_at: when the identity was last known to be right, by the client's monotonic clock.
    """

    __slots__ = ("_tag", "_tag_epoch", "checked_at", "epoch", "evicts_volatile", "identity")

    def __init__(self, identity: bytes, *, evicts_volatile: bool, checked_at: float) -> None:
        self.identity = identity
        self.evicts_volatile = evicts_volatile
        self.checked_at = checked_at
        self.epoch: bytes | None = None
        self._tag = b""
        self._tag_epoch: bytes | None = None

    def tag(self) -> bytes:
        """The tag of tokens given by this server in this epoch."""
        epoch = self.epoch
        if epoch is None:
            raise StoreError("the store's epoch was lost while tokens were being given")
        if epoch != self._tag_epoch:
            self._tag = blake2b(self.identity + epoch, digest_size=_TAG_SIZE).digest()
            self._tag_epoch = epoch
        return self._tag


def _info(reply: Reply) -> dict[str, str]:
    if isinstance(reply, Exception):
        raise reply
    text = reply if isinstance(reply, str) else bytes(reply).decode("utf-8", "replace")
    pairs = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def _identity(run_id: str, replication: Mapping[str, str]) -> bytes:
    role = replication.get("role")
    if role != "master":
        raise StoreError(
            f"the server is a {role or 'server of unknown role'} and may lag behind: connect to the primary"
        )
    return f"{run_id} {replication.get('master_replid', '')}".encode()


def greet(keys: Keys, now: float) -> Generator[list[Words], list[Reply], Server]:
    """Learn who the server is and see that it has the scripts; the first talk on each new connection."""
    replies = yield [
        ("INFO", "server", "replication", "memory"),
        *_epoch_commands(keys),
        *(("SCRIPT", "LOAD", source) for source in _sources().values()),
    ]
    info = _info(replies[0])
    _require_version(info)
    server = Server(
        _identity(info.get("run_id", ""), info),
        evicts_volatile=info.get("maxmemory_policy", "").startswith("volatile-"),
        checked_at=now,
    )
    server.epoch = replies[2] if isinstance(replies[2], bytes) else None
    return server


def _require_version(info: Mapping[str, str]) -> None:
    version = info.get("redis_version", "0")
    if int(version.partition(".")[0]) < 7:
        raise UnusableServer(
            f"the server speaks as Redis {version}: Redis 7.0 or Valkey 8 is the oldest that can be used"
        )


def _epoch_commands(keys: Keys) -> list[Words]:
    """Give the store an epoch if it has none; the second reply is the one it has."""
    return [
        ("SET", keys.epoch, os.urandom(16), "NX", "EX", EPOCH_SECONDS),
        ("GETEX", keys.epoch, "EX", EPOCH_SECONDS),
    ]


# ------------------------------------------------------------------------------------------------------- calls


class Read(NamedTuple):
    """Read stamps, and an entry unless it is ``None``; many of these, of whatever tasks, are one MGET."""

    entry: bytes | None
    stamps: Sequence[bytes]


class Write(NamedTuple):
    """Anything else: the commands to send, and what their replies mean. A server's refusal is raised by ``result``."""

    commands: Callable[[Server], list[Words]]
    result: Callable[[list[Reply], Server], Any]
    changes: Collection[bytes] = ()
    """The stamps that it changes."""


Call: TypeAlias = Read | Write


def mint(keys: Keys, tokens: Mapping[bytes, bytes]) -> Write:
    """See :meth:`rowstamp.store.Store.mint`."""
    sha = _mint_script().sha

    def commands(server: Server) -> list[Words]:
        tag = server.tag()
        return [
            ("EVALSHA", sha, 1, keys.stamps + stamp, tag, token, STAMP_SECONDS * 1000)
            for stamp, token in tokens.items()
        ]

    def result(replies: list[Reply], server: Server) -> tuple[StampState, ...]:
        tag = server.tag()
        return tuple([_state(reply, tag, None) for reply in _granted(replies)])

    return Write(commands, result)


def put(keys: Keys, entry: bytes, blob: bytes, ttl: float) -> Write:
    """See :meth:`rowstamp.store.Store.put`."""
    return Write(_always(("SET", keys.entries + entry, blob, "PX", _milliseconds(ttl))), _nothing)


def delete(keys: Keys, entry: bytes) -> Write:
    """See :meth:`rowstamp.store.Store.delete`."""
    return Write(_always(("UNLINK", keys.entries + entry)), _nothing)


def hold(keys: Keys, stamps: Sequence[bytes], writer: bytes, ttl: float) -> Write:
    """See :meth:`rowstamp.store.Store.hold`."""
    sha, milliseconds = _hold_script().sha, _milliseconds(ttl)

    def commands(server: Server) -> list[Words]:
        kind = "p" if server.evicts_volatile else "h"
        return [("EVALSHA", sha, 1, keys.stamps + stamp, writer, milliseconds, kind) for stamp in dict.fromkeys(stamps)]

    return Write(commands, _nothing, stamps)


def release(keys: Keys, tokens: Mapping[bytes, bytes], writer: bytes) -> Write:
    """See :meth:`rowstamp.store.Store.release`."""
    sha = _release_script().sha

    def commands(server: Server) -> list[Words]:
        tag = server.tag()
        lives = STAMP_SECONDS * 1000, UNREAD_SECONDS * 1000
        return [("EVALSHA", sha, 1, keys.stamps + stamp, tag, token, writer, *lives) for stamp, token in tokens.items()]

    def result(replies: list[Reply], _: Server) -> tuple[bool, ...]:
        return tuple([reply == 1 for reply in _granted(replies)])

    return Write(commands, result, tokens)


def touch(keys: Keys, tokens: Mapping[bytes, bytes]) -> Write:
    """See :meth:`rowstamp.store.Store.touch`: a release by a writer who holds nothing."""
    return Write(release(keys, tokens, b"").commands, _nothing, tokens)


def clear(keys: Keys) -> Write:
    """See :meth:`rowstamp.store.Store.clear`: a new epoch, under which no token given so far counts."""
    epoch = os.urandom(16)

    def result(replies: list[Reply], server: Server) -> None:
        _granted(replies)
        server.epoch = epoch

    return Write(_always(("SET", keys.epoch, epoch, "EX", EPOCH_SECONDS)), result)


def _milliseconds(seconds: float) -> int:
    return max(1, ceil(min(seconds, _LONGEST_SECONDS) * 1000))


def _always(words: Words) -> Callable[[Server], list[Words]]:
    """The commands of a call that says the same whoever the server is."""
    return lambda _: [words]


def _granted(replies: list[Reply]) -> list[Reply]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def _nothing(replies: list[Reply], _: Server) -> None:
    _granted(replies)


# ------------------------------------------------------------------------------------------------------ states


def _state(value: bytes | None, tag: bytes, now: float | None) -> StampState:
    """The state of a stamp from its stored form.

    Args:
        value: what GET returned.
        tag: the tag that counts, or an empty one if none does.
        now: the server's time in milliseconds, or ``None`` where the key of a held stamp ends with its last hold.
    """
    if value is None:
        return _MISSING
    kind = value[:1]
    if kind in {b"t", b"u"}:
        return StampState(value[_TOKEN_AT:], held=False) if tag and value[1:_TOKEN_AT] == tag else _MISSING
    if now is None or kind == b"h":
        return _HELD
    return _HELD if any(end > now for (end,) in _HOLD.iter_unpack(value[_HOLDS_AT:])) else _MISSING


class _ReadBatch:
    """Several reads as one MGET, each key asked for once."""

    def __init__(self, keys: Keys, reads: Sequence[Read], *, timed: bool) -> None:
        self._keys = keys
        self._reads = reads
        self._timed = timed
        wanted = [keys.epoch]
        for read in reads:
            if read.entry is not None:
                wanted.append(keys.entries + read.entry)
            wanted.extend([keys.stamps + stamp for stamp in read.stamps])
        self._wanted = list(dict.fromkeys(wanted))

    def commands(self) -> list[Words]:
        mget: Words = ("MGET", *self._wanted)
        # TIME before MGET: what has ended by then had ended when it was read.
        return [("TIME",), mget] if self._timed else [mget]

    def results(self, replies: list[Reply], server: Server) -> list[Any]:
        refusal = next((reply for reply in replies if isinstance(reply, Exception)), None)
        if refusal is not None:
            return [refusal] * len(self._reads)
        now = int(replies[0][0]) * 1000 + int(replies[0][1]) // 1000 if self._timed else None
        values = dict(zip(self._wanted, replies[-1], strict=True))
        server.epoch = values[self._keys.epoch]
        tag = b"" if server.epoch is None else server.tag()
        return [self._snapshot(read, values, tag, now) for read in self._reads]

    def _snapshot(self, read: Read, values: Mapping[bytes, Any], tag: bytes, now: float | None) -> StoreSnapshot:
        start = self._keys.stamps
        states = tuple([_state(values[start + stamp], tag, now) for stamp in read.stamps])
        blob = None if read.entry is None else values[self._keys.entries + read.entry]
        return StoreSnapshot(blob, states)


# -------------------------------------------------------------------------------------------------------- talk


def converse(
    keys: Keys, calls: Sequence[Call], server: Server, now: float, mirror: Mirror | None
) -> Generator[list[Words], list[Reply], list[Any]]:
    """Make several calls in one round trip, and let the mirror know; see :func:`_converse`."""
    if mirror is None:
        return (yield from _converse(keys, calls, server, now))
    changes = [stamp for call in calls if isinstance(call, Write) for stamp in call.changes]
    mirror.changed(changes)
    fetch = mirror.begin()
    found: list[Fetched] = []
    try:
        outcomes = yield from _converse(keys, calls, server, now)
        for call, outcome in zip(calls, outcomes, strict=True):
            if isinstance(call, Read) and isinstance(outcome, StoreSnapshot):
                states = zip(call.stamps, outcome.stamps, strict=True)
                found.extend([Fetched(stamp, state, server.identity) for stamp, state in states])
        return outcomes
    finally:
        # Whatever became of it: the server may have done it.
        mirror.changed(changes)
        if fetch is not None:
            mirror.end(fetch, server.epoch if found else None, found)


def _converse(
    keys: Keys, calls: Sequence[Call], server: Server, now: float
) -> Generator[list[Words], list[Reply], list[Any]]:
    """Make several calls in one round trip; the outcome of each is what it returns, or the error that it raises.

    A second round trip follows where the server has forgotten a script, and a first one precedes where the store has no epoch.

    Raises:
        StoreError: the server is no longer who it was; nothing that it said is used, and the connection is to be closed.
    """
    writes = [call for call in calls if isinstance(call, Write)]
    if writes and server.epoch is None:
        server.epoch = _granted((yield _epoch_commands(keys)))[1]
    check = now - server.checked_at > RECHECK_SECONDS
    commands: list[Words] = [("INFO", "replication")] if check else []
    reads = [call for call in calls if isinstance(call, Read)]
    batch = _ReadBatch(keys, reads, timed=server.evicts_volatile)
    if reads:
        commands += batch.commands()
    written = [write.commands(server) for write in writes]
    for each in written:
        commands += each
    replies = yield commands
    if any(isinstance(reply, NoScriptError) for reply in replies):
        replies = yield from _with_sources(commands, replies)
    left = iter(replies)
    if check:
        _check(server, next(left), now)
    read = iter(batch.results([next(left) for _ in batch.commands()], server) if reads else ())
    wrote = iter(
        [_outcome(write, [next(left) for _ in each], server) for write, each in zip(writes, written, strict=True)]
    )
    return [next(read) if isinstance(call, Read) else next(wrote) for call in calls]


def confirm(server: Server, now: float) -> Generator[list[Words], list[Reply], None]:
    """See that the server is still who it was.

    Raises:
        StoreError: it is not; the connection is to be closed.
    """
    replies = yield [("INFO", "replication")]
    _check(server, replies[0], now)


def _check(server: Server, reply: Reply, now: float) -> None:
    run_id = server.identity.partition(b" ")[0].decode()
    if _identity(run_id, _info(reply)) != server.identity:
        raise StoreError("the server has been demoted or promoted since this connection was made")
    server.checked_at = now


def _outcome(write: Write, replies: list[Reply], server: Server) -> Any:
    try:
        return write.result(replies, server)
    except Exception as exc:  # noqa: BLE001 - handed to the caller whose call it is
        return exc


@lru_cache
def _sources() -> Mapping[str, bytes]:
    return {script.sha: script.source for script in (_mint_script(), _hold_script(), _release_script())}


def _with_sources(commands: list[Words], replies: list[Reply]) -> Generator[list[Words], list[Reply], list[Reply]]:
    """Say once more, with the script's text, what the server could not run because it has forgotten it."""
    again = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    answers = yield [("EVAL", _sources()[str(commands[place][1])], *commands[place][2:]) for place in again]
    found = dict(zip(again, answers, strict=True))
    return [found.get(place, reply) for place, reply in enumerate(replies)]
