"""What the blocking and the awaited store have in common beside the commands: packing, health, and how a talk is led."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator
from typing import Any, Final, TypeVar

from redis.exceptions import ResponseError

from rowstamp.errors import StoreError
from rowstamp.stores.breaker import Breaker, Gate
from rowstamp.stores.redis.address import AsyncConnection, Connection
from rowstamp.stores.redis.commands import Server, Words
from rowstamp.stores.redis.errors import is_outage, is_permanent, log_permanent, store_error

__all__ = ["Health", "Line", "alead", "lead", "packed"]


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


T = TypeVar("T")


def packed(commands: list[Words]) -> bytes:
    """Return commands as they are sent."""
    return b"".join([_pack(words) for words in commands])


def _refusal(exc: ResponseError) -> ResponseError:
    """Return an error that concerns one command, as its reply; raise one that concerns the whole server."""
    if is_outage(exc):
        raise exc
    return exc


class Line:
    """A connection whose server is known. It has one user at a time, and is closed after any error on it.

    Nothing ever connects it again: what a reply means depends on who gave it, so a new connection is a new line.
    """

    __slots__ = ("connection", "server", "used")

    def __init__(self, connection: Any, server: Server) -> None:
        self.connection = connection
        self.server = server
        self.used = False


_RESTING: Final = "the server does not answer and is left alone for a moment"


class Health:
    """Whether the server may be used, as operations find out; see :class:`~rowstamp.stores.breaker.Breaker`."""

    def __init__(self) -> None:
        self.breaker = Breaker()
        self.closed = False
        self._blamed = False

    def admit(self, probe: Callable[[], None]) -> None:
        """Let an operation pass, or raise at once; ``probe`` is started if it is time to try the server again."""
        if self.closed:
            raise StoreError("the store is closed")
        gate = self.breaker.ask()
        if gate is Gate.ADMIT:
            return
        if gate is Gate.PROBE:
            probe()
        raise StoreError(_RESTING)

    def failed(self, exc: BaseException) -> StoreError:
        """Take note of an error on a line, and return what is raised instead of it."""
        self.breaker.failed()
        return self.refused(exc)

    def answered(self) -> None:
        """Take note of a line that worked."""
        self.breaker.succeeded()

    def refused(self, exc: BaseException) -> StoreError:
        """Take note of an error that concerns one operation, and return what is raised instead of it."""
        if is_permanent(exc) and not self._blamed:
            self._blamed = True
            log_permanent(exc)
        error = store_error(exc)
        error.__cause__ = exc
        return error


def lead(connection: Connection, talk: Generator[list[Words], list[Any], T]) -> T:
    """Lead a talk to its end on a connection."""
    commands = next(talk)
    while True:
        connection.send_packed_command([packed(commands)], check_health=False)
        replies = [_reply(connection) for _ in commands]
        try:
            commands = talk.send(replies)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


def _reply(connection: Connection) -> Any:
    try:
        return connection.read_response()
    except ResponseError as exc:
        return _refusal(exc)


async def alead(connection: AsyncConnection, talk: Generator[list[Words], list[Any], T]) -> T:
    """Lead a talk to its end on a connection."""
    commands = next(talk)
    while True:
        await connection.send_packed_command([packed(commands)], check_health=False)
        replies = [await _areply(connection) for _ in commands]
        try:
            commands = talk.send(replies)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


async def _areply(connection: AsyncConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as exc:
        return _refusal(exc)
