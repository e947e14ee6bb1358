"""The semi-private names of SQLAlchemy that rowstamp relies on mean what it thinks they mean.

When one of these fails after an upgrade of SQLAlchemy, mend ``rowstamp/_sqlalchemy.py`` before anything else.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    event,
    insert,
    join,
    select,
    text,
    update,
    util,
)
from sqlalchemy.dialects.mysql import insert as mysql_insert
from sqlalchemy.dialects.postgresql import ext as postgresql_ext
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ColumnElement

from rowstamp import _sqlalchemy as internals
from rowstamp._sqlalchemy import selects, types
from rowstamp._sqlalchemy.connecting import opening_arguments
from rowstamp._sqlalchemy.inserted import inserted_keys, returned_defaults
from rowstamp._sqlalchemy.rest import resting_bind
from rowstamp._sqlalchemy.upserts import conflict_columns, in_batches, set_on_conflict, skips_conflicts
from rowstamp.orm.deferred import after_begin, listen_to_commits
from rowstamp.orm.option import cached
from rowstamp.orm.replay import REPLAY_CONNECTION, ReplayCursor

metadata = MetaData()
parent = Table("parent", metadata, Column("id", Integer, primary_key=True), Column("name", String))
child = Table("child", metadata, Column("id", Integer, primary_key=True), Column("parent_id", ForeignKey("parent.id")))


class Base(DeclarativeBase):
    """The base of this module's models."""


class Thing(Base):
    """A mapped class."""

    __tablename__ = "thing"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Custom(ColumnElement[int]):
    """A construct that ``@compiles`` renders."""

    inherit_cache = True


@compiles(Custom)
def _render(_element: Custom, _compiler: Any, **_kw: Any) -> str:
    return "42"


@pytest.fixture
def engine() -> Any:
    """Yield an engine with the tables of this module."""
    made = create_engine("sqlite://")
    metadata.create_all(made)
    Base.metadata.create_all(made)
    yield made
    made.dispose()


def test_the_greenlet_bridge_has_one_of_its_two_names() -> None:
    """``await_only`` was renamed ``await_`` in 2.1."""
    assert callable(getattr(util, "await_", None) or util.await_only)


def test_statement_parts_are_where_they_are_looked_for() -> None:
    """WHERE, options, execution options and locks are read from the statement."""
    statement = select(parent).where(parent.c.id == 1, parent.c.name == "a").options(cached()).with_for_update()
    statement = statement.execution_options(answer=42)
    assert len(selects.where_criteria(statement)) == 2
    assert [type(option) for option in internals.with_options(statement)] == [cached]
    assert internals.statement_execution_options(statement)["answer"] == 42
    assert internals.locks_rows(statement)
    assert not internals.locks_rows(select(parent))


def test_text_takes_options() -> None:
    """``text()`` carries ``cached(...)`` as selects do."""
    assert internals.with_options(text("SELECT 1").options(cached()))


def test_metadata_of_mapped_classes_is_found() -> None:
    """Every registry in the program is asked."""
    assert Base.metadata in internals.mapped_metadata()


def test_tables_below_a_join_are_both_tables() -> None:
    """The target of a multi-table UPDATE is a join."""
    assert set(internals.tables_below(join(parent, child))) == {parent, child}


def test_custom_constructs_are_recognised() -> None:
    """``@compiles`` leaves a mark on the class."""
    assert internals.is_custom_construct(Custom())
    assert not internals.is_custom_construct(parent.c.id)


def test_the_compiler_asks_for_each_select_body() -> None:
    """The hook into the rendering of SELECT has the parameters it is expected to have."""
    names = list(inspect.signature(SQLCompiler._compose_select_body).parameters)
    assert names[:6] == ["self", "text", "select", "compile_state", "inner_columns", "froms"]
    assert "asfrom" in inspect.signature(SQLCompiler.visit_table).parameters


def test_dml_is_read_from_its_compiled_form(engine: Engine) -> None:
    """Target, changed columns, several rows and upserts are told apart."""
    compiled = update(parent).where(parent.c.id == 1).values(name="b").compile(engine)
    assert internals.dml_statement(compiled).table is parent
    changed = internals.changed_columns(internals.dml_statement(compiled))
    assert [getattr(column, "key", column) for column in changed] == ["name"]
    assert internals.is_upsert(sqlite_insert(parent).values(id=1).on_conflict_do_update(set_={"name": "x"}))
    assert internals.is_upsert(mysql_insert(parent).values(id=1).on_duplicate_key_update(name="x"))
    assert not internals.is_upsert(sqlite_insert(parent).values(id=1).on_conflict_do_nothing())
    assert not internals.is_upsert(postgresql_insert(parent).values(id=1).on_conflict_do_nothing())
    assert internals.upsert_clause(sqlite_insert(parent).values(id=1).on_conflict_do_nothing()) is not None
    assert internals.has_prefixes(insert(parent).prefix_with("OR REPLACE"))
    assert not internals.has_prefixes(insert(parent))
    assert not internals.is_upsert(insert(parent))


