"""How the demo knows that a hit is not stale.

There are two ways, each sound by itself:

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
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

__all__ = [
    "ANY_PRODUCT",
    "ORDERS",
    "SEVERAL_PRODUCTS",
    "Fact",
    "Gate",
    "Growth",
    "Ledger",
    "Name",
    "orders_of",
    "version_of",
    "writes_to",
]

Name = tuple[str, int]
"""What a number that only grows belongs to."""
Fact = tuple[Name, int]
"""A number that was read."""

ORDERS: Final[Name] = ("orders", 0)
"""How many orders there are."""


ANY_PRODUCT: Final[Name] = ("writes that named the products' table and no rows", 0)
SEVERAL_PRODUCTS: Final[Name] = ("writes to many products at once", 0)


def writes_to(category: int) -> Name:
    """Return the name of the number of writes to a category's products."""
    return "writes to category", category


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

    @property
    def taken(self) -> bool:
        """Whether someone is inside exclusively or waits to be."""
        return self._turn.locked()

    @asynccontextmanager
    async def shared(self) -> AsyncGenerator[None]:
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
    async def exclusive(self) -> AsyncGenerator[None]:
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

    def grew(self, names: Iterable[Name], since: int) -> bool:
        """Return whether anything was entered under one of these names after a moment."""
        return any(self._entries[name][0][-1] > since for name in names if name in self._entries)

    def too_old(self, facts: Iterable[Fact], since: int) -> list[str]:
        """Return which numbers are smaller than what had been acknowledged at a moment."""
        found: list[str] = []
        for name, value in facts:
            moments, values = self._entries.get(name, ((), ()))
            position = bisect.bisect_right(moments, since)
            if position and value < values[position - 1]:
                found.append(f"{name[0]} {name[1]}: read {value}, {values[position - 1]} had been committed")
        return found
