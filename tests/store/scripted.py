"""A server of our own that says what no real one can be made to say in time."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import hiredis

Words: TypeAlias = list[bytes]
Answer: TypeAlias = Callable[[Words], bytes | None]
"""What is sent in reply to a command; ``None`` closes the connection."""

INFO: Final = "run_id:{run}\r\nredis_version:7.0.0\r\nredis_mode:{mode}\r\nrole:master\r\nmaster_replid:x\r\n"


def bulk(text: str) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text.encode())


def greeting(words: Words, mode: str = "standalone") -> bytes | None:
    """What any server replies to what is said first on a connection; ``None`` to what comes later."""
    match words[0].upper():
        case b"INFO":
            return bulk(INFO.format(run="r", mode=mode))
        case b"CLIENT" | b"SCRIPT" | b"SET" | b"AUTH":
            return b"+OK\r\n"
        case b"GETEX":
            return bulk("an epoch of 16 b")
        case _:
            return None


@dataclass
class Scripted:
    """A server, and what it was told.

    Attributes:
        port: where it listens.
        heard: the first words of what it was told, but for greetings.
        connections: how many there were.
    """

    port: int = 0
    heard: list[bytes] = field(default_factory=list[bytes])
    connections: int = 0


@contextlib.contextmanager
def scripted(answer: Answer) -> Generator[Scripted]:
    """Run a server that answers so."""
    found = Scripted()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            found.connections += 1
            commands: Any = hiredis.Reader()
            while data := self.request.recv(65536):
                commands.feed(data)
                while (words := commands.gets()) is not False:
                    if greeting(words) is None:
                        found.heard.append(words[0])
                    reply = answer(words)
                    if reply is None:
                        return
                    self.request.sendall(reply)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        found.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
