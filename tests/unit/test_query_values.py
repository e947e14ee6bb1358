"""Results by annotation: what comes back is what went in, and what does not fit is refused."""

# Data of every kind, and lambdas in tables: their types are what the tests are about.
# pyright: reportUnknownLambdaType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import count
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)

import msgspec
import pydantic
import pytest
from sqlalchemy import Row, RowMapping, create_engine, literal, select

from rowstamp.errors import CorruptEntry, UncacheableValue
from rowstamp.values import pack_result, plan_of, unpack_result

pytestmark = pytest.mark.once

T = TypeVar("T")
UserId = NewType("UserId", int)


class Grade(enum.Enum):
    GOOD = "good"


class Level(enum.IntFlag):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass
class Leaf:
    price: Decimal
    made: datetime.date


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    name: str
    grade: Grade = Grade.GOOD
    children: tuple[Tree, ...] = ()
    leaf: Leaf | None = None


@dataclasses.dataclass
class Counted:
    """Its constructor must not run again."""

    number: int
    doubled: int = dataclasses.field(init=False)
    given: dataclasses.InitVar[int] = 1

    def __post_init__(self, given: int) -> None:
        self.number += given
        self.doubled = 2 * self.number

    @functools.cached_property
    def tripled(self) -> int:
        return 3 * self.number


@dataclasses.dataclass
class Box(Generic[T]):
    item: T
    items: list[T]


class Struct(msgspec.Struct, frozen=True, kw_only=True):
    price: Decimal
    leaf: Leaf | None = None


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    price: Decimal
    leaf: Leaf | None = None
    children: list[Model] = []
    _seen: int = pydantic.PrivateAttr(default=3)


class Point(NamedTuple):
    x: int
    y: Decimal


class Movie(TypedDict):
    title: str
    price: Decimal
    leaf: NotRequired[Leaf]


LEAF = Leaf(Decimal("1.50"), datetime.date(2020, 1, 1))
TREE = Tree(name="a", children=(Tree(name="b", leaf=LEAF), Tree(name="c")))

MORE: dict[str, Any] = {"extra": "more"}

FITTING: list[tuple[Any, Any]] = [
    (Any, {"a": [1, (2, {3})]}),
    (object, Decimal("1.0")),
    (None, None),
    (int, 1),
    (float, 1.5),
    (float, 1),
    (str, "a"),
    (bytes, b"a"),
    (Decimal, Decimal("1.00")),
    (UserId, 4),
    (Grade, Grade.GOOD),
    (Level, Level.HIGH),
    (Literal["a", 1], "a"),
    (Annotated[int, "positive"], 1),
    (Optional[int], None),  # noqa: UP045
    (Union[int, str, None], "a"),  # noqa: UP007
    (list[int] | list[str], ["a"]),
    (list[Leaf], [LEAF, LEAF]),
    (list, [1, "a"]),
    (Sequence[Leaf], [LEAF]),
    (Sequence[Leaf], (LEAF,)),
    (Iterable[int], {1, 2}),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2)),
    (tuple[()], ()),
    (tuple, (1, "a")),
    (set[Point], {Point(1, Decimal(2)), Point(2, Decimal(1)), Point(3, Decimal(0))}),
    (frozenset[int], frozenset({1})),
    (dict[int, Leaf], {2: LEAF, 1: LEAF}),
    (dict, {1: 2}),
    (Mapping[Point, int], {Point(1, Decimal(2)): 3}),
    (Movie, {"title": "a", "price": Decimal(1)}),
    (Movie, {"title": "a", "price": Decimal(1), "leaf": LEAF}),
    (Leaf, LEAF),
    (Tree, TREE),
    (Box[int], Box(1, [2])),
    (Box[Leaf], Box(LEAF, [LEAF])),
    (Struct, Struct(price=Decimal(1), leaf=LEAF)),
    (Point, Point(1, Decimal("2.0"))),
    (Model, Model(price=Decimal(1), leaf=LEAF, children=[Model(price=Decimal(2))], **MORE)),
    (Leaf | Struct | None, Struct(price=Decimal(1))),
    (Counted, Counted(1, given=2)),
]


