"""What the blocking and the awaited store have in common beside the commands: packing, health, and how a talk is led."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from redis.exceptions import ResponseError

from rowstamp.errors import StoreError
from rowstamp.stores._redis_errors import blames_credentials, is_outage, store_error
from rowstamp.stores._redis_ops import Server, Words
from rowstamp.stores.breaker import Breaker, Gate

try:
    from hiredis import pack_command as _pack
except ImportError:  # pragma: no cover - the extra installs it

    def _pack(cmd: Any) -> bytes:
        words = [word if isinstance(word, bytes) else str(word).encode() for word in cmd]
        return b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)])


__all__ = ["Health", "Line", "packed", "refusal"]


def packed(commands: list[Words]) -> bytes:
    """Return commands as they are sent."""
    return b"".join([_pack(words) for words in commands])


def refusal(exc: ResponseError) -> ResponseError:
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
        if not self._blamed:
            self._blamed = blames_credentials(exc)
        return store_error(exc)

    def answered(self) -> None:
        """Take note of a line that worked."""
        self.breaker.succeeded()
        self._blamed = False

    @staticmethod
    def result(outcome: Any) -> Any:
        """Return the outcome of a call, or raise it as a :class:`StoreError` if it is an error."""
        if isinstance(outcome, Exception):
            raise store_error(outcome) from outcome
        return outcome
