"""Every semi-private name of SQLAlchemy that rowstamp relies on, and nothing else.

SQLAlchemy promises nothing about these names. Each is wrapped here in a function or class that says what is expected of it, and
``tests/unit/test_sqlalchemy_internals.py`` fails loudly when one changes, on 2.0 and on 2.1.
"""

# The point of this module is to use what pyright calls private, once, so that nobody else has to.
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeGuard, TypeVar, cast

import sqlalchemy
from sqlalchemy import MetaData, Table, util
from sqlalchemy.engine import Connection, Dialect, Engine, Result
from sqlalchemy.engine.interfaces import ExecutionContext
from sqlalchemy.engine.util import TransactionalContext
from sqlalchemy.orm import LoaderCallableStatus, PassiveFlag, Session
from sqlalchemy.orm.mapper import _all_registries
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.sql import coercions, roles
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.expression import FromClause, Join
from sqlalchemy.types import TypeEngine

T = TypeVar("T")

# --------------------------------------------------------------------------------------------- asyncio bridge

_await: Callable[[Awaitable[Any]], Any] = getattr(util, "await_", None) or util.await_only


def await_in_greenlet(awaitable: Awaitable[T]) -> T:
    """Wait for an awaitable from synchronous code that runs inside SQLAlchemy's greenlet."""
    return cast("T", _await(awaitable))


# -------------------------------------------------------------------------------------------------- statements


def locks_rows(statement: Any) -> bool:
    """Return whether a statement asks for FOR UPDATE or the like; SQLite's text does not show it."""
    return getattr(statement, "_for_update_arg", None) is not None


def with_options(statement: Any) -> Sequence[Any]:
    """Return the options given by ``.options()``."""
    return getattr(statement, "_with_options", ())


def statement_execution_options(statement: Any) -> Mapping[str, Any]:
    """Return the execution options given on the statement itself."""
    return getattr(statement, "_execution_options", {})


def tables_below(element: FromClause) -> Sequence[FromClause]:
    """Return the tables of a DML target; more than one for a join, in MySQL's multi-table forms."""
    return [each for each in element._from_objects if not isinstance(each, Join)]


def dml_statement(compiled: Any) -> Any:
    """Return the DML statement that was compiled, in Core form."""
    return compiled.dml_compile_state.statement


def dml_ctes(compiled: Any) -> Sequence[Any]:
    """Return the DML statements inside the CTEs of a compiled statement."""
    ctes = getattr(compiled, "ctes", None)
    return [cte.element for cte in ctes if getattr(cte.element, "is_dml", False)] if ctes else []


def is_upsert(statement: Any) -> bool:
    """Return whether an INSERT may change rows that are there (``ON CONFLICT DO UPDATE``, ``ON DUPLICATE KEY``)."""
    clause = upsert_clause(statement)
    return clause is not None and clause.__visit_name__ != "on_conflict_do_nothing"


def has_prefixes(statement: Any) -> bool:
    """Return whether a DML statement has words after its verb, such as OR REPLACE or IGNORE."""
    return bool(statement._prefixes)


def changed_columns(statement: Any) -> Sequence[Any]:
    """Return the columns (or their keys) that an UPDATE names in its own SET clause."""
    found: list[Any] = list(statement._values or ())
    if getattr(statement, "_ordered_values", None):
        found.extend(column for column, _ in statement._ordered_values)
    for values in getattr(statement, "_multi_values", ()):
        for row in values:
            found.extend(row)
    return found


def values_given(compiled: Any) -> list[Mapping[str, Any]]:
    """Return what the statement itself gives as values (VALUES, SET), one mapping by column key for each row."""
    state = compiled.dml_compile_state
    rows = state._multi_parameters if gives_several(compiled) else [state._dict_parameters or {}]
    return [
        {coercions.expect(roles.DMLColumnRole, key, as_key=True): value for key, value in row.items()} for row in rows
    ]


def gives_several(compiled: Any) -> bool:
    """Return whether the parameters of an INSERT are numbered by row: ``VALUES (…), (…)`` in the statement itself."""
    return bool(compiled.dml_compile_state._has_multi_parameters) if compiled.isinsert else False


def prefetched(compiled: Any) -> set[str]:
    """Return the names of the parameters to which an execution gives the values of Python-side defaults."""
    return {column.key for column in compiled.prefetch}


