"""The options of a cache, validated when they are given."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from rowstamp.errors import ConfigurationError
from rowstamp.freshness import Freshness, check_freshness, strict

__all__ = [
    "Config",
    "Vary",
    "check_errors",
    "check_names",
    "check_near",
    "check_secrets",
    "check_size",
    "check_tags",
    "check_ttl",
]

_SIZE: Final = re.compile(r"(\d+) ?(?:([kmgt]?)(i?)b)?", re.ASCII | re.IGNORECASE)
SHORTEST_SECRET: Final = 16
"""A secret has so many bytes at least."""

_POWERS: Final = ("", "k", "m", "g", "t")


def check_size(size: object, what: str) -> int:
    """Return the number of bytes that a size like ``268435456``, ``"256MB"`` or ``"64 MiB"`` stands for.

    Raises:
        ConfigurationError: it is no size, or not a positive one.
    """
    number = size
    match = _SIZE.fullmatch(size.strip()) if isinstance(size, str) else None
    if match is not None:
        digits, prefix, binary = match.groups(default="")
        number = int(digits) * (1024 if binary else 1000) ** _POWERS.index(prefix.lower())
    if isinstance(number, bool) or not isinstance(number, int):
        raise ConfigurationError(f"{what}={size!r} is not a size; write bytes, or a size like 256MB or 64MiB")
    if number <= 0:
        raise ConfigurationError(f"{what}={size!r} leaves the store no room; give a positive size like 256MB")
    return number


def check_ttl(ttl: object, what: str = "ttl") -> float:
    """Return a time to live as a number of seconds.

    Raises:
        ConfigurationError: it is not a positive, finite number.
    """
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not math.isfinite(ttl) or ttl <= 0:
        msg = f"{what}={ttl!r} is not a time to live: give a positive number of seconds, such as {what}=60"
        raise ConfigurationError(msg)
    return float(ttl)


def check_tags(tags: object) -> tuple[str, ...]:
    """Return tags as a tuple of names without repetition.

    Raises:
        ConfigurationError: a bare string (its letters would be the tags), or something that is no collection of names.
    """
    return check_names("tags", tags)


def check_names(option: str, given: object) -> tuple[str, ...]:
    """Return what an option was given as a tuple of names without repetition.

    Raises:
        ConfigurationError: a bare string (its letters would be the names), or something that is no collection of names.
    """
    if isinstance(given, str | bytes) or not isinstance(given, Collection):
        msg = f"{option}={given!r} is not a collection of names: write {option}=[{given!r}]"
        raise ConfigurationError(msg)
    names: list[str] = []
    for name in given:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(name, str) or not name:
            msg = f"{name!r} in {option} is not a name: {option} are non-empty strings"
            raise ConfigurationError(msg)
        names.append(name)
    return tuple(dict.fromkeys(names))


def check_errors(option: str, given: object) -> None:
    """Refuse what is no collection of classes of exceptions.

    Raises:
        ConfigurationError: it is one class by itself, or something else.
    """
    classes: Collection[Any] = given if isinstance(given, Collection) else ()  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(given, Collection) or not all(isinstance(e, type) and issubclass(e, Exception) for e in classes):
        msg = f"{option}={given!r} is not a collection of exceptions: write {option}=[ConnectionError]"
        raise ConfigurationError(msg)


def check_near(near: object) -> int | None:
    """Return how many bytes to keep near: 0 for nothing, ``None`` where the store decides.

    Raises:
        ConfigurationError: it is no size.
    """
    if near is None:
        return None
    return 0 if near == 0 and not isinstance(near, bool) else check_size(near, "near")


def check_secrets(secret: object) -> tuple[bytes, ...]:
    """Return the secrets that entries are signed with, the one that signs first; none if ``None`` was given.

    Raises:
        ConfigurationError: it is no secret, or too short. No part of the message holds a secret.
    """
    if secret is None:
        return ()
    several = [secret] if isinstance(secret, str | bytes) else secret
    if not isinstance(several, list | tuple) or not several:
        raise ConfigurationError("secret= is no secret: give text, bytes, or a list of these whose first one signs")
    found: list[bytes] = []
    for each in several:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(each, str | bytes):
            raise ConfigurationError(f"secret= holds a {type(each).__name__}: give text or bytes")  # pyright: ignore[reportUnknownArgumentType]
        found.append(each.encode() if isinstance(each, str) else each)
        if len(found[-1]) < SHORTEST_SECRET:
            raise ConfigurationError(
                f"secret= has {len(found[-1])} bytes, of which anybody could try all: give {SHORTEST_SECRET} or more, such as"
                " those of secrets.token_urlsafe()"
            )
    return tuple(found)


Vary: TypeAlias = "Callable[[], Any] | Collection[str | Callable[[], Any]]"
"""A function whose value is part of every key, or several of them and names of connection state."""

_STATE: Final = re.compile(r"@?[a-z_][a-z0-9_$]*(\.[a-z_][a-z0-9_$]*)*")


def check_vary(vary: object) -> tuple[tuple[Callable[[], Any], ...], tuple[str, ...]]:
    """Return the functions and the names of connection state in ``vary=``.

    Raises:
        ConfigurationError: it is a bare string, or holds what is neither a function nor such a name.
    """
    if vary is None:
        return (), ()
    if callable(vary):
        return (vary,), ()
    if isinstance(vary, str) and _STATE.fullmatch(vary):
        msg = f"vary={vary!r} is neither a function nor a list: a connection's state is named as vary=[{vary!r}]"
        raise ConfigurationError(msg)
    if isinstance(vary, str | bytes) or not isinstance(vary, Collection):
        msg = f"vary={vary!r} cannot be called: give a function that returns the tenant, role or locale"
        raise ConfigurationError(msg)
    functions: list[Callable[[], Any]] = []
    states: set[str] = set()
    for each in vary:  # pyright: ignore[reportUnknownVariableType]
        if callable(each):  # pyright: ignore[reportUnknownArgumentType]
            functions.append(each)
        elif isinstance(each, str) and _STATE.fullmatch(each):
            states.add(each)
        else:
            msg = (
                f"vary= holds {each!r}, which is neither a function nor the name of a connection's state in lower case, such as"
                " 'search_path', 'role', 'app.tenant', or 'database' for what USE changes"
            )
            raise ConfigurationError(msg)
    return tuple(functions), tuple(sorted(states))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How a cache behaves.

    Attributes:
        namespace: what separates this application's keys from others' in the same store.
        ttl: how long entries live unless their query says otherwise, in seconds.
        hold_ttl: when the holds of a writer that died in the middle of a commit end, in seconds. Longer than any commit.
        on_store_down: what a commit does when its holds cannot be taken. ``"journal"`` commits, keeps what was touched and
            publishes it before this process uses the store again. ``"fail"`` raises, so that the transaction rolls back.
            ``"ignore"`` commits and leaves old results to their time to live.
        row_images: whether a write that does not say all keys of the rows it changes asks the database for them first. It costs
            one more statement for such a write, and spares the results that depend on other rows.
        vary: what else is part of each key: what functions return when they are called for it (tenant, locale), and the state of
            the connection by name (``"search_path"``, ``"role"``, ``"app.tenant"``; of MySQL and MariaDB ``"database"``,
            ``"@variable"``). A connection on which other state is changed than is named here bypasses the cache.
        lease: how long one loader of the fleet keeps the others waiting at most, in seconds; 0 lets each process load.
        near: how much is kept in this process of what is in the store, in bytes; 0 keeps nothing, ``None`` leaves it to the
            kind of store.
        freshness: how fresh hits have to be that say nothing themselves.
        compress: from how many bytes on results are compressed; ``None`` for never.
        secrets: what entries are signed with, the first, and accepted with, each; without any they are not signed.
        functions: those in ``vary``.
        states: the names in ``vary``, in their order.
    """

    namespace: str = "rowstamp"
    ttl: float = 300.0
    hold_ttl: float = 10.0
    on_store_down: Literal["journal", "fail", "ignore"] = "journal"
    row_images: bool = True
    vary: Vary | None = None
    lease: float = 10.0
    near: int | None = None
    freshness: Freshness = strict
    compress: int | None = None
    secrets: tuple[bytes, ...] = field(default=(), repr=False)
    functions: tuple[Callable[[], Any], ...] = field(init=False, repr=False)
    states: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_ttl(self.ttl)
        check_ttl(self.hold_ttl, "hold_ttl")
        if self.lease != 0 or isinstance(self.lease, bool):
            check_ttl(self.lease, "lease")
        namespace: Any = self.namespace
        if not isinstance(namespace, str) or not namespace:
            msg = f"namespace={self.namespace!r} is not a name: give a non-empty string, such as namespace='shop'"
            raise ConfigurationError(msg)
        if self.on_store_down not in {"journal", "fail", "ignore"}:
            msg = f"on_store_down={self.on_store_down!r} is not known: give 'journal', 'fail' or 'ignore'"
            raise ConfigurationError(msg)
        if self.row_images not in (True, False):
            msg = f"row_images={self.row_images!r} is no switch: give True or False"
            raise ConfigurationError(msg)
        check_freshness(self.freshness)
        if self.freshness.bound and self.near == 0:
            msg = (
                f"freshness={self.freshness!r} with near=0: what is served within a bound is kept near; leave near= out"
            )
            raise ConfigurationError(msg)
        functions, states = check_vary(self.vary)
        object.__setattr__(self, "functions", functions)
        object.__setattr__(self, "states", states)

    def varied(self) -> object:
        """Return what the functions in ``vary`` say now."""
        return tuple(function() for function in self.functions) if self.functions else None
