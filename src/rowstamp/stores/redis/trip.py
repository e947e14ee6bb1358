"""One round trip to every server that is concerned, as steps without I/O: who is told what, and what comes of the replies.

A trip yields *errands*, one for each server, which the skins run at the same time, and is sent what became of each. All
commands of an errand go out together, and those of all errands before any reply is awaited: an entry and its stamps cost
one round trip to each server that has one of them, however many.

**What is read is not of one moment** in a cluster, and need not be: each stamp has the state it had at some moment of the read, and
the entry was loaded after its tokens were captured. If all of these still stand when they are read, nothing was committed in
between (or the load itself is younger than the read); `tests/model` explores it with the entry read first and last.

**A key that has moved** is asked for again where the reply says that it is, within the same call and its time budget.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from redis.exceptions import AskError, MovedError

from rowstamp.errors import StoreError
from rowstamp.model import StampState, StoreSnapshot
from rowstamp.stores.redis.commands import HELD, Call, Epoch, Keys, Order, Read, Told, Write, state_of
from rowstamp.stores.redis.scripts import Reply, Words, say
from rowstamp.stores.redis.server import Server, check

__all__ = ["Answer", "Errand", "Node", "Route", "Trip"]

_MOST_ROUNDS: Final = 4
"""A key that is not found after so many redirections is somebody else's trouble."""


