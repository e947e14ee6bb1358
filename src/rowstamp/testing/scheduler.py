"""Steps the generators of :mod:`rowstamp.protocol` through interleavings, against a model store and a model database.

::

    config = Config(name="race", writers=(Writer((0,)),), readers=(Reader(),), crashes=True)
    result = explore(config)             # every interleaving
    assert result.counterexample is None and result.complete, result
    explore_random(config, seed=1, runs=1000)     # long random ones, for cases too large for that
    replay(config, ["R0:read", "R0:mint", "R0:snapshot", "W0", "R0"])     # this one

**Steps.** Every operation that a flow yields is a step, and so are: the moment a query's snapshot begins (``R0:snapshot``), the
arrival of its rows (``R0:rows``), what becomes of a COMMIT (``W0:commit``, ``commit-fails``, ``commit-lost``,
``commit-in-doubt`` and its ``late`` effect), the death of a writer (``W0:crash``), the end of a hold (``expire:W0:s1``), the
loss of an entry or a stamp (``evict:e0``, ``evict:s0``), and a ``restart`` of the store, after which nothing is served until the
time of every hold that it has lost is over (``settle:W0``). Time does not pass; things happen.

**Exhaustive.** :func:`explore` goes breadth first through all reachable states and visits each once, states that differ only in
the names of tokens or in which of two equal actors is which being one. The first counterexample found is thus a
shortest one. Whether a read that began at this moment would be served something stale is checked in *every* state, so there is
always one more reader than the configuration says.

What is checked is in :class:`Property`. The model has no clock, no replicas and no failing store operations: see the contract
suite and the fault tests for those.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

from rowstamp.testing._events import Event, Kind, Property, Step, Violation
from rowstamp.testing._machine import Machine
from rowstamp.testing._states import State
from rowstamp.testing.actors import Answer, Config, Flows, Invalidator, Reader, Writer
from rowstamp.testing.model_database import Isolation, Versions
from rowstamp.testing.model_store import StoreModel

__all__ = [
    "ALL_ANSWERS",
    "Answer",
    "Config",
    "Counterexample",
    "Exploration",
    "Flows",
    "Invalidator",
    "Isolation",
    "Property",
    "Reader",
    "Replay",
    "ScheduleError",
    "StoreModel",
    "Writer",
    "explore",
    "explore_random",
    "replay",
]

ALL_ANSWERS: Final = frozenset({Answer.DONE, Answer.FAILED, Answer.LOST})
"""What may become of a COMMIT whose outcome is settled when it returns or raises."""

_EVERYTHING: Final = frozenset(Property)
_FAULTS: Final = frozenset({Kind.CRASH, Kind.EXPIRE, Kind.SETTLE, Kind.RESTART, Kind.EVICT_ENTRY, Kind.EVICT_STAMP})
_FAULT_SHARE: Final = 0.05
_SPEEDS: Final = (1, 3, 10)

_Path: TypeAlias = "tuple[_Path, str] | None"


class ScheduleError(ValueError):
    """A schedule names a step that is not possible there; the message lists those that are."""


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A schedule after which a property does not hold.

    Attributes:
        property: which one.
        text: how that shows.
        schedule: the labels of the steps, for :func:`replay`.
    """

    property: Property
    text: str
    schedule: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.property.name}: {self.text}\n    after {' '.join(self.schedule)}"


@dataclass(frozen=True, slots=True)
class Exploration:
    """What an exploration has found.

    Attributes:
        name: the configuration's name.
        states: how many different states were visited (in random runs: how many schedules were run).
        steps: how many steps were taken.
        hits: how many of them were hits; none would mean that nothing was tested.
        rests: how many states (runs) were at rest.
        seconds: how long it took.
        complete: whether every reachable state was visited (every run was run).
        counterexample: what was found, or ``None``.
        seed: the seed of random runs.
    """

    name: str
    states: int
    steps: int
    hits: int
    rests: int
    seconds: float
    complete: bool
    counterexample: Counterexample | None
    seed: int | None = None

    def __str__(self) -> str:
        what = "states" if self.seed is None else f"random schedules (seed {self.seed})"
        figures = f"{self.name}: {self.states:,} {what}, {self.steps:,} steps, {self.hits:,} hits, {self.seconds:.1f} s"
        return figures if self.counterexample is None else f"{figures}\n  {self.counterexample}"


