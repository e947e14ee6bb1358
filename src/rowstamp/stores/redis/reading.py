"""Reads on a server that has every key: one MGET and one answer, whoever asked.

It comes to what :class:`~rowstamp.stores.redis.trip.Trip` would come to, without telling servers apart for each key, which costs a third of
a hit. Nearly all that a cache does is this. And nearly always nothing else has to be said: then `sent` goes out on an idle line and
`outcomes` are made of the reply; `steps` is for a line that has to be opened, or whose server has to be asked more.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from rowstamp.model import StampState, StoreSnapshot
from rowstamp.stores.redis.commands import HELD, Epoch, Keys, Read, state_of
from rowstamp.stores.redis.server import Server
from rowstamp.stores.redis.trip import Answer, Errand, Node

__all__ = ["Reading"]


class Reading:
    """Reads of whatever tasks or threads, made together.

    Args:
        reads: the reads.
        keys: how the keys of the store begin.
        epoch: what the store knows of its epoch.
        node: the server.
    """

    __slots__ = ("_asked", "_epoch", "_epoch_read", "_identity", "_keys", "_reads", "node")

    def __init__(self, reads: Sequence[Read], keys: Keys, epoch: Epoch, node: Node) -> None:
        self._reads = reads
        self._keys = keys
        self._epoch = epoch
        self.node = node
        self._identity = b""
        self._epoch_read: bytes | None = None
        # The keys, each once; the epoch's is the first.
        self._asked = (
            self._keys_of(reads[0])
            if len(reads) == 1
            else list(dict.fromkeys([key for read in reads for key in self._keys_of(read)]))
        )

    @property
    def words(self) -> tuple[bytes | str, ...]:
        """What is said."""
        return ("MGET", *self._asked)

    def steps(self) -> Generator[list[Errand], list[Answer | Exception], list[Any]]:
        """Go; the outcome of each read is what it returns, or the error that it raises."""
        errand = Errand(self.node)
        errand.reads = self._asked
        (answer,) = yield [errand]
        if isinstance(answer, Exception):
            return [answer] * len(self._reads)
        refused = isinstance(answer.values[0], Exception)  # MGET is refused as a whole
        values = answer.values[0] if refused else answer.values
        return self.outcomes(answer.server, values, now=answer.now, serves=answer.serves)

    def outcomes(
        self, server: Server, values: Sequence[Any] | Exception, *, now: float | None = None, serves: bool = True
    ) -> list[Any]:
        """Return the outcome of each read.

        Args:
            server: who has answered.
            values: what the keys have, in the order in which they were asked for, or the server's refusal.
            now: the server's time in milliseconds, where it was asked for.
            serves: whether its tokens validate yet.
        """
        if isinstance(values, Exception):
            return [values] * len(self._reads)
        epoch = self._epoch.value = self._epoch_read = values[0]
        self._identity = server.identity
        tag = server.tag(epoch)
        if len(self._reads) == 1:  # the values are those of this read, in its order
            return [_snapshot(self._reads[0], values, tag, now, serves=serves)]
        by_key = dict(zip(self._asked, values, strict=True))
        found = [(read, [by_key[key] for key in self._keys_of(read)]) for read in self._reads]
        return [_snapshot(read, own, tag, now, serves=serves) for read, own in found]

    def _keys_of(self, read: Read) -> list[bytes]:
        """The keys of the epoch, of the entry if there is one to be read, and of the stamps."""
        keys, start = self._keys, self._keys.stamps
        if read.entry is None:
            return [keys.epoch, *[start + stamp for stamp in read.stamps]]
        return [keys.epoch, keys.entries + read.entry, *[start + stamp for stamp in read.stamps]]

    @property
    def epoch_read(self) -> tuple[bytes | None, bytes]:
        """The epoch as it was read together with stamps, ``None`` if there was none, and the identity of its server."""
        return self._epoch_read, self._identity

    def witness(self, stamp: bytes) -> bytes:  # noqa: ARG002 - as that of a trip
        """The identity of the server that said what a stamp's state is."""
        return self._identity


def _snapshot(read: Read, values: Sequence[Any], tag: bytes, now: float | None, *, serves: bool) -> StoreSnapshot:
    """What the values of a read's keys mean."""
    entry, first = (None, 1) if read.entry is None else (values[1], 2)
    if not serves:
        return StoreSnapshot(entry, (HELD,) * len(read.stamps))  # see `Trip`
    states: list[StampState] = [state_of(value, tag, now) for value in values[first:]]
    return StoreSnapshot(entry, tuple(states))