def is_anonymous(bind: BindParameter[Any]) -> bool:
    """Return whether a bound value was given without a name; in VALUES and SET it gets the column's."""
    return bind.unique


def has_no_type(bind: BindParameter[Any]) -> bool:
    """Return whether a bound value takes the type of the column it is given for."""
    return bind.type._isnull


def upsert_clause(statement: Any) -> Any:
    """Return the ON CONFLICT or ON DUPLICATE KEY clause of an INSERT, or ``None``."""
    return getattr(statement, "_post_values_clause", None)


def mapped_metadata() -> set[MetaData]:
    """Return the metadata of every registry of mapped classes in the program."""
    return {registry.metadata for registry in _all_registries()}


def is_table(element: object) -> TypeGuard[Table[Any]]:
    """Return whether an element is a table of some metadata."""
    return isinstance(element, Table)


def table_prefixes(table: Any) -> Sequence[Any]:
    """Return the words between CREATE and TABLE, such as TEMPORARY."""
    return cast("Sequence[Any]", table._prefixes)


def type_affinity(type_: TypeEngine[Any]) -> type[TypeEngine[Any]]:
    """Return the basic type that says how values compare."""
    return cast("type[TypeEngine[Any]]", type_._type_affinity)


def is_custom_construct(element: Any) -> bool:
    """Return whether an element is rendered by ``@compiles``."""
    return hasattr(element, "_compiler_dispatcher")


def is_user_select(statement: Any) -> bool:
    """Return whether a statement may return rows without being DML or DDL (select, union, text)."""
    if not hasattr(statement, "_compile_w_cache"):
        return False  # a sequence or another default, which connections execute too
    return not (getattr(statement, "is_dml", False) or getattr(statement, "is_ddl", False))


# -------------------------------------------------------------------------------------------------- execution


class Compilation:
    """A statement compiled through the engine's compiled cache, with what is needed to execute it.

    Attributes:
        compiled: the compiled statement, shared by all statements of its shape.
        arguments: what ``ExecutionContext._init_compiled`` takes besides.
    """

    __slots__ = ("arguments", "cache_hit", "compiled", "extra")

    def __init__(self, compiled: Any, arguments: tuple[Any, ...], cache_hit: Any, extra: dict[str, Any]) -> None:
        self.compiled = compiled
        self.arguments = arguments
        self.cache_hit = cache_hit
        self.extra = extra


def compile_statement(
    statement: Any, engine: Engine, parameters: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
) -> Compilation:
    """Compile a statement as ``Connection.execute`` would, sharing the engine's compiled cache."""
    dialect = engine.dialect
    result = statement._compile_w_cache(
        dialect=dialect,
        compiled_cache=options.get("compiled_cache", engine._compiled_cache),
        column_keys=sorted(parameters[0]) if parameters else [],
        for_executemany=False,
        schema_translate_map=options.get("schema_translate_map"),
        linting=dialect.compiler_linting | sqlalchemy.sql.compiler.WARN_LINTING,
    )
    if len(result) == 4:  # 2.1 collects the parameters while it generates the cache key
        compiled, extracted, collected, cache_hit = result
        extra = {"param_dict": collected}
    else:
        compiled, extracted, cache_hit = result
        extra = {}
    return Compilation(compiled, (compiled, parameters, statement, extracted), cache_hit, extra)


def execution_context(
    compilation: Compilation, connection: Connection, dbapi_connection: Any, options: Mapping[str, Any]
) -> Any:
    """Return the dialect's execution context for a compiled statement, parameters processed, nothing executed."""
    dialect: Any = connection.dialect
    return dialect.execution_ctx_cls._init_compiled(
        dialect,
        connection,
        dbapi_connection,
        options,
        *compilation.arguments,
        cache_hit=compilation.cache_hit,
        **compilation.extra,
    )


def result_of(context: Any) -> Result[Any]:
    """Build the result of an execution context whose cursor has its rows."""
    return cast("Result[Any]", context._setup_result_proxy())


