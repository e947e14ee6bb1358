"""The cases that are explored. Each holds what the others leave out, for their product would be too large."""

from __future__ import annotations

from typing import Final

from rowstamp.testing.scheduler import ALL_ANSWERS, Answer, Config, Invalidator, Isolation, Reader, Writer

RR: Final = Isolation.REPEATABLE_READ

R: Final = Reader()
W: Final = Writer()

BASE: Final = Config(
    name="2 writers × 2 readers, crash anywhere, lost answers, expiry, eviction of anything",
    writers=(W, W),
    readers=(R, R),
    crashes=True,
    answers=ALL_ANSWERS,
    evictions=None,
)
READ_TWICE: Final = Config(
    name="2 writers × 2 readers, one reads twice, crash anywhere, expiry, eviction of anything",
    writers=(W, W),
    readers=(Reader((0, 0)), R),
    crashes=True,
    evictions=None,
)
UPDATES: Final = Config(
    name="2 writers whose UPDATE is a step × 2 readers, crash anywhere, lost answers, expiry",
    writers=(Writer(updates=True), Writer(updates=True)),
    readers=(R, R),
    crashes=True,
    answers=ALL_ANSWERS,
)
SNAPSHOTS: Final = Config(
    name="2 writers × 2 readers, one REPEATABLE READ with two reads, crash anywhere, lost answers, expiry, eviction",
    writers=(W, W),
    readers=(Reader((0, 0), RR), R),
    crashes=True,
    answers=ALL_ANSWERS,
    evictions=None,
)
OLD_SNAPSHOTS: Final = Config(
    name="2 writers × 3 readers, REPEATABLE READ ahead and taken, crash anywhere, expiry",
    writers=(W, W),
    readers=(Reader((0,), RR), Reader((0,), RR, begun=True), R),
    crashes=True,
)
SNAPSHOT_OF_TWO: Final = Config(
    name="1 writer × 3 readers, REPEATABLE READ twice: ahead with two reads, and taken; crash anywhere, expiry",
    writers=(W,),
    readers=(Reader((0, 0), RR), Reader((0,), RR, begun=True), R),
    crashes=True,
)
LAPSES: Final = Config(
    name="2 writers × 2 readers, holds of live writers expire, crash, lost answers, eviction of anything",
    writers=(W, W),
    readers=(R, R),
    crashes=True,
    lapses=True,
    answers=ALL_ANSWERS,
    evictions=None,
)
OVERLAP: Final = Config(
    name="2 writers of {0} and {0,1} × 2 readers of {0,1}, crash anywhere, lost answers, each hold expires by itself",
    entries=((0, 1),),
    writers=(Writer((0,)), Writer((0, 1))),
    readers=(R, R),
    crashes=True,
    answers=ALL_ANSWERS,
)
TWO_ENTRIES: Final = Config(
    name="2 writers of {0,1} and {1} × readers of {0,1} and of both {1} and {0,1}, crash anywhere, expiry",
    entries=((0, 1), (1,)),
    writers=(Writer((0, 1)), Writer((1,))),
    readers=(Reader((0,)), Reader((1, 0))),
    crashes=True,
)
PIECEWISE: Final = Config(
    name="2 writers of {0} and {0,1} × 2 readers of {0,1}, store atomic for one stamp only, crash anywhere, expiry",
    entries=((0, 1),),
    writers=(Writer((0,)), Writer((0, 1))),
    readers=(R, R),
    crashes=True,
    atomic=False,
)
INVALIDATIONS: Final = Config(
    name="1 writer, 1 direct invalidation × 2 readers, one reads twice, crash anywhere, lost answers, expiry, eviction",
    writers=(W,),
    invalidators=(Invalidator(),),
    readers=(Reader((0, 0)), R),
    crashes=True,
    answers=ALL_ANSWERS,
    evictions=None,
)
WRITE_TWICE: Final = Config(
    name="1 writer of 2 transactions × 2 readers, one reads twice, crash anywhere, lost answers, expiry, eviction of anything",
    writers=(Writer(transactions=2),),
    readers=(Reader((0, 0)), R),
    crashes=True,
    answers=ALL_ANSWERS,
    evictions=None,
)
THREE_WRITERS: Final = Config(
    name="3 writers × 2 readers, crash anywhere, lost answers, expiry",
    writers=(W, W, W),
    readers=(R, R),
    crashes=True,
    answers=ALL_ANSWERS,
)
RESTARTS: Final = Config(
    name="2 writers × 2 readers, the store is restarted at any time, crash anywhere, lost answers, expiry, eviction of anything",
    writers=(W, W),
    readers=(R, R),
    crashes=True,
    answers=ALL_ANSWERS,
    evictions=None,
    restarts=1,
)
IN_DOUBT: Final = Config(
    name="2 writers × 2 readers, COMMIT may take effect after it has raised, crash anywhere, expiry",
    writers=(W, W),
    readers=(R, R),
    crashes=True,
    answers=frozenset(Answer),
)

