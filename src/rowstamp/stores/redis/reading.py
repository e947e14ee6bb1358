"""Reads on a server that has every key: one MGET and one answer, whoever asked.

It comes to what :class:`~rowstamp.stores.redis.trip.Trip` would come to, without telling servers apart for each key, which costs a third of
a hit. Nearly all that a cache does is this.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from rowstamp.model import StoreSnapshot
from rowstamp.stores.redis.commands import HELD, Epoch, Keys, Read, state_of
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

    def __init__(self, reads: Sequence[Read], keys: Keys, epoch: Epoch, node: Node) -> None:
        self._reads = reads
        self._keys = keys
        self._epoch = epoch
        self._node = node
        self._identity = b""
        self._epoch_read: bytes | None = None

    def steps(self) -> Generator[list[Errand], list[Answer | Exception], list[Any]]:
        """Go; the outcome of each read is what it returns, or the error that it raises."""
        errand = Errand(self._node)
        alone = len(self._reads) == 1
        errand.reads = self._keys_of(self._reads[0]) if alone else self._wanted()
        (answer,) = yield [errand]
        if isinstance(answer, Exception):
            return [answer] * len(self._reads)
        if isinstance(answer.values[0], Exception):  # MGET is refused as a whole
            return [answer.values[0]] * len(self._reads)
        epoch = self._epoch.value = self._epoch_read = answer.values[0]
        self._identity = answer.server.identity
        tag = answer.server.tag(epoch)
        if alone:  # the values are those of this read, in its order
            return [_snapshot(self._reads[0], answer.values, tag, answer)]
        values = dict(zip(errand.reads, answer.values, strict=True))
        return [_snapshot(read, [values[key] for key in self._keys_of(read)], tag, answer) for read in self._reads]

    def _wanted(self) -> list[bytes]:
        """The keys, each once; the epoch's is the first."""
        return list(dict.fromkeys([key for read in self._reads for key in self._keys_of(read)]))

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


def _snapshot(read: Read, values: Sequence[Any], tag: bytes, answer: Answer) -> StoreSnapshot:
    """What the values of a read's keys mean."""
    entry, first = (None, 1) if read.entry is None else (values[1], 2)
    if not answer.serves:
        return StoreSnapshot(entry, (HELD,) * len(read.stamps))  # see `Trip`
    now = answer.now
    return StoreSnapshot(entry, tuple([state_of(value, tag, now) for value in values[first:]]))
