"""A store that fails, or lets others in, at the moments a scenario names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar

from sqlalchemy.util import greenlet_spawn

from rowstamp.errors import StoreError
from rowstamp.model import StampState, StoreSnapshot
from rowstamp.stores.memory import MemoryStore

T = TypeVar("T")
Operation: TypeAlias = Literal["read", "mint", "put", "hold", "release", "touch"]
OPERATIONS: tuple[Operation, ...] = ("read", "mint", "put", "hold", "release", "touch")


class Crash(BaseException):
    """The end of a process, as far as the code inside it can tell."""


class TrickStore:
    """A memory store with traps.

    `before[operation]` and `after[operation]` hold functions; the next such operation takes and calls one. `down` names the
    operations that fail for now.
    """

    def __init__(self, memory: MemoryStore) -> None:
        self.memory = memory
        self.before: defaultdict[str, list[Callable[[], object]]] = defaultdict(list)
        self.after: defaultdict[str, list[Callable[[], object]]] = defaultdict(list)
        self.down: set[Operation] = set()
        self.calls: list[str] = []

    def _around(self, name: Operation, function: Callable[..., T], *args: Any) -> T:
        self.calls.append(name)
        if name in self.down:
            msg = f"the store is down for {name}"
            raise StoreError(msg)
        if self.before[name]:
            self.before[name].pop(0)()
        result = function(*args)
        if self.after[name]:
            self.after[name].pop(0)()
        return result

    def read(self, entry: bytes | None, stamps: Sequence[bytes]) -> StoreSnapshot:
        return self._around("read", self.memory.read, entry, stamps)

    def mint(self, tokens: Mapping[bytes, bytes]) -> tuple[StampState, ...]:
        return self._around("mint", self.memory.mint, tokens)

    def put(self, entry: bytes, blob: bytes, ttl: float) -> None:
        self._around("put", self.memory.put, entry, blob, ttl)

    def delete(self, entry: bytes) -> None:
        self.memory.delete(entry)

    def hold(self, stamps: Sequence[bytes], writer: bytes, ttl: float) -> None:
        self._around("hold", self.memory.hold, stamps, writer, ttl)

    def release(self, tokens: Mapping[bytes, bytes], writer: bytes) -> tuple[bool, ...]:
        return self._around("release", self.memory.release, tokens, writer)

    def touch(self, tokens: Mapping[bytes, bytes]) -> None:
        self._around("touch", self.memory.touch, tokens)

    def clear(self) -> None:
        self.memory.clear()

    def close(self) -> None:
        pass

    def check(self) -> None:
        self.memory.check()


class AwaitedStore:
    """The same store as one that is awaited; its traps may use the database."""

    def __init__(self, store: TrickStore) -> None:
        self.store = store

    async def read(self, entry: bytes | None, stamps: Sequence[bytes]) -> StoreSnapshot:
        return await greenlet_spawn(self.store.read, entry, stamps)

    async def mint(self, tokens: Mapping[bytes, bytes]) -> tuple[StampState, ...]:
        return await greenlet_spawn(self.store.mint, tokens)

    async def put(self, entry: bytes, blob: bytes, ttl: float) -> None:
        await greenlet_spawn(self.store.put, entry, blob, ttl)

    async def delete(self, entry: bytes) -> None:
        self.store.delete(entry)

    async def hold(self, stamps: Sequence[bytes], writer: bytes, ttl: float) -> None:
        await greenlet_spawn(self.store.hold, stamps, writer, ttl)

    async def release(self, tokens: Mapping[bytes, bytes], writer: bytes) -> tuple[bool, ...]:
        return await greenlet_spawn(self.store.release, tokens, writer)

    async def touch(self, tokens: Mapping[bytes, bytes]) -> None:
        await greenlet_spawn(self.store.touch, tokens)

    async def clear(self) -> None:
        self.store.clear()

    async def aclose(self) -> None:
        pass
