"""Runs races in a process that has nothing open, so that it can fork workers, kill them, stop them and start others in their place.

A test talks to it over pipes: a `Spec` in a line of JSON, a `Result` in another. When the test's process ends, however it ends, the
pipe does too, and the arena kills what it has started.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, NoReturn, Self

from rowstamp.stores.memory import MemoryStore
from tests.race import traps, workers
from tests.race.ledger import Ledger, Tally
from tests.race.shop import ROWS, build
from tests.race.spec import Result, Spec
from tests.race.weakened import WEAKENINGS
from tests.race.workers import Node, Place

Work = Callable[[Place], object]

REPORTED: Final = [tally for tally in Tally if tally < Tally.HOLDING_SINCE]
STOPPED_FOR: Final = 0.1
"""How long a stopped reader waits for others to write, in seconds."""


@dataclass
class Worker:
    """A process that works at a place."""

    work: Work
    place: Place
    pid: int = 0
    channel: socket.socket | None = None
    times: int = 0
    continues_at: tuple[int, float] | None = None
    """The number of writes, or the time, at which it goes on after a stop."""
    told: list[str] = field(default_factory=list[str])
    done: bool = False


def _run_forked(work: Work, place: Place, channel: socket.socket) -> NoReturn:
    """Work, as a process just forked; nothing of what the arena has on its stack may run again."""
    status = 1
    try:
        place.__post_init__()
        place.supervisor = channel
        weaken = WEAKENINGS.get(place.spec.weakening)
        if weaken is not None:
            weaken()
        outcome = work(place)
        channel.send(b"=" + json.dumps(outcome).encode())
        status = 0
    except BaseException:  # noqa: BLE001 - told to the arena, which is another process
        with contextlib.suppress(OSError):
            channel.send(b"!" + traceback.format_exc()[-6000:].encode())
    finally:
        os._exit(status)


class Arena:
    """One run."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.ledger = Ledger(ROWS, spec.workers, spec.hold_ttl)
        self.workers: list[Worker] = []
        self.deadline = time.monotonic() + spec.patience
        self.outcome: Any = None
        self.failed: list[str] = []

    # ------------------------------------------------------------------------------------------------- processes

    def start(self, worker: Worker) -> None:
        """Fork a worker, for the first time or in the place of one that was killed."""
        worker.place = replace(
            worker.place,
            seed=f"{self.spec.seed}/{worker.place.number}/{worker.times}",
            first=not worker.times,
            found=[],
        )
        worker.times += 1
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            here.close()
            for other in self.workers:
                if other.channel is not None:
                    other.channel.close()
            _run_forked(worker.work, worker.place, there)
        there.close()
        worker.pid, worker.channel = pid, here

    def run_workers(self, works: list[Work]) -> None:
        """Let workers work side by side until all of them are done."""
        self.workers = [Worker(work, self.place(number)) for number, work in enumerate(works)]
        for worker in self.workers:
            self.start(worker)
        try:
            self._supervise()
        finally:
            self.kill()

    def place(self, number: int) -> Place:
        return Place(self.spec, number, self.ledger, "")

    def _supervise(self) -> None:
        while waiting := [worker for worker in self.workers if not worker.done]:
            if time.monotonic() > self.deadline:
                self.failed.append(f"not done after {self.spec.patience} s: {self.ledger.totals(REPORTED)}")
                return
            channels = {worker.channel: worker for worker in waiting if worker.channel is not None}
            stopped = any(worker.continues_at for worker in waiting)
            readable, _, _ = select.select([*channels, sys.stdin], [], [], 0.001 if stopped else 1)
            for channel in readable:
                if not isinstance(channel, socket.socket):
                    raise SystemExit  # nobody speaks during a run: whoever asked for it is gone
                self._hear(channels[channel])
            self._continue(waiting)
            readers = [worker for worker in self.workers if worker.work is workers.reader]
            if (readers and all(worker.done for worker in readers)) or self.failed:
                self.ledger.stop()

    def _hear(self, worker: Worker) -> None:
        assert worker.channel is not None
        try:
            message = worker.channel.recv(65536)
        except ConnectionError:
            message = b""
        kind, text = message[:1], message[1:].decode()
        if kind == b"s" and len(message) == 1:
            os.kill(worker.pid, signal.SIGSTOP)
            self.ledger.count(worker.place.number, Tally.STOPS)
            self.ledger.set(worker.place.number, Tally.WAITING, 1)
            worker.continues_at = self.ledger.total(Tally.WRITES) + 1, time.monotonic() + STOPPED_FOR
        elif kind == b"=":
            worker.done = True
            self.outcome = json.loads(text)
        elif kind == b"!":
            self.failed.append(text)
        elif message:
            worker.told.append(message.decode())
        else:
            self._ended(worker)

    def _ended(self, worker: Worker) -> None:
        assert worker.channel is not None
        worker.channel.close()
        worker.channel = None
        _, status = os.waitpid(worker.pid, 0)
        worker.pid = 0
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and not self.ledger.stopped:
            self.ledger.count(worker.place.number, Tally.KILLS)
            self.ledger.set(worker.place.number, Tally.HOLDING_SINCE, 0)
            self.start(worker)
        else:
            worker.done = True

    def _continue(self, waiting: list[Worker]) -> None:
        for worker in waiting:
            if worker.continues_at is None or worker.channel is None:
                continue
            writes, moment = worker.continues_at
            if self.ledger.total(Tally.WRITES) >= writes or time.monotonic() >= moment:
                worker.continues_at = None
                self.ledger.set(worker.place.number, Tally.WAITING, 0)
                os.kill(worker.pid, signal.SIGCONT)
                worker.channel.send(b"g")

    def kill(self) -> None:
        """End what is still there."""
        for worker in self.workers:
            if worker.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)
                os.waitpid(worker.pid, 0)
                worker.pid = 0
            if worker.channel is not None:
                worker.channel.close()
                worker.channel = None

    # ------------------------------------------------------------------------------------------------------ runs

    def in_processes(self) -> Result:
        """Readers, writers, a canceller and a witness, each a process; then a look at what is at rest."""
        spec, result = self.spec, Result()
        begin = time.monotonic()
        self.run_workers([lambda _place: build(spec.database, spec.journal)])
        side_by_side: list[Work] = [
            *[workers.reader] * spec.readers,
            *[workers.writer] * spec.writers,
            workers.canceller,
            workers.witness,
        ]
        self._go(side_by_side, result)
        self._go([_rest], result)
        return self._finish(result, begin)

    def _go(self, works: list[Work], result: Result) -> None:
        if not self.failed:
            self.run_workers(works)
            result.found += [text for worker in self.workers for text in worker.told]

    def in_threads(self) -> Result:
        """The same with threads that share a store in their memory; all of it in one forked process."""
        result = Result()
        begin = time.monotonic()
        self._go([_threads], result)
        return self._finish(result, begin)

    def _finish(self, result: Result, begin: float) -> Result:
        if not self.failed:
            result.rest, result.stale_at_rest = self.outcome
        result.figures = self.ledger.totals(REPORTED)
        result.seconds = time.monotonic() - begin
        result.found = self.failed + result.found
        return result


