"""What a hit returns is what the miss returned, and what an uncached query returns: values, types, names, entities."""

from typing import Any, cast

import pytest
from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from rowstamp import cached
from tests.conformance import forms
from tests.conformance.models import Person, Product
from tests.harness import Env, Target, sync_engine, watching

ASKED = {"rowstamp": cached()}
JOINED_MANY = {"joined load of many", "deep load", "contains_eager"}
ON_CORE = [
    "columns of every type",
    "labels",
    "cte",
    "window",
    "union of columns",
    "text",
    "core table",
    "the same name twice",
]


def exactly(value: object) -> object:
    """Return a value with its type, all the way down; two are equal only if nobody can tell them apart."""
    if isinstance(value, list | tuple):
        parts = cast("list[object]", value)
        return type(parts).__name__, [exactly(each) for each in parts]
    if isinstance(value, dict):
        pairs = cast("dict[object, object]", value)
        return [(exactly(key), exactly(each)) for key, each in pairs.items()]
    return type(value).__module__, type(value).__qualname__, repr(value)


def three_times(env: Env, statement: Any, *, unique: bool) -> list[object]:
    """Read uncached, as a miss, and as a hit."""
    found: list[object] = []
    with env.open_session(env.plain) as session:
        found.append(exactly(forms.rows(session, statement, {}, unique=unique)))
    for hit in (False, True):
        with env.session() as session, env.traffic() as traffic:
            found.append(exactly(forms.rows(session, statement, ASKED, unique=unique)))
        assert hit is (not traffic.statements), "the second read is no hit"
    return found


@pytest.mark.parametrize("name", forms.STATEMENTS)
def test_statements(env: Env, name: str) -> None:
    """Each form of statement gives the same values of the same types, uncached, on a miss, and on a hit."""
    if name == "selectin_polymorphic":  # SQLAlchemy does not hand the options of the statement on to these loads
        env.cache.policy(Person)
    uncached, miss, hit = three_times(env, forms.STATEMENTS[name], unique=name in JOINED_MANY)
    assert uncached == miss == hit


@pytest.mark.parametrize("name", forms.POSTGRES_STATEMENTS)
def test_statements_of_postgresql(postgres_env: Env, name: str) -> None:
    """The same for what only PostgreSQL has."""
    with postgres_env.behind() as session:
        forms.gadgets.create(session.connection())
        session.connection().exec_driver_sql(f"INSERT INTO gadgets VALUES {forms.GADGETS}")
        session.execute(forms.gadgets.insert().values(id=3))
    uncached, miss, hit = three_times(postgres_env, forms.POSTGRES_STATEMENTS[name], unique=False)
    assert uncached == miss == hit


@pytest.mark.parametrize("name", ON_CORE)
def test_statements_on_a_connection(env: Env, name: str) -> None:
    """The same on a Connection."""
    statement = forms.STATEMENTS[name]
    with sync_engine(env.plain).connect() as connection:
        found = [exactly(connection.execute(statement).all())]
    for hit in (False, True):
        with env.connect() as connection, env.traffic() as traffic:
            found.append(exactly(connection.execute(statement, execution_options=ASKED).all()))
        assert hit is (not traffic.statements)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("name", forms.READINGS)
@pytest.mark.parametrize("core", [False, True], ids=["session", "connection"])
def test_ways_to_read_a_result(env: Env, name: str, core: bool) -> None:
    """Each way to take rows from a result works on a hit as on a miss."""
    statement = select(Product.name, Product.price, Product.status).order_by(Product.id)
    found: list[object] = []
    readers: list[tuple[Target, dict[str, Any], bool]] = [
        (env.plain, {}, False), (env.target, ASKED, False), (env.target, ASKED, True)
    ]  # fmt: skip
    for target, options, hit in readers:
        with env.open_session(target) as session, watching(sync_engine(target)) as traffic:
            where = session.connection() if core else session
            found.append(exactly(forms.READINGS[name](where.execute(statement, execution_options=options))))
        assert hit is (not traffic.statements)
    assert found[0] == found[1] == found[2]


def test_entities_are_one_object_for_one_row(env: Env) -> None:
    """On a hit the identity map decides as on a miss, across entities and eager loads."""
    statement = forms.STATEMENTS["selectin load"]
    for _ in range(2):
        with env.session() as session:
            found = session.scalars(statement, execution_options=ASKED).all()
            assert found[0].category is found[1].category
            assert found[0] in found[0].category.products
            assert all(inspect(each).persistent and each in session for each in found)
            assert len({id(each) for each in found}) == 4


def test_what_is_not_loaded_loads_later(env: Env) -> None:
    """Deferred columns and lazy relations of entities from the cache load from the session."""
    statement = forms.STATEMENTS["load_only and defer"]
    env.warm(statement)
    with env.session() as session:
        first = session.scalars(statement, execution_options=ASKED).first()
        assert first is not None
        assert "name" not in inspect(first).dict
        assert (first.name, first.category.name, [tag.name for tag in first.tags]) == (
            "atlas",
            "books",
            ["new", "sale"],
        )


def test_values_of_a_hit_belong_to_its_reader(env: Env) -> None:
    """Who changes a mutable value that came from the cache changes nobody else's."""
    statement = select(Product.details).where(Product.id == 1)
    env.warm(statement)
    with env.session() as session:
        value = session.scalars(statement, execution_options=ASKED).one()
        value["maps"].append("spoiled")
        value["more"] = 1
    assert env.rows(statement) == env.truth(statement)


def test_a_legacy_query(env: Env) -> None:
    """`session.query()` is cached by option, too."""

    def names(session: Session) -> list[str]:
        query = session.query(Product).options(cached()).filter(Product.id < 3).order_by(Product.id)
        return [product.name for product in query]

    with env.session() as session:
        first = names(session)
    with env.session() as session, env.traffic() as traffic:
        assert names(session) == first == ["atlas", "bestiary"]
    assert not traffic.statements


def test_core_rows_of_a_session(env: Env) -> None:
    """`session.scalar`, `session.scalars` and `connection.scalar` of Core selects."""
    statement = select(Product.__table__.c.price).where(Product.__table__.c.id == 1)
    found: list[object] = []
    for _ in range(2):
        with env.session() as session:
            found.append(session.scalar(statement, execution_options=ASKED))
            found.append(session.scalars(statement, execution_options=ASKED).one())
            found.append(session.connection().scalar(statement, execution_options=ASKED))
    assert len({repr(each) for each in found}) == 1
