"""The blocking store on Redis or Valkey; see :mod:`rowstamp.stores.redis.commands` for what it says to the server."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar, Final, Self, TypeVar

from redis.exceptions import ConnectionError as Disconnected

from rowstamp.errors import ConfigurationError, StoreError
from rowstamp.mirror import Mirror
from rowstamp.model import StampState, StoreSnapshot
from rowstamp.stores.redis import commands as ops
from rowstamp.stores.redis.address import Address, address_of_client
from rowstamp.stores.redis.errors import FOREIGN, is_permanent
from rowstamp.stores.redis.feed import Feeds
from rowstamp.stores.redis.sentinel import SentinelAddress, find
from rowstamp.stores.redis.talk import Health, Line, lead

__all__ = ["RedisStore", "require_usable"]

T = TypeVar("T")

_PATIENCE_SECONDS: Final = 1.0
"""How long closing waits for the thread that listens to the server."""


class RedisStore:
    """A :class:`~rowstamp.store.Store` on one Redis (≥ 7.0) or Valkey (≥ 8) server, for any number of threads.

    Each operation is one round trip on a connection of its own, taken from those that are idle. Nothing is connected at
    construction: a server that is down must not keep an application from starting.

    Args:
        address: where the server is and how long it may take.
    """

    remote: ClassVar[bool] = True

    def __init__(self, address: Address | SentinelAddress) -> None:
        self._address = address
        self._keys = ops.Keys.of(address.prefix)
        self._idle: deque[Line] = deque()
        self._pid = os.getpid()
        self._feeds = Feeds(address, self._keys)
        self.health = Health()

    @classmethod
    def of_client(cls, client: object, **options: Any) -> Self:
        """Return a store on the server that a ``redis.Redis`` is for, on connections of its own.

        Args:
            client: the client; it stays the caller's to close.
            options: ``prefix``, ``timeout_ms`` and ``connect_timeout_ms``.
        """
        return cls(address_of_client(client, **options))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._address}>"

    def read(self, entry: bytes | None, stamps: Sequence[bytes]) -> StoreSnapshot:
        """See :meth:`rowstamp.store.Store.read`. All of it is read at one moment."""
        if entry is None and not stamps:
            return StoreSnapshot(None, ())
        return self._call(ops.Read(entry, stamps))  # type: ignore[no-any-return]

    def mint(self, tokens: Mapping[bytes, bytes]) -> tuple[StampState, ...]:
        """See :meth:`rowstamp.store.Store.mint`."""
        return self._call(ops.mint(self._keys, tokens)) if tokens else ()

    def put(self, entry: bytes, blob: bytes, ttl: float) -> None:
        """See :meth:`rowstamp.store.Store.put`."""
        self._call(ops.put(self._keys, entry, blob, ttl))

    def delete(self, entry: bytes) -> None:
        """See :meth:`rowstamp.store.Store.delete`."""
        self._call(ops.delete(self._keys, entry))

    def hold(self, stamps: Sequence[bytes], writer: bytes, ttl: float) -> None:
        """See :meth:`rowstamp.store.Store.hold`."""
        if stamps:
            self._call(ops.hold(self._keys, stamps, writer, ttl))

    def release(self, tokens: Mapping[bytes, bytes], writer: bytes) -> tuple[bool, ...]:
        """See :meth:`rowstamp.store.Store.release`."""
        return self._call(ops.release(self._keys, tokens, writer)) if tokens else ()

    def touch(self, tokens: Mapping[bytes, bytes]) -> None:
        """See :meth:`rowstamp.store.Store.touch`."""
        if tokens:
            self._call(ops.touch(self._keys, tokens))

    def clear(self) -> None:
        """See :meth:`rowstamp.store.Store.clear`. The old entries stay until they end, but nothing reads them."""
        self._call(ops.clear(self._keys))

    def close(self) -> None:
        """See :meth:`rowstamp.store.Store.close`."""
        self.health.closed = True
        self._feeds.close()
        self._drop_idle()
        self._feeds.join(_PATIENCE_SECONDS)

    def check(self) -> None:
        """See :meth:`rowstamp.store.Store.check`: an idle connection with something to read is out of step."""
        # Taken out while it is looked at: another thread may use it otherwise, and of course there is an answer then.
        looked_at: list[Line] = []
        try:
            for _ in range(len(self._idle)):
                try:
                    looked_at.append(self._idle.pop())
                except IndexError:
                    break
                if looked_at[-1].connection.can_read():
                    raise AssertionError(f"an idle connection of {self!r} has an answer that nobody has read")
        finally:
            self._idle.extend(looked_at)

    def follow(self) -> Mirror:
        """See :meth:`rowstamp.mirror.Following.follow`. It is fed from when it is first asked for."""
        return self._feeds.follow()

    # ---------------------------------------------------------------------------------------------------- lines

    def _call(self, call: ops.Call) -> Any:
        self.health.admit(self._probe)
        try:
            outcomes = self._converse([call])
        except FOREIGN as exc:
            raise self.health.failed(exc) from exc
        self.health.answered()
        if isinstance(outcomes[0], Exception):
            raise self.health.refused(outcomes[0])
        return outcomes[0]

    def _converse(self, calls: Sequence[ops.Call]) -> list[Any]:
        line = self._take()
        try:
            return self._lead(line, ops.converse(self._keys, calls, line.server, time.monotonic(), self._feeds.mirror))
        except Disconnected:
            if not line.used:
                raise
        # The server has closed a connection that lay idle; the others like it are of no use either.
        self._drop_idle()
        line = self._open()
        return self._lead(line, ops.converse(self._keys, calls, line.server, time.monotonic(), self._feeds.mirror))

    def _take(self) -> Line:
        if self._pid != os.getpid():  # after a fork the connections are the parent's
            self._idle, self._pid = deque(), os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return self._open()

    def _open(self) -> Line:
        connection = find(self._address).blocking()
        try:
            connection.connect()
            return Line(connection, lead(connection, ops.greet(self._keys, time.monotonic())))
        except BaseException:
            connection.disconnect()
            raise

    def _lead(self, line: Line, talk: Generator[list[ops.Words], list[Any], T]) -> T:
        try:
            result = lead(line.connection, talk)
        except BaseException:
            line.connection.disconnect()
            raise
        line.used = True
        self._idle.append(line)
        if self.health.closed:
            self._drop_idle()
        return result

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().connection.disconnect()

    def _probe(self) -> None:
        threading.Thread(target=self._try_server, name="rowstamp-redis-probe", daemon=True).start()

    def _try_server(self) -> None:
        try:
            self._idle.append(self._open())
        except FOREIGN as exc:
            self.health.failed(exc)
        else:
            self.health.answered()


def require_usable(address: Address | SentinelAddress) -> None:
    """Try a server once, for mistakes that would otherwise disable the cache in silence.

    Raises:
        ConfigurationError: the server is there and refuses the user, the password or what the store has to do, or it
            is too old. One that cannot be reached, or is not ready, may be so later and is none.
    """
    store = RedisStore(address)
    try:
        store.touch({bytes(16): bytes(16)})
    except StoreError as exc:
        if exc.__cause__ is not None and is_permanent(exc.__cause__):
            raise ConfigurationError(f"the store at {address} cannot be used: {exc}") from exc.__cause__
    finally:
        store.close()
