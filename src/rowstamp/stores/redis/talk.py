"""What the blocking and the awaited store have in common beside the commands: packing, health, and how a talk is led."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Sequence
from math import inf
from typing import Any, Final, TypeVar

from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import ResponseError

from rowstamp.errors import StoreError
from rowstamp.stores.breaker import Breaker, Breakers, Gate
from rowstamp.stores.redis.address import AsyncConnection, Connection
from rowstamp.stores.redis.deadline import Deadline, left
from rowstamp.stores.redis.errors import FOREIGN, is_outage, is_permanent, log_permanent, store_error
from rowstamp.stores.redis.scripts import Words
from rowstamp.stores.redis.server import ChangedServer, Server

__all__ = [
    "OUTDATED",
    "Complaints",
    "Health",
    "Line",
    "Talk",
    "aask",
    "alead",
    "ask",
    "hang_up",
    "lead",
    "lead_all",
    "packed",
]

T = TypeVar("T")


def _pack_here(words: Words) -> bytes:
    """Return a command as it is sent; hiredis does the same four times as fast, where it is installed."""
    data = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"".join([b"*%d\r\n" % len(data), *[b"$%d\r\n%b\r\n" % (len(word), word) for word in data]])


def _packer() -> Callable[[Words], bytes]:
    try:
        hiredis = importlib.import_module("hiredis")
    except ImportError:
        return _pack_here
    pack: Callable[[Words], bytes] = hiredis.pack_command
    return pack


_pack: Final = _packer()


def packed(commands: list[Words]) -> bytes:
    """Return commands as they are sent."""
    return b"".join([_pack(words) for words in commands])


def _outage(replies: Sequence[Any]) -> ResponseError | None:
    """The first reply that concerns the whole server, as opposed to one command."""
    for reply in replies:
        if isinstance(reply, ResponseError) and is_outage(reply):
            return reply
    return None


class Line:
    """A connection whose server is known. It has one user at a time, and is closed after any error on it.

    Nothing ever connects it again: what a reply means depends on who gave it, so a new connection is a new line.

    Attributes:
        connection: the connection.
        server: who is at its other end.
        lasts: whether it is worth keeping.
        used: whether an answer has come on it.
    """

    __slots__ = ("connection", "lasts", "server", "used")

    def __init__(self, connection: Any, server: Server, *, lasts: bool = True) -> None:
        self.connection = connection
        self.server = server
        self.lasts = lasts and server.lasts
        self.used = False


OUTDATED: Final = (Disconnected, ChangedServer)
"""What goes wrong on a line that was closed, or whose server has changed, since it was last used: a new line may do."""

_RESTING: Final = "the server does not answer and is left alone for a moment"


class Health:
    """Whether one server may be used, as operations find out; see :class:`~rowstamp.stores.breaker.Breaker`.

    Args:
        among: the breakers of the same store.
    """

    def __init__(self, among: Breakers) -> None:
        self.breaker = Breaker(among=among)

    def admit(self, probe: Callable[[], None]) -> StoreError | None:
        """Let an operation pass, or say why not; ``probe`` is started if it is time to try the server again."""
        gate = self.breaker.ask()
        if gate is Gate.ADMIT:
            return None
        if gate is Gate.PROBE:
            probe()
        return StoreError(_RESTING)

    def failed(self, exc: BaseException) -> None:  # noqa: ARG002 - for those who want to know why
        """Take note of an error on a line."""
        self.breaker.failed()

    def answered(self) -> None:
        """Take note of a line that worked."""
        self.breaker.succeeded()


class Complaints:
    """Turns what went wrong into what a store raises, and says once what will not mend by itself."""

    def __init__(self) -> None:
        self._blamed = False

    def of(self, exc: BaseException) -> StoreError:
        """Return what is raised instead of an error."""
        if is_permanent(exc) and not self._blamed:
            self._blamed = True
            log_permanent(exc)
        error = store_error(exc)
        error.__cause__ = exc
        return error


# --------------------------------------------------------------------------------------------------- blocking


class Talk:
    """A talk under way on a blocking connection; talks on several are led together by :func:`lead_all`.

    Attributes:
        result: what the talk has led to, once it is over.
        error: what went wrong, one of :data:`~rowstamp.stores.redis.errors.FOREIGN`.
        over: whether it is over.
    """

    __slots__ = ("_commands", "_connection", "_steps", "error", "over", "result")

    def __init__(self, connection: Connection, steps: Generator[list[Words], list[Any], Any]) -> None:
        self._connection = connection
        self._steps = steps
        self._commands: list[Words] = []
        self.result: Any = None
        self.error: Exception | None = None
        self.over = False

    def start(self) -> None:
        """Say the first thing."""
        try:
            self._say(next(self._steps))
        except FOREIGN as exc:
            self._fail(exc)

    def go_on(self, deadline: Deadline) -> None:
        """Hear the replies, which have to begin before the deadline, and say the next thing if there is one."""
        try:
            if not self._connection.can_read(deadline.remaining):
                raise TimeoutError
            self._hear([_reply(self._connection) for _ in self._commands])
        except FOREIGN as exc:
            self._fail(exc)

    def _hear(self, replies: list[Any]) -> None:
        outage = _outage(replies)
        try:
            # Heard first by the talk, which may know better why the server is of no use.
            commands = self._steps.send(replies)
        except StopIteration as stop:
            self.result, self.error, self.over = stop.value, outage, True
        else:
            if outage is not None:
                raise outage
            self._say(commands)

    def _say(self, commands: list[Words]) -> None:
        self._commands = commands
        self._connection.send_packed_command([packed(commands)], check_health=False)

    def _fail(self, exc: Exception) -> None:
        self.error, self.over = exc, True


def lead_all(talks: Sequence[Talk], deadline: Deadline) -> None:
    """Lead talks to their ends: everything is said on all connections before a reply is awaited on any.

    Args:
        talks: the talks, each on a connection of its own.
        deadline: when all of them have to be over: the servers work at the same time.
    """
    for talk in talks:
        talk.start()
    while waiting := [talk for talk in talks if not talk.over]:
        for talk in waiting:
            talk.go_on(deadline)


def lead(
    connection: Connection,
    steps: Generator[list[Words], list[Any], T],
    *,
    deadline: Deadline | None = None,
    seconds: float = inf,
) -> T:
    """Lead one talk to its end on a connection.

    Args:
        connection: the connection; its own timeout holds for each reply.
        steps: the talk.
        deadline: when the call is over that it is part of, if it is part of one.
        seconds: the connection's own timeout, which a deadline that is further away adds nothing to.
    """
    commands = next(steps)
    while True:
        first = left(deadline, seconds)
        connection.send_packed_command([packed(commands)], check_health=False)
        # Looking at the socket first is spared where the connection's own timeout comes to the same.
        if first < seconds and not connection.can_read(first):
            raise TimeoutError
        replies = [_reply(connection) for _ in commands]
        try:
            commands = _heard(steps, replies)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


def ask(connection: Connection, words: Words) -> Any:
    """Say one thing on a connection and return the reply, or the refusal if that concerns what was said and not the whole server."""
    connection.send_packed_command([_pack(words)], check_health=False)
    return _answered(_reply(connection))


def _answered(reply: Any) -> Any:
    if isinstance(reply, ResponseError) and is_outage(reply):
        raise reply
    return reply


def _heard(steps: Generator[list[Words], list[Any], Any], replies: list[Any]) -> list[Words]:
    """Let a talk hear replies, and return what it says next; an outage that they show is raised after that.

    The talk hears them first: it may know better why the server is of no use.

    Raises:
        StopIteration: the talk is over.
    """
    outage = _outage(replies)
    try:
        commands = steps.send(replies)
    except StopIteration:
        if outage is not None:
            raise outage from None
        raise
    if outage is not None:
        raise outage
    return commands


def _reply(connection: Connection) -> Any:
    try:
        return connection.read_response()
    except ResponseError as exc:
        return exc


# ---------------------------------------------------------------------------------------------------- awaited


async def alead(connection: AsyncConnection, steps: Generator[list[Words], list[Any], T]) -> T:
    """Lead a talk to its end on a connection."""
    commands = next(steps)
    while True:
        await connection.send_packed_command([packed(commands)], check_health=False)
        replies = [await _areply(connection) for _ in commands]
        try:
            commands = _heard(steps, replies)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


async def aask(connection: AsyncConnection, words: Words) -> Any:
    """See :func:`ask`."""
    await connection.send_packed_command([_pack(words)], check_health=False)
    return _answered(await _areply(connection))


async def _areply(connection: AsyncConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as exc:
        return exc


async def hang_up(connection: AsyncConnection) -> None:
    """Close a connection at once.

    Under TLS redis-py's way says good-bye and has the socket wait for the server's: where the loop ends before a slow server has answered,
    it stays open for good. There is nothing left to be sent when we close, so nothing is lost.
    """
    writer: Any = getattr(connection, "_writer", None)
    if writer is not None:
        writer.transport.abort()
    await connection.disconnect(nowait=True)