def merged_options(statement: Any, connection_options: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """Merge execution options as ``Connection.execute`` does: statement, connection, call."""
    return statement._execution_options.merge_with(connection_options, options)


def distill(parameters: Any) -> Sequence[Mapping[str, Any]]:
    """Normalise what was given as parameters to a sequence of mappings."""
    if parameters is None:
        return ()
    if isinstance(parameters, Mapping):
        return (cast("Mapping[str, Any]", parameters),) if parameters else ()
    return cast("Sequence[Mapping[str, Any]]", parameters)


def is_server_side(context: ExecutionContext) -> bool:
    """Return whether the rows stay on the server until they are fetched."""
    return bool(getattr(context, "_is_server_side", False))


def load_options(options: Mapping[str, Any]) -> Any:
    """Return the ORM's load options of an execution, or ``None`` for Core."""
    return options.get("_sa_orm_load_options")


def parameter_values(context: Any) -> list[Mapping[str, Any]]:
    """Return the parameters of an execution by name, before the driver's processing; of ``IN`` the whole list.

    SQLAlchemy replaces a list's parameter by one for each value when it renders them.
    """
    expansions = getattr(context, "_expanded_parameters", None)
    sets: list[Mapping[str, Any]] = context.compiled_parameters
    if not expansions:
        return sets
    return [
        {
            **values,
            **{
                name: _regrouped(context, name, [values.get(each) for each in names])
                for name, names in expansions.items()
            },
        }
        for values in sets
    ]


def has_rendered_values(compiled: Any) -> bool:
    """Return whether values are rendered into the SQL with each execution (``literal_execute``): the driver is given none of them."""
    return bool(getattr(compiled, "literal_execute_params", ()))


def _regrouped(context: Any, name: str, values: list[Any]) -> list[Any]:
    """Return the values of a list, of which SQLAlchemy has flattened the tuples."""
    width = len(getattr(getattr(context.compiled.binds.get(name), "type", None), "types", ()))
    return [tuple(values[at : at + width]) for at in range(0, len(values), width)] if width else values


def watches_beginnings(session: Session, engine: Engine, own: Callable[..., Any]) -> bool:
    """Return whether somebody is told when a session or connection begins, and may give it a state of its own then.

    Args:
        session: the session.
        engine: the engine.
        own: the one listener that is known to do no such thing.
    """
    if any(listener is not own for listener in session.dispatch.after_begin):
        return True
    events = ("begin", "engine_connect", "set_connection_execution_options")
    return any(len(getattr(engine.dispatch, name)) > 0 for name in events)


def may_rewrite(target: Engine | Connection) -> bool:
    """Return whether a ``retval=True`` listener may change statements before they are sent.

    Listeners that only watch are wrapped by SQLAlchemy in functions of known names.
    """
    for event, wrapper in (
        ("before_execute", "wrap_before_execute"),
        ("before_cursor_execute", "wrap_before_cursor_execute"),
    ):
        for listener in getattr(target.dispatch, event):
            code = getattr(listener, "__code__", None)
            if getattr(code, "co_name", "") != wrapper:
                return True
    return False


def connect_isolation(dialect: Dialect) -> str | None:
    """Return the isolation level that ``create_engine`` was told to give each connection, if any."""
    return cast("str | None", getattr(dialect, "_on_connect_isolation_level", None))


def is_initialized(dialect: Dialect) -> bool:
    """Return whether the dialect has seen its server: default schema and isolation level are known."""
    return getattr(dialect, "default_isolation_level", None) is not None or (
        getattr(dialect, "default_schema_name", None) is not None
    )


# ---------------------------------------------------------------------------------------------------- sessions


def connection_info(dbapi_connection: Any) -> dict[Any, Any]:
    """Return the dictionary that lives as long as the driver's connection behind a pooled one.

    While an engine initializes its dialect, the connection is wrapped in something that has no ``info`` of its own.
    """
    if isinstance(dbapi_connection, PoolProxiedConnection):
        try:
            return dbapi_connection.info
        except NotImplementedError:
            record = getattr(dbapi_connection, "_connection_record", None)
            return record.info if record is not None else {}
    return {}


def begin_session(session: Session) -> bool:
    """Begin the session as a statement would; return whether its transaction can take statements."""
    TransactionalContext._trans_ctx_check(session)
    transaction = session._transaction
    if transaction is None:
        session._autobegin_t()
        return True
    state = transaction._state
    return bool(state is type(state).ACTIVE)


def session_connection(session: Session, engine: Engine) -> Connection | None:
    """Return the connection the session's transaction already uses for an engine."""
    transaction = session._transaction
    while transaction is not None:
        found = transaction._connections.get(engine)
        if found is not None:
            return found[0]
        # A savepoint's or a flush's transaction gets its connections from the one around it, when it needs them.
        transaction = transaction._parent
    return None


def session_connections(session: Session) -> list[Connection]:
    """Return the connections the session's transaction has begun, or those around a savepoint of it."""
    found: dict[Connection, None] = {}
    transaction = session._transaction
    while transaction is not None:
        found.update((each[0], None) for each in transaction._connections.values())
        transaction = transaction._parent
    return list(found)


ConnectionForBind = Callable[..., Connection]

_HOOK = "_connection_for_bind"


def connection_hook(session: Session) -> Any:
    """Return what was installed by :func:`hook_connections`, if anything."""
    return session.__dict__.get(_HOOK)


def hook_connections(session: Session, hook: Callable[..., Connection]) -> None:
    """Put ``hook`` where the session asks for the connection of a statement.

    The session asks ``_connection_for_bind(bind)`` for statements and ``_connection_for_bind(bind, execution_options=…)`` for
    everything else. It is set on the instance: not through ``get_bind``, whose signature belongs to applications.
    """
    session.__dict__[_HOOK] = hook


def unhook_connections(session: Session) -> None:
    """Undo :func:`hook_connections`."""
    session.__dict__.pop(_HOOK, None)


def original_connection_for_bind(session: Session, bind: Any, **kw: Any) -> Connection:
    """Ask the session's class for the connection."""
    return type(session)._connection_for_bind(session, bind, **kw)


# ------------------------------------------------------------------------------------------- stand-in connection


class StandInConnection(Connection):
    """A Connection of an engine that has checked nothing out of the pool and runs no events."""

    def __init__(self, engine: Engine, dbapi_connection: Any) -> None:
        """Stand in for a connection of ``engine``; contexts get their cursors from ``dbapi_connection``."""
        super().__init__(
            engine, connection=dbapi_connection, _has_events=False, _allow_revalidate=False, _allow_autobegin=False
        )


# --------------------------------------------------------------------------------------------------- recording


def has_mapper_entities(context: Any) -> bool:
    """Return whether an execution loads entities, so that its session looks them up in its identity map."""
    state = getattr(getattr(context, "compiled", None), "compile_state", None)
    return bool(getattr(state, "_has_mapper_entities", False))


def is_initializing(connection: Connection) -> bool:
    """Return whether a connection is the one on which the dialect asks a server for its version and settings, once."""
    return not connection._allow_autobegin


def loaded_states(session: Session) -> list[Any]:
    """Return the states of the persistent instances of a session that have loaded attributes."""
    return [state for state in session.identity_map.all_states() if not state.expired]


def in_greenlet() -> bool:
    """Return whether asynchronous drivers may be used from synchronous code here."""
    return bool(util.concurrency.in_greenlet())


async def run_in_greenlet(function: Callable[..., T], *args: Any) -> T:
    """Run synchronous code in which asynchronous drivers may be used."""
    return await util.greenlet_spawn(function, *args)


def is_clean(session: Session) -> bool:
    """Return whether a session has nothing to flush."""
    return session._is_clean()


def session_binds(session: Session) -> list[Any]:
    """Return the engines and connections that a session may use, as far as it was told when it was made."""
    binds: Mapping[Any, Any] = getattr(session, "_Session__binds", {})
    return list(dict.fromkeys([each for each in (session.bind, *binds.values()) if each is not None]))


def chooses_bind(session: Session) -> bool:
    """Return whether the session's class chooses engines by rules of its own."""
    return type(session).get_bind is not Session.get_bind


_lookup_in_identity_map: Any = Session._identity_lookup


def observe_identity_map(observer: Callable[[Session, Any, bool], None]) -> None:
    """Tell ``observer`` of each instance that a session finds in its identity map when it is asked for a key.

    It is told the session, the instance, and whether SQL is allowed at this point. There is no event for it, so the method of the
    class is replaced; subclasses that have their own call it.
    """

    def _identity_lookup(self: Session, *args: Any, **kw: Any) -> Any:
        found = _lookup_in_identity_map(self, *args, **kw)
        if found is not None and not isinstance(found, LoaderCallableStatus):
            passive = kw.get("passive", PassiveFlag.PASSIVE_OFF)
            observer(self, found, bool(passive & PassiveFlag.SQL_OK))
        return found

    Session._identity_lookup = _identity_lookup  # type: ignore[method-assign]
