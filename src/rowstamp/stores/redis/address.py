"""Where a Redis or Valkey server is and how long it may take: URLs and ready clients, validated before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

import redis
import redis.asyncio

from rowstamp.errors import ConfigurationError
from rowstamp.stores.redis.deadline import Deadline, left

__all__ = [
    "CONNECT_TIMEOUT_MS",
    "TIMEOUT_MS",
    "Address",
    "AsyncConnection",
    "Connection",
    "split_hosts",
]

CONNECT_TIMEOUT_MS: Final = 500
"""How long making a connection may take when nothing else is asked for, in milliseconds."""

TIMEOUT_MS: Final = 250
"""How long one round trip may take when nothing else is asked for, in milliseconds."""

TLS_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
TLS_SCHEMES: Final = frozenset({"rediss", "valkeys"})
OPTIONS: Final = ("prefix", "timeout_ms", "connect_timeout_ms", "client_name")


class Connection(Protocol):
    """What is used of redis-py's blocking connections."""

    def connect(self) -> None:
        """Connect, authenticate and select the database."""

    def disconnect(self) -> None:
        """Close."""

    def send_packed_command(self, command: list[bytes], check_health: bool = ...) -> None:  # noqa: FBT001 - redis-py's
        """Send bytes."""

    def read_response(self) -> Any:
        """Read one reply; an error that the server answers is raised."""

    def can_read(self, timeout: float = ...) -> bool:
        """Whether there is something to read."""
        ...


class AsyncConnection(Protocol):
    """What is used of redis-py's awaited connections."""

    async def connect(self) -> None:
        """Connect, authenticate and select the database."""

    async def disconnect(self, nowait: bool = ...) -> None:  # noqa: FBT001 - redis-py's
        """Close."""

    async def send_packed_command(self, command: list[bytes], check_health: bool = ...) -> None:  # noqa: FBT001 - redis-py's
        """Send bytes."""

    async def read_response(self) -> Any:
        """Read one reply; an error that the server answers is raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A server, the way to it, and the time it is given.

    Attributes:
        kind: ``"tcp"``, ``"tls"`` or ``"unix"``.
        options: what redis-py's connections of that kind take.
        prefix: how every key begins, before a colon.
        timeout_ms: how long one round trip may take, in milliseconds.
        connect_timeout_ms: how long making a connection may take, in milliseconds.
    """

    kind: str = "tcp"
    options: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    prefix: str = "rs"
    timeout_ms: float = TIMEOUT_MS
    connect_timeout_ms: float = CONNECT_TIMEOUT_MS

    def __post_init__(self) -> None:
        if not self.prefix or not self.prefix.isascii() or not self.prefix.isprintable():
            raise ConfigurationError(
                f"prefix={self.prefix!r} cannot begin a key: give ASCII text such as prefix='shop'"
            )
        for name in ("timeout_ms", "connect_timeout_ms"):
            value: float = getattr(self, name)
            if not 0 < value < 600_000:
                raise ConfigurationError(f"{name}={value!r} is no time to wait: give milliseconds, such as {name}=250")

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"{self.options.get('path')}"
        return f"{self.options.get('host', 'localhost')}:{self.options.get('port', 6379)}"

    def blocking(self, deadline: Deadline | None = None, *, protocol: int = 2) -> Connection:
        """Return a connection that is not connected yet, and blocks; in RESP3 the server may push.

        Args:
            deadline: when the call is over that needs it; until it is connected nothing takes longer than that.
            protocol: 2 or 3.

        Raises:
            TimeoutError: the call is over already.
        """
        classes: dict[str, Callable[..., Connection]] = {
            "tcp": redis.Connection,
            "tls": redis.SSLConnection,
            "unix": redis.UnixDomainSocketConnection,
        }
        return classes[self.kind](
            **self.options,
            socket_timeout=left(deadline, self.timeout_ms / 1000),
            socket_connect_timeout=left(deadline, self.connect_timeout_ms / 1000),
            protocol=protocol,
        )

    def awaited(self) -> AsyncConnection:
        """Return a connection that is not connected yet, and is awaited.

        It has no timeouts of its own: they would cost a task for every command, where one for the whole round trip does.
        """
        classes: dict[str, Callable[..., AsyncConnection]] = {
            "tcp": redis.asyncio.Connection,
            "tls": redis.asyncio.SSLConnection,
            "unix": redis.asyncio.UnixDomainSocketConnection,
        }
        return classes[self.kind](
            **self.options, socket_timeout=None, socket_connect_timeout=self.connect_timeout_ms / 1000, protocol=2
        )

    @classmethod
    def of_url(cls, parts: SplitResult, options: Mapping[str, str]) -> Address:
        """Return the address in a URL.

        Args:
            parts: the URL; its scheme decides about TLS.
            options: the options of its query string, known and given once each.

        Raises:
            ConfigurationError: a part of it makes no sense.
        """
        found: dict[str, Any] = {name: options[name] for name in (*TLS_FILES, "client_name") if name in options}
        for name in TLS_FILES:
            if name in found and not Path(found[name]).is_file():
                raise ConfigurationError(f"{name}={found[name]!r} is not a file: give the path of a PEM file")
        if parts.username:
            found["username"] = unquote(parts.username)
        if parts.password:
            found["password"] = unquote(parts.password)
        if parts.scheme == "unix":
            found |= _unix(parts, options)
            kind = "unix"
        else:
            found |= _tcp(parts)
            kind = "tls" if parts.scheme in TLS_SCHEMES else "tcp"
        if kind == "tls":
            found["ssl_check_hostname"] = True  # not so by default in all versions of redis-py
        return cls(
            kind=kind,
            options=found,
            prefix=options.get("prefix", "rs"),
            timeout_ms=_milliseconds(options, "timeout_ms", TIMEOUT_MS),
            connect_timeout_ms=_milliseconds(options, "connect_timeout_ms", CONNECT_TIMEOUT_MS),
        )


