"""States of an exploration, and when two of them are the same.

Tokens and the names of writers are compared for equality and nothing else, so two states that differ only in
which is called what have the same future; and so have two states in which actors of the same kind have changed places. The key
of a state forgets both: tokens and writers are numbered in the order in which they are met.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import count
from typing import NamedTuple

from rowstamp.model import DIGEST_SIZE
from rowstamp.testing.actors import Config, Stage
from rowstamp.testing.model_database import Database, Versions
from rowstamp.testing.model_store import StoreState, stored_entry, tokens_of

__all__ = ["ActorState", "Keys", "Node", "State", "fresh_tokens", "writer_name", "writer_of"]

_TOKEN = b"token:"
_WRITER = b"writer"
_HOLE = object()


class ActorState(NamedTuple):
    """Where an actor is.

    Attributes:
        task: the number of the read or transaction it is at; beyond the last one it has finished.
        stage: the stage it is in, ``None`` when it has finished or crashed.
        replies: what the stage has been sent so far.
        given: the tokens the stage has made so far.
        partials: the parts of the current operation's reply so far.
        floor: the versions that its current lookup must not go below.
        snapshot: under REPEATABLE READ the versions its transaction sees, once it has a snapshot.
        served: under REPEATABLE READ what the cache has served before there was one, as pairs of row and version.
        crashed: whether it is dead.
        lapsed: whether a hold of its present transaction has expired while it lives.
        committed: whether its present transaction is, or may be, committed.
        in_doubt: the transactions that may still become visible, each by the writer's name in it and its rows.
    """

    task: int
    stage: Stage | None
    replies: tuple[object, ...] = ()
    given: tuple[bytes, ...] = ()
    partials: tuple[object, ...] = ()
    floor: Versions | None = None
    snapshot: Versions | None = None
    served: tuple[tuple[int, int], ...] = ()
    crashed: bool = False
    lapsed: bool = False
    committed: bool = False
    in_doubt: tuple[tuple[bytes, tuple[int, ...]], ...] = ()


class Node:
    """An actor's state, once for all states in which it occurs, with what is derived from it.

    Attributes:
        actor: the state.
        request: the operation it waits for, ``None`` when there is none.
        verb: the name of that operation in schedules.
        shape: a number for all that is left when tokens and writers are taken out.
        names: those tokens and writers, in a fixed order.
    """

    __slots__ = ("actor", "names", "request", "shape", "verb")

    def __init__(self, actor: ActorState, request: object, shape: int, names: tuple[bytes, ...]) -> None:
        self.actor = actor
        self.request = request
        self.verb = "" if request is None else _verb(type(request))
        self.shape = shape
        self.names = names


class State(NamedTuple):
    """Everything at one moment: all actors, the store, the database, and how many evictions are left (-1: any number)."""

    actors: tuple[Node, ...]
    store: StoreState
    database: Database
    evictions: int

    def with_actor(self, index: int, node: Node) -> State:
        """Return this state with one actor replaced."""
        return self._replace(actors=(*self.actors[:index], node, *self.actors[index + 1 :]))


_VERBS = {"TakeSnapshot": "snapshot", "ReceiveRows": "rows"}


def _verb(operation: type[object]) -> str:
    return _VERBS.get(operation.__name__, operation.__name__.lower())


def writer_name(index: int, task: int) -> bytes:
    """Return the name under which an actor holds stamps in its transaction of this number."""
    return _WRITER + f"{index}.{task}".encode().rjust(DIGEST_SIZE - len(_WRITER), b"0")


@lru_cache(maxsize=1024)
def writer_of(name: bytes) -> tuple[int, int]:
    """Return the numbers of the actor and of the transaction that :func:`writer_name` was given."""
    index, task = name[len(_WRITER) :].decode().split(".")
    return int(index), int(task)


@lru_cache(maxsize=1024)
def _token(number: int) -> bytes:
    return _TOKEN + str(number).encode().rjust(DIGEST_SIZE - len(_TOKEN), b"0")


def fresh_tokens(actors: Iterable[Node], store: StoreState) -> Iterator[bytes]:
    """Yield tokens that occur nowhere.

    A token that has vanished from every place is given again: since tokens are only ever compared with tokens that are
    still somewhere, nothing can tell it from one that never was. That is what keeps the number of states finite.
    """
    live = {name for node in actors for name in node.names}
    live.update(cell.token for cell in store.cells if cell.token is not None)
    for blob in store.entries:
        if blob is not None:
            live.update(_tokens_in(blob))
    return (token for token in map(_token, count()) if token not in live)


def _tokens_in(blob: bytes) -> Iterable[bytes]:
    entry = stored_entry(blob)
    return () if entry is None else tokens_of(entry).values()


def _abstract(value: object, names: list[bytes]) -> object:
    """Return the value with a hole in place of each token and writer, which are appended to ``names``."""
    if isinstance(value, bytes):
        if len(value) == DIGEST_SIZE and value.startswith((_TOKEN, _WRITER)):
            names.append(value)
            return _HOLE
        entry = stored_entry(value)
        return value if entry is None else _abstract((*tokens_of(entry).items(), entry.body), names)
    if isinstance(value, tuple):
        items: tuple[object, ...] = value  # pyright: ignore[reportUnknownVariableType]
        return tuple(_abstract(item, names) for item in items)
    return value


class Keys:
    """Makes the keys by which states are told apart.

    Of states with one key each is the other with names exchanged and alike actors exchanged: all that a name is linked to
    is in the key. The reverse need not be true (ties are broken as they come), and costs no more than a state visited twice.
    """

    def __init__(self, config: Config) -> None:
        self._shapes: dict[object, int] = {}
        self._nodes: dict[ActorState, Node] = {}
        self._groups = _groups(config)

    def node(self, actor: ActorState, request: object) -> Node:
        """Return the one node of an actor's state."""
        node = self._nodes.get(actor)
        if node is None:
            names: list[bytes] = []
            shape = _abstract(actor, names)
            number = self._shapes.setdefault(shape, len(self._shapes))
            node = self._nodes[actor] = Node(actor, request, number, tuple(names))
        return node

    def key(self, state: State) -> tuple[object, ...]:
        """Return the same key for states with the same future."""
        numbers: dict[bytes, int] = {}
        number = numbers.setdefault
        key: list[object] = [state.evictions, state.database, state.store.restarts]
        for token, holders in state.store.cells:
            if token is not None:
                key.append(number(token, len(numbers)))
            key.append(tuple([number(holder, len(numbers)) for holder in holders]))
        key.append(tuple([number(writer, len(numbers)) for writer in state.store.lost]))
        key.extend([self._entry_key(blob, numbers) for blob in state.store.entries])
        actors = state.actors
        for start, stop in self._groups:
            group: Sequence[Node] = actors[start:stop]
            if stop - start > 1:
                group = sorted(group, key=lambda node: (node.shape, [numbers.get(name, -1) for name in node.names]))
            for node in group:
                key.append(node.shape)
                key.extend([number(name, len(numbers)) for name in node.names])
        return tuple(key)

    @staticmethod
    def _entry_key(blob: bytes | None, numbers: dict[bytes, int]) -> object:
        entry = None if blob is None else stored_entry(blob)
        if entry is None:
            return blob
        return (entry.body, *[numbers.setdefault(token, len(numbers)) for token in tokens_of(entry).values()])


def _groups(config: Config) -> tuple[tuple[int, int], ...]:
    """Return the ranges of neighbouring actors that are alike."""
    actors = config.actors
    groups: list[tuple[int, int]] = []
    for index, actor in enumerate(actors):
        if index and actors[index - 1] == actor:
            groups[-1] = (groups[-1][0], index + 1)
        else:
            groups.append((index, index + 1))
    return tuple(groups)