def kept(annotation: Any, value: Any) -> Any:
    plan = plan_of(annotation)
    return unpack_result(plan, pack_result(plan, value, ()), ())


def same(one: Any, other: Any) -> bool:
    if isinstance(one, list | tuple) and type(one) is type(other):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize(("annotation", "value"), FITTING, ids=str)
def test_what_fits_comes_back_as_it_was(annotation: Any, value: Any) -> None:
    found = kept(annotation, value)
    assert same(found, value)
    assert repr(found) == repr(value)
    if isinstance(value, list | dict | Leaf | Tree | Model):
        assert found is not value


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, "1"),
        (int, None),
        (str, 1),
        (float, Decimal(1)),
        (bool, 1),
        (list[int], (1,)),
        (list[int], ["a"]),
        (tuple[int, str], (1,)),
        (dict[int, int], {"a": 1}),
        (Leaf, None),
        (Leaf, {"price": 1}),
        (Leaf, Leaf("1", datetime.date(2020, 1, 1))),  # type: ignore[arg-type]
        (Movie, {"name": "a"}),
        (Optional[int], "a"),  # noqa: UP045
        (Grade, "good"),
        (Level, Level.LOW | Level.HIGH),
        (Point, (1, Decimal(2))),
        (Struct, LEAF),
        (Any, LEAF),
        (list[object], [object()]),
    ],
    ids=count(),
)
def test_what_does_not_fit_is_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(UncacheableValue):
        kept(annotation, value)


@pytest.mark.parametrize("annotation", [Iterator[int], type("Abstract", (), {"_is_protocol": True})])
def test_annotations_whose_values_cannot_be_kept(annotation: Any) -> None:
    with pytest.raises(UncacheableValue):
        plan_of(annotation)


def test_private_attributes_and_fields_set_of_a_model_come_back() -> None:
    value = Model(price=Decimal(1))
    value._seen = 9
    found = kept(Model, value)
    assert (found._seen, found.model_fields_set) == (9, {"price"})
    assert found.model_dump(exclude_unset=True) == {"price": Decimal(1)}


def test_what_a_cached_property_keeps_is_worked_out_again_and_anything_else_is_refused() -> None:
    value = Counted(1)
    assert value.tripled == 6
    assert "tripled" not in vars(kept(Counted, value))
    assert kept(Counted, value).tripled == 6
    value.more = 1  # type: ignore[attr-defined]
    with pytest.raises(UncacheableValue, match="'more', which is no field"):
        kept(Counted, value)


def test_a_subclass_of_what_the_annotation_says_is_refused() -> None:
    class Sub(Leaf):
        pass

    with pytest.raises(UncacheableValue):
        kept(Leaf, Sub(Decimal(1), datetime.date(2020, 1, 1)))


class Growing(msgspec.Struct):
    x: int

    def __post_init__(self) -> None:
        self.x += 1


def test_what_would_come_back_as_something_else_is_refused() -> None:
    with pytest.raises(UncacheableValue, match="something else"):
        kept(list[Growing], [Growing(1)])


def test_rows_keep_their_names_and_their_type() -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        row = connection.execute(select(literal(1).label("a"), literal("b").label("b"))).one()
    engine.dispose()
    for annotation in (Row[Any], Row, Row[tuple[int, str]]):
        found = kept(annotation, row)
        assert isinstance(found, Row)
        assert found == row == (1, "b")
        assert (found.a, found._mapping["b"], found._fields) == (1, "b", ("a", "b"))
    mapping = kept(RowMapping, row._mapping)
    assert isinstance(mapping, RowMapping)
    assert dict(mapping) == {"a": 1, "b": "b"}
    with pytest.raises(UncacheableValue):
        kept(Row[tuple[str, str]], row)


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x01", b"\x92\x01\x90", b"\x92\x93\x01\x02\x03\x90"])
def test_other_bytes_are_corrupt(body: bytes) -> None:
    with pytest.raises(CorruptEntry):
        unpack_result(plan_of(Tree), body, ())
