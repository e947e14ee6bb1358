"""What a server that speaks TLS says of a client's certificate, and when."""

from __future__ import annotations

import contextlib
from typing import Any

import redis

from rowstamp.stores.redis.address import Address
from rowstamp.stores.redis.errors import FOREIGN, is_permanent

__all__ = ["refusal"]


def refusal(address: Address) -> BaseException | None:
    """Return why a server does not accept a certificate, if that is why it closes connections; ``None`` if it does not say so.

    Since TLS 1.3 a server judges the client's certificate when the client may be writing already. Then it closes, and most
    often what it has said is lost with what was written. So here nothing is written, and what it says is read.

    Args:
        address: the server; connecting and reading take their timeouts at most.
    """
    if address.kind != "tls":
        return None
    connection: Any = redis.SSLConnection(
        **address.options,
        socket_timeout=address.timeout_ms / 1000,
        socket_connect_timeout=address.connect_timeout_ms / 1000,
        redis_connect_func=_say_nothing,
    )
    try:
        connection.connect()
        with contextlib.suppress(TimeoutError):
            connection._sock.recv(1)  # noqa: SLF001 - redis-py reads replies only, and there will be none
    except FOREIGN as exc:
        return exc if is_permanent(exc) else None
    finally:
        connection.disconnect()
    return None


def _say_nothing(connection: object) -> None:
    """Leave out what redis-py says on each new connection."""
