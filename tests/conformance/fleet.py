"""Another process of the application, which makes many calls at once when it is told to, and says when it loads."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from rowstamp import AsyncCache, Cache

ROOT = Path(__file__).parents[2]
STATEMENT = text("SELECT count(*) FROM things")


class Member:
    """A process of the fleet, as its parent sees it.

    Args:
        kind: ``"sync"`` for threads, ``"async"`` for tasks.
        database: the file of the database.
        store: the URL of the store.
        calls: how many calls at once.
        lease: how long a loader keeps the others waiting at most, in seconds.
    """

    def __init__(self, kind: str, database: Path, store: str, calls: int, lease: float) -> None:
        program = "from tests.conformance.fleet import main; main()"
        command = [sys.executable, "-c", program, kind, str(database), store, str(calls), str(lease)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT, env=environment, text=True)
        self.listener: threading.Thread | None = None
        self.said: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def heard(self) -> Any:
        """Return the next thing it says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the process has ended with {self.process.wait()}"
        return json.loads(line)

    def tell(self, word: str) -> None:
        """Say something to it."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """End it without warning."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


# ------------------------------------------------------------------------------------------------ in the process


class _Told:
    """What the parent says: ``go``, and ``finish`` for a load that is under way."""

    def __init__(self) -> None:
        self.go, self.finish = threading.Event(), threading.Event()
        self._saying = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            (self.go if line.strip() == "go" else self.finish).set()

    def say(self, what: Any) -> None:
        with self._saying:
            print(json.dumps(what), flush=True)  # noqa: T201


def main() -> None:
    kind, database, store, calls, lease = sys.argv[1:]
    told, runs = _Told(), list[int]()
    if kind == "sync":
        values = _threads(told, runs, database, store, int(calls), float(lease))
    else:
        values = asyncio.run(_tasks(told, runs, database, store, int(calls), float(lease)))
    told.say({"runs": len(runs), "values": sorted(set(values)), "calls": len(values)})


def _threads(told: _Told, runs: list[int], database: str, store: str, calls: int, lease: float) -> list[int]:
    engine = create_engine(f"sqlite:///{database}")
    cache = Cache(store, namespace="fleet", lease=lease)
    cache.attach(engine)

    @cache.query()
    def count(session: Session) -> int:
        runs.append(1)
        told.say("loading")
        told.finish.wait()
        return session.scalar(STATEMENT) or 0

    def call(_: int) -> int:
        with Session(engine) as session:
            return count(session)

    with Session(engine) as session:
        session.scalar(STATEMENT, execution_options={"rowstamp": True})
    with ThreadPoolExecutor(calls) as pool:
        told.say("ready")
        told.go.wait()
        futures = [pool.submit(call, number) for number in range(calls)]
        told.say("started")
        return [future.result() for future in futures]


async def _tasks(told: _Told, runs: list[int], database: str, store: str, calls: int, lease: float) -> list[int]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{database}")
    async with AsyncCache(store, namespace="fleet", lease=lease) as cache:
        cache.attach(engine)

        @cache.query()
        async def count(session: AsyncSession) -> int:
            runs.append(1)
            told.say("loading")
            await asyncio.to_thread(told.finish.wait)
            return await session.scalar(STATEMENT) or 0

        async def call() -> int:
            async with AsyncSession(engine) as session:
                return await count(session)

        async with AsyncSession(engine) as session:
            await session.scalar(STATEMENT, execution_options={"rowstamp": True})
        told.say("ready")
        await asyncio.to_thread(told.go.wait)
        tasks = [asyncio.ensure_future(call()) for _ in range(calls)]
        told.say("started")
        values = await asyncio.gather(*tasks)
        await engine.dispose()
        return values
