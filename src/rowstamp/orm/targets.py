"""What ``attach``, ``policy`` and ``invalidate`` may be given, turned into engines, tables and effects."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeGuard

from sqlalchemy import Column, Table, inspect
from sqlalchemy.engine import Connection, Dialect, Engine
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Mapper, Session, scoped_session, sessionmaker
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, BooleanClauseList, ColumnElement
from sqlalchemy.sql.visitors import iterate

from rowstamp._sqlalchemy import is_table
from rowstamp.analysis.effects import facets
from rowstamp.analysis.equality import key_value
from rowstamp.analysis.schema import iterate_keys, name_keys, write_names
from rowstamp.config import check_names
from rowstamp.errors import AttachError, ConfigurationError
from rowstamp.model import Dependency

__all__ = ["columns_by_table", "effects_of", "engines_of", "mapped_tables", "name_keys_of", "sync_session"]

Maker = sessionmaker[Any] | async_sessionmaker[Any]


def engines_of(target: Any, *, asynchronous: bool) -> tuple[list[Engine], Maker | None]:
    """Return the engines behind what a cache is attached to, and the sessionmaker if it is one.

    Raises:
        AttachError: it is neither, is of the other colour, or has no engine.
    """
    if isinstance(target, sessionmaker | async_sessionmaker):
        binds: list[Any] = [target.kw.get("bind"), *(target.kw.get("binds") or {}).values()]  # pyright: ignore[reportUnknownMemberType]
        shown = repr(target)  # pyright: ignore[reportUnknownArgumentType]
        engines = [_engine(bind, shown, asynchronous=asynchronous) for bind in binds if bind is not None]
        if not engines:
            msg = f"{target!r} has no engine to watch for writes: give it bind=engine, or attach the engine itself"
            raise AttachError(msg)
        return engines, target  # pyright: ignore[reportUnknownVariableType]
    return [_engine(target, repr(target), asynchronous=asynchronous)], None


def _engine(bind: object, shown: str, *, asynchronous: bool) -> Engine:
    if isinstance(bind, AsyncEngine | AsyncConnection):
        if not asynchronous:
            msg = f"{shown} is asynchronous and this is a Cache: use AsyncCache"
            raise AttachError(msg)
        return bind.sync_engine if isinstance(bind, AsyncEngine) else bind.engine.sync_engine
    if isinstance(bind, Engine | Connection):
        if asynchronous:
            msg = f"{shown} is synchronous and this is an AsyncCache: use Cache"
            raise AttachError(msg)
        return bind if isinstance(bind, Engine) else bind.engine
    msg = f"cannot attach to {shown} of type {type(bind).__name__}: give an Engine, AsyncEngine, sessionmaker or async_sessionmaker"
    raise AttachError(msg)


def sync_session(session: object) -> Session:
    """Return the synchronous session behind either kind.

    Raises:
        ConfigurationError: it is no session.
    """
    if isinstance(session, scoped_session | async_scoped_session):
        return sync_session(session())  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(session, AsyncSession):
        return session.sync_session
    if isinstance(session, Session):
        return session
    msg = f"session={session!r} is no session: give a Session or AsyncSession"
    raise ConfigurationError(msg)


def mapped_tables(model: object) -> list[Table[Any]]:
    """Return the tables behind a mapped class (its subclasses' too) or a table.

    Raises:
        ConfigurationError: it is neither.
    """
    if is_table(model):
        return [model]
    mapper = _mapper(model)
    found: dict[Table[Any], None] = {}
    for each in mapper.self_and_descendants:
        tables: list[Any] = list(each.tables)
        found.update((table, None) for table in tables if is_table(table))
    return list(found)


def _mapper(model: object) -> Mapper[Any]:
    mapper: Any
    try:
        mapper = inspect(model)
    except NoInspectionAvailable:
        mapper = None
    if not isinstance(mapper, Mapper):
        msg = f"{model!r} is neither a mapped class nor a Table: give the class itself, such as Product"
        raise ConfigurationError(msg)
    return mapper  # pyright: ignore[reportUnknownVariableType]


def effects_of(target: Any, values: Mapping[str, object], scopes: Iterable[tuple[str, Dialect]]) -> set[Dependency]:
    """Return what ``invalidate(target, **values)`` touches in each attached database.

    Args:
        target: a mapped class, a table, or a condition such as ``Product.category_id == 7``.
        values: values of attributes, to name rows by their key.
        scopes: the identity and dialect of each attached database.

    Raises:
        ConfigurationError: the target or an attribute is not known.
    """
    if _is_condition(target):
        if values:
            msg = f"a condition and attributes ({', '.join(values)}) at once: write one condition, or a class and attributes"
            raise ConfigurationError(msg)
        known, tables = _from_condition(target)
    else:
        tables = mapped_tables(target)
        known = _from_attributes(target, values)
    found: set[Dependency] = set()
    for scope, dialect in scopes:
        for table in tables:
            found |= _table_effects(table, known, scope, dialect)
    return found


def _is_condition(target: object) -> TypeGuard[ColumnElement[Any]]:
    return isinstance(target, ColumnElement)


def _from_condition(condition: ColumnElement[Any]) -> tuple[dict[Column[Any], object], list[Table]]:
    parts: list[Any] = list(iterate(condition))
    tables: dict[Table, None] = {}
    for part in parts:
        table: Any = part.table if isinstance(part, Column) else None
        if is_table(table):
            tables[table] = None
    if not tables:
        msg = f"the condition {condition} names no column of a table: write one such as Product.category_id == 7"
        raise ConfigurationError(msg)
    known: dict[Column[Any], object] = {}
    both = isinstance(condition, BooleanClauseList) and condition.operator is operators.and_
    conditions: list[Any] = list(condition.clauses) if both else [condition]
    for part in conditions:
        if not (isinstance(part, BinaryExpression) and part.operator is operators.eq):
            continue
        if isinstance(part.left, Column) and isinstance(part.right, BindParameter):
            known[_base(part.left)] = part.right.effective_value
    return known, list(tables)


def _base(column: Column[Any]) -> Column[Any]:
    table: Any = column.table
    return table.c[column.key] if is_table(table) else column


def _from_attributes(target: object, values: Mapping[str, object]) -> dict[Column[Any], object]:
    known: dict[Column[Any], object] = {}
    for name, value in values.items():
        for column in _columns(target, name):
            known[column] = value
    return known


def _columns(target: Any, name: str) -> list[Column[Any]]:
    if is_table(target):
        if name in target.c:
            return [target.c[name]]
        names: list[str] = list(target.c.keys())
    else:
        mapper = _mapper(target)
        if name in mapper.column_attrs:
            return [column for column in mapper.column_attrs[name].columns if isinstance(column, Column)]
        names = list(mapper.column_attrs.keys())
    msg = f"{name!r} is no column attribute of {target!r}: it has {', '.join(names)}"
    raise ConfigurationError(msg)


def name_keys_of(model: object, keys: object) -> None:
    """Make keys of attributes of a mapped class (or of columns of a table): names, and tuples of names for composite ones.

    Raises:
        ConfigurationError: it is no collection of these, or an attribute is not known or in another table.
    """
    if isinstance(keys, str | bytes) or not isinstance(keys, Collection):
        msg = f"keys={keys!r} is not a collection of keys: write keys=[{keys!r}]"
        raise ConfigurationError(msg)
    given: Collection[Any] = keys  # pyright: ignore[reportUnknownVariableType]
    for key in given:
        several: Collection[Any] = (key,) if isinstance(key, str) else key
        names = check_names("keys", several)
        options = [_columns(model, name) for name in names]
        tables = [
            table for table in mapped_tables(model) if all(any(c.table is table for c in each) for each in options)
        ]
        if not names or not tables:
            msg = (
                f"the key {key!r} has no columns in one table of {model!r}: a key is made of columns of the same table"
            )
            raise ConfigurationError(msg)
        for table in tables:
            name_keys(table, [tuple(column.name for each in options for column in each if column.table is table)])


def columns_by_table(model: object, attributes: Iterable[str]) -> dict[Table[Any], frozenset[str]]:
    """Return the names, in lower case, of the columns behind attributes of a mapped class (or of a table), by table.

    Raises:
        ConfigurationError: an attribute is not known, or part of the primary key.
    """
    found: dict[Table[Any], set[str]] = {}
    for attribute in attributes:
        for column in _columns(model, attribute):
            if column.primary_key:
                msg = f"{attribute!r} is part of the primary key of {model!r}, which says what row it is: leave it out"
                raise ConfigurationError(msg)
            table: Any = column.table
            found.setdefault(table, set()).add(column.name.lower())
    return {table: frozenset(names) for table, names in found.items()}


def _table_effects(table: Table, known: Mapping[Column[Any], object], scope: str, dialect: Dialect) -> set[Dependency]:
    found: set[Dependency] = set()
    for name in write_names(table.schema, table.name):
        found.add(Dependency.table(scope, name))
        if not any(column.table is table for column in known):
            found.add(Dependency.unknown_rows(scope, name))
            continue
        for key, columns in iterate_keys(table):
            value = None
            if all(column in known for column in columns):
                value = key_value(columns, dialect, [known[column] for column in columns])
            found.add(
                Dependency.unknown_rows(scope, name, key) if value is None else Dependency.rows(scope, name, key, value)
            )
    # Which columns are meant nobody has said; every reader depends on the stamp itself or on its membership.
    return {facet for each in found for facet in facets(each, (), moves=True)}