def _rest(place: Place) -> tuple[int, int]:
    # What the killed and the cancelled have left held ends by the clock of the store.
    workers.breathe(place.spec.hold_ttl + 0.1)
    return workers.at_rest(place)


def _threads(place: Place) -> tuple[int, int]:
    """Run all workers as threads."""
    spec, ledger, supervisor = place.spec, place.ledger, place.supervisor
    build(spec.database, spec.journal)
    sys.setswitchinterval(spec.breath / 5)
    store = MemoryStore()
    dawdling = traps.dawdling(place.rng, spec.dawdle, spec.pause)
    trapped = traps.TrappedStore(store, captured=dawdling, loaded=dawdling, held=dawdling, committed=dawdling)
    node = Node(spec, trapped)
    errors: list[BaseException] = []

    def run(work: Callable[[Place, Node | None], None], number: int) -> None:
        here = Place(spec, number, ledger, f"{spec.seed}/{number}", shared=store, found=place.found)
        try:
            work(here, node)
        except BaseException as exc:  # noqa: BLE001 - raised where the threads are joined
            errors.append(exc)
            ledger.stop()

    readers = [threading.Thread(target=run, args=(workers.reader, n)) for n in range(spec.readers)]
    others = [threading.Thread(target=run, args=(workers.writer, spec.readers + n)) for n in range(spec.writers)]
    for work in (workers.canceller, workers.witness):
        others.append(threading.Thread(target=run, args=(work, spec.readers + len(others))))
    for thread in (*readers, *others):
        thread.start()
    for thread in readers:
        thread.join()
    ledger.stop()
    for thread in others:
        thread.join()
    for text in place.found:
        if supervisor is not None:
            supervisor.send(text.encode())
    if errors:
        raise errors[0]
    node.close()
    last = Place(spec, spec.workers - 1, ledger, "", supervisor=supervisor, shared=store)
    return _rest(last)


def main() -> None:
    """Run what is asked for on standard input, until that ends."""
    # A cancellation may arrive while a connection is reset, which SQLAlchemy says at length each time.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    for line in sys.stdin:
        spec = Spec(**json.loads(line))
        arena = Arena(spec)
        result = arena.in_threads() if spec.store == "memory://" else arena.in_processes()
        print(json.dumps(vars(result)), flush=True)  # noqa: T201 - the answer


# ------------------------------------------------------------------------------------------------ the test's side


class ArenaProcess:
    """An arena as the tests see it; a context manager that ends it and all it has started."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.race.arena"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.__exit__(None, None, None)

    def run(self, spec: Spec) -> Result:
        """Run a race; an error in one of its processes is an error here."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(spec.as_dict()) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the arena has ended"
        return Result(**json.loads(answer))


if __name__ == "__main__":
    main()
