"""Reads on a server that has every key: one MGET and one answer, whoever asked.

It comes to what :class:`~rowstamp.stores.redis.trip.Trip` would come to, without telling servers apart for each key, which costs a third of
a hit. Nearly all that a cache does is this.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
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
        errand.reads = self._wanted()
        (answer,) = yield [errand]
        if isinstance(answer, Exception):
            return [answer] * len(self._reads)
        if isinstance(answer.values[0], Exception):  # MGET is refused as a whole
            return [answer.values[0]] * len(self._reads)
        values = dict(zip(errand.reads, answer.values, strict=True))
        epoch = self._epoch.value = self._epoch_read = values[self._keys.epoch]
        self._identity = answer.server.identity
        return [self._snapshot(read, values, answer.server.tag(epoch), answer) for read in self._reads]

    def _wanted(self) -> list[bytes]:
        """The keys, each once."""
        keys = self._keys
        wanted = [keys.epoch]
        for read in self._reads:
            if read.entry is not None:
                wanted.append(keys.entries + read.entry)
            wanted += [keys.stamps + stamp for stamp in read.stamps]
        return list(dict.fromkeys(wanted))

    def _snapshot(self, read: Read, values: Mapping[bytes, Any], tag: bytes, answer: Answer) -> StoreSnapshot:
        start, now = self._keys.stamps, answer.now
        states = (
            tuple([state_of(values[start + stamp], tag, now) for stamp in read.stamps])
            if answer.serves
            else (HELD,) * len(read.stamps)  # see `Trip`
        )
        return StoreSnapshot(None if read.entry is None else values[self._keys.entries + read.entry], states)

    @property
    def epoch_read(self) -> tuple[bytes | None, bytes]:
        """The epoch as it was read together with stamps, ``None`` if there was none, and the identity of its server."""
        return self._epoch_read, self._identity

    def witness(self, stamp: bytes) -> bytes:  # noqa: ARG002 - as that of a trip
        """The identity of the server that said what a stamp's state is."""
        return self._identity
