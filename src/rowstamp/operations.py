"""What repositories do, for a Session: statements and how their results are handed out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, cast

from sqlalchemy import and_, exists, func, inspect, or_, select, tuple_
from sqlalchemy.orm import Mapper, Session
from sqlalchemy.sql import ColumnElement, Select, operators

from rowstamp.codec import decode, encode
from rowstamp.errors import ConfigurationError, CorruptEntry
from rowstamp.orm.option import OPTION, cached

__all__ = ["Operations", "Page"]

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Page(Generic[M]):
    """Some of the entities that meet a condition.

    Attributes:
        items: the entities.
        next: the cursor of the next page, or ``None`` on the last one.
        number: the number of the page, if it was asked for by number.
        total: how many entities there are on all pages, if it was asked for by number.
    """

    items: Sequence[M]
    next: str | None
    number: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Operations(Generic[M]):
    """Reads and writes of one mapped class.

    Attributes:
        model: the class.
        option: how reads are cached, or ``False``.
        base: the select that reads start from; ``None`` for all entities.
    """

    model: type[M]
    option: cached | Literal[False]
    base: Select[Any] | None = None

    @property
    def _mapper(self) -> Mapper[M]:
        return cast("Mapper[M]", inspect(self.model))

    @property
    def _options(self) -> dict[str, Any]:
        return {OPTION: self.option}

    @property
    def _key(self) -> tuple[Any, ...]:
        """The attributes of the primary key."""
        mapper = self._mapper
        return tuple(getattr(self.model, mapper.get_property_by_column(each).key) for each in mapper.primary_key)

    def select_all(self) -> Select[Any]:
        """Return a select of all entities."""
        return select(self.model)

    def _select(self, criteria: Collection[Any] = ()) -> Select[Any]:
        base = self.select_all() if self.base is None else self.base
        return base.where(*criteria) if criteria else base

    def _all(self, session: Session, statement: Select[Any]) -> list[M]:
        # unique(): a base statement may load collections by joins.
        return list(session.scalars(statement, execution_options=self._options).unique())

    # -------------------------------------------------------------------------------------------------- reading

    def get(self, session: Session, key: Any) -> M | None:
        """Return the entity with a primary key."""
        if self.base is None:
            return session.get(self.model, key, execution_options=self._options)
        return self.get_many(session, [key]).get(key)

    def get_many(self, session: Session, keys: Iterable[Any]) -> dict[Any, M]:
        """Return entities by primary key, those that exist."""
        wanted = list(dict.fromkeys(keys))
        found = {key: entity for key in wanted if (entity := self._present(session, key)) is not None}
        missing = [key for key in wanted if key not in found]
        if missing:
            columns = self._key
            column: Any = columns[0] if len(columns) == 1 else tuple_(*columns)
            # In one order, so that the same keys asked for in another order are the same statement.
            statement = self._select([column.in_(sorted(missing, key=repr))])
            for entity in self._all(session, statement):
                state: Any = inspect(entity)
                identity = state.identity
                found[identity if len(columns) > 1 else identity[0]] = entity
        return {key: found[key] for key in wanted if key in found}

    def _present(self, session: Session, key: Any) -> M | None:
        """Return an entity that the session has, unless a statement of the user's own decides what there is."""
        if self.base is not None:
            return None
        identity: Any = key if len(self._key) > 1 else (key,)
        found: Any = session.identity_map.get(self._mapper.identity_key_from_primary_key(identity))
        if found is None or inspect(found).expired or not isinstance(found, self.model):
            return None
        return session.get(self.model, key)  # told to whoever records what is found in the identity map

    def get_by(self, session: Session, values: Mapping[str, Any]) -> M | None:
        """Return the one entity with these attributes."""
        statement = self._select([getattr(self.model, name) == value for name, value in values.items()])
        return session.scalars(statement, execution_options=self._options).unique().one_or_none()

    def list(
        self, session: Session, criteria: Collection[Any], order_by: Any, limit: int | None, offset: int | None
    ) -> list[M]:
        """Return the entities that meet all criteria."""
        order = _several(order_by) or self._key
        return self._all(session, self._select(criteria).order_by(*order).limit(limit).offset(offset))

    def count(self, session: Session, criteria: Collection[Any]) -> int:
        """Return how many entities meet all criteria."""
        rows = self._select(criteria).with_only_columns(*self._key).order_by(None).distinct().subquery()
        statement = select(func.count()).select_from(rows)
        return session.scalar(statement, execution_options=self._options) or 0

    def exists(self, session: Session, criteria: Collection[Any]) -> bool:
        """Return whether an entity meets all criteria."""
        rows = self._select(criteria).with_only_columns(*self._key).order_by(None)
        return bool(session.scalar(select(exists(rows)), execution_options=self._options))

    # --------------------------------------------------------------------------------------------------- paging

    def page(
        self,
        session: Session,
        criteria: Collection[Any],
        order_by: Any,
        size: int,
        after: str | None,
        number: int | None,
    ) -> Page[M]:
        """Return one page."""
        if size < 1 or (number is not None and number < 1):
            raise ValueError(f"size={size!r}, number={number!r}: both count from 1")
        if after is not None and number is not None:
            raise ValueError("after= and number= at once: a page has a cursor or a number")
        order = [*(_Ordered.of(each) for each in _several(order_by)), *(_Ordered.of(each) for each in self._key)]
        statement = self._select(criteria).order_by(*(each.expression for each in order)).limit(size + 1)
        if after is not None:
            statement = statement.where(_beyond(order, _position(after, len(order))))
        if number is not None:
            statement = statement.offset((number - 1) * size)
        found = self._all(session, statement)
        items, more = found[:size], len(found) > size
        cursor = _cursor([each.value(items[-1]) for each in order]) if more else None
        total = self.count(session, criteria) if number is not None else None
        return Page(items, cursor, number, total)

    # -------------------------------------------------------------------------------------------------- writing

    def add_many(self, session: Session, entities: Iterable[M]) -> Sequence[M]:
        """Insert entities."""
        added = [*entities]
        session.add_all(added)
        session.flush()
        return added

    def _target(self, session: Session, target: Any) -> M | None:
        return (
            target
            if isinstance(target, self.model)
            else session.get(self.model, target, execution_options=self._options)
        )

    def update(self, session: Session, target: Any, values: Mapping[str, Any]) -> M | None:
        """Change attributes of an entity."""
        unknown = [name for name in values if name not in self._mapper.all_orm_descriptors]
        if unknown:
            raise TypeError(f"{self.model.__name__} has no attribute {unknown[0]!r}")
        entity = self._target(session, target)
        if entity is None:
            return None
        if entity not in session:
            entity = session.merge(entity)
        for name, value in values.items():
            setattr(entity, name, value)
        session.flush()
        return entity

    def delete(self, session: Session, target: Any) -> bool:
        """Delete an entity."""
        entity = self._target(session, target)
        if entity is None:
            return False
        session.delete(entity if entity in session else session.merge(entity))
        session.flush()
        return True

    def upsert(self, session: Session, values: Mapping[str, Any], on: Collection[str]) -> M:
        """Insert a row or update the one that is there."""
        if isinstance(on, str):
            raise ConfigurationError(f"on={on!r} is not a collection of names: write on=[{on!r}]")
        names = tuple(on) or tuple(each.key for each in self._key)
        dialect = session.get_bind(self._mapper).dialect.name
        statement = _upsert_statement(dialect, self.model, values, names)
        session.flush()
        if dialect in {"mysql", "mariadb"}:
            session.execute(statement)
            return self._read_again(session, {name: values[name] for name in names})
        options = {"populate_existing": True}
        found = session.scalars(statement.returning(self.model), execution_options=options).one()
        return cast("M", found)

    def _read_again(self, session: Session, values: Mapping[str, Any]) -> M:
        statement = self.select_all().where(*(getattr(self.model, name) == value for name, value in values.items()))
        found: Any = session.scalars(statement, execution_options={"populate_existing": True, OPTION: False}).one()
        return cast("M", found)


