"""Entities in results: identity, loaded columns and loaded relationships; made again as if a SELECT had just loaded them.

An entity may appear several times, and entities may refer to each other in circles: each is kept once, and referred to by its
number. On a hit a row that the session has in its identity map already is given out as it is there, modified or not, as
SQLAlchemy does when a SELECT returns it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import inspect
from sqlalchemy.orm import Mapper, Session, make_transient_to_detached
from sqlalchemy.orm.attributes import set_committed_value

from rowstamp.errors import CorruptEntry, UncacheableValue

__all__ = ["Found", "PackedEntities", "UnpackedEntities"]

Found: TypeAlias = Callable[[Session, object], None]

_DETACHED = -1
_SCALAR, _COLLECTION = 0, 1


class PackedEntities:
    """The entities of one result, numbered.

    Args:
        sessions: the sessions of the call.
    """

    def __init__(self, sessions: Sequence[Session]) -> None:
        self._sessions = sessions
        self._numbers: dict[int, int] = {}
        self._alive: list[object] = []
        self._rows: list[Any] = []

    def __bool__(self) -> bool:
        return bool(self._rows)

    def rows(self) -> list[Any]:
        """Return what is to be stored of them."""
        return self._rows

    def add(self, entity: Any) -> int:
        """Return the number of an entity, with all that is loaded of it.

        Raises:
            UncacheableValue: it is new, modified, deleted, or in a session that is not the call's.
        """
        number = self._numbers.get(id(entity))
        if number is None:
            number = self._numbers[id(entity)] = len(self._rows)
            self._alive.append(entity)
            self._rows.append(None)
            self._rows[number] = self._row(entity)
        return number

    def _row(self, entity: Any) -> list[Any]:
        state: Any = inspect(entity)
        if not (state.persistent or state.detached) or state.modified or state.deleted:
            raise self._refusal(entity, "it is new, modified or deleted")
        if state.expired:
            raise self._refusal(entity, "it is expired, so that nothing of it is there")
        where = _DETACHED
        if state.session is not None:
            where = next((n for n, each in enumerate(self._sessions) if each is state.session), _DETACHED)
            if where == _DETACHED:
                raise self._refusal(entity, "its session is no argument of the function")
        mapper: Mapper[Any] = state.mapper
        columns = {each.key: state.dict[each.key] for each in mapper.column_attrs if each.key in state.dict}
        related = {
            each.key: self._related(state.dict[each.key]) for each in mapper.relationships if each.key in state.dict
        }
        _, identity, token = state.key
        return [mapper.class_.__qualname__, list(identity), token, where, columns, related]

    def _related(self, value: Any) -> list[Any]:
        if value is None:
            return [_SCALAR, None]
        if inspect(value, raiseerr=False) is not None:
            return [_SCALAR, self.add(value)]
        members: Any = value.values() if hasattr(value, "values") else value
        return [_COLLECTION, [self.add(each) for each in members]]

    @staticmethod
    def _refusal(entity: Any, why: str) -> UncacheableValue:
        return UncacheableValue(f"{type(entity).__module__}.{type(entity).__qualname__}", why)


class UnpackedEntities:
    """The entities of one stored result, made when they are asked for.

    Args:
        rows: what :meth:`PackedEntities.rows` returned.
        sessions: the sessions of the call.
        found: told of each entity that a session had already, and that is given out as it is there.
    """

    def __init__(self, rows: Sequence[Any], sessions: Sequence[Session], found: Found | None = None) -> None:
        self._rows = rows
        self._found = found
        self._sessions = sessions
        self._made: dict[int, Any] = {}

    def get(self, number: int, mapper: Mapper[Any]) -> Any:
        """Return the entity with this number.

        Args:
            number: what :meth:`PackedEntities.add` returned.
            mapper: the mapper of its class or of a base class.

        Raises:
            CorruptEntry: there is no such class, or no such session.
        """
        if number in self._made:
            return self._made[number]
        name, identity, token, where, columns, related = self._rows[number]
        exact = next((each for each in mapper.self_and_descendants if each.class_.__qualname__ == name), None)
        if exact is None:
            raise CorruptEntry(f"{name} is no class mapped under {mapper.class_.__qualname__}")
        session = None if where == _DETACHED else self._session(where)
        if session is not None:
            key = exact.identity_key_from_primary_key(tuple(identity), identity_token=token)
            present: Any = session.identity_map.get(key)
            if present is not None and not inspect(present).expired:
                self._made[number] = present
                if self._found is not None:
                    self._found(session, present)
                return present
        else:
            present = None
        made = present if present is not None else exact.class_manager.new_instance()
        self._made[number] = made
        self._fill(made, exact, columns, related)
        if present is None:
            self._attach(made, session, token)
        return made

    def _session(self, where: int) -> Session:
        if where >= len(self._sessions):
            raise CorruptEntry("the call has fewer sessions than the one that stored the result")
        return self._sessions[where]

    def _fill(self, made: Any, mapper: Mapper[Any], columns: Mapping[str, Any], related: Mapping[str, Any]) -> None:
        for key, value in columns.items():
            set_committed_value(made, key, value)
        for key, (shape, value) in related.items():
            target: Mapper[Any] = mapper.relationships[key].mapper
            if shape == _COLLECTION:
                set_committed_value(made, key, [self.get(each, target) for each in value])
            else:
                set_committed_value(made, key, None if value is None else self.get(value, target))

    @staticmethod
    def _attach(made: Any, session: Session | None, token: Any) -> None:
        state: Any = inspect(made)
        state.identity_token = token
        make_transient_to_detached(made)
        if session is not None:
            session.add(made)
