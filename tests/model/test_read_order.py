"""A read may see an entry and its stamps at different moments, in whatever order: the parts of a cluster answer when they like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from rowstamp.model import StampState, StoreSnapshot
from rowstamp.protocol import Read
from rowstamp.testing.model_store import StoreModel, StoreState, index_of
from rowstamp.testing.scheduler import Config, Exploration, explore
from tests.model import cases

pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]


class ReadsTheEntryLast(StoreModel):
    """The stamps first, then the entry; the model itself reads the entry first."""

    def _read(self, state: StoreState, entry: bytes | None, stamps: Sequence[bytes], part: int) -> object:
        if part < len(stamps):
            return self.seen(state.cells[index_of(stamps[part])])
        return None if entry is None else state.entries[index_of(entry)]

    def reply(self, operation: object, partials: Sequence[object]) -> object:
        if not isinstance(operation, Read):
            return super().reply(operation, partials)
        *states, entry = partials
        assert entry is None or isinstance(entry, bytes)
        assert all(isinstance(state, StampState) for state in states)
        return StoreSnapshot(entry, tuple(states))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(replace(cases.BASE, atomic=False), id="one stamp"),
        pytest.param(cases.PIECEWISE, id="two stamps", marks=pytest.mark.deep),
    ],
)
def test_the_entry_may_be_read_last(config: Config, report: Callable[[Exploration], Exploration]) -> None:
    result = report(explore(replace(config, name=f"{config.name}; entry last"), store=ReadsTheEntryLast()))

    assert result.counterexample is None, result
    assert result.complete
    assert result.hits
