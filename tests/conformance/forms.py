"""Statement forms: everything that a hit has to reproduce exactly. Each is a function of a session that returns values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from sqlalchemy import (
    CHAR,
    BigInteger,
    Column,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    Time,
    bindparam,
    case,
    cast,
    column,
    func,
    lateral,
    literal,
    null,
    select,
    text,
    true,
    tuple_,
    type_coerce,
    union,
    union_all,
    values,
)  # fmt: skip
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import (
    Bundle,
    Session,
    aliased,
    contains_eager,
    defer,
    joinedload,
    load_only,
    selectin_polymorphic,
    selectinload,
    subqueryload,
    undefer,
    with_expression,
    with_polymorphic,
)  # fmt: skip

from tests.conformance.models import (
    CardPayment,
    Category,
    Customer,
    Employee,
    Manager,
    Order,
    OrderItem,
    Payment,
    Person,
    Product,
    Review,
    Status,
    Tag,
    audit_log,
    product_tags,
)  # fmt: skip
from tests.harness import plain

Form: TypeAlias = Callable[[Session, Any], object]
"""Given a session and how the statement is to be executed (execution options)."""

BOOKS = select(Product).order_by(Product.id)
P = Product
T: Any = Product.__table__
other = aliased(Product, name="other")
people = with_polymorphic(Person, [Employee, Manager])
cheap_cte = select(P.id, P.name).where(P.price < 20).cte("cheap")
numbers = values(column("n", Integer), column("s", String), name="numbers").data([(1, "one"), (2, "two")])

STATEMENTS: dict[str, Any] = {
    "entities": BOOKS,
    "columns of every type": select(T).order_by(T.c.id),
    "one column": select(P.price).order_by(P.id),
    "entity and column": select(P, P.price * 2).order_by(P.id),
    "two entities": select(P, Category).join(P.category).order_by(P.id),
    "entity and none": select(P, Category).outerjoin(P.category).order_by(P.id),
    "labels": select(P.name.label("title"), P.price.label("cost")).order_by(P.id),
    "the same name twice": select(P.id, Category.id, P.name, Category.name).join(P.category).order_by(P.id),
    "aliased entity": select(other).where(other.id > 1).order_by(other.id),
    "self join": select(P, other).join(other, other.id == P.id + 1).order_by(P.id),
    "bundle": select(Bundle[Any]("pair", P.id, P.name)).order_by(P.id),
    "joined load of one": BOOKS.options(joinedload(P.category)),
    "joined load of many": BOOKS.options(joinedload(P.tags), joinedload(P.reviews)),
    "selectin load": BOOKS.options(selectinload(P.tags), selectinload(P.category).selectinload(Category.products)),
    "subquery load": BOOKS.options(subqueryload(P.reviews)),
    "contains_eager": select(P).join(P.reviews).options(contains_eager(P.reviews)).order_by(P.id, Review.id),
    "load of a subset": BOOKS.options(selectinload(P.reviews.and_(Review.stars > 3))),
    "load_only and defer": BOOKS.options(load_only(P.sku), defer(P.price)),
    "undefer": BOOKS.options(undefer(P.picture), undefer(P.review_count)),
    "column property": select(P.name, P.review_count).order_by(P.id),
    "hybrid": select(P.name, P.cheap).where(P.cheap).order_by(P.id),
    "with_expression": BOOKS.options(with_expression(P.rank, P.stock + 1)),
    "composite key": select(OrderItem).order_by(OrderItem.order_id, OrderItem.product_id),
    "composite pin": select(OrderItem).where(OrderItem.order_id == 1, OrderItem.product_id == 3),
    "deep load": select(Customer)
    .options(selectinload(Customer.orders).selectinload(Order.items).joinedload(OrderItem.product))
    .order_by(Customer.id),
    "joined inheritance": select(Person).order_by(Person.id),
    "joined inheritance, subclass": select(Manager),
    "with_polymorphic": select(people).order_by(people.id),
    "selectin_polymorphic": select(Person)
    .options(selectin_polymorphic(Person, [Employee, Manager]))
    .order_by(Person.id),
    "single inheritance": select(Payment).order_by(Payment.id),
    "single inheritance, subclass": select(CardPayment),
    "cte": select(cheap_cte).order_by(cheap_cte.c.id),
    "entities from a subquery": select(aliased(P, select(P).where(P.price > 9).subquery())).order_by(text("id")),
    "entities from a union": select(P).from_statement(
        union_all(select(P).where(P.id == 1), select(P).where(P.id == 3)).order_by("id")
    ),
    "union of columns": union(select(P.id, P.name), select(Tag.id, Tag.name)).order_by("id", "name"),
    "window": select(P.name, func.row_number().over(partition_by=P.category_id, order_by=P.price)).order_by(P.id),
    "distinct": select(P.category_id).distinct().order_by(P.category_id),
    "group by": select(P.category_id, func.count(), func.sum(P.price), func.min(P.released))
    .group_by(P.category_id)
    .order_by(P.category_id),
    "limit and offset": BOOKS.limit(2).offset(1),
    "in list": BOOKS.where(P.id.in_([3, 1])),
    "empty in list": BOOKS.where(P.id.in_([])),
    "tuples in": BOOKS.where(tuple_(P.id, P.name).in_([(1, "atlas"), (2, "no")])),
    "enum parameter": BOOKS.where(P.status == Status.ACTIVE),
    "case and cast": select(case((P.stock > 2, "many"), else_="few"), cast(P.stock, String)).order_by(P.id),
    "literals and null": select(literal("x"), literal(1.5), null(), P.id).order_by(P.id),
    "type_coerce": select(type_coerce(P.stock, String)).where(P.id == 1),
    "json path": select(P.details["pages"].as_integer(), P.details["ratio"].as_float()).where(P.id == 1),
    "association table": select(product_tags).order_by(*product_tags.c),
    "core table": select(audit_log),
    "exists": select(select(P).where(P.price > 29).exists()),
    "text": text("SELECT id, name, price FROM products ORDER BY id"),
    "text with columns": text("SELECT id, price, sku FROM products ORDER BY id").columns(T.c.id, T.c.price, T.c.sku),
    "entities from text": select(P).from_statement(text("SELECT * FROM products ORDER BY id")),
    "many to many join": select(P.name, Tag.name).join(P.tags).order_by(P.id, Tag.id),
    "bound expression": select(P.id + bindparam("plus", 5)).order_by(P.id),
}

gadgets = Table(
    "gadgets",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("numbers", pg.ARRAY(Integer)),
    Column("matrix", pg.ARRAY(Numeric, dimensions=2)),
    Column("names", pg.ARRAY(Text)),
    Column("ints", pg.INT4RANGE),
    Column("days", pg.DATERANGE),
    Column("spans", pg.TSTZRANGE),
    Column("several", pg.INT4MULTIRANGE),
    Column("host", pg.INET),
    Column("net", pg.CIDR),
    Column("mac", pg.MACADDR),
    Column("span", pg.INTERVAL),
    Column("at", Time),
    Column("at_zone", Time(timezone=True)),
    Column("real", pg.DOUBLE_PRECISION),
    Column("exact", Numeric),
    Column("big", BigInteger),
    Column("doc", pg.JSON),
    Column("docb", pg.JSONB),
    Column("bits", pg.BIT(3)),
    Column("padded", CHAR(4)),
    Column("words", pg.TSVECTOR),
)
GADGETS = """
    (1, '{1,2,NULL}', '{{1.50,2},{3,NaN}}', '{a,NULL,"x y"}', '[1,5)', '[2020-01-01,)',
     '(2020-01-01 00:00+00,2021-01-01 00:00+00]', '{[1,2),[5,7)}', '10.0.0.1/24', '10.0.0.0/8', '08:00:2b:01:02:03',
     '1 day 02:03:04.5', '12:34:56.789', '12:34+02', 'NaN', 'NaN', 9223372036854775807, '{"a": [1, 2.5, null]}',
     '{"b": "é"}', '101', 'x', 'a fat cat'),
    (2, '{}', NULL, '{x}', 'empty', NULL, NULL, '{}', '::1', NULL, NULL, '-1 mon', '00:00', NULL, '-Infinity', 1.500,
     -9223372036854775808, 'null', '[]', '000', '', '')