def test_inserts_that_leave_rows_out() -> None:
    """By a clause or by a word of the database's own."""
    nothing = sqlite_insert(parent).on_conflict_do_nothing()
    assert skips_conflicts(nothing, "sqlite")
    assert skips_conflicts(insert(parent).prefix_with("ignore"), "mysql")
    assert skips_conflicts(insert(parent).prefix_with("OR IGNORE"), "sqlite")
    others = [insert(parent), nothing.prefix_with("OR REPLACE"), insert(parent).prefix_with("IGNORE").prefix_with("x")]
    others += [
        mysql_insert(parent).prefix_with("IGNORE").on_duplicate_key_update(name="x"),
        insert(parent).prefix_with("OR IGNORE"),
    ]
    assert not any(skips_conflicts(each, "mysql") for each in others)


@pytest.mark.parametrize(("rows", "batches"), [([{"name": "a"}], False), ([{"name": "a"}, {"name": "b"}], True)])
def test_an_insert_that_is_sent_in_batches(engine: Engine, rows: list[dict[str, str]], *, batches: bool) -> None:
    """`RETURNING` for several sets of parameters."""
    seen: list[bool] = []
    event.listen(engine, "before_cursor_execute", lambda *args: seen.append(in_batches(args[4])))
    with engine.begin() as connection:
        metadata.create_all(connection)
        del seen[:]
        connection.execute(insert(parent).returning(parent.c.id), rows)
    assert seen == [batches]


def test_values_are_read_from_the_compiled_form() -> None:
    """By column key, whatever named the column; rows of VALUES, SET, defaults and their parameters' names are told apart."""
    several = insert(parent).values([{"id": 1}, {"id": 2}]).compile()
    assert internals.gives_several(several)
    assert internals.values_given(several) == [{"id": 1}, {"id": 2}]
    assert {"id_m0", "id_m1"} <= set(several.params)
    one = insert(parent).values({parent.c.id: 1, "name": bindparam("given")}).compile()
    (values,) = internals.values_given(one)
    assert not internals.gives_several(one)
    assert set(one.params) == {"id", "given"}
    assert internals.is_anonymous(values["id"])
    assert internals.has_no_type(values["id"])
    assert not internals.is_anonymous(values["name"])
    assert internals.values_given(update(parent).values(name="x").compile())[0].keys() == {"name"}
    assert internals.values_given(insert(parent).compile(column_keys=["id"])) == [{}]


def test_defaults_of_the_program_are_prefetched() -> None:
    """Their parameters have the column's name, numbered from the second row of VALUES on."""
    defaults = Table(
        "defaults", MetaData(), Column("id", Integer, primary_key=True), Column("code", String, default="x")
    )
    assert internals.prefetched(insert(defaults).compile(column_keys=["id"])) == {"code"}
    several = insert(defaults).values([{"id": 1}, {"id": 2}]).compile()
    assert internals.prefetched(several) == {"code", "code_m1"}


def test_ordered_values_count_as_changed() -> None:
    """``ordered_values`` keeps what it sets elsewhere than ``values`` does."""
    changed = internals.changed_columns(update(parent).ordered_values((parent.c.id, 5), (parent.c.name, "x")))
    assert {getattr(column, "key", column) for column in changed} == {"id", "name"}


def test_inserted_keys_are_known_after_the_execution(engine: Engine) -> None:
    """The context of an executed INSERT knows the key that the database gave."""
    contexts: list[Any] = []
    event.listen(engine, "after_cursor_execute", lambda _c, _cur, _s, _p, context, _m: contexts.append(context))
    with engine.begin() as connection:
        connection.execute(insert(parent).values(name="a"))
        assert inserted_keys(contexts[-1]) == [(1,)]
        assert returned_defaults(contexts[-1]) is None
        connection.execute(insert(parent).values(id=5).return_defaults(parent.c.name))
        assert [row[parent.c.name] for row in returned_defaults(contexts[-1]) or ()] == [None]