def _unix(parts: SplitResult, options: Mapping[str, str]) -> dict[str, Any]:
    if not parts.path.strip("/") or parts.hostname:
        raise ConfigurationError("a unix:// store needs the path of a socket; write unix:///run/redis/redis.sock?db=0")
    return {"path": unquote(parts.path), "db": _number("db", options.get("db", "0"))}


def _tcp(parts: SplitResult) -> dict[str, Any]:
    try:
        port = parts.port
    except ValueError:
        raise ConfigurationError("the port in the store URL is not a number from 1 to 65535") from None
    if parts.fragment:
        raise ConfigurationError(
            f"a {parts.scheme}:// store has no fragment; percent-encode a # in the password as %23"
        )
    return {
        "host": unquote(parts.hostname or "localhost"),
        "port": port or 6379,
        "db": _number("the database in the path", parts.path.strip("/") or "0"),
    }


def split_hosts(hosts: str, port: int, what: str) -> list[tuple[str, int]]:
    """Return the hosts and ports in ``host:port,host,[::1]:port``.

    Args:
        hosts: the part of a URL.
        port: the port of those that have none.
        what: what is at these hosts.

    Raises:
        ConfigurationError: one of them has no host, or a port that is no number.
    """
    found: list[tuple[str, int]] = []
    for host in hosts.split(","):
        try:
            parts = urlsplit(f"redis://{host}")
            name, own_port = parts.hostname, parts.port
        except ValueError:
            name, own_port = None, None
        if not name:
            raise ConfigurationError(
                f"one of the {what} in the store URL has no host, or a port that is no number;"
                f" write host1:{port},host2:{port}"
            )
        found.append((name, own_port or port))
    return found


def _number(what: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ConfigurationError(f"{what}={text!r} is not a number; write one such as redis://localhost:6379/0")
    return int(text)


def _milliseconds(options: Mapping[str, str], name: str, default: float) -> float:
    text = options.get(name)
    if text is None:
        return default
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(f"{name}={text!r} is not a number of milliseconds; write {name}=250") from None