@dataclass(frozen=True, slots=True)
class Replay:
    """What one schedule has led to.

    Attributes:
        hits: the entry's number and the versions of its rows, of each hit, in order.
        counterexample: the first violation, or ``None``.
        possible: the labels of what could happen next.
    """

    hits: tuple[tuple[int, Versions], ...]
    counterexample: Counterexample | None
    possible: tuple[str, ...]


class _Tally:
    """What is counted during an exploration."""

    def __init__(self) -> None:
        self.states = 0
        self.steps = 0
        self.hits = 0
        self.rests = 0
        self.started = time.perf_counter()

    def report(
        self, config: Config, *, complete: bool, found: Counterexample | None, seed: int | None = None
    ) -> Exploration:
        seconds = time.perf_counter() - self.started
        return Exploration(config.name, self.states, self.steps, self.hits, self.rests, seconds, complete, found, seed)


def explore(
    config: Config,
    *,
    flows: Flows | None = None,
    store: StoreModel | None = None,
    properties: Collection[Property] = _EVERYTHING,
    max_states: int | None = None,
) -> Exploration:
    """Go through every interleaving of a configuration, until a property is violated.

    Args:
        config: who takes part, and what may go wrong.
        flows: the protocol, by default rowstamp's.
        store: the store, by default one that keeps the contract.
        properties: those to check.
        max_states: stop after so many; the result then is not ``complete``.

    Returns:
        The figures, and a shortest counterexample if there is one.
    """
    machine = Machine(config, flows or Flows(), store or StoreModel())
    with _no_collection():
        return _breadth_first(machine, frozenset(properties), max_states)


def _breadth_first(machine: Machine, properties: frozenset[Property], max_states: int | None) -> Exploration:
    tally = _Tally()
    start = machine.initial()
    seen = {machine.key(start)}
    frontier: list[tuple[State, _Path]] = [(start, None)]
    complete = True
    while frontier and complete:
        following: list[tuple[State, _Path]] = []
        for state, path in frontier:
            for event in machine.events(state):
                step = machine.step(state, event)
                tally.steps += 1
                tally.hits += step.served is not None
                key = machine.key(step.state)
                known = key in seen
                if known and not step.violations:
                    continue
                path_here = (path, machine.label(state, event))
                found = _violation(machine, step, properties)
                if found is not None:
                    tally.states = len(seen)
                    return tally.report(machine.config, complete=False, found=_counterexample(found, path_here))
                seen.add(key)
                if not known:
                    tally.rests += machine.at_rest(step.state)
                    following.append((step.state, path_here))
        frontier = following
        complete = max_states is None or len(seen) < max_states or not frontier
    tally.states = len(seen)
    return tally.report(machine.config, complete=complete, found=None)


def explore_random(
    config: Config,
    *,
    seed: int,
    runs: int,
    flows: Flows | None = None,
    store: StoreModel | None = None,
    properties: Collection[Property] = _EVERYTHING,
) -> Exploration:
    """Run random schedules from start to rest, until a property is violated.

    The same arguments give the same schedules, on every machine.

    Args:
        config: who takes part, and what may go wrong.
        seed: the seed.
        runs: how many schedules.
        flows: the protocol, by default rowstamp's.
        store: the store, by default one that keeps the contract.
        properties: those to check.

    Returns:
        The figures, and the first counterexample if there is one; it need not be a shortest.
    """
    machine = Machine(config, flows or Flows(), store or StoreModel())
    tally = _Tally()
    for run in range(runs):
        found = _random_run(machine, random.Random(f"{seed}/{run}"), frozenset(properties), tally)
        tally.states += 1
        if found is not None:
            return tally.report(config, complete=False, found=found, seed=seed)
    return tally.report(config, complete=True, found=None, seed=seed)