def test_a_compiled_statement_and_its_context_can_be_made_without_a_connection(engine: Engine) -> None:
    """SQL and parameters come out as they would be sent, through the engine's own compiled cache."""
    statement = select(parent).where(parent.c.id.in_([1, 2]))
    options = internals.merged_options(statement, {}, {})
    compilation = internals.compile_statement(statement, engine, (), options)
    stand_in = internals.StandInConnection(engine, REPLAY_CONNECTION)
    context = internals.execution_context(compilation, stand_in, REPLAY_CONNECTION, options)
    assert context.statement.endswith("IN (?, ?)")
    assert tuple(context.parameters[0]) == (1, 2)
    context.cursor = ReplayCursor([(7, "x")], [("id", *[None] * 6), ("name", *[None] * 6)])
    assert [tuple(row) for row in internals.result_of(context).all()] == [(7, "x")]
    again = internals.compile_statement(select(parent).where(parent.c.id.in_([3])), engine, (), options)
    assert again.compiled is compilation.compiled


def test_rewriting_listeners_are_told_from_watching_ones(engine: Engine) -> None:
    """Only ``retval=True`` listeners can change what is sent."""
    event.listen(engine, "before_cursor_execute", lambda *_args: None)
    assert not internals.may_rewrite(engine)
    event.listen(engine, "before_cursor_execute", lambda _c, _cur, s, p, _ctx, _m: (s, p), retval=True)
    assert internals.may_rewrite(engine)


def test_before_execute_listeners_are_told_apart_too(engine: Engine) -> None:
    """``before_execute`` may also change the statement."""
    event.listen(engine, "before_execute", lambda *_args: None)
    assert not internals.may_rewrite(engine)
    event.listen(engine, "before_execute", lambda _c, e, m, p, _o: (e, m, p), retval=True)
    assert internals.may_rewrite(engine)


def test_a_dialect_is_initialized_by_the_first_connection() -> None:
    """Before it nothing is known of the server, and nothing is guessed."""
    fresh = create_engine("sqlite://")
    assert not internals.is_initialized(fresh.dialect)
    with fresh.connect():
        assert internals.is_initialized(fresh.dialect)
    fresh.dispose()


@pytest.mark.parametrize("level", [None, "READ UNCOMMITTED"])
def test_the_isolation_level_of_create_engine_is_known(level: Any) -> None:
    """What `create_engine(isolation_level=…)` was given; `None` if nothing."""
    assert internals.connect_isolation(create_engine("sqlite://", isolation_level=level).dialect) == level


