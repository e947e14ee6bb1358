"""Results that every caller may be given as they are, for nobody can change them."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import msgspec
import pytest

from rowstamp.values import sharer

pytestmark = pytest.mark.once


@dataclass(frozen=True)
class Shell:
    """Has a dictionary, which anybody may write to."""

    name: str
    number: int


class Colour(enum.Enum):
    RED = "red"


class Pair(NamedTuple):
    one: object
    two: object


class Frozen(msgspec.Struct, frozen=True):
    items: object


class Loose(msgspec.Struct):
    items: object


@dataclass(frozen=True, slots=True)
class Slotted:
    items: object


class Named(NamedTuple):
    name: str


class Subclassed(Named):
    """A named tuple with a dictionary."""


@pytest.mark.parametrize(
    "value",
    [
        1, "a", b"a", None, True, 1.5, decimal.Decimal("1.50"), uuid.UUID(int=7), datetime.date(2024, 1, 1), Colour.RED,
        datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), (1, ("a",)), frozenset({1}), Pair(1, None), Frozen("a"), Slotted(1),
    ],
)  # fmt: skip
def test_what_nobody_can_change_is_given_out_itself(value: object) -> None:
    share = sharer(value)
    assert share is not None
    assert share() is value


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        set(),
        ([],),
        Pair(1, []),
        Frozen([]),
        Loose(1),
        Slotted([]),
        Shell(cast("Any", []), 1),
        Subclassed("a"),
        object(),
        bytearray(),
    ],
)
def test_what_somebody_could_change_is_not(value: object) -> None:
    assert sharer(value) is None


def test_a_frozen_dataclass_is_a_new_object_around_the_same_fields() -> None:
    share = sharer(Shell("a", 1))
    assert share is not None
    assert share() == Shell("a", 1)
    assert share() is not share()
