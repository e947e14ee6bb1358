"""The steps that answer a call, and who takes them: this thread, or a task."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

from rowstamp._sqlalchemy import run_in_greenlet
from rowstamp.calls.call import NOTHING, Call, Detach
from rowstamp.core import Core
from rowstamp.drivers import perform, run, run_async
from rowstamp.orm.situation import Situation
from rowstamp.protocol import Operation
from rowstamp.protocol_lease import Pause
from rowstamp.recording import Recorder, recording
from rowstamp.stampede import Flight
from rowstamp.store import AsyncStore, Waking

__all__ = ["Background", "Flush", "Load", "Settle", "Step", "Steps", "Wait", "drive", "drive_async", "running_loop"]


@dataclass(frozen=True, slots=True)
class Load:
    """Run the function. Reply: its result."""

    recorder: Recorder | None


@dataclass(frozen=True, slots=True)
class Flush:
    """Flush a session, as it was given. No reply."""

    session: Any


@dataclass(frozen=True, slots=True)
class Settle:
    """Find out in what state the connections of a call are, which is part of its key. No reply."""

    situation: Situation


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for a load that is under way, for so many seconds at most. No reply."""

    flight: Flight
    patience: float | None


@dataclass(frozen=True, slots=True)
class Background:
    """Take other steps in the background, which go on when the caller has left. No reply.

    Attributes:
        call: the caller's call.
        detach: opens what these steps need; see :class:`~rowstamp.calls.call.Call`.
        steps: the steps of the call that it gives.
        ended: told what has come of them: a value, or the error.
    """

    call: Call
    detach: Detach
    steps: Callable[[Call], Steps]
    ended: Callable[[Any, BaseException | None], None]


Step: TypeAlias = Operation | Load | Flush | Settle | Wait | Pause | Background
Steps: TypeAlias = Generator[Step, Any, Any]


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop of this task, or ``None`` in a thread without one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def drive(core: Core, steps: Steps, load: Callable[[], Any]) -> Any:
    """Take the steps of a synchronous call."""

    def step(operation: Any) -> Any:
        match operation:
            case Load(recorder):
                with recording(recorder):
                    return load()
            case Flush(session):
                return session.flush()
            case Settle(situation):
                return situation.settle()
            case Wait(flight, patience):
                return flight.wait(patience)
            case Pause():
                return _pause(core, operation)
            case Background():
                # In the caller's context, as a task would be: what `vary=` looks at there is part of the key.
                run_there = contextvars.copy_context().run
                thread = threading.Thread(
                    target=run_there, args=(_in_background, core, operation), name="rowstamp-load", daemon=True
                )
                return thread.start()
            case _:
                return perform(core.store, operation, None)

    return run(steps, step)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def _pause(core: Core, pause: Pause) -> float | None:
    if not isinstance(core.store, Waking):
        time.sleep(pause.seconds)
        return None
    started = core.clock()
    core.store.wait_unleased(pause.entry, pause.patience)
    return core.clock() - started


async def _pause_async(core: Core, pause: Pause) -> float | None:
    store = core.store
    if not isinstance(store, Waking):
        await asyncio.sleep(pause.seconds)
        return None
    started = core.clock()
    if isinstance(store, AsyncStore):
        await store.wait_unleased(pause.entry, pause.patience)
    else:
        # It blocks, and the loader may be a task of this very loop (of another cache).
        await asyncio.to_thread(store.wait_unleased, pause.entry, pause.patience)
    return core.clock() - started


def _in_background(core: Core, background: Background) -> None:
    value: Any = NOTHING
    error: BaseException | None = None
    try:
        with background.detach(background.call) as (call, load):
            value = drive(core, background.steps(call), load)
    except BaseException as exc:  # noqa: BLE001 - told to whoever waits; a thread has nobody else to tell
        error = exc
    background.ended(value, error)


async def drive_async(core: Core, steps: Steps, load: Callable[[], Awaitable[Any]]) -> Any:
    """Take the steps of an asynchronous call."""

    async def step(operation: Any) -> Any:
        match operation:
            case Load(recorder):
                with recording(recorder):
                    return await load()
            case Flush(session):
                return await session.flush()
            case Settle(situation):
                return await run_in_greenlet(situation.settle)
            case Wait(flight, patience):
                return await flight.wait_async(patience)
            case Pause():
                return await _pause_async(core, operation)
            case Background():
                task = asyncio.ensure_future(_in_background_async(core, operation))
                core.background.add(task)
                return task.add_done_callback(core.background.discard)
            case _:
                reply = perform(core.store, operation, None)
                return await reply if hasattr(reply, "__await__") else reply

    return await run_async(steps, step)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def _in_background_async(core: Core, background: Background) -> None:
    value: Any = NOTHING
    error: BaseException | None = None
    try:
        async with background.detach(background.call) as (call, load):
            value = await drive_async(core, background.steps(call), load)
    except Exception as exc:  # noqa: BLE001 - told to whoever waits
        error = exc
    except BaseException as exc:
        error = exc
        raise
    finally:
        background.ended(value, error)