"""

best = lateral(select(Review.stars).where(Review.product_id == P.id).order_by(Review.stars.desc()).limit(1), "best")
POSTGRES_STATEMENTS: dict[str, Any] = {
    "lateral": select(P.name, best.c.stars).join(best, true()).order_by(P.id),
    "array_agg": select(func.array_agg(P.id), func.array_agg(P.price), func.array_agg(P.name)),
    "values": select(numbers.c.s, P.name).join(P, P.id == numbers.c.n).order_by(numbers.c.n),
    "types of PostgreSQL": select(gadgets).order_by(gadgets.c.id),
    "ranges in WHERE": select(gadgets.c.id).where(gadgets.c.ints.contains(3)),
    "arrays in WHERE": select(gadgets.c.id).where(gadgets.c.names.contains(["x"])),
}


def rows(session: Session, statement: Any, options: Any, *, unique: bool) -> object:
    result = session.execute(statement, execution_options=options)
    return [tuple(plain(value) for value in row) for row in (result.unique() if unique else result)]


def _partitions(result: Any) -> object:
    return [[tuple(row) for row in part] for part in result.partitions(3)]


READINGS: dict[str, Callable[[Any], object]] = {
    "all": lambda result: result.all(),
    "keys": lambda result: (list(result.keys()), result.all()),
    "mappings": lambda result: [dict(row) for row in result.mappings()],
    "named rows": lambda result: [(row._fields, row._asdict(), row.name) for row in result],
    "scalars": lambda result: result.scalars().all(),
    "scalars of a column": lambda result: result.scalars("name").all(),
    "columns": lambda result: result.columns("name", 0).all(),
    "unique": lambda result: result.unique().all(),
    "first": lambda result: result.first(),
    "one_or_none of many": lambda result: _error(result.one_or_none),
    "one of many": lambda result: _error(result.one),
    "fetchmany": lambda result: (result.fetchmany(2), result.fetchone(), result.fetchall(), result.fetchone()),
    "partitions": _partitions,
    "yield_per": lambda result: list(result.yield_per(2)),
    "scalar": lambda result: result.scalar(),
    "frozen": lambda result: result.freeze()().all(),
    "closed": lambda result: (result.fetchone(), result.close(), _error(result.fetchall)),
    "rowcount": lambda result: (getattr(result, "returns_rows", None), result.all(), getattr(result, "closed", None)),
}


def _error(function: Callable[[], object]) -> object:
    try:
        return function()
    except Exception as exc:  # noqa: BLE001 - whatever it is, it has to be the same
        return type(exc).__name__, str(exc)
