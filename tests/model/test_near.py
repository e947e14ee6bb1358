"""The near cache in every interleaving: a copy is as good as the entry, and only because it is validated like one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from rowstamp.testing.scheduler import (
    ALL_ANSWERS,
    Config,
    Exploration,
    Flows,
    Property,
    Reader,
    Writer,
    explore,
    replay,
)
from tests.model import near

pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]

Report = Callable[[Exploration], Exploration]

# The second entry is the copy of the first; nobody reads it but through the near cache.
TWO_READERS = Config(
    name="near cache: 1 writer × 2 readers, crash anywhere, lost answers, expiry",
    entries=((0,), (0,)),
    writers=(Writer(),),
    readers=(Reader(), Reader()),
    crashes=True,
    answers=ALL_ANSWERS,
)
READ_TWICE = Config(
    name="near cache: 1 writer of 2 transactions × 1 reader that reads thrice, crash anywhere, expiry, eviction of anything",
    entries=((0,), (0,)),
    writers=(Writer(transactions=2),),
    readers=(Reader((0, 0, 0)),),
    crashes=True,
    evictions=None,
)
RESTARTS = Config(
    name="near cache: 1 writer × 1 reader that reads twice, the store is restarted at any time, crash anywhere",
    entries=((0,), (0,)),
    writers=(Writer(),),
    readers=(Reader((0, 0)),),
    crashes=True,
    restarts=1,
)
LARGER = [
    replace(
        TWO_READERS,
        name="near cache: 2 writers × 2 readers, crash anywhere, lost answers, expiry",
        writers=(Writer(), Writer()),
    ),
    replace(
        RESTARTS,
        name="near cache: 1 writer × 2 readers, one reads twice, the store is restarted at any time, crash anywhere",
        readers=(Reader((0, 0)), Reader()),
    ),
]


def by_name(value: object) -> str:
    return value.name if isinstance(value, Config) else type(value).__name__


@pytest.mark.parametrize(
    "config",
    [TWO_READERS, READ_TWICE, RESTARTS, *(pytest.param(larger, marks=pytest.mark.deep) for larger in LARGER)],
    ids=by_name,
)
def test_every_interleaving(config: Config, report: Report) -> None:
    result = report(explore(config, flows=near.Near()))

    assert result.counterexample is None, result
    assert result.complete
    assert result.hits
    assert result.rests


@pytest.mark.parametrize(
    "flows", [near.ServesCopiesUnasked(), near.BelievesMissingStamps(), near.KeepsUnderNewTokens()], ids=by_name
)
def test_is_found(flows: Flows, record_property: Callable[[str, object], None]) -> None:
    result = explore(READ_TWICE, flows=flows, properties={Property.FRESH})
    found = result.counterexample

    assert found is not None, f"{by_name(flows)}: {result}"
    record_property("explored", f"{by_name(flows)} is found after {result.states:,} states: {found}")
    assert replay(READ_TWICE, found.schedule, flows=flows, properties={Property.FRESH}).counterexample == found
