"""Every interleaving of loaders that take a lease: one of them loads, all of them end, whoever dies."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, NamedTuple, TypeAlias

import pytest

from rowstamp.drivers import run
from rowstamp.entry import StoredEntry
from rowstamp.protocol import Lease
from rowstamp.protocol_calls import CallHit, CallMiss
from rowstamp.protocol_lease import MOST_LEASES, Pause, Turn, take_turn

pytestmark = pytest.mark.once

E = bytes(16)
HIT = CallHit(StoredEntry(bytes(16), (), b"value", 0.0, 0.0))
Steps: TypeAlias = Generator[Any, Any, str]


class Look:
    """Look the entry up again."""


class Loading:
    """The load and the fill; others go on meanwhile."""


class World(NamedTuple):
    """What the loaders share: whose the lease is, whether the value is stored, and how often it was loaded."""

    owner: int | None = None
    stored: bool = False
    loads: int = 0


class Rules:
    """How a loader goes about it, and what a load is good for."""

    patience = 1e9
    storable = True
    told: float | None = None
    """What a store says that tells when a lease is over: how long it took. ``None`` for one that is polled."""

    def look(self) -> Generator[Any, Any, CallHit | CallMiss]:
        found: CallHit | CallMiss = yield Look()
        return found

    def loader(self, name: int) -> Steps:
        turn: Turn[CallHit | CallMiss] = yield from take_turn(
            E, self.look, holder=bytes([name]) * 16, ttl=10.0, patience=self.patience
        )
        if not isinstance(turn.found, CallHit):
            yield Loading()
        if turn.leased:
            yield "unlease"
        return "done"


def replay(rules: Rules, name: int, replies: tuple[Any, ...]) -> Any:
    """Return what a loader waits for after these replies, or ``None`` when it has ended."""
    steps = rules.loader(name)
    try:
        request = next(steps)
        for reply in replies:
            request = steps.send(reply)
    except StopIteration:
        return None
    return request


def perform(rules: Rules, world: World, name: int, request: Any) -> tuple[World, Any]:
    match request:
        case Lease():
            owner = name if world.owner is None else world.owner
            return world._replace(owner=owner), bytes([owner]) * 16
        case Look():
            return world, HIT if world.stored else CallMiss()
        case Loading():
            return world._replace(stored=world.stored or rules.storable, loads=world.loads + 1), None
        case Pause():
            return world, rules.told
        case _:
            return world._replace(owner=None if world.owner == name else world.owner), None


def explore(rules: Rules, loaders: int, *, crashes: int = 0) -> Iterator[World]:
    """Yield the world in which each schedule ends. A loader that polls in vain is not let go on until something has changed."""
    seen: set[Any] = set()
    todo: list[Any] = [(World(), ((),) * loaders, crashes)]
    while todo:
        world, progress, left = todo.pop()
        key = (world, tuple(repr(each) for each in progress), left)
        if key in seen:
            continue
        seen.add(key)
        assert len(seen) < 200_000, "the loaders never end"
        requests = [None if replies is None else replay(rules, name, replies) for name, replies in enumerate(progress)]
        if not any(requests):
            yield world
            continue
        moved = False
        for name, request in enumerate(requests):
            if request is None:
                continue
            # Polling a lease that the same other still has changes nothing: the schedule without it is the same.
            if isinstance(request, Pause) and world.owner not in {None, name} and told(progress[name]) == world.owner:
                continue
            moved = True
            after, reply = perform(rules, world, name, request)
            todo.append((after, replaced(progress, name, (*progress[name], reply)), left))
            if left:
                # It dies here, and its lease ends.
                dead = world._replace(owner=None if world.owner == name else world.owner)
                todo.append((dead, replaced(progress, name, None), left - 1))
        assert moved, f"everybody waits for {world.owner}, who has ended"


def told(replies: Any) -> int | None:
    """Whose the lease was when the loader last asked."""
    return next((reply[0] for reply in reversed(replies) if isinstance(reply, bytes)), None)


def replaced(progress: Any, name: int, value: Any) -> Any:
    return (*progress[:name], value, *progress[name + 1 :])


class Told(Rules):
    """The store tells when a lease is over."""

    told = 0.5


EITHER = pytest.mark.parametrize("rules", [Rules(), Told()], ids=lambda rules: type(rules).__name__)


@EITHER
@pytest.mark.parametrize("loaders", [1, 2, 3, 4])
def test_of_any_number_of_loaders_one_loads(loaders: int, rules: Rules) -> None:
    ends = list(explore(rules, loaders))
    assert ends
    assert {world.loads for world in ends} == {1}
    assert {world.owner for world in ends} == {None}


@EITHER
@pytest.mark.parametrize("crashes", [1, 2])
def test_each_loader_that_dies_costs_one_load_at_most(crashes: int, rules: Rules) -> None:
    ends = list(explore(rules, 3, crashes=crashes))
    assert {world.loads for world in ends} <= set(range(1, 2 + crashes))
    assert all(world.owner is None for world in ends)


def test_results_that_cannot_be_stored_do_not_queue_up() -> None:
    """Each loads for itself after at most so many others, one after the other."""

    class Unstorable(Rules):
        storable = False

    ends = list(explore(Unstorable(), 4))
    assert {world.loads for world in ends} == {4}
    assert MOST_LEASES < 4


def test_a_loader_that_does_not_look_again_is_noticed() -> None:
    """Wrong: whoever gets the lease loads, even if the value has come meanwhile."""

    class Blind(Rules):
        def look(self) -> Generator[Any, Any, CallHit | CallMiss]:
            yield from ()
            return CallMiss()

    assert {world.loads for world in explore(Blind(), 2)} != {1}


def test_a_loader_that_keeps_its_lease_is_noticed() -> None:
    """Wrong: the lease is not given back, so that the others wait for nobody."""

    class Keeping(Rules):
        def loader(self, name: int) -> Steps:
            steps = super().loader(name)
            reply: Any = None
            while True:
                try:
                    request = steps.send(reply)
                except StopIteration:
                    return "done"
                reply = None if request == "unlease" else (yield request)

    with pytest.raises(AssertionError, match="who has ended"):
        list(explore(Keeping(), 2))


def test_patience_ends() -> None:
    """A lease that never ends delays a loader only so long, with pauses that grow."""
    pauses: list[float] = []

    def answer(request: Any) -> bytes | None:
        if isinstance(request, Pause):
            pauses.append(request.seconds)
        return b"another" if isinstance(request, Lease) else None

    assert run(take_turn(E, Rules().look, holder=b"me", ttl=10.0, patience=0.5), answer) == Turn(leased=False)  # type: ignore[arg-type]
    assert 0.5 <= sum(pauses) < 0.6
    assert pauses == sorted(pauses)
