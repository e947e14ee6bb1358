"""Run a protocol flow: blocking, awaited, or awaited from inside SQLAlchemy's greenlet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar, assert_never

from rowstamp.model import ManySnapshot, StampState
from rowstamp.protocol import (
    Commit,
    Flow,
    Hold,
    Lease,
    Mint,
    Operation,
    Put,
    PutMany,
    Read,
    ReadMany,
    Release,
    Touch,
    Unlease,
)
from rowstamp.store import AsyncStore, Batching, Leasing, Store

__all__ = ["perform", "run", "run_async"]

T = TypeVar("T")


def perform(store: Store | AsyncStore, operation: Operation, commit: Callable[[], Any] | None) -> Any:
    """Ask the store (or the database) for one operation; the reply is an awaitable if the store's methods are."""
    match operation:
        case Read(entry, stamps):
            return store.read(entry, stamps)
        case ReadMany(entries, stamps):
            return _read_many(store, entries, stamps)
        case Mint(tokens):
            return store.mint(tokens)
        case Put(entry, blob, ttl):
            return store.put(entry, blob, ttl)
        case PutMany(tokens, entries, stamps):
            return _put_many(store, tokens, entries, stamps)
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


def _read_many(store: Store | AsyncStore, entries: Sequence[bytes], stamps: Sequence[bytes]) -> Any:
    if isinstance(store, Batching):
        return store.read_many(entries, stamps)
    if not isinstance(store, Store):
        return _read_each(store, entries, stamps)
    found = tuple([store.read(entry, ()).entry for entry in entries])
    return ManySnapshot(found, store.read(None, stamps).stamps)


async def _read_each(store: AsyncStore, entries: Sequence[bytes], stamps: Sequence[bytes]) -> ManySnapshot:
    found = tuple([(await store.read(entry, ())).entry for entry in entries])
    return ManySnapshot(found, (await store.read(None, stamps)).stamps)


def _put_many(
    store: Store | AsyncStore,
    tokens: Mapping[bytes, bytes],
    entries: Sequence[tuple[bytes, bytes, float]],
    stamps: Sequence[bytes],
) -> Any:
    if isinstance(store, Batching):
        return store.put_many(tokens, entries, stamps)
    if not isinstance(store, Store):
        return _put_each(store, tokens, entries, stamps)
    if tokens:
        store.touch(tokens)
    for entry in entries:
        store.put(*entry)
    return store.read(None, stamps).stamps if stamps else ()


async def _put_each(
    store: AsyncStore,
    tokens: Mapping[bytes, bytes],
    entries: Sequence[tuple[bytes, bytes, float]],
    stamps: Sequence[bytes],
) -> tuple[StampState, ...]:
    if tokens:
        await store.touch(tokens)
    for entry in entries:
        await store.put(*entry)
    return (await store.read(None, stamps)).stamps if stamps else ()


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