class Node(NamedTuple):
    """A server, by where it is."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Route(Protocol):
    """Says which server has which key."""

    in_cluster: bool
    nodes: frozenset[Node]

    def node_of(self, key: bytes) -> Node:
        """The server that has this key."""
        ...

    def survey(self, now: float) -> Generator[list[Errand], list[Answer | Exception], None]:
        """Bring what is known up to date, if it is time to."""
        ...

    def moved(self, told: AskError, by: Node) -> Node:
        """The server that a redirection by another names; from now on that one is asked."""
        ...

    def failed(self, node: Node) -> None:
        """Take note that a server did not answer."""
        ...


class Answer(NamedTuple):
    """What one server has said.

    Attributes:
        server: who it is.
        values: what each key has that was to be read, or the server's refusal.
        replies: to each order.
        now: the server's time in milliseconds, where it was asked for.
        tag: the tag of its tokens.
        serves: whether they validate yet.
    """

    server: Server
    tag: bytes
    values: Sequence[Any]
    replies: Sequence[Reply]
    now: float | None
    serves: bool


class Errand:
    """What one server is told: keys to read, orders, and words that are neither.

    Attributes:
        node: the server.
        reads: the keys.
        orders: the orders.
        words: other commands, whose replies come after those to the orders.
        epoch: the epoch under which orders give tokens.
        asking: whether the keys are on their way to this server.
        places: the places of the orders among all those of the trip.
    """

    __slots__ = ("asking", "epoch", "node", "orders", "places", "reads", "words")

    def __init__(
        self, node: Node, *, epoch: bytes | None = None, asking: bool = False, words: Sequence[Words] = ()
    ) -> None:
        self.node = node
        self.epoch = epoch
        self.asking = asking
        self.reads: list[bytes] = []
        self.orders: list[Order] = []
        self.places: list[int] = []
        self.words = words

    def talk(self, server: Server, now: float, *, in_cluster: bool) -> Generator[list[Words], list[Reply], Answer]:
        """Say all of it in one round trip; a second follows where the server has forgotten a script."""
        checks = server.is_due(now)
        timed = server.evicts_volatile and bool(self.reads)
        first: list[Words] = [("INFO", "replication")] if checks else []
        if timed:
            first.append(("TIME",))  # before the keys: what has ended by then had ended when they were read
        tag = server.tag(self.epoch)
        # MGET is refused in a cluster unless all keys share a slot, and half of a slot that moves is refused even so.
        gets: list[Words] = (
            [("GET", key) for key in self.reads] if in_cluster else ([("MGET", *self.reads)] if self.reads else [])
        )
        orders = [order.words(server, tag) for order in self.orders]
        # A server that takes over slots knows no scripts until somebody connects to it: see `say`.
        replies = yield from say([*first, *gets, *orders, *self.words], asking=self.asking)
        left = iter(replies)
        if checks:
            check(server, next(left), now)
        moment = _milliseconds(next(left)) if timed else None
        values = [next(left) for _ in gets]
        if not in_cluster and values:
            values = [values[0]] * len(self.reads) if isinstance(values[0], Exception) else values[0]
        return Answer(server, tag, values, [*left], moment, serves=now >= server.serves_from)


def _milliseconds(time: Reply) -> float:
    if isinstance(time, Exception):
        raise time
    return int(time[0]) * 1000 + int(time[1]) // 1000


class _Heard(NamedTuple):
    """A value or reply, and the answer it was part of; a refusal or failure has none."""

    value: Any
    answer: Answer | None


_LOST: Final = _Heard(StoreError("no server has answered"), None)


class Trip:
    """Calls of whatever tasks or threads, made together.

    Args:
        calls: the calls.
        keys: how the keys of the store begin.
        epoch: what the store knows of its epoch.
        route: who has which key.
        now: the client's time, in seconds.
    """

    def __init__(self, calls: Sequence[Call], keys: Keys, epoch: Epoch, route: Route, now: float) -> None:
        self._calls = calls
        self._keys = keys
        self._epoch = epoch
        self._route = route
        self._now = now
        self._values: dict[bytes, _Heard] = {}
        self._orders = [order for call in calls if isinstance(call, Write) for order in call.orders]
        self._told: list[_Heard] = [_LOST] * len(self._orders)

    def steps(self) -> Generator[list[Errand], list[Answer | Exception], list[Any]]:
        """Go; the outcome of each call is what it returns, or the error that it raises."""
        yield from self._route.survey(self._now)
        if self._orders and self._epoch.wanted(self._now):
            yield from self._learn_epoch()
        errands = self._errands()
        if not errands:
            return []
        for _ in range(_MOST_ROUNDS):
            answers = yield errands
            again = _Errands(errands[0].epoch)
            for errand, answer in zip(errands, answers, strict=True):
                self._take(errand, answer, again)
            errands = again.all
            if not errands:
                break
        return self._outcomes()

    @property
    def epoch_read(self) -> tuple[bytes | None, bytes]:
        """The epoch as it was read together with stamps, ``None`` if there was none, and the identity of its server."""
        value, answer = self._values[self._keys.epoch]
        return value, b"" if answer is None else answer.server.identity

    def witness(self, stamp: bytes) -> bytes:
        """The identity of the server that said what a stamp's state is."""
        answer = self._values[self._keys.stamps + stamp].answer
        return b"" if answer is None else answer.server.identity

    def _learn_epoch(self) -> Generator[list[Errand], list[Answer | Exception], None]:
        node = self._route.node_of(self._keys.epoch)
        for _ in range(_MOST_ROUNDS):
            (answer,) = yield [Errand(node, words=self._epoch.commands(self._keys))]
            if isinstance(answer, Exception):
                raise answer
            value = answer.replies[1]
            if isinstance(value, AskError):
                node = self._route.moved(value, node)
            elif isinstance(value, bytes):
                self._epoch.learnt(value, self._now)
                return
            else:
                raise value if isinstance(value, Exception) else StoreError("the store's epoch was lost at once")

    def _errands(self) -> list[Errand]:
        errands, node_of, keys = _Errands(self._epoch.value), self._route.node_of, self._keys
        wanted: dict[bytes, None] = {}
        for call in self._calls:
            if isinstance(call, Read):
                wanted[keys.epoch] = None
                if call.entry is not None:
                    wanted[keys.entries + call.entry] = None
                wanted.update(dict.fromkeys([keys.stamps + stamp for stamp in call.stamps]))
        for key in wanted:
            errands.to(node_of(key)).reads.append(key)
        for place, order in enumerate(self._orders):
            errand = errands.to(node_of(order.key))
            errand.orders.append(order)
            errand.places.append(place)
        return errands.all

    def _take(self, errand: Errand, answer: Answer | Exception, again: _Errands) -> None:
        """Keep what a server has said, and collect what it has sent elsewhere."""
        if isinstance(answer, Exception):
            self._route.failed(errand.node)
            heard = _Heard(answer, None)
            self._values.update(dict.fromkeys(errand.reads, heard))
            for place in errand.places:
                self._told[place] = heard
            return
        for key, value in zip(errand.reads, answer.values, strict=True):
            self._values[key] = _Heard(value, answer)
            if isinstance(value, AskError):
                again.redirected(value, errand, self._route).reads.append(key)
        for place, order, reply in zip(errand.places, errand.orders, answer.replies, strict=True):
            self._told[place] = _Heard(reply, answer)
            if isinstance(reply, AskError):
                other = again.redirected(reply, errand, self._route)
                other.orders.append(order)
                other.places.append(place)

    def _outcomes(self) -> list[Any]:
        told = iter(self._told)
        writes = [_wrote(call, [next(told) for _ in call.orders]) for call in self._calls if isinstance(call, Write)]
        epoch = self._values.get(self._keys.epoch)
        if epoch is not None and epoch.answer is not None and not isinstance(epoch.value, Exception):
            self._epoch.value = epoch.value
        left = iter(writes)
        return [self._snapshot(call) if isinstance(call, Read) else next(left) for call in self._calls]

    def _snapshot(self, call: Read) -> StoreSnapshot | Exception:
        keys, values = self._keys, self._values
        epoch = values[keys.epoch].value
        entry = None if call.entry is None else values[keys.entries + call.entry].value
        refusal = next((each for each in (epoch, entry) if isinstance(each, Exception)), None)
        if refusal is not None:
            return refusal
        states: list[StampState] = []
        for stamp in call.stamps:
            value, answer = values[keys.stamps + stamp]
            if answer is None or isinstance(value, Exception):
                return value  # type: ignore[no-any-return]
            serves = (
                answer.serves
            )  # if not, what is loaded now may precede a COMMIT whose hold was lost: as good as held
            states.append(state_of(value, answer.server.tag(epoch), answer.now) if serves else HELD)
        return StoreSnapshot(entry, tuple(states))


def _told(heard: _Heard) -> Told:
    answer = heard.answer
    return Told(heard.value, b"", serves=False) if answer is None else Told(heard.value, answer.tag, answer.serves)


def _wrote(call: Write, heard: Iterable[_Heard]) -> Any:
    try:
        return call.result([_told(each) for each in heard])
    except Exception as exc:  # noqa: BLE001 - handed to the caller whose call it is
        return exc


class _Errands:
    """Errands by the server they are for."""

    def __init__(self, epoch: bytes | None) -> None:
        self._epoch = epoch
        self._found: dict[tuple[Node, bool], Errand] = {}

    @property
    def all(self) -> list[Errand]:
        return [*self._found.values()]

    def to(self, node: Node, *, asking: bool = False) -> Errand:
        errand = self._found.get((node, asking))
        if errand is None:
            errand = self._found[node, asking] = Errand(node, epoch=self._epoch, asking=asking)
        return errand

    def redirected(self, told: AskError, errand: Errand, route: Route) -> Errand:
        asking = not isinstance(told, MovedError)
        return self.to(route.moved(told, errand.node), asking=asking)
