"""What a call of a function means: its parameters sorted into what leads to a database, what is left out, and what makes the key."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, cast

from rowstamp.arguments import canonical_arguments, type_path
from rowstamp.config import check_tags
from rowstamp.errors import ConfigurationError, UncacheableValue
from rowstamp.keys import entry_key, stamp_names
from rowstamp.model import Dependency
from rowstamp.orm.situation import HANDLES, Situation, is_handle
from rowstamp.values import Plan, plan_of

if TYPE_CHECKING:
    from rowstamp.core import Core
    from rowstamp.orm.attachment import Attachment

__all__ = ["BoundCall", "CallSignature"]

_FUNCTIONS: Final = "\0functions"
_CALLS: Final = "\0calls"
"""Scopes of stamps that stand for all calls of a function, and for one; no database has such an identity."""

_MISSING: Final = object()


@dataclass(slots=True)
class BoundCall:
    """One call, its arguments sorted.

    Attributes:
        signature: the function's.
        situation: what leads to a database.
        owner: the class of ``self``, or ``cls``; ``None`` of functions.
        arguments: canonical bytes of what makes the key.
        tags: the tags of the result.
        entities: the ORM entities among the arguments.
        omitted_handle: whether a parameter that leads to a database was left out (of a call that only names a result).
    """

    signature: CallSignature
    situation: Situation
    owner: type[Any] | None
    arguments: bytes
    tags: tuple[str, ...]
    entities: list[Any] = field(default_factory=list[Any])
    omitted_handle: bool = False

    def entry(self, version: int | str) -> bytes:
        """Return the key of the call's entry.

        Raises:
            ConfigurationError: a session was left out, and several databases are attached.
        """
        config = self.situation.core.config
        owner = type_path(self.owner) if self.owner is not None else ""
        return entry_key(
            config.namespace,
            self._identity(),
            f"\0call {self.signature.name}",
            (version, owner, self.arguments),
            vary=config.varied(),
        )

    def _identity(self) -> list[bytes]:
        given = [] if self.omitted_handle else self.situation.identity()
        if given:
            return given
        known = {attachment.identity(None) for attachment in self.situation.attachments}
        if not self.omitted_handle:
            # It finds its database by itself, among those of this cache; another cache of the namespace may have others.
            return sorted(known)
        if len(known) != 1:
            msg = f"{self.signature.name}: {len(known)} databases are attached: pass the session whose result is meant"
            raise ConfigurationError(msg)
        return list(known)

    def own_dependency(self) -> Dependency:
        """Return what stands for this call, with whichever session it is made."""
        return Dependency(_CALLS, "tag", self.signature.name, (), self.arguments)

    def required(self) -> tuple[bytes, ...]:
        """Return the stamps that every entry of this call stands on."""
        dependencies = (
            Dependency.everything(),
            self.signature.dependency,
            self.own_dependency(),
            *(Dependency.tag(tag) for tag in self.tags),
        )
        return tuple(stamp_names(self.situation.core.config.namespace, dependencies))


class CallSignature:
    """The parameters of a function.

    Args:
        function: the function.
        ignore: names of parameters that are not part of the key.
        tags: tags, or a function of some of the parameters that returns them.

    Raises:
        ConfigurationError: a name is no parameter, or results of the return annotation cannot be kept.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        ignore: Collection[str],
        tags: Collection[str] | Callable[..., Collection[str]],
    ) -> None:
        self.name = f"{function.__module__}.{function.__qualname__}"
        self._function = function
        self._signature = inspect.signature(function)
        self._positional = tuple(
            name for name, parameter in self._signature.parameters.items() if parameter.kind in _POSITIONAL
        )
        self._ignore = frozenset(ignore)
        self._tags: Any = tags
        self.instance: Any = None
        self._owner_parameter = _owner_parameter(function, self._signature)
        self._known("ignore", self._ignore)
        self._tag_names = _parameter_names(tags) if callable(tags) else ()
        self._known("tags", self._tag_names)
        self.dependency = Dependency(_FUNCTIONS, "tag", self.name)
        with suppress(NameError):  # a class that is defined further below: asked again at the first call
            _ = self.plan

    def _known(self, option: str, names: Collection[str]) -> None:
        unknown = [name for name in names if name not in self._signature.parameters]
        if unknown:
            has = ", ".join(self._signature.parameters) or "none"
            msg = f"@cache.query on {self.name}: {option} names {unknown[0]!r}, which is no parameter: it has {has}"
            raise ConfigurationError(msg)

    def require_no_handles(self, option: str) -> None:
        """Refuse a function that is given a session: in the background the caller's must not be used."""
        handles = self._handles
        if handles:
            msg = (
                f"@cache.query on {self.name}: {option}= loads in the background, where the caller's {handles[0]!r} cannot be used: "
                "give refresh_with= a sessionmaker whose sessions are used there, or let the function open a session of its own"
            )
            raise ConfigurationError(msg)

    def require_one_session(self, option: str) -> None:
        """Refuse a function in which a session of another's making has no place, or several."""
        handles = self._handles
        if len(handles) != 1:
            has = ", ".join(handles) or "none"
            msg = f"@cache.query on {self.name}: {option}= makes the session that the function is given, and it is given {has}"
            raise ConfigurationError(msg)

    @property
    def _handles(self) -> list[str]:
        return [name for name in self._signature.parameters if self._leads_to_database(name)]

    def with_session(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], session: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a call with another session, of a function that is given one."""
        before = () if self.instance is None else (self.instance,)
        bound = self._signature.bind(*before, *args, **kwargs)
        bound.arguments[self._handles[0]] = session
        return bound.args[len(before) :], bound.kwargs

    def tags_of_call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Collection[str] | None:
        """Return the tags of a call without binding its arguments, or ``None`` if they have to be bound."""
        if not self._tag_names:
            return () if not callable(self._tags) else check_tags(self._tags())
        if self.instance is not None:
            args = (self.instance, *args)
        given = {**dict(zip(self._positional, args, strict=False)), **kwargs}
        if not all(name in given for name in self._tag_names):
            return None
        return check_tags(self._tags(**{name: given[name] for name in self._tag_names}))

    def bound_to(self, instance: Any) -> CallSignature:
        """Return this signature with the first parameter filled in."""
        bound = object.__new__(type(self))
        bound.__dict__ = {**self.__dict__, "instance": instance}
        return bound

    @cached_property
    def plan(self) -> Plan:
        """How results are kept, as the return annotation says."""
        annotation = self._hints.get("return", Any)
        try:
            return plan_of(annotation)
        except UncacheableValue as exc:
            msg = f"@cache.query on {self.name}: the return annotation {annotation} cannot be kept: {exc.detail or exc}"
            raise ConfigurationError(msg) from exc

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return typing.get_type_hints(self._function, include_extras=True)

    # ------------------------------------------------------------------------------------------------- binding

    def bind(
        self,
        core: Core,
        attachments: Sequence[Attachment],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        partial: bool = False,
    ) -> BoundCall:
        """Sort the arguments of a call.

        Args:
            core: the cache.
            attachments: what it is attached to.
            args: the positional arguments, without ``self`` of a bound method.
            kwargs: the others.
            partial: whether sessions, ``self`` and ignored parameters may be missing.

        Raises:
            TypeError: the function cannot be called like that.
            UnsupportedArgument: an argument cannot be part of a key.
        """
        if self.instance is not None:
            args = (self.instance, *args)
        bound = self._bind_partial(args, kwargs) if partial else self._signature.bind(*args, **kwargs)
        missing = [name for name in self._signature.parameters if name not in bound.arguments]
        bound.apply_defaults()
        sorting = _Sorting(Situation(core, attachments))
        for name, value in bound.arguments.items():
            self._sort(name, value, sorting)
        omitted = any(self._leads_to_database(name) for name in missing)
        arguments = canonical_arguments(sorting.arguments, self.name)
        tags = self._tags_of(bound.arguments)
        return BoundCall(self, sorting.situation, sorting.owner, arguments, tags, sorting.entities, omitted)

    def _bind_partial(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        bound = self._signature.bind_partial(*self._spread(args), **kwargs)
        for name, parameter in self._signature.parameters.items():
            if bound.arguments.get(name) is _MISSING:
                del bound.arguments[name]
            needed = parameter.default is parameter.empty and parameter.kind not in _VARIABLE
            if needed and name not in bound.arguments and not self._may_be_missing(name):
                msg = f"{self.name}: the argument {name!r} is missing: it is part of the key"
                raise TypeError(msg)
        return bound

    def _spread(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Put arguments in their places, past a ``self`` and sessions that are not given: ``f.key(7)``."""
        given = list(args)
        placed: list[Any] = []
        for name, parameter in self._signature.parameters.items():
            if not given or parameter.kind not in _POSITIONAL:
                break
            owner = name == self._owner_parameter and self.instance is None
            omitted = owner or (self._leads_to_database(name) and not is_handle(given[0]))
            placed.append(_MISSING if omitted else given.pop(0))
        return (*placed, *given)

    def _may_be_missing(self, name: str) -> bool:
        return name in self._ignore or name == self._owner_parameter or self._leads_to_database(name)

    def _leads_to_database(self, name: str) -> bool:
        hint = self._hints.get(name, _MISSING)
        if hint is _MISSING:
            return name in _USUAL_NAMES and self._signature.parameters[name].default is inspect.Parameter.empty
        return any(isinstance(each, type) and issubclass(each, HANDLES) for each in (hint, *typing.get_args(hint)))

    # ------------------------------------------------------------------------------------------------- sorting

    def _sort(self, name: str, value: Any, sorting: _Sorting) -> None:
        if name == self._owner_parameter:
            sorting.own(value)
        elif is_handle(value):
            sorting.situation.add(value)
        elif name not in self._ignore:
            kind = self._signature.parameters[name].kind
            if kind in _VARIABLE:
                value = sorting.without_handles(value)
            sorting.arguments[name] = value
            sorting.entities.extend(_entities_in(value, 0))

    def _tags_of(self, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        if not callable(self._tags):
            return check_tags(self._tags)
        return check_tags(self._tags(**{name: arguments[name] for name in self._tag_names if name in arguments}))


@dataclass(slots=True)
class _Sorting:
    """Arguments while they are sorted."""

    situation: Situation
    owner: type[Any] | None = None
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    entities: list[Any] = field(default_factory=list[Any])

    def own(self, instance: Any) -> None:
        """Take ``self`` or ``cls``: its class is part of the key, and sessions that it holds are those of the call."""
        self.owner = instance if isinstance(instance, type) else type(instance)
        for value in _attributes(instance):
            if is_handle(value):
                self.situation.add(value)

    def without_handles(self, values: Any) -> Any:
        """Return ``*args`` or ``**kwargs`` without what leads to a database."""
        by_name = getattr(values, "items", None) is not None
        pairs: Any = values.items() if by_name else enumerate(values)
        named: dict[Any, Any] = dict(pairs)
        for value in named.values():
            if is_handle(value):
                self.situation.add(value)
        kept = {name: value for name, value in named.items() if not is_handle(value)}
        return kept if by_name else tuple(kept.values())


def _attributes(instance: Any) -> Iterator[Any]:
    yield from getattr(instance, "__dict__", {}).values()
    for kind in type(instance).__mro__:
        for name in getattr(kind, "__slots__", ()):
            if name not in {"__dict__", "__weakref__"} and hasattr(instance, name):
                yield getattr(instance, name)


def _entities_in(value: Any, depth: int) -> Iterator[Any]:
    """Yield the ORM entities in an argument, through containers."""
    kind: Any = cast("Any", type(value))
    if hasattr(kind, "__mapper__"):
        yield value
    elif depth <= 3 and kind in {list, tuple, set, frozenset, dict}:
        for each in value.values() if kind is dict else value:
            yield from _entities_in(each, depth + 1)


_VARIABLE: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_USUAL_NAMES: Final = frozenset({"session", "db", "conn", "connection", "engine"})


def _owner_parameter(function: Callable[..., Any], signature: inspect.Signature) -> str | None:
    """Return the name of the first parameter of a method."""
    inner = function.__qualname__.rpartition("<locals>.")[2]
    first = next(iter(signature.parameters), None)
    return first if "." in inner and first in {"self", "cls"} else None


def _parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(
        name for name, parameter in inspect.signature(function).parameters.items() if parameter.kind not in _VARIABLE
    )
