"""The checker itself: its reductions lose nothing, and its store keeps the contract."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, groupby, permutations, product

import pytest

from rowstamp.entry import unpack_entry
from rowstamp.model import StampState, StoreSnapshot
from rowstamp.protocol import Hold, Mint, Operation, Put, Read, Release, Touch
from rowstamp.testing._machine import Machine
from rowstamp.testing._states import State
from rowstamp.testing.model_store import Cell, StoreModel, StoreState, entry_key, stamp_name, tokens_of
from rowstamp.testing.scheduler import ALL_ANSWERS, Answer, Config, Flows, Invalidator, Reader, Writer, explore
from tests.model.cases import RR, R, W

pytestmark = pytest.mark.once

SMALL = [
    Config(name="readers", writers=(W,), readers=(R, R), crashes=True, answers=ALL_ANSWERS, evictions=None),
    Config(name="writers", writers=(W, W), readers=(R,), crashes=True, answers=frozenset(Answer), evictions=None),
    Config(name="lapses", writers=(W, W), readers=(R,), crashes=True, lapses=True),
    Config(
        name="transactions", writers=(Writer(transactions=2),), readers=(Reader((0, 0)),), crashes=True, lapses=True
    ),
    Config(name="snapshot", writers=(W,), readers=(Reader((0, 0), RR), R), crashes=True),
    Config(name="change", invalidators=(Invalidator(), Invalidator()), readers=(R, R)),
    Config(name="pieces", entries=((0, 1),), writers=(Writer((0, 1)),) * 2, readers=(R,), crashes=True, atomic=False),
]


@pytest.mark.parametrize("config", SMALL, ids=lambda config: config.name)
def test_every_state_that_can_be_reached_is_like_one_that_was_visited(config: Config) -> None:
    machine = Machine(config, Flows(), StoreModel())
    exact = reachable(machine, lambda state: state)
    visited = reachable(machine, machine.key)

    assert len(visited) < len(exact)
    assert len(visited) == explore(config, properties=()).states
    assert {orbit(config, state) for state in visited} == {orbit(config, state) for state in exact}


def reachable(machine: Machine, key: Callable[[State], object]) -> list[State]:
    """Every state that can be reached, one for each key."""
    start = machine.initial()
    seen = {key(start)}
    states = [start]
    for state in states:
        for event in machine.events(state):
            after = machine.step(state, event).state
            if key(after) not in seen:
                seen.add(key(after))
                states.append(after)
    return states


def orbit(config: Config, state: State) -> str:
    """The same text for exactly those states that differ in names only, found the slow way: by trying all orders."""
    alike = [list(permutations(group)) for _, group in groupby(range(len(config.actors)), lambda i: config.actors[i])]
    orders = (tuple(chain.from_iterable(order)) for order in product(*alike))
    return min(described(state, order) for order in orders)


def described(state: State, order: Sequence[int]) -> str:
    numbers: dict[bytes, int] = {}

    def number(name: bytes) -> int:
        return numbers.setdefault(name, len(numbers))

    nodes = [state.actors[index] for index in order]
    actors = [(node.shape, [number(name) for name in node.names]) for node in nodes]
    linked = set(numbers)
    cells = state.store.cells
    shown = [
        (cell.token and number(cell.token), sorted(number(name) for name in cell.holders if name in linked))
        for cell in cells
    ]
    # Nothing but its holds is left of a writer that died: it is described by where they are.
    dead = {name for cell in cells for name in cell.holders} - linked
    holds = sorted([at for at, cell in enumerate(cells) if name in cell.holders] for name in dead)
    entries = [blob and entry_shown(blob, number) for blob in state.store.entries]
    return repr((actors, shown, holds, entries, state.database, state.evictions))


def entry_shown(blob: bytes, number: Callable[[bytes], int]) -> tuple[bytes, list[int]]:
    stored = unpack_entry(entry_key(0), blob)
    return stored.body, [number(token) for token in tokens_of(stored).values()]


A, B = b"a" * 16, b"b" * 16
STAMP, OTHER, ENTRY = stamp_name(0), stamp_name(1), entry_key(0)
MISSING, HELD = StampState(None, held=False), StampState(None, held=True)


class Shelf:
    """A model store with a memory, to write tests in the order in which things happen."""

    def __init__(self) -> None:
        self.model = StoreModel()
        self.state = StoreState.empty(1, 2)

    def run(self, operation: Operation) -> object:
        self.state, reply = self.model.run(self.state, operation)
        return reply

    def seen(self) -> StampState:
        reply = self.run(Read(ENTRY, [STAMP]))
        assert isinstance(reply, StoreSnapshot)
        return reply.stamps[0]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_an_empty_store_has_no_entry_and_no_token(shelf: Shelf) -> None:
    assert shelf.run(Read(ENTRY, [STAMP, OTHER])) == StoreSnapshot(None, (MISSING, MISSING))


def test_an_entry_is_kept_and_may_be_lost(shelf: Shelf) -> None:
    shelf.run(Put(ENTRY, b"blob", 1.0))
    assert shelf.run(Read(ENTRY, [])) == StoreSnapshot(b"blob", ())
    shelf.state = shelf.model.evict_entry(shelf.state, 0)
    assert shelf.run(Read(ENTRY, [])) == StoreSnapshot(None, ())


def test_only_a_missing_stamp_takes_the_token_of_a_reader(shelf: Shelf) -> None:
    assert shelf.run(Mint({STAMP: A})) == (StampState(A, held=False),)
    assert shelf.run(Mint({STAMP: B, OTHER: B})) == (StampState(A, held=False), StampState(B, held=False))
    shelf.run(Hold([STAMP], A, 1.0))
    assert shelf.run(Mint({STAMP: B})) == (HELD,)


def test_the_last_writer_to_leave_puts_the_new_token(shelf: Shelf) -> None:
    shelf.run(Hold([STAMP], A, 1.0))
    shelf.run(Hold([STAMP], B, 1.0))
    shelf.run(Hold([STAMP], B, 1.0))
    assert shelf.run(Release({STAMP: A}, A)) == (True,)
    assert shelf.seen() == HELD
    assert shelf.run(Release({STAMP: B}, B)) == (True,)
    assert shelf.seen() == StampState(B, held=False)


def test_a_release_after_the_hold_has_gone_puts_a_new_token_all_the_same(shelf: Shelf) -> None:
    shelf.run(Mint({STAMP: A}))
    assert shelf.run(Release({STAMP: B}, B)) == (False,)
    assert shelf.seen() == StampState(B, held=False)


def test_a_stamp_is_missing_when_its_last_hold_has_expired(shelf: Shelf) -> None:
    shelf.run(Mint({STAMP: A}))
    shelf.run(Hold([STAMP], A, 1.0))
    shelf.run(Hold([STAMP], B, 1.0))
    shelf.state = shelf.model.expire(shelf.state, 0, A)
    assert shelf.seen() == HELD
    shelf.state = shelf.model.expire(shelf.state, 0, B)
    assert shelf.seen() == MISSING


def test_a_direct_invalidation_leaves_holds_alone(shelf: Shelf) -> None:
    shelf.run(Touch({STAMP: A}))
    assert shelf.seen() == StampState(A, held=False)
    shelf.run(Hold([STAMP], A, 1.0))
    shelf.run(Touch({STAMP: B}))
    assert shelf.seen() == HELD


def test_a_stamp_may_be_lost_unless_it_is_held(shelf: Shelf) -> None:
    shelf.run(Mint({STAMP: A}))
    assert shelf.model.evictable(shelf.state.cells[0])
    shelf.state = shelf.model.evict_stamp(shelf.state, 0)
    assert shelf.seen() == MISSING
    assert not shelf.model.evictable(Cell(None, (A,)))


def test_an_operation_that_is_not_one_of_a_store_is_refused(shelf: Shelf) -> None:
    with pytest.raises(TypeError, match="the model store has no operation"):
        shelf.model.perform(shelf.state, object(), 0)
