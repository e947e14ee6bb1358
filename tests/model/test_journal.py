"""Every interleaving of a commit without holds with readers of its process: the journal keeps all of them from what is old."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import pytest

from rowstamp import journal as journal_module
from rowstamp.drivers import perform
from rowstamp.journal import Journal
from rowstamp.protocol import Hit, Ticket, fill, invalidate, lookup
from rowstamp.stores.memory import MemoryStore

pytestmark = pytest.mark.once

ENTRY, EVERYTHING, ROW, OTHER = (bytes([number]) * 16 for number in range(4))
READ = [EVERYTHING, ROW]
WRITTEN = [ROW, OTHER]
Steps: TypeAlias = Generator[Any, Any, None]


class World:
    """A process whose store cannot be told of holds, and a database in which one value is written once."""

    def __init__(self, make_journal: Callable[[bytes], Journal]) -> None:
        self.store = MemoryStore()
        self.journal = make_journal(EVERYTHING)
        self.value = 0
        self.stale: list[str] = []

    def writer(self) -> Steps:
        """As `Core` commits when the holds could not be taken."""
        with self.journal.committing(WRITTEN):
            yield "about to commit"
            self.value = 1
            yield "committed, and nobody knows it"

    def replayed(self) -> Steps:
        """As `Core` begins whatever it looks up."""
        stamps = self.journal.pending()
        if stamps:
            yield from invalidate(list(stamps))
            self.journal.done(stamps)

    def reader(self, name: str, *, fills: bool) -> Steps:
        """Read through the cache, and tell of a hit that is older than the read."""
        least = self.value
        yield from self.replayed()
        outcome = yield from lookup(ENTRY, READ)
        if isinstance(outcome, Hit):
            if int(outcome.body) < least:
                self.stale.append(name)
        elif fills and outcome.ticket is not None:
            yield from self.loaded(outcome.ticket)

    def loaded(self, ticket: Ticket) -> Steps:
        found = self.value
        yield "loaded"
        yield from fill(ticket, str(found).encode(), ttl=60)


def run(world: World, choices: list[int]) -> Iterator[int]:
    """Let the actors take steps in the order of the choices; yield how many could have been made at each point."""
    actors: list[tuple[Steps, Any]] = [
        (world.writer(), None),
        (world.reader("first", fills=True), None),
        (world.reader("second", fills=False), None),
    ]
    at = 0
    while actors:
        yield len(actors)
        number = choices[at]
        at += 1
        steps, reply = actors[number]
        try:
            operation = steps.send(reply)
        except StopIteration:
            del actors[number]
            continue
        actors[number] = steps, None if isinstance(operation, str) else perform(world.store, operation, None)


def explore(make_journal: Callable[[bytes], Journal]) -> tuple[int, list[int] | None]:
    """Go through the interleavings; return how many there were, and the first in which something stale was served."""
    choices: list[int] = []
    number = 0
    while True:
        world, widths = World(make_journal), list[int]()
        for width in run(world, choices):
            widths.append(width)
            if len(choices) < len(widths):
                choices.append(0)
        number += 1
        if world.stale:
            return number, choices
        while choices and choices[-1] == widths[len(choices) - 1] - 1:
            choices.pop()
        if not choices:
            return number, None
        choices[-1] += 1


def test_nothing_stale_is_served() -> None:
    """Whoever begins after COMMIT is served nothing older, whatever others of the process have filled."""
    number, wrong = explore(Journal)
    assert number > 1000
    assert not wrong


def test_more_stamps_than_it_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then everything is touched in their place."""
    monkeypatch.setattr(journal_module, "JOURNAL_LIMIT", 1)
    assert not explore(Journal)[1]


class Nothing(Journal):
    """Keeps nothing, as `on_store_down="ignore"` does."""

    @contextmanager
    def committing(self, stamps: Iterable[bytes]) -> Generator[None]:
        yield


class Before(Journal):
    """Keeps stamps before the commit only, so that who replays them early forgets them."""

    @contextmanager
    def committing(self, stamps: Iterable[bytes]) -> Generator[None]:
        self.add(stamps)
        yield


class After(Journal):
    """Keeps stamps after the commit only, so that between the two nobody knows of them."""

    @contextmanager
    def committing(self, stamps: Iterable[bytes]) -> Generator[None]:
        yield
        self.add(stamps)


class Forgets(Journal):
    """Forgets what is too much, instead of touching everything."""

    def add(self, stamps: Iterable[bytes]) -> None:
        kept = list(stamps)
        super().add(kept if len(kept) <= 1 else [])


@pytest.mark.parametrize("weakened", [Nothing, Before, After, Forgets])
def test_a_weakened_journal_is_found(weakened: type[Journal]) -> None:
    """The exploration notices each simpler journal."""
    assert explore(weakened)[1]