def test_sessions_ask_for_statement_connections_where_the_hook_is(engine: Engine) -> None:
    """Statements ask with the bind alone; ``session.connection()`` also names execution options."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    with Session(engine) as session:

        def hook(*args: Any, **kw: Any) -> Any:
            calls.append((args, kw))
            return internals.original_connection_for_bind(session, *args, **kw)

        internals.hook_connections(session, hook)
        session.execute(select(Thing)).all()
        session.connection()
        session.execute(text("SELECT 1"))
        assert internals.connection_hook(session) is hook
        internals.unhook_connections(session)
        assert internals.connection_hook(session) is None
    assert calls == [((engine,), {}), ((engine,), {"execution_options": None}), ((engine,), {})]


def test_flush_does_not_ask_the_hook(engine: Engine) -> None:
    """Writes of the unit of work get their connection from the transaction itself."""
    calls: list[Any] = []
    with Session(engine) as session:
        internals.hook_connections(session, lambda *args, **kw: calls.append((args, kw)))  # type: ignore[arg-type]
        session.add(Thing(id=1, name="a"))
        session.flush()
    assert calls == []


def test_session_connections_are_found_in_its_transaction(engine: Engine) -> None:
    """A session that has asked for a connection has it; one that has not has none."""
    with Session(engine) as session:
        assert internals.session_connection(session, engine) is None
        assert internals.session_connections(session) == []
        connection = session.connection()
        assert internals.session_connection(session, engine) is connection
        assert internals.session_connections(session) == [connection]


def test_variants_of_a_type() -> None:
    """A type may be another one on one database."""
    plain, other = String(3), Integer()
    varied = plain.with_variant(other, "sqlite")
    engine = create_engine("sqlite://")
    assert types.variant_for(varied, engine.dialect) is other
    assert types.variant_for(plain, engine.dialect) is plain
    assert types.has_variants(varied)
    assert not types.has_variants(plain)


def test_load_options_tell_a_refresh(engine: Engine) -> None:
    """``refresh`` and ``populate_existing`` are seen in the load options of the execution."""
    seen: list[Any] = []
    with Session(engine) as session:
        session.add(Thing(id=1, name="a"))
        session.commit()
        event.listen(
            session, "do_orm_execute", lambda state: seen.append(internals.load_options(state.execution_options))
        )
        thing = session.get(Thing, 1)
        session.refresh(thing)
        session.execute(select(Thing), execution_options={"populate_existing": True}).all()
    assert [bool(options._is_user_refresh) for options in seen] == [False, True, False]
    # What a refresh says besides differs between 2.0 and 2.1.
    assert [bool(options._populate_existing) for options in seen][::2] == [False, True]


def test_a_session_at_rest_has_its_engine_or_its_one_connection(engine: Engine) -> None:
    """Anything pending, a savepoint, or another bind is no rest."""
    listen_to_commits()
    with Session(engine) as session:
        assert resting_bind(session, after_begin) is engine
        connection = session.connection()
        assert resting_bind(session, after_begin) is connection
        with session.begin_nested():
            assert resting_bind(session, after_begin) is None
        session.add(Thing(id=1, name="a"))
        assert resting_bind(session, after_begin) is None
        session.rollback()
        session.add(Thing(id=1, name="a"))
        session.flush()
        connection = session.connection()
        assert resting_bind(session, after_begin) is connection
        session.get_one(Thing, 1).name = "b"
        assert resting_bind(session, after_begin) is None
        session.flush()
        session.delete(session.get_one(Thing, 1))
        assert resting_bind(session, after_begin) is None
        session.rollback()
        assert resting_bind(session, after_begin) is engine
    with Session(binds={Thing: engine}) as session:
        assert resting_bind(session, after_begin) is None
    with engine.connect() as connection, Session(connection) as session:
        assert resting_bind(session, after_begin) is None


def test_a_session_whose_flush_has_failed_is_not_at_rest(engine: Engine) -> None:
    """Its transaction takes no statements until it is rolled back."""
    with Session(engine) as session:
        session.add_all([Thing(id=1, name="a"), Thing(id=2, name="b")])
        session.flush()
        session.execute(text("UPDATE thing SET id = 3 WHERE id = 2"))
        session.add(Thing(id=3, name="c"))
        with pytest.raises(IntegrityError):
            session.flush()
        assert resting_bind(session, after_begin) is None


@pytest.mark.parametrize("where", ["session", "class", "begin", "engine_connect", "set_connection_execution_options"])
def test_who_listens_to_beginnings_is_seen_without_asking_each(engine: Engine, where: str) -> None:
    """Where :func:`resting_bind` returns an engine, :func:`watches_beginnings` is false."""

    def other(*_: Any) -> None: ...

    class Own(Session): ...

    listen_to_commits()
    own = after_begin
    with Own(engine) as session:
        assert resting_bind(session, own) is engine
        assert not internals.watches_beginnings(session, engine, own)
        targets: dict[str, Any] = {"session": session, "class": Own}
        event.listen(targets.get(where, engine), "after_begin" if where in targets else where, other)
        assert resting_bind(session, own) is None
        assert internals.watches_beginnings(session, engine, own)


def _distinct_on(statement: Any) -> Any:
    extension = getattr(postgresql_ext, "distinct_on", None)
    return statement.ext(extension(parent.c.name)) if extension else statement.distinct(parent.c.name)


def test_what_picks_rows_by_other_rows() -> None:
    """LIMIT and its relatives are seen on a SELECT."""
    plain = select(parent.c.id)
    assert not selects.takes_some_rows(plain.distinct().group_by(parent.c.id).having(parent.c.id > 1))
    picky = [
        plain.limit(1),
        plain.offset(1),
        plain.fetch(1),
        _distinct_on(plain),
        plain.having(parent.c.id > 1),
    ]
    assert all(map(selects.takes_some_rows, picky))
    assert [selects.is_cut_off(each) for each in picky] == [True, True, True, False, False]
    assert [selects.picks_rows(each) for each in picky] == [False, False, False, True, True]
    assert [selects.is_distinct(each) for each in (plain, plain.distinct())] == [False, True]


def test_hints() -> None:
    """Hints of either kind are seen."""
    plain = select(parent.c.id)
    hinted = [plain, plain.with_hint(parent, "USE INDEX (a)", "mysql"), plain.with_statement_hint("FOR UPDATE")]
    assert [selects.has_hints(each) for each in hinted] == [False, True, True]


def test_group_by() -> None:
    """The expressions of GROUP BY are there."""
    assert list(selects.group_by(select(parent.c.id).group_by(parent.c.id))) == [parent.c.id]


def test_order_by() -> None:
    """The expressions of ORDER BY are there."""
    assert list(selects.order_by(select(parent.c.id).order_by(parent.c.name, parent.c.id))) == [
        parent.c.name,
        parent.c.id,
    ]


def test_what_stands_in_a_row() -> None:
    """Each place of a row leads to what was selected, with or without a label, whoever compiled it."""
    statement = select(parent.c.id, parent.c.name.label("label"), child.c.id)
    assert list(selects.result_columns(statement.compile())) == [parent.c.id, parent.c.name, child.c.id]
    places = selects.result_columns(select(Thing).compile())
    assert [each.name for each in places] == ["id", "name"]
    assert {each.table for each in places} == {Thing.__table__}


def test_sources_of_a_subquery_column() -> None:
    """A column of a subquery leads to the expression it stands for."""
    inner = select(parent.c.id, parent.c.name.label("label")).subquery()
    assert list(selects.source_columns(inner.c.id)) == [parent.c.id]
    assert parent.c.name in [getattr(each, "element", each) for each in selects.source_columns(inner.c.label)]
    assert list(selects.source_columns(inner.alias().c.id)) == [inner.c.id]


def test_entities_alone_are_loaded() -> None:
    """A statement that selects a column besides does not load entities alone."""

    class Base(DeclarativeBase):
        pass

    class Thing(Base):
        __tablename__ = "thing"
        id: Mapped[int] = mapped_column(primary_key=True)

    assert selects.loads_entities_only(select(Thing).compile())
    assert not selects.loads_entities_only(select(Thing, Thing.id).compile())
    assert not selects.loads_entities_only(select(parent).compile())


@pytest.mark.parametrize("values", [[], ["x"]], ids=["nothing", "one"])
def test_a_parameter_of_another_name_is_rendered_as_the_one_it_is_like(values: list[str], engine: Engine) -> None:
    """Also an empty list, of which the operator says what it means."""
    conditions: list[Any] = [parent.c.name.in_(["a", "b"]), parent.c.name.not_in(["a", "b"])]
    with engine.connect() as connection:
        connection.execute(insert(parent).values(id=1, name="x"))
        for condition in conditions:
            copy = selects.renamed(condition.right, "other")
            assert copy.type is condition.right.type
            again = type(condition)(condition.left, copy, condition.operator)
            found = connection.scalars(select(parent.c.id).where(again), {"other": values}).all()
            assert bool(found) is ((condition.operator is operators.in_op) is bool(values))


def test_what_an_upsert_sets_and_where_it_meets_a_row() -> None:
    """Columns or their names; the key by its columns or the name of its constraint; pairs in 2.0, a mapping in 2.1."""
    for make in (sqlite_insert, postgresql_insert):
        made = (
            make(parent).values(id=1).on_conflict_do_update(index_elements=["id"], set_={"name": "x", parent.c.id: 2})
        )
        clause = internals.upsert_clause(made)
        assert set_on_conflict(clause) == ["name", "id"]
        assert conflict_columns(clause, parent) == {"id"}
    named = postgresql_insert(parent).on_conflict_do_update(constraint="parent_pkey", set_={"name": "x"})
    assert conflict_columns(internals.upsert_clause(named), parent) == set()
    clause = internals.upsert_clause(mysql_insert(parent).on_duplicate_key_update(name="x"))
    assert (set_on_conflict(clause), conflict_columns(clause, parent)) == (["name"], None)
    clause = internals.upsert_clause(sqlite_insert(parent).on_conflict_do_nothing())
    assert (set_on_conflict(clause), conflict_columns(clause, parent)) == (None, None)


def test_what_an_engine_opens_its_connections_with() -> None:
    """The arguments of the URL and of ``connect_args``; a creator of the application keeps its own."""
    engine = create_engine("sqlite:///x.db?timeout=3", connect_args={"uri": False})
    assert {"timeout": 3.0, "uri": False}.items() <= opening_arguments(engine).items()
    assert opening_arguments(create_engine("sqlite://", creator=lambda: None)) == {}
    early = opening_arguments(create_engine("sqlite://", creator=lambda: later))
    later: object = None  # what the creator refers to had no value when it was asked about
    assert early == {}
