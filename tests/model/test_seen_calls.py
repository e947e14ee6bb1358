"""Functions whose statements show rows of one table: these take the table's place once, after the last statement."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

import pytest

from rowstamp.protocol import Flow, Read
from rowstamp.protocol_calls import call_ticket, capture
from rowstamp.protocol_seen import narrowed_call
from rowstamp.testing.actors import Script
from rowstamp.testing.model_database import Versions, body_of
from rowstamp.testing.model_store import entry_key, stamp_name
from rowstamp.testing.scheduler import ALL_ANSWERS, Config, Exploration, Flows, Reader, Writer, explore
from tests.model.test_calls import Calls, Minter, Pairs, RememberingCalls

pytestmark = pytest.mark.once

Report = Callable[[Exploration], Exploration]
Tokens = Mapping[bytes, bytes]

GUARD: Final = stamp_name(0)
ROWS: Final = (stamp_name(1), stamp_name(2))


class SeenByCalls(Calls):
    """Each part captures the stamp of the table, and shows a row of it."""

    def captured(self, mint: Minter, row: int, tokens: Pairs | None, captured: Pairs) -> Flow[Pairs | None]:
        return (yield from super().captured(mint, 0, tokens, captured))

    def store(self, mint: Minter, entry: int, tokens: Pairs, versions: Versions) -> Script:
        """The fill, under the rows seen by all parts."""
        narrowed = yield from self.narrowed(dict(tokens), ROWS, mint)
        yield from self.fill(call_ticket(entry_key(entry), narrowed), body_of(versions))
        return None

    def narrowed(self, tokens: Tokens, rows: Collection[bytes], mint: Minter) -> Flow[Tokens]:
        return narrowed_call(tokens, rows, guard=(GUARD,), without=(GUARD,), mint=mint)


class RememberingSeenByCalls(SeenByCalls, RememberingCalls):
    """The rows' stamps are known from the last time."""

    known = (1, 2)


class OnePartTellsForAll(SeenByCalls):
    """Wrong: the table is let go of although a part has not told its row."""

    def narrowed(self, tokens: Tokens, rows: Collection[bytes], mint: Minter) -> Flow[Tokens]:
        return super().narrowed(tokens, ROWS[:1], mint)


class LooksAgainFirst(SeenByCalls):
    """Wrong: the table's stamp is looked at before the rows' are captured."""

    def narrowed(self, tokens: Tokens, rows: Collection[bytes], mint: Minter) -> Flow[Tokens]:
        snapshot = yield Read(None, (GUARD,))
        found = yield from capture(tuple(rows), mint=mint)
        return tokens if found is None or snapshot.stamps[0].token != tokens[GUARD] else found


class NeverLooksAgain(SeenByCalls):
    """Wrong: the rows' stamps are taken for those of what was loaded."""

    def narrowed(self, tokens: Tokens, rows: Collection[bytes], mint: Minter) -> Flow[Tokens]:
        found = yield from capture(tuple(rows), mint=mint)
        return tokens if found is None else found


TWO_WRITERS: Final = Config(
    name="calls that see rows 1 and 2: 2 writers of one of them × 1 reader that calls twice",
    entries=((1, 2),),
    writers=(Writer((0, 1)), Writer((0, 2))),
    readers=(Reader((0, 0)),),
)
ONE_WRITER: Final = Config(
    name="calls that see rows 1 and 2: 1 writer of both × 1 reader that calls twice, crash anywhere, lost answers",
    entries=((1, 2),),
    writers=(Writer((0, 1, 2)),),
    readers=(Reader((0, 0)),),
    crashes=True,
    answers=ALL_ANSWERS,
)
TWO_CRASHING_WRITERS: Final = Config(
    name="calls that see rows 1 and 2: 2 writers of one of them × 1 reader that calls twice, crash anywhere, lost answers",
    entries=((1, 2),),
    writers=(Writer((0, 1)), Writer((0, 2))),
    readers=(Reader((0, 0)),),
    crashes=True,
    answers=ALL_ANSWERS,
)
TWO_READERS: Final = Config(
    name="calls that see rows 1 and 2: 1 writer of both × 2 readers, store atomic for one stamp only, crash anywhere",
    entries=((1, 2),),
    writers=(Writer((0, 1, 2)),),
    readers=(Reader(), Reader()),
    crashes=True,
    atomic=False,
)
SECOND_ROW: Final = Config(
    name="calls that see rows 1 and 2, of which the second is written",
    entries=((1, 2),),
    writers=(Writer((0, 2)),),
    readers=(Reader((0, 0)),),
)


@pytest.mark.parametrize("flows", [SeenByCalls(), RememberingSeenByCalls()], ids=lambda flows: type(flows).__name__)
@pytest.mark.parametrize(
    "config",
    [
        TWO_WRITERS,
        ONE_WRITER,
        pytest.param(TWO_CRASHING_WRITERS, marks=pytest.mark.deep),
        pytest.param(TWO_READERS, marks=pytest.mark.deep),
    ],
    ids=lambda config: config.name,
)
def test_every_interleaving_of_calls_that_see_rows(config: Config, flows: Flows, report: Report) -> None:
    result = report(explore(config, flows=flows))

    assert result.counterexample is None, result
    assert result.complete
    assert result.hits


@pytest.mark.parametrize(
    "flows", [OnePartTellsForAll(), LooksAgainFirst(), NeverLooksAgain()], ids=lambda flows: type(flows).__name__
)
def test_a_weaker_protocol_of_calls_that_see_rows_is_noticed(flows: Flows) -> None:
    assert explore(SECOND_ROW, flows=flows).counterexample is not None
