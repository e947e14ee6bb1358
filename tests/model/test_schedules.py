"""The schedules that break simpler protocols, one by one: this one survives them."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from rowstamp.testing.scheduler import (
    ALL_ANSWERS,
    Config,
    Invalidator,
    Reader,
    ScheduleError,
    Writer,
    replay,
)
from tests.model.cases import RR, R, W

pytestmark = pytest.mark.once

ONE_ROW = Config(
    name="one row",
    writers=(W, W),
    readers=(R, R, R),
    invalidators=(Invalidator(),),
    crashes=True,
    lapses=True,
    answers=ALL_ANSWERS,
    evictions=9,
)
TWO_ROWS = Config(
    name="two rows",
    entries=((0, 1), (1,)),
    writers=(Writer((0,)), Writer((0, 1))),
    readers=(R, R, R),
    crashes=True,
    atomic=False,
)
SNAPSHOTS = Config(
    name="snapshots",
    writers=(W, W),
    readers=(R, Reader((0, 0), RR), Reader((0,), RR, begun=True), R),
    crashes=True,
)


class Schedule(NamedTuple):
    name: str
    config: Config
    steps: str
    hits: tuple[int, ...] = ()
    """The version of the first row in each hit, in order."""


SCHEDULES = [
    Schedule("unchanged data is served", ONE_ROW, "R0 R1 R2", hits=(0, 0)),
    Schedule("what is filled after a write is served", ONE_ROW, "R0 W0 R1 R2", hits=(1,)),
    Schedule(
        "old rows stored after the write", ONE_ROW, "R0:read R0:mint R0:snapshot W0 R0:rows R0:put R1 R2", hits=(1,)
    ),
    Schedule("old rows stored during the write", ONE_ROW, "R0:read R0:mint R0:snapshot W0:hold W0:commit R0 R1 W0 R2"),
    Schedule("a read between COMMIT and release", ONE_ROW, "R0 W0:hold W0:commit R1 W0 R2"),
    Schedule("a read between hold and COMMIT", ONE_ROW, "R0 W0:hold R1 W0 R2"),
    Schedule("a write that fails", ONE_ROW, "R0 W0:hold W0:commit-fails W0 R1 R2", hits=(0,)),
    Schedule("a COMMIT whose answer is lost", ONE_ROW, "R0 W0:hold W0:commit-lost R1 W0 R2"),
    Schedule("the writer dies before COMMIT", ONE_ROW, "R0 W0:hold W0:crash R1 expire:W0:s0 R2"),
    Schedule("the writer dies after COMMIT", ONE_ROW, "R0 W0:hold W0:commit W0:crash R1 expire:W0:s0 R2"),
    Schedule(
        "the writer dies while old rows are on their way",
        ONE_ROW,
        "R0:read R0:mint W0:hold R0:snapshot W0:commit W0:crash R0 expire:W0:s0 R1 R2",
        hits=(1,),
    ),
    Schedule(
        "the first of two writers finishes, the second dies",
        ONE_ROW,
        "W0:hold W0:commit W1:hold W0:release R0:read R0:snapshot W1:commit W1:crash R0 expire:W1:s0 R1 R2",
        hits=(2,),
    ),
    Schedule(
        "one of two holds expires",
        ONE_ROW,
        "R0 W0:hold W1:hold W0:crash expire:W0:s0 R1 W1 R2",
    ),
    Schedule("the stamp is lost", ONE_ROW, "R0 evict:s0 R1 R2", hits=(0,)),
    Schedule(
        "the stamp is lost after a write",
        ONE_ROW,
        "R0:read R0:mint R0:snapshot W0 R0 evict:s0 R1 R2",
        hits=(1,),
    ),
    Schedule("the stamp is lost during a load", ONE_ROW, "R0:read R0:mint evict:s0 R0:snapshot W0 R0 R1 R2", hits=(1,)),
    Schedule("the entry is lost", ONE_ROW, "R0 evict:e0 R1 R2", hits=(0,)),
    Schedule("a hold between reading and minting", ONE_ROW, "R0:read W0:hold R0:mint R0 W0 R1 R2", hits=(1,)),
    Schedule(
        "a whole write between reading and minting",
        ONE_ROW,
        "R0:read W0 R0:mint R0:snapshot R0:rows R0:put R1",
        hits=(1,),
    ),
    Schedule("two readers mint", ONE_ROW, "R0:read R1:read R0:mint R1:mint R0 R1 R2", hits=(0,)),
    Schedule(
        "the slower of two fills is older",
        ONE_ROW,
        "R0:read R0:mint R0:snapshot W0 R1 R0 R2",
    ),
    Schedule(
        "the hold of a live writer expires, old rows are stored, it commits",
        ONE_ROW,
        "W0:hold expire:W0:s0 R0 W0:commit W0:release R1 R2",
        hits=(1,),
    ),
    Schedule(
        "the same with a lost answer",
        ONE_ROW,
        "W0:hold expire:W0:s0 R0 W0:commit-lost W0:hold expire:W0:s0 R1 R2",
        hits=(1,),
    ),
    Schedule("a direct invalidation", ONE_ROW, "R0 I0 R1 R2", hits=(1,)),
    Schedule("a direct invalidation during a load", ONE_ROW, "R0:read R0:mint R0:snapshot I0 R0 R1 R2", hits=(1,)),
    Schedule("a direct invalidation of what is held", ONE_ROW, "R0 W0:hold I0 R1 W0 R2"),
    Schedule(
        "a direct invalidation of what a dead writer holds",
        ONE_ROW,
        "R0 W0:hold W0:crash I0 expire:W0:s0 R1 R2",
        hits=(1,),
    ),
    Schedule("a lease under an old snapshot", SNAPSHOTS, "R2:snapshot W0 R2 R0 R3", hits=(1,)),
    Schedule("the first statement of a transaction fills", SNAPSHOTS, "R1 R0", hits=(0,)),
    Schedule(
        "the first statement's rows are overtaken", SNAPSHOTS, "R1:read R1:mint R1:snapshot W0 R1 R0 R3", hits=(1,)
    ),
    Schedule("a write between capture and snapshot", SNAPSHOTS, "R1:read R1:mint W0 R1 R0 R3", hits=(1,)),
    Schedule("a transaction is not served before its snapshot", SNAPSHOTS, "R0 R1:read W0 R1 R3"),
    Schedule("a transaction is not served another moment", SNAPSHOTS, "R2:snapshot W0 R0 R2 R3", hits=(1,)),
    Schedule("one of two stamps is held", TWO_ROWS, "R0 W1:hold R1 R2"),
    Schedule("both stamps are released one by one", TWO_ROWS, "R0 W1:hold W1:hold W1:commit W1:release R1 W1 R2"),
    Schedule(
        "a hold between reading the stamps", TWO_ROWS, "R0 R1:read R1:read W1:hold W1:hold W1:commit R1:read R1 R2"
    ),
    Schedule(
        "writers of overlapping stamps, one dies",
        TWO_ROWS,
        "R0 W0:hold W1:hold W1:hold W0:commit W0:release W1:commit W1:crash expire:W1:s1 R1 expire:W1:s0 R2",
    ),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)
def test_survives(schedule: Schedule) -> None:
    result = replay(schedule.config, schedule.steps.split())

    assert result.counterexample is None
    assert tuple(versions[0] for _, versions in result.hits) == schedule.hits


def test_a_held_stamp_cannot_be_lost() -> None:
    before = replay(ONE_ROW, ["R0"])
    held = replay(ONE_ROW, ["R0", "W0:hold"])

    assert "evict:s0" in before.possible
    assert "evict:s0" not in held.possible


def test_a_reader_that_meets_a_hold_does_not_fill() -> None:
    result = replay(ONE_ROW, ["W0:hold", "R0:read", "R0:snapshot", "R0:rows"])

    assert not [label for label in result.possible if label.startswith("R0")]


def test_a_step_that_is_not_possible_is_refused_with_those_that_are() -> None:
    with pytest.raises(ScheduleError, match=r"'R0:put' cannot happen here; possible are .*R0:read"):
        replay(ONE_ROW, ["R0:put"])
