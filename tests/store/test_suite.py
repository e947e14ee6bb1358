"""The store suite itself: it drives stores that are awaited, and it finds the stores that are wrong."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from rowstamp import testing
from rowstamp.model import StampState, StoreSnapshot
from rowstamp.store import AsyncStore
from rowstamp.stores.memory import MemoryStore
from rowstamp.testing import FakeClock, StoreSuite, store_state_machine
from rowstamp.testing.store_harness import StoreHarness

pytestmark = pytest.mark.once


class AwaitedMemoryStore:
    """The memory store as a store that is awaited and lets others run before each operation."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store

    async def read(self, entry: bytes | None, stamps: Sequence[bytes]) -> StoreSnapshot:
        await asyncio.sleep(0)
        return self.store.read(entry, stamps)

    async def mint(self, tokens: Mapping[bytes, bytes]) -> tuple[StampState, ...]:
        await asyncio.sleep(0)
        return self.store.mint(tokens)

    async def put(self, entry: bytes, blob: bytes, ttl: float) -> None:
        await asyncio.sleep(0)
        self.store.put(entry, blob, ttl)

    async def delete(self, entry: bytes) -> None:
        await asyncio.sleep(0)
        self.store.delete(entry)

    async def hold(self, stamps: Sequence[bytes], writer: bytes, ttl: float) -> None:
        await asyncio.sleep(0)
        self.store.hold(stamps, writer, ttl)

    async def release(self, tokens: Mapping[bytes, bytes], writer: bytes) -> tuple[bool, ...]:
        await asyncio.sleep(0)
        return self.store.release(tokens, writer)

    async def touch(self, tokens: Mapping[bytes, bytes]) -> None:
        await asyncio.sleep(0)
        self.store.touch(tokens)

    async def clear(self) -> None:
        await asyncio.sleep(0)
        self.store.clear()

    async def check(self) -> None:
        self.store.check()

    async def aclose(self) -> None:
        self.store.close()


class TestAwaitedMemoryStore(StoreSuite):
    """The suite drives stores that are awaited, too."""

    evicts = True

    def make_store(self, clock: FakeClock) -> AsyncStore:
        return AwaitedMemoryStore(MemoryStore(clock=clock))

    def make_bounded_store(self, clock: FakeClock, max_bytes: int) -> AsyncStore:
        return AwaitedMemoryStore(MemoryStore(max_bytes, clock=clock))


class RestoresTheTokenOnExpiry(MemoryStore):
    """Puts the old token back when a hold expires."""

    def hold(self, stamps: Sequence[bytes], writer: bytes, ttl: float) -> None:
        self.old = {stamp: state for stamp in stamps if (state := self.read(b"", [stamp]).stamps[0]).token}
        super().hold(stamps, writer, ttl)

    def _live_holders(self, stamp: bytes, now: float) -> Mapping[bytes, float]:
        was_held = stamp in self._held
        holders = super()._live_holders(stamp, now)
        if was_held and not holders and stamp in self.old:
            self._keep(stamp, self.old[stamp])
        return holders


class OneOwnerPerHold(MemoryStore):
    """Lets the first writer to leave clear the marks of all."""

    def _leave(self, stamp: bytes, writer: bytes) -> bool:
        self._holds -= len(self._held.get(stamp, ())) - (writer in self._held.get(stamp, ()))
        left = super()._leave(stamp, writer)
        self._held.pop(stamp, None)
        return left


class KeepsTheTokenOfAnExpiredRelease(MemoryStore):
    """Changes no token when the hold was gone already."""

    def _release(self, stamp: bytes, token: bytes, writer: bytes, now: float) -> bool:
        return writer in self._live_holders(stamp, now) and super()._release(stamp, token, writer, now)


class MintsOverTokens(MemoryStore):
    """Gives every unheld stamp the token offered."""

    def _mint(self, stamp: bytes, token: bytes, now: float) -> StampState:
        self._renew(stamp, token, now)
        return self._state(stamp, now)


@pytest.mark.parametrize(
    "broken", [RestoresTheTokenOnExpiry, OneOwnerPerHold, KeepsTheTokenOfAnExpiredRelease, MintsOverTokens]
)
def test_the_model_finds_a_store_that_is(broken: type[MemoryStore]) -> None:
    machine = store_state_machine(lambda clock: broken(clock=clock))
    quick = settings(
        max_examples=500, phases=[Phase.generate], derandomize=True, database=None, deadline=None,
        report_multiple_bugs=False,
    )  # fmt: skip
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=quick)


class NotFaked(StoreHarness):
    fake_clock = False


def test_time_that_cannot_be_faked_skips_the_test() -> None:
    with pytest.raises(pytest.skip.Exception, match="time cannot be faked"):
        NotFaked().pass_time(FakeClock(), 1)


def test_a_subclass_says_how_its_stores_are_made() -> None:
    with pytest.raises(NotImplementedError):
        NotFaked().make_store(FakeClock())
    with pytest.raises(NotImplementedError):
        NotFaked().make_bounded_store(FakeClock(), 1)


def test_the_package_imports_nothing_before_it_is_asked() -> None:
    # rowstamp itself imports SQLAlchemy, and is no business of this test.
    program = "import sys, rowstamp; b = {*sys.modules}; import rowstamp.testing; print(*{*sys.modules} - b)"
    imported = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert not {"pytest", "hypothesis", "cachebox", "sqlalchemy"} & set(imported)


def test_the_package_has_the_names_it_lists() -> None:
    assert [name for name in testing.__all__ if not hasattr(testing, name)] == []
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = testing.nothing