def _upsert_statement(dialect: str, model: Any, values: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    changed = [name for name in values if name not in names] or list(names)
    columns = {name: getattr(model, name).property.columns[0] for name in (*values, *names)}
    if dialect in {"postgresql", "sqlite"}:
        insert = _insert_of(dialect)(model).values(**values)
        return insert.on_conflict_do_update(
            index_elements=[columns[name] for name in names],
            set_={columns[name].name: insert.excluded[columns[name].name] for name in changed},
        )
    if dialect in {"mysql", "mariadb"}:
        insert = _insert_of("mysql")(model).values(**values)
        return insert.on_duplicate_key_update(
            {columns[name].name: insert.inserted[columns[name].name] for name in changed}
        )
    raise ConfigurationError(f"upsert on {dialect}: only PostgreSQL, SQLite, MySQL and MariaDB have a statement for it")


def _insert_of(dialect: str) -> Any:
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as postgresql_insert

        return postgresql_insert
    if dialect == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        return sqlite_insert
    from sqlalchemy.dialects.mysql import insert as mysql_insert

    return mysql_insert


# ---------------------------------------------------------------------------------------------------- cursors


def _several(order_by: Any) -> tuple[Any, ...]:
    several: tuple[Any, ...] = tuple(order_by) if type(order_by) in {list, tuple} else (order_by,)
    return several


@dataclass(frozen=True, slots=True)
class _Ordered:
    """One column of an order."""

    expression: Any
    attribute: Any
    descending: bool

    @classmethod
    def of(cls, expression: Any) -> _Ordered:
        modifier = getattr(expression, "modifier", None)
        inner: Any = expression
        if modifier in {operators.desc_op, operators.asc_op}:
            inner = expression.element
        if getattr(inner, "key", None) is None:
            raise ValueError(f"order_by={expression}: pages are ordered by attributes of the class")
        if getattr(getattr(inner, "property", None), "columns", [inner])[0].nullable:
            raise ValueError(f"order_by={expression}: pages need an order by columns that are never NULL")
        return cls(expression, inner, modifier is operators.desc_op)

    def value(self, entity: Any) -> Any:
        """Return an entity's value of the column."""
        mapper: Any = inspect(entity).mapper
        column = getattr(self.attribute, "property", None)
        key = column.key if column is not None else mapper.get_property_by_column(self.attribute).key
        return getattr(entity, key)


def _beyond(order: Sequence[_Ordered], position: Sequence[Any]) -> ColumnElement[bool]:
    """Return the condition for rows after a position: greater in the first column in which they differ."""
    alternatives: list[Any] = []
    for depth, (column, value) in enumerate(zip(order, position, strict=True)):
        same = [each.attribute == known for each, known in zip(order[:depth], position[:depth], strict=True)]
        alternatives.append(and_(*same, column.attribute < value if column.descending else column.attribute > value))
    return or_(*alternatives)


def _cursor(values: list[Any]) -> str:
    return base64.urlsafe_b64encode(encode(values)).decode().rstrip("=")


def _position(cursor: str, length: int) -> list[Any]:
    try:
        values = decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (CorruptEntry, binascii.Error, ValueError) as exc:
        raise ValueError(f"after={cursor!r} is not a cursor") from exc
    if not isinstance(values, list) or len(values) != length:  # pyright: ignore[reportUnknownArgumentType]
        raise ValueError(f"after={cursor!r} is the cursor of another order")
    return values  # pyright: ignore[reportUnknownVariableType]
