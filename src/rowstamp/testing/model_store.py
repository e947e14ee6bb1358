"""A store as a value: the contract of :mod:`rowstamp.store` in pure functions, for exploring interleavings.

:class:`StoreState` is what a store holds at one moment, :class:`StoreModel` what an operation makes of it. Time does not
pass in it: that a hold ends is an event like any other, which the scheduler places wherever it likes. So are losses.

The rules of one stamp are four small methods (``seen``, ``held``, ``released``, ``expired``). Tests override them one at a time
to show that the checker notices a store which breaks the contract.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from rowstamp.entry import StoredEntry, prove, unpack_entry
from rowstamp.errors import CorruptEntry
from rowstamp.model import DIGEST_SIZE, StampState, StoreSnapshot
from rowstamp.protocol import Hold, Mint, Put, Read, Release, Touch

__all__ = [
    "Cell",
    "StoreModel",
    "StoreState",
    "entry_key",
    "index_of",
    "is_name",
    "remember_tokens",
    "stamp_name",
    "stored_entry",
    "tokens_of",
]

_PREFIX_SIZE = 6
_ENTRY = b"entry:"
_STAMP = b"stamp:"
_MOST_ENTRIES = 4


def _numbered(prefix: bytes, number: int) -> bytes:
    return prefix + str(number).encode().rjust(DIGEST_SIZE - _PREFIX_SIZE, b"0")


def entry_key(index: int) -> bytes:
    """Return the key of the entry with this number."""
    return _numbered(_ENTRY, index)


def stamp_name(index: int) -> bytes:
    """Return the name of the stamp with this number."""
    return _numbered(_STAMP, index)


def index_of(name: bytes) -> int:
    """Return the number in a name that :func:`entry_key` or :func:`stamp_name` made."""
    return int(name[_PREFIX_SIZE:])


def is_name(value: bytes) -> bool:
    """Whether these bytes are the name of an entry or of a stamp."""
    return value.startswith((_ENTRY, _STAMP)) and len(value) == DIGEST_SIZE


_PROVED: dict[bytes, tuple[tuple[bytes, bytes], ...]] = {}


def remember_tokens(tokens: Mapping[bytes, bytes]) -> None:
    """Make known what an entry is about to be stored under: its proof does not tell."""
    _PROVED[prove(tokens)] = tuple(tokens.items())


def tokens_of(stored: StoredEntry) -> dict[bytes, bytes]:
    """Return the tokens that an entry stands on, which :func:`remember_tokens` was told."""
    return dict(_PROVED[stored.proof])


@lru_cache(maxsize=65536)
def stored_entry(blob: bytes) -> StoredEntry | None:
    """Return the entry in these bytes, whichever it is, or ``None`` if they are none."""
    for index in range(_MOST_ENTRIES):
        try:
            return unpack_entry(entry_key(index), blob)
        except CorruptEntry:
            continue
    return None


class Cell(NamedTuple):
    """One stamp: missing (neither), a token, or its set of in-flight writers.

    Attributes:
        token: the token; ``None`` when the stamp is missing or held.
        holders: the writers that hold it, sorted.
    """

    token: bytes | None = None
    holders: tuple[bytes, ...] = ()


_MISSING = Cell()


class StoreState(NamedTuple):
    """What a store holds at one moment.

    Attributes:
        entries: the bytes of each entry, by its number; ``None`` when there are none.
        cells: each stamp, by its number.
        lost: the writers whose holds were lost in a restart and have not run out yet.
        restarts: how often it was restarted.
    """

    entries: tuple[bytes | None, ...]
    cells: tuple[Cell, ...]
    lost: tuple[bytes, ...] = ()
    restarts: int = 0

    @classmethod
    def empty(cls, entries: int, stamps: int) -> StoreState:
        """Return a store that has room for so many entries and stamps and holds none of them."""
        return cls((None,) * entries, (_MISSING,) * stamps)

    def with_entry(self, index: int, blob: bytes | None) -> StoreState:
        """Return this state with one entry replaced."""
        return self._replace(entries=(*self.entries[:index], blob, *self.entries[index + 1 :]))

    def with_cell(self, index: int, cell: Cell) -> StoreState:
        """Return this state with one stamp replaced."""
        return self._replace(cells=(*self.cells[:index], cell, *self.cells[index + 1 :]))


class StoreModel:
    """The store contract as pure functions from state to state.

    An operation has *parts*: one for each stamp, and for a read one for the entry before them. The contract promises
    atomicity of a part only, so the scheduler may let other actors in between.
    """

    # ------------------------------------------------------------------------------------------ one stamp

    def seen(self, cell: Cell) -> StampState:
        """What a read says of a stamp."""
        return StampState(None, held=True) if cell.holders else StampState(cell.token, held=False)

    def held(self, cell: Cell, writer: bytes) -> Cell:
        """A stamp after a writer took hold of it: its token goes."""
        return Cell(None, _joined(cell.holders, writer))

    def released(self, cell: Cell, writer: bytes, token: bytes) -> Cell:
        """A stamp after a writer left it: the last one to leave puts the new token."""
        holders = _without(cell.holders, writer)
        return Cell(None, holders) if holders else Cell(token)

    def expired(self, cell: Cell, writer: bytes) -> Cell:
        """A stamp after the hold of one writer ran out: missing, once nobody holds it."""
        return Cell(None, _without(cell.holders, writer))

    def minted(self, cell: Cell, token: bytes) -> Cell:
        """A stamp after a reader offered a token for it: only a missing one takes it."""
        return cell if cell.holders or cell.token is not None else Cell(token)

    def touched(self, cell: Cell, token: bytes) -> Cell:
        """A stamp after a direct invalidation: a new token, unless it is held and will get one anyway."""
        return cell if cell.holders else Cell(token)

    def doubted(self, state: StampState) -> StampState:  # noqa: ARG002 - what it would be said to be otherwise
        """What is said of a stamp while a hold that was lost in a restart may still be relied on: as good as held."""
        return StampState(None, held=True)

    def evictable(self, cell: Cell) -> bool:
        """Whether the store may lose this stamp now: any token, never a hold."""
        return cell.token is not None and not cell.holders

    # ----------------------------------------------------------------------------------------- operations

    def parts(self, operation: object) -> int:
        """In how many atomic parts an operation may fall."""
        match operation:
            case Read(_, stamps):
                return 1 + len(stamps)
            case Hold(stamps, _, _):
                return max(1, len(stamps))
            case Mint(tokens) | Release(tokens, _) | Touch(tokens):
                return max(1, len(tokens))
            case _:
                return 1

    def perform(self, state: StoreState, operation: object, part: int) -> tuple[StoreState, object]:
        """Perform one part of an operation; the second value is that part of the reply."""
        match operation:
            case Read(entry, stamps):
                return state, self._read(state, entry, stamps, part)
            case Put(entry, blob, _):
                return state.with_entry(index_of(entry), blob), None
            case Hold(stamps, writer, _):
                index = index_of(stamps[part])
                return state.with_cell(index, self.held(state.cells[index], writer)), None
            case Mint(tokens):
                index, token = _item(tokens.items(), part)
                cell = self.minted(state.cells[index], token)
                return state.with_cell(index, cell), self._said(state, cell)
            case Release(tokens, writer):
                index, token = _item(tokens.items(), part)
                cell = state.cells[index]
                return state.with_cell(index, self.released(cell, writer, token)), writer in cell.holders
            case Touch(tokens):
                index, token = _item(tokens.items(), part)
                return state.with_cell(index, self.touched(state.cells[index], token)), None
            case _:
                msg = f"the model store has no operation {operation!r}"
                raise TypeError(msg)

    def reply(self, operation: object, partials: Sequence[object]) -> object:
        """Join the parts of a reply to what the operation's flow expects."""
        match operation:
            case Read():
                entry, *stamps = partials
                return StoreSnapshot(entry, tuple(stamps))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
            case Mint() | Release():
                return tuple(partials)
            case _:
                return None

    def run(self, state: StoreState, operation: object) -> tuple[StoreState, object]:
        """Perform a whole operation at one moment and return its reply."""
        partials: list[object] = []
        for part in range(self.parts(operation)):
            state, partial = self.perform(state, operation, part)
            partials.append(partial)
        return state, self.reply(operation, partials)

    def _read(self, state: StoreState, entry: bytes | None, stamps: Sequence[bytes], part: int) -> object:
        # The entry first; tests read it last as well.
        if part == 0:
            return None if entry is None else state.entries[index_of(entry)]
        return self._said(state, state.cells[index_of(stamps[part - 1])])

    def _said(self, state: StoreState, cell: Cell) -> StampState:
        return self.doubted(self.seen(cell)) if state.lost else self.seen(cell)

    # --------------------------------------------------------------------------------------- what befalls it

    def expire(self, state: StoreState, stamp: int, writer: bytes) -> StoreState:
        """End one writer's hold of one stamp."""
        return state.with_cell(stamp, self.expired(state.cells[stamp], writer))

    def restart(self, state: StoreState) -> StoreState:
        """Lose every hold, and every token: what the store has after a restart was not given by what it is now.

        Entries stay, as an old snapshot could bring them back; that they are lost instead is an eviction.
        """
        holders = {holder for cell in state.cells for holder in cell.holders}
        cells = (_MISSING,) * len(state.cells)
        return StoreState(state.entries, cells, tuple(sorted({*state.lost, *holders})), state.restarts + 1)

    def settle(self, state: StoreState, writer: bytes) -> StoreState:
        """Let the time of a hold that was lost run out."""
        return state._replace(lost=_without(state.lost, writer))

    def evict_entry(self, state: StoreState, entry: int) -> StoreState:
        """Lose an entry."""
        return state.with_entry(entry, None)

    def evict_stamp(self, state: StoreState, stamp: int) -> StoreState:
        """Lose a stamp."""
        return state.with_cell(stamp, _MISSING)


def _item(items: Iterable[tuple[bytes, bytes]], part: int) -> tuple[int, bytes]:
    name, token = tuple(items)[part]
    return index_of(name), token


def _joined(holders: tuple[bytes, ...], writer: bytes) -> tuple[bytes, ...]:
    return holders if writer in holders else tuple(sorted((*holders, writer)))


def _without(holders: tuple[bytes, ...], writer: bytes) -> tuple[bytes, ...]:
    return tuple(holder for holder in holders if holder != writer)
