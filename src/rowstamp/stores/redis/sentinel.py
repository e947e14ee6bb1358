"""Finding the primary through Sentinel.

Most of the sentinels in the URL have to name the same server. One alone may be on the wrong side of a broken network, or
have slept through a failover, and a primary that others have replaced answers reads with stamps that nobody changes any
more. The same holds for a client *and* its connections on that side: until the network heals they read what the old
primary has. Nothing that a client of Sentinel can do excludes that; a store for which it must not happen is one server.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from rowstamp.errors import ConfigurationError, StoreError
from rowstamp.stores.redis.address import OPTIONS, Address, split_hosts
from rowstamp.stores.redis.deadline import Deadline, left
from rowstamp.stores.redis.errors import FOREIGN
from rowstamp.stores.redis.scripts import Reply, Words
from rowstamp.stores.redis.talk import alead, hang_up, lead

__all__ = ["SENTINEL_OPTIONS", "SentinelAddress", "afind", "find"]

SENTINEL_OPTIONS: Final = (*OPTIONS, "sentinel_username", "sentinel_password")
_PORT: Final = 26379


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """A primary that sentinels know by name.

    Attributes:
        sentinels: where the sentinels are.
        service: the name under which they watch the primary.
        primary: how to connect to it, but for its host and port.
    """

    sentinels: tuple[Address, ...]
    service: str
    primary: Address

    @property
    def prefix(self) -> str:
        """How every key begins."""
        return self.primary.prefix

    @property
    def timeout_ms(self) -> float:
        """How long one round trip to the primary may take."""
        return self.primary.timeout_ms

    @property
    def connect_timeout_ms(self) -> float:
        """How long making a connection may take, to a sentinel or the primary."""
        return self.primary.connect_timeout_ms

    def __str__(self) -> str:
        return f"{self.service} of {', '.join(map(str, self.sentinels))}"

    @classmethod
    def of_url(cls, parts: SplitResult, options: Mapping[str, str]) -> SentinelAddress:
        """Return the address in ``redis+sentinel://user:password@host:port,host:port/service/db``.

        Raises:
            ConfigurationError: a part of it makes no sense.
        """
        userinfo, _, hosts = parts.netloc.rpartition("@")
        service, _, database = parts.path.strip("/").partition("/")
        if not hosts or not service:
            raise ConfigurationError(
                "a redis+sentinel:// store needs its sentinels and the name of the primary;"
                " write redis+sentinel://host1:26379,host2:26379,host3:26379/mymaster"
            )
        common = {name: value for name, value in options.items() if name in OPTIONS}
        primary = Address.of_url(urlsplit(f"redis://{userinfo}{userinfo and '@'}sentinel/{database}"), common)
        credentials = {
            name.removeprefix("sentinel_"): value for name, value in options.items() if name.startswith("sentinel_")
        }
        places = split_hosts(hosts, _PORT, "sentinels")
        found = [replace(primary, options={"host": host, "port": port, **credentials}) for host, port in places]
        return cls(tuple(found), unquote(service), primary)


class _Election:
    """Counts what the sentinels say until most of them agree."""

    def __init__(self, address: SentinelAddress) -> None:
        self._address = address
        self._votes: Counter[tuple[str, int]] = Counter()

    def count(self, answer: tuple[str, int] | None) -> Address | None:
        """Take one answer; return the primary once most sentinels have named it."""
        if answer is None:
            return None
        self._votes[answer] += 1
        if self._votes[answer] * 2 <= len(self._address.sentinels):
            return None
        primary = self._address.primary
        return replace(primary, options={**primary.options, "host": answer[0], "port": answer[1]})

    def lost(self) -> StoreError:
        """The error when all were asked and most did not agree."""
        asked = self._address
        return StoreError(f"most of the {len(asked.sentinels)} sentinels did not name a primary for {asked.service!r}")


def _ask(service: str) -> Generator[list[Words], list[Reply], tuple[str, int] | None]:
    (reply,) = yield [("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)]
    if not isinstance(reply, list):
        return None
    host, port = (bytes(part).decode() for part in reply)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return host, int(port)


def find(address: Address | SentinelAddress, deadline: Deadline | None = None) -> Address:
    """Return where the server is now, blocking.

    Args:
        address: the server, or who knows where it is.
        deadline: when the call is over for which it is to be found.

    Raises:
        StoreError: most sentinels do not agree, or cannot be reached.
    """
    if isinstance(address, Address):
        return address
    election = _Election(address)
    for sentinel in address.sentinels:
        try:
            primary = election.count(_asked(sentinel, address.service, deadline))
        except FOREIGN:
            continue
        if primary is not None:
            return primary
    raise election.lost()


def _asked(sentinel: Address, service: str, deadline: Deadline | None) -> tuple[str, int] | None:
    connection = sentinel.blocking(deadline)
    try:
        connection.connect()
        return lead(connection, _ask(service))
    finally:
        connection.disconnect()


async def afind(address: Address | SentinelAddress, deadline: Deadline | None = None) -> Address:
    """Return where the server is now; see :func:`find`."""
    if isinstance(address, Address):
        return address
    election = _Election(address)
    for sentinel in address.sentinels:
        connection: Any = sentinel.awaited()
        try:
            async with asyncio.timeout(left(deadline, sentinel.connect_timeout_ms / 1000)):
                await connection.connect()
                primary = election.count(await alead(connection, _ask(address.service)))
        except FOREIGN:
            continue
        finally:
            await hang_up(connection)
        if primary is not None:
            return primary
    raise election.lost()
