"""A primary, two replicas and three sentinels, started privately."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from rowstamp.testing.servers import ValkeyServer, free_port

SERVICE = "main"


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something that other processes do."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


class SentinelServer(ValkeyServer):
    """A Sentinel that watches one primary."""

    name = "sentinel"

    def __init__(self, primary: int, program: Path) -> None:
        super().__init__(program)
        self._primary = primary

    def prepare(self) -> None:
        self.port = free_port()
        (self.directory / "sentinel.conf").write_text(
            f"bind 127.0.0.1\nport {self.port}\ndir {self.directory}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {self._primary} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} 500\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
        )

    def command(self) -> Sequence[str]:
        return [str(self._program), str(self.directory / "sentinel.conf"), "--sentinel"]

    def is_ready(self) -> bool:
        with socket.socket() as connection, contextlib.suppress(OSError):
            connection.settimeout(1.0)
            connection.connect(("127.0.0.1", self.port))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False


def ask(port: int, *words: str) -> Any:
    with redis.Redis(port=port, decode_responses=True, protocol=2) as client:
        untyped: Any = client
        return untyped.execute_command(*words)


@dataclass
class Watched:
    """Three servers, of which one is the primary, and three sentinels."""

    servers: list[ValkeyServer]
    sentinels: list[SentinelServer]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{each.port}' for each in self.sentinels)}/{SERVICE}"

    def primary(self) -> ValkeyServer:
        """Whom every sentinel names."""
        (port,) = {int(ask(each.port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1]) for each in self.sentinels}
        return next(server for server in self.servers if server.port == port)

    def settled(self) -> bool:
        """Whether every sentinel knows of every replica, that it follows the primary, and of every other sentinel."""
        masters = [_named(ask(each.port, "SENTINEL", "MASTER", SERVICE)) for each in self.sentinels]
        replicas = [_named(one) for each in self.sentinels for one in ask(each.port, "SENTINEL", "REPLICAS", SERVICE)]
        return all(
            (int(master["num-slaves"]), int(master["num-other-sentinels"])) == (2, 2) and master["flags"] == "master"
            for master in masters
        ) and all(replica["master-link-status"] == "ok" for replica in replicas)


def _named(flat: Any) -> dict[str, str]:
    """What RESP2 gives as names and values in turns."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


@contextlib.contextmanager
def watched(make: Callable[[], ValkeyServer] = ValkeyServer) -> Generator[Watched]:
    """Start three servers and three sentinels that run the same program."""
    with contextlib.ExitStack() as stack:
        primary, *replicas = servers = [stack.enter_context(make()) for _ in range(3)]
        for replica in replicas:
            ask(replica.port, "REPLICAOF", "127.0.0.1", str(primary.port))
        sentinels = [stack.enter_context(SentinelServer(primary.port, primary._program)) for _ in range(3)]
        for sentinel in sentinels:
            # How often sentinels ask servers what they are, and tell each other, in milliseconds: by default it takes ten seconds until
            # a primary is told that it was replaced. A replica is promoted only if it was asked within three such periods.
            ask(sentinel.port, "SENTINEL", "DEBUG", "INFO-PERIOD", "1000", "PUBLISH-PERIOD", "200")
        found = Watched(servers, sentinels)
        until(found.settled)
        yield found


def killed(servers: Watched) -> None:
    servers.primary().kill()
    until(lambda: _is_another(servers))


def _is_another(servers: Watched) -> bool:
    """Whether the sentinels agree on a primary that runs."""
    ports = {int(ask(each.port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1]) for each in servers.sentinels}
    if len(ports) != 1:
        return False
    try:
        return str(ask(ports.pop(), "ROLE")[0]) == "master"
    except OSError:
        return False
    except Exception as exc:
        if "Connection refused" in str(exc):
            return False
        raise


def handed_over(servers: Watched) -> None:
    """A failover asked for, with the old primary alive: it becomes a replica, and its connections must not be trusted."""
    old = servers.primary().port
    ask(servers.sentinels[0].port, "SENTINEL", "FAILOVER", SERVICE)
    until(lambda: str(ask(old, "ROLE")[0]) != "master")
    until(lambda: _is_another(servers))