EVERYDAY: Final = (
    BASE,
    READ_TWICE,
    UPDATES,
    SNAPSHOTS,
    LAPSES,
    OVERLAP,
    PIECEWISE,
    INVALIDATIONS,
    WRITE_TWICE,
    RESTARTS,
)

DEEP: Final = (
    THREE_WRITERS,
    OLD_SNAPSHOTS,
    TWO_ENTRIES,
    Config(
        name="2 writers of {0} and {0,1} × 2 readers of {0,1}, 2 restarts, COMMIT in doubt, crash anywhere, expiry",
        entries=((0, 1),),
        writers=(Writer((0,)), Writer((0, 1))),
        readers=(R, R),
        crashes=True,
        answers=frozenset(Answer),
        restarts=2,
    ),
    Config(
        name="2 writers of {0} and {0,1} × 2 readers of {0,1}, crash anywhere, lost answers, expiry, eviction of anything",
        entries=((0, 1),),
        writers=(Writer((0,)), Writer((0, 1))),
        readers=(R, R),
        crashes=True,
        answers=ALL_ANSWERS,
        evictions=None,
    ),
    Config(
        name="2 writers × 2 readers that read twice, crash anywhere, lost answers, expiry, eviction of anything",
        writers=(W, W),
        readers=(Reader((0, 0)), Reader((0, 0))),
        crashes=True,
        answers=ALL_ANSWERS,
        evictions=None,
    ),
    Config(
        name="2 writers of {0,1} and {1} × readers of {0,1} and of both {1} and {0,1}, crash anywhere, lost answers, expiry",
        entries=((0, 1), (1,)),
        writers=(Writer((0, 1)), Writer((1,))),
        readers=(Reader((0,)), Reader((1, 0))),
        crashes=True,
        answers=ALL_ANSWERS,
    ),
    Config(
        name="2 writers × 3 readers that read twice, crash anywhere, lost answers, expiry",
        writers=(W, W),
        readers=(Reader((0, 0)), Reader((0, 0)), R),
        crashes=True,
        answers=ALL_ANSWERS,
    ),
    Config(
        name="2 writers of {0,1} × 2 readers of {0,1}, store atomic for one stamp only, crash anywhere, lost answers, eviction",
        entries=((0, 1),),
        writers=(Writer((0, 1)), Writer((1, 0))),
        readers=(R, R),
        crashes=True,
        answers=ALL_ANSWERS,
        evictions=1,
        atomic=False,
    ),
    Config(
        name="2 writers × 3 readers, REPEATABLE READ ahead with two reads and taken, crash anywhere, lost answers, eviction",
        writers=(W, W),
        readers=(Reader((0, 0), RR), Reader((0,), RR, begun=True), R),
        crashes=True,
        answers=ALL_ANSWERS,
        evictions=None,
    ),
    Config(
        name="3 writers × 2 readers, holds of live writers expire, crash, lost answers, eviction of anything",
        writers=(W, W, W),
        readers=(R, R),
        crashes=True,
        lapses=True,
        answers=ALL_ANSWERS,
        evictions=None,
    ),
)

LARGE: Final = Config(
    name="3 writers, 1 direct invalidation × 4 readers of 3 entries over 3 stamps",
    entries=((0, 1), (1, 2), (2,)),
    writers=(Writer((0, 1), 3), Writer((1,), 2), Writer((2, 0), 2, updates=True)),
    readers=(
        Reader((0, 1, 0, 2)),
        Reader((1, 1, 2)),
        Reader((0, 2, 1), RR),
        Reader((2, 0), RR, begun=True),
    ),
    invalidators=(Invalidator((1, 2)),),
    crashes=True,
    answers=ALL_ANSWERS,
    evictions=4,
    atomic=False,
)
LARGE_LAPSES: Final = Config(
    name="3 writers × 4 readers of 2 entries, holds of live writers expire",
    entries=((0, 1), (1,)),
    writers=(Writer((0, 1), 2), Writer((1,), 3), Writer((0,), 2)),
    readers=(Reader((0, 1, 0)), Reader((1, 0, 1)), Reader((0, 0), RR), Reader((0, 1))),
    crashes=True,
    lapses=True,
    answers=ALL_ANSWERS,
    evictions=3,
)
