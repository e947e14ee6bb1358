"""Keys of calls: equal arguments have equal keys, different ones different keys."""

# Data of every kind, and lambdas in tables: their types are what the tests are about.
# pyright: reportUnknownLambdaType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import datetime
import enum
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple, cast

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowstamp import UnsupportedArgument
from rowstamp.arguments import canonical_arguments
from tests.unit.query_models import Product, User

pytestmark = pytest.mark.once


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass(frozen=True)
class Point:
    x: Any
    y: Any


@dataclasses.dataclass(frozen=True)
class OtherPoint:
    x: Any
    y: Any


class Struct(msgspec.Struct, frozen=True):
    x: Any
    y: Any


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", frozen=True)
    x: Any
    y: Any


class Named(NamedTuple):
    x: Any
    y: Any


def key(value: object) -> bytes:
    return canonical_arguments({"value": value}, "f")


SCALARS: list[Any] = [
    None, True, False, 0, 1, -1, 2**70, 0.0, -0.0, 1.0, float("inf"), "", "1", "a", b"", b"1", Decimal(1), Decimal("1.0"),
    uuid.UUID(int=1), datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1), datetime.timedelta(1), Colour.RED,  # noqa: DTZ001
    int, str, Point, datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), "x", "y", "tuple", "object",
]  # fmt: skip

scalars = st.sampled_from(SCALARS)
hashable = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.tuples(inner),
        st.tuples(inner, inner),
        st.frozensets(inner, max_size=3),
        st.builds(Point, inner, inner),
        st.builds(OtherPoint, inner, inner),
        st.builds(Struct, inner, inner),
        st.builds(Named, inner, inner),
    ),
    max_leaves=6,
)
values = st.recursive(
    hashable,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(hashable, inner, max_size=3),
        st.sets(hashable, max_size=3),
        st.builds(Point, inner, inner),
        st.builds(Model, x=inner, y=inner),
        st.builds(Model, x=inner, y=inner, z=inner),
        st.tuples(inner, inner),
    ),
    max_leaves=8,
)


def meaning(value: Any) -> Any:
    """The slow definition of what makes two arguments the same: type and parts, all the way down."""
    kind: Any = cast("Any", type(value))
    if kind in (list, tuple):
        return kind, tuple(meaning(each) for each in value)
    if kind in (set, frozenset):
        return kind, frozenset(meaning(each) for each in value)
    if kind is dict:
        return kind, frozenset((meaning(name), meaning(each)) for name, each in value.items())
    if kind is Named:
        return kind, tuple(meaning(each) for each in value)
    if kind in (Point, OtherPoint, Struct):
        return kind, meaning(value.x), meaning(value.y)
    if kind is Model:
        return kind, meaning(value.x), meaning(value.y), meaning(value.__pydantic_extra__)
    return kind, repr(value)


def rebuilt(value: Any) -> Any:
    """An equal value that shares no container with the first, sets and dicts in another order."""
    kind: Any = cast("Any", type(value))
    if kind in (list, tuple, set, frozenset):
        return (
            kind(rebuilt(each) for each in reversed(list(value)))
            if kind in (set, frozenset)
            else kind(map(rebuilt, value))
        )
    if kind is dict:
        return {rebuilt(name): rebuilt(each) for name, each in reversed(list(value.items()))}
    if kind is Named:
        return Named(rebuilt(value.x), rebuilt(value.y))
    if kind in (Point, OtherPoint, Struct):
        return kind(rebuilt(value.x), rebuilt(value.y))
    if kind is Model:
        return Model(**{name: rebuilt(each) for name, each in {**value.__dict__, **value.__pydantic_extra__}.items()})
    return value


@given(values, values)
def test_keys_are_equal_exactly_for_arguments_that_mean_the_same(one: Any, other: Any) -> None:
    assert (key(one) == key(other)) is (meaning(one) == meaning(other))


@given(values)
def test_what_an_argument_is_made_of_decides_and_not_which_object_it_is(value: Any) -> None:
    assert key(rebuilt(value)) == key(value)


def test_every_two_scalars_differ() -> None:
    assert len({key(value) for value in SCALARS}) == len(SCALARS)


def test_the_order_of_parameters_does_not_count() -> None:
    assert canonical_arguments({"a": 1, "b": 2}, "f") == canonical_arguments({"b": 2, "a": 1}, "f")


def test_an_entity_counts_by_its_identity() -> None:
    from sqlalchemy.orm import make_transient_to_detached

    def entity(model: Any, **values: Any) -> Any:
        made = model(**values)
        make_transient_to_detached(made)
        return made

    assert key(entity(User, id=1, name="a")) == key(entity(User, id=1, name="b"))
    assert len({key(entity(User, id=1)), key(entity(User, id=2)), key(entity(Product, id=1)), key(1)}) == 4
    with pytest.raises(UnsupportedArgument, match="no identity yet"):
        key(User(id=1))


def _generator() -> Iterator[int]:
    yield 1


class Text(str):
    __slots__ = ()


class Loud:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("value", [object(), lambda: 1, _generator(), Text("a"), Loud(), [[object()]], {1: object()}])
def test_anything_else_is_refused_and_named(value: object) -> None:
    with pytest.raises(UnsupportedArgument, match="f: the argument value="):
        key(value)


def test_an_argument_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(UnsupportedArgument, match="levels deep"):
        key(value)


def test_a_local_class_is_refused() -> None:
    class Local:
        pass

    with pytest.raises(UnsupportedArgument, match="cannot be found by its name"):
        key(Local)
