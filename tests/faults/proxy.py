"""A TCP proxy that can be cut, slowed, stalled and cut in the middle of a reply, and that counts round trips."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self


class Proxy:
    """Passes bytes between clients and one server.

    Args:
        server: the server's port on 127.0.0.1, or the path of its socket.

    Attributes:
        server: where new connections lead.
        trips: how often a client has begun to speak after the server had spoken last (or nobody had).
        connections: how many connections were accepted.
        refusing: whether new connections are closed at once.
        cut_after: after so many more bytes of replies everything is cut, once.
        cut_request: a request that contains these bytes is not passed on, and everything is cut, once.
        cut_answer: a request that contains these bytes is passed on, and everything is cut when its answer comes, once.
        delay: how long each piece of a reply is held back, in seconds.
        meeting: where the next request waits for those of other proxies, once.
    """

    def __init__(self, server: int | Path) -> None:
        self.server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._closing = threading.Event()
        self.trips = 0
        self.connections = 0
        self.refusing = False
        self.cut_after: int | None = None
        self.cut_request: bytes | None = None
        self.cut_answer: bytes | None = None
        self.delay = 0.0
        self.meeting: threading.Barrier | None = None

    def url(self, **options: object) -> str:
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"redis://127.0.0.1:{self.port}/0" + (f"?{query}" if query else "")

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        self._flowing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def cut(self) -> None:
        """Break every connection; new ones can be made."""
        with self._lock:
            broken, self._open = self._open, set()
        for sock in broken:
            _close(sock)

    def stall(self) -> None:
        """Pass nothing on until :meth:`resume`, as if the network were swallowing everything."""
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                if self.refusing:
                    raise ConnectionRefusedError
                server = self._connect()
            except OSError:
                _close(client)
                continue
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {client, server}
            turn = _Turn()
            self._start(self._pump, client, server, turn, True)
            self._start(self._pump, server, client, turn, False)

    def _connect(self) -> socket.socket:
        if isinstance(self.server, Path):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(self.server))
            return connection
        connection = socket.create_connection(("127.0.0.1", self.server))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _pump(self, source: socket.socket, target: socket.socket, turn: _Turn, asking: bool) -> None:
        with contextlib.suppress(OSError, threading.BrokenBarrierError):
            while data := source.recv(65536):
                self._flowing.wait()
                if asking and self.meeting is not None:
                    meeting, self.meeting = self.meeting, None
                    meeting.wait(10)
                self._count(turn, asking)
                if asking and self.cut_request is not None and self.cut_request in data:
                    self.cut_request = None
                    break
                if asking and self.cut_answer is not None and self.cut_answer in data:
                    self.cut_answer, self.cut_after = None, 0
                if not asking:
                    if self.delay:
                        self._closing.wait(self.delay)
                    if self.cut_after is not None:
                        data = data[: self.cut_after]
                        self.cut_after -= len(data)
                        if self.cut_after == 0:
                            self.cut_after = None
                            target.sendall(data)
                            break
                target.sendall(data)
        with self._lock:
            self._open -= {source, target}
        _close(source)
        _close(target)

    def _count(self, turn: _Turn, asking: bool) -> None:
        with self._lock:
            if asking and not turn.client_spoke_last:
                self.trips += 1
            turn.client_spoke_last = asking


class _Turn:
    client_spoke_last = False


def _close(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