def _random_run(
    machine: Machine, rng: random.Random, properties: frozenset[Property], tally: _Tally
) -> Counterexample | None:
    state = machine.initial()
    path: _Path = None
    speeds = [rng.choice(_SPEEDS) for _ in machine.config.actors]
    while events := machine.events(state):
        event = _choice(rng, events, speeds)
        path = (path, machine.label(state, event))
        step = machine.step(state, event)
        tally.steps += 1
        tally.hits += step.served is not None
        found = _violation(machine, step, properties)
        if found is not None:
            return _counterexample(found, path)
        state = step.state
    tally.rests += 1
    return None


def _choice(rng: random.Random, events: Sequence[Event], speeds: Sequence[int]) -> Event:
    """Choose the next event.

    Were faults as likely as steps, most writers would die before they did anything. Were all actors equally fast, a
    writer would hardly ever do a whole transaction during a load, nor a reader a whole read during a commit.
    """
    faults = [event for event in events if event.kind in _FAULTS]
    steps = [event for event in events if event.kind not in _FAULTS]
    if not steps or (faults and rng.random() < _FAULT_SHARE):
        return rng.choice(faults)
    return rng.choices(steps, [speeds[event.actor] for event in steps])[0]


def replay(
    config: Config,
    schedule: Iterable[str],
    *,
    flows: Flows | None = None,
    store: StoreModel | None = None,
    properties: Collection[Property] = _EVERYTHING,
) -> Replay:
    """Run one schedule.

    Args:
        config: who takes part, and what may go wrong.
        schedule: labels of steps as a :class:`Counterexample` has them. The name of an actor alone (``"R1"``) stands for all the
            steps it has left, without faults.
        flows: the protocol, by default rowstamp's.
        store: the store, by default one that keeps the contract.
        properties: those to check.

    Raises:
        ScheduleError: a step is not possible where it stands.
    """
    machine = Machine(config, flows or Flows(), store or StoreModel())
    state = machine.initial()
    path: _Path = None
    hits: list[tuple[int, Versions]] = []
    found: Counterexample | None = None
    for label in schedule:
        for event in _named(machine, state, label):
            path = (path, machine.label(state, event))
            step = machine.step(state, event)
            if step.served is not None:
                hits.append(step.served)
            violation = _violation(machine, step, frozenset(properties))
            if violation is not None and found is None:
                found = _counterexample(violation, path)
            state = step.state
    return Replay(tuple(hits), found, tuple(machine.label(state, event) for event in machine.events(state)))


def _named(machine: Machine, state: State, label: str) -> Iterator[Event]:
    """Yield the events that a label stands for."""
    if label in machine.config.names:
        index = machine.config.names.index(label)
        while state.actors[index].request is not None:
            event = Event(Kind.STEP, index)
            yield event
            state = machine.step(state, event).state
        return
    possible = {machine.label(state, event): event for event in machine.events(state)}
    if label not in possible:
        raise ScheduleError(f"{label!r} cannot happen here; possible are {', '.join(sorted(possible))}")
    yield possible[label]


def _violation(machine: Machine, step: Step, properties: frozenset[Property]) -> Violation | None:
    for violation in step.violations:
        if violation.property in properties:
            return violation
    return next((found for found in machine.probe(step.state) if found.property in properties), None)


def _counterexample(violation: Violation, path: _Path) -> Counterexample:
    labels: list[str] = []
    while path is not None:
        path, label = path
        labels.append(label)
    return Counterexample(violation.property, violation.text, tuple(reversed(labels)))


@contextmanager
def _no_collection() -> Generator[None]:
    """Pause the garbage collector: states have no cycles, and walking a million of them takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
