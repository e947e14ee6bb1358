"""Entries that stand on the rows seen in place of a whole table hold in every interleaving."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rowstamp.protocol import Ticket
from rowstamp.protocol_seen import narrow
from rowstamp.testing.scheduler import Config, Exploration, Flows, explore, replay
from tests.model import seen

pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]

Report = Callable[[Exploration], Exploration]

FLOWS = [seen.SeenRows(), seen.HintedRows()]


@pytest.mark.parametrize("flows", FLOWS, ids=lambda flows: type(flows).__name__)
@pytest.mark.parametrize("config", seen.SEEN_CASES, ids=lambda config: config.name)
def test_every_interleaving_of_rows_seen(config: Config, flows: Flows, report: Report) -> None:
    result = report(explore(config, flows=flows))

    assert result.counterexample is None, result
    assert result.complete
    assert result.hits


@pytest.mark.deep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("flows", FLOWS, ids=lambda flows: type(flows).__name__)
@pytest.mark.parametrize("config", seen.SEEN_DEEP, ids=lambda config: config.name)
def test_every_interleaving_of_rows_seen_in_larger_cases(config: Config, flows: Flows, report: Report) -> None:
    result = report(explore(config, flows=flows))

    assert result.counterexample is None, result
    assert result.complete
    assert result.hits


def test_writers_that_outlive_their_holds(report: Report) -> None:
    # Not with a hint: a read that goes on to a stamp which does not matter may end after such a writer has, and is then no
    # longer excused for what it has read while the writer was late.
    result = report(explore(seen.SEEN_LAPSES, flows=seen.SeenRows()))

    assert result.counterexample is None, result
    assert result.complete
    assert result.hits


def test_a_write_to_another_row_leaves_what_was_seen() -> None:
    config = Config(name="another row", entries=((1,),), writers=(seen.OTHER,), readers=(seen.R, seen.R, seen.R))

    assert replay(config, ["R0", "W0", "R1"], flows=seen.SeenRows()).hits == ((0, (0,)),)


def test_a_write_to_the_table_during_the_load_ends_the_entry_before_it_is_stored() -> None:
    config = Config(name="slips in", entries=((1,),), writers=(seen.BOTH,), readers=(seen.R, seen.R, seen.R))
    steps = ["R0:read", "R0:mint", "R0:snapshot", "W0", "R0", "R1", "R2"]

    assert replay(config, steps, flows=seen.SeenRows()).hits == ((0, (1,)),)


def test_a_write_to_the_seen_row_ends_the_entry() -> None:
    config = Config(name="seen row", entries=((1,),), writers=(seen.BOTH,), readers=(seen.R, seen.R, seen.R))

    assert replay(config, ["R0", "W0", "R1", "R2"], flows=seen.SeenRows()).hits == ((0, (1,)),)


def test_stamps_that_the_result_never_needed_are_left_out_without_a_question() -> None:
    ticket = Ticket(b"entry", {b"known": b"1", b"new": b"2", b"newer": b"3"}, guard=(b"new", b"newer"))
    flow = narrow(ticket, (), guard=(), stays=(b"newer",))
    with pytest.raises(StopIteration) as ended:
        next(flow)
    assert ended.value.value == Ticket(b"entry", {b"known": b"1", b"newer": b"3"}, named=(b"newer",))
