"""How the demo knows that a hit is not stale. Two ways, each sound by itself:

- **at rest**: a :class:`Gate` keeps the demo's writers out of their transactions while a read goes through the cache and, in a
  fresh session, past it. Nothing can be committed between the two, so their values must be equal, whatever they are.
- **under way**: numbers that only grow (a product's version, how many orders there are) are entered in a :class:`Ledger` when the commit
  that made them has returned. A read that begins afterwards must not see a smaller one. No writer is kept waiting, so this
  also looks into the moments around each commit.

What neither relies on is the cache under test.
"""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, inspect
from sqlalchemy.orm import InstanceState

__all__ = ["ORDERS", "Fact", "Gate", "Growth", "Ledger", "difference", "orders_of", "plain", "version_of"]

Name = tuple[str, int]
"""What a number that only grows belongs to."""
Fact = tuple[Name, int]
"""A number that was read."""

ORDERS: Final[Name] = ("orders", 0)
"""How many orders there are."""


def version_of(product: int) -> Name:
    """Return the name of a product's version."""
    return "version of product", product


def orders_of(customer: int) -> Name:
    """Return the name of the number of a customer's orders."""
    return "orders of customer", customer


# ------------------------------------------------------------------------------------------------------- gate


class Gate:
    """A readers-writer lock for the tasks of one event loop, where the database's *writers* are the ones that share.

    Whoever wants it exclusively waits for those inside to leave, and those that come later wait behind.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Enter together with others, but never while someone is inside exclusively."""
        async with self._turn:
            self._inside += 1
            self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Enter alone."""
        async with self._turn:
            await self._empty.wait()
            yield


# ----------------------------------------------------------------------------------------------------- ledger


@dataclass(frozen=True, slots=True)
class Growth:
    """What a committed transaction has made grow: ``to`` a number, or ``by`` one."""

    name: Name
    to: int = 0
    by: int = 0


class Ledger:
    """The newest value of each growing number that was acknowledged as committed at any moment of the run.

    A moment is a count of entries; the clock of the machine plays no part.
    """

    def __init__(self) -> None:
        self._moment = 0
        self._entries: dict[Name, tuple[list[int], list[int]]] = {}

    def now(self) -> int:
        """Return the present moment; take it just before a read begins."""
        return self._moment

    def enter(self, growths: Iterable[Growth]) -> None:
        """Enter what a transaction made grow, once its commit has returned."""
        self._moment += 1
        for growth in growths:
            moments, values = self._entries.setdefault(growth.name, ([], []))
            newest = values[-1] if values else 0
            # Commits are acknowledged in another order than they were made: never enter a smaller number.
            moments.append(self._moment)
            values.append(max(newest + growth.by, growth.to))

    def too_old(self, facts: Iterable[Fact], since: int) -> list[str]:
        """Return which numbers are smaller than what had been acknowledged at a moment."""
        found: list[str] = []
        for name, value in facts:
            moments, values = self._entries.get(name, ((), ()))
            position = bisect.bisect_right(moments, since)
            if position and value < values[position - 1]:
                found.append(f"{name[0]} {name[1]}: read {value}, {values[position - 1]} had been committed")
        return found


# ------------------------------------------------------------------------------------------------- comparison


def plain(value: object) -> object:
    """Return a value as plain containers that are equal only if values, types, names and loaded relationships are.

    An entity becomes its class, each column's value, and each relationship that is loaded; what is not loaded is said to be so.
    """
    return _plain(value, {})


def _plain(value: object, seen: dict[int, int]) -> object:
    state: object = inspect(value, raiseerr=False)
    if isinstance(state, InstanceState):
        return _entity(value, state, seen)
    if isinstance(value, Row):
        fields: Mapping[str, Any] = value._mapping
        return {"row": [(str(name), _plain(part, seen)) for name, part in fields.items()]}
    if isinstance(value, list | tuple):
        parts: Sequence[object] = value
        return [_plain(part, seen) for part in parts]
    if isinstance(value, dict):
        pairs: Mapping[object, object] = value
        return {str(key): _plain(part, seen) for key, part in pairs.items()}
    return type(value).__qualname__, value


def _entity(entity: object, state: InstanceState[Any], seen: dict[int, int]) -> object:
    if id(entity) in seen:
        return f"entity {seen[id(entity)]} again"
    seen[id(entity)] = len(seen)
    loaded = state.dict
    return {
        "class": state.mapper.class_.__name__,
        **{
            name: _plain(loaded[name], seen) if name in loaded else "not loaded"
            for name in sorted(state.mapper.attrs.keys())
        },
    }


def difference(cached: object, fresh: object, path: str = "result") -> str:
    """Return where two results of :func:`plain` first differ, or an empty string."""
    if isinstance(cached, dict) and isinstance(fresh, dict):
        left: dict[str, object] = cached
        right: dict[str, object] = fresh
        pairs = [(f"{path}.{name}", left.get(name), right.get(name)) for name in {**left, **right}]
    elif isinstance(cached, list) and isinstance(fresh, list) and len(cached) == len(fresh):
        first: list[object] = cached
        second: list[object] = fresh
        pairs = [(f"{path}[{place}]", *both) for place, both in enumerate(zip(first, second, strict=True))]
    else:
        return "" if cached == fresh else f"{path}: cached {_short(cached)}, database {_short(fresh)}"
    return next((found for where, one, two in pairs if (found := difference(one, two, where))), "")


def _short(value: object) -> str:
    text = f"{len(value)} rows" if isinstance(value, list) else repr(value)  # pyright: ignore[reportUnknownArgumentType]
    return text if len(text) <= 60 else f"{text[:57]}..."
