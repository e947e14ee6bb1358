"""Another process with an LMDB store, which does what it is told."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from rowstamp.stores.lmdb import LmdbStore

ROOT = Path(__file__).parents[2]


class Peer:
    """A process of its own; each method call of its store is made there."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-c", "from tests.store.lmdb_peer import serve; serve()", str(folder)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environment
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def send(self, name: str, *args: Any) -> None:
        """Ask for an operation, without waiting for its end."""
        assert self.process.stdin is not None
        pickle.dump((name, args), self.process.stdin)
        self.process.stdin.flush()

    def answer(self) -> Any:
        """Return what the operation returned."""
        assert self.process.stdout is not None
        result = pickle.load(self.process.stdout)
        if isinstance(result, Exception):
            raise result
        return result

    def do(self, name: str, *args: Any) -> Any:
        """Make a method call there; return what it returned or raise what it raised."""
        self.send(name, *args)
        return self.answer()

    def kill(self) -> None:
        """End it without warning."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Stop it where it is, and wait until it has."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)

    def go_on(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)


def serve() -> None:
    """Do what comes in; told to stall, say so in the middle of a write and stay there, or in the middle of a read."""
    store, source, sink = LmdbStore(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            name, args = pickle.load(source)
        except EOFError:
            return
        if name in {"stall_writing", "stall_reading"}:
            _stall(store, name, sink)
        try:
            reply = getattr(store, name)(*args)
        except Exception as exc:  # noqa: BLE001 - handed on
            reply = exc
        _say(sink, reply)


def _stall(store: LmdbStore, name: str, sink: BinaryIO) -> None:
    if name == "stall_reading":
        store.read(bytes(16), ())
        opened = store._home.current()
        assert opened is not None
        with opened.env.begin() as txn:
            txn.get(bytes(16), db=opened.entries)
            _say(sink, "stalled")
            signal.pause()
    with store._home.writing() as opened, opened.env.begin(write=True) as txn:
        txn.put(bytes(16), b"half", db=opened.stamps)
        _say(sink, "stalled")
        signal.pause()


def _say(sink: BinaryIO, reply: object) -> None:
    pickle.dump(reply, sink)
    sink.flush()
