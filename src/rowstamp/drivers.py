"""Run a protocol flow: blocking, awaited, or awaited from inside SQLAlchemy's greenlet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, assert_never

from rowstamp.protocol import Commit, Flow, Hold, Lease, Mint, Operation, Put, Read, Release, Touch, Unlease
from rowstamp.store import AsyncStore, Leasing, Store

__all__ = ["perform", "run", "run_async"]

T = TypeVar("T")


def perform(store: Store | AsyncStore, operation: Operation, commit: Callable[[], Any] | None) -> Any:
    """Ask the store (or the database) for one operation; the reply is an awaitable if the store's methods are."""
    match operation:
        case Read(entry, stamps):
            return store.read(entry, stamps)
        case Mint(tokens):
            return store.mint(tokens)
        case Put(entry, blob, ttl):
            return store.put(entry, blob, ttl)
        case Hold(stamps, writer, ttl):
            return store.hold(stamps, writer, ttl)
        case Release(tokens, writer):
            return store.release(tokens, writer)
        case Touch(tokens):
            return store.touch(tokens)
        case Lease(entry, holder, ttl):
            return _leasing(store).lease(entry, holder, ttl)
        case Unlease(entry, holder):
            return _leasing(store).unlease(entry, holder)
        case Commit():
            if commit is None:
                msg = "this flow commits, but nothing to commit was given"
                raise RuntimeError(msg)
            return commit()
        case _:  # pragma: no cover
            assert_never(operation)


def _leasing(store: object) -> Leasing:
    if not isinstance(store, Leasing):
        msg = f"this flow leases, and {store!r} has no leases"
        raise TypeError(msg)
    return store


def run(flow: Flow[T], perform: Callable[[Operation], Any]) -> T:
    """Run a flow to its end, performing each operation with ``perform``.

    An exception of ``perform`` is thrown into the flow, which may perform more operations before it lets it out.
    """
    try:
        operation = next(flow)
        while True:
            try:
                reply = perform(operation)
            except BaseException as exc:  # noqa: BLE001 - thrown into the flow, which decides
                operation = flow.throw(exc)
            else:
                operation = flow.send(reply)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def run_async(flow: Flow[T], perform: Callable[[Operation], Awaitable[Any]]) -> T:
    """The same as :func:`run` with operations that are awaited."""
    try:
        operation = next(flow)
        while True:
            try:
                reply = await perform(operation)
            except BaseException as exc:  # noqa: BLE001 - thrown into the flow, which decides
                operation = flow.throw(exc)
            else:
                operation = flow.send(reply)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
