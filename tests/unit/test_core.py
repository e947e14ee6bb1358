"""Commits and reads of a cache whose store fails at each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from rowstamp.config import Config
from rowstamp.core import Core
from rowstamp.errors import ClosedError, CommitRefused, StoreError
from rowstamp.keys import stamp_name
from rowstamp.model import Dependency, StampState, StoreSnapshot
from rowstamp.protocol import Hit, Miss
from rowstamp.stores.memory import MemoryStore

ROW = Dependency.rows("db", "products", ("id",), b"1")
TABLE = Dependency.table("db", "products")
ENTRY = b"e" * 16


class FailingStore(MemoryStore):
    """A memory store that fails at the operations it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.failing: set[str] = set()

    def _fail(self, operation: str) -> None:
        if operation in self.failing:
            msg = f"{operation} failed"
            raise StoreError(msg)

    def read(self, entry: bytes | None, stamps: Sequence[bytes]) -> StoreSnapshot:
        self._fail("read")
        return super().read(entry, stamps)

    def mint(self, tokens: Mapping[bytes, bytes]) -> tuple[StampState, ...]:
        self._fail("mint")
        return super().mint(tokens)

    def put(self, entry: bytes, blob: bytes, ttl: float) -> None:
        self._fail("put")
        super().put(entry, blob, ttl)

    def hold(self, stamps: Sequence[bytes], writer: bytes, ttl: float) -> None:
        self._fail("hold")
        super().hold(stamps, writer, ttl)

    def release(self, tokens: Mapping[bytes, bytes], writer: bytes) -> tuple[bool, ...]:
        self._fail("release")
        return super().release(tokens, writer)

    def touch(self, tokens: Mapping[bytes, bytes]) -> None:
        self._fail("touch")
        super().touch(tokens)


@pytest.fixture
def store() -> FailingStore:
    """Return a store that does not fail yet."""
    return FailingStore()


@pytest.fixture
def core(store: FailingStore) -> Core:
    """Return the heart of a cache on that store."""
    return Core(Config(), store)


def stamps(*dependencies: Dependency) -> list[bytes]:
    """Return the names of stamps."""
    return [stamp_name("rowstamp", each) for each in (Dependency.everything(), *dependencies)]


def filled(core: Core, *dependencies: Dependency) -> list[bytes]:
    """Fill the entry under these dependencies and return their stamps."""
    names = stamps(*dependencies)
    missed = core.lookup(ENTRY, names, serve=True)
    assert isinstance(missed, Miss)
    assert missed.ticket is not None
    core.fill(missed.ticket, b"body", ttl=60, load_time=0.5)
    assert isinstance(core.lookup(ENTRY, names, serve=True), Hit)
    return names


def commit(core: Core, commit_database: Callable[[], Any], *effects: Dependency) -> None:
    """Commit; a ``ValueError`` is the database's refusal."""
    core.commit(effects, commit_database, refused=lambda exc: isinstance(exc, ValueError))


def hits(core: Core, names: list[bytes]) -> bool:
    """Whether the entry is served."""
    return isinstance(core.lookup(ENTRY, names, serve=True), Hit)


def test_a_commit_makes_what_it_touched_unusable(core: Core) -> None:
    """The plain case."""
    names = filled(core, ROW)
    commit(core, lambda: None, ROW, TABLE)
    assert not hits(core, names)
    assert core.counters.snapshot().invalidations == 1


def test_a_commit_leaves_the_rest_alone(core: Core) -> None:
    """Other stamps keep their tokens."""
    names = filled(core, ROW)
    commit(core, lambda: None, TABLE)
    assert hits(core, names)


def test_nothing_is_served_or_filled_while_a_commit_is_under_way(core: Core) -> None:
    """From before COMMIT until after the stamp is held."""
    names = filled(core, ROW)
    seen: list[Hit | Miss] = []
    commit(core, lambda: seen.append(core.lookup(ENTRY, names, serve=True)), ROW)
    assert seen == [Miss(None)]


def test_a_failed_commit_raises_its_own_error_and_releases(core: Core) -> None:
    """Nothing was committed, and nothing is held up."""
    names = filled(core, ROW)

    def fail() -> None:
        msg = "serialization failure"
        raise ValueError(msg)

    with pytest.raises(ValueError, match="serialization failure"):
        commit(core, fail, ROW)
    assert not hits(core, names)
    assert isinstance(core.lookup(ENTRY, names, serve=True), Miss)


def test_a_commit_in_doubt_holds_its_stamps_until_the_doubt_is_over() -> None:
    """A connection lost while waiting for the answer: the commit may still take place."""
    now = [0.0]
    core = Core(Config(hold_ttl=10), MemoryStore(clock=lambda: now[0]))
    names = filled(core, ROW)

    def lose() -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        commit(core, lose, ROW)
    assert core.lookup(ENTRY, names, serve=True) == Miss(None), "neither served nor filled"
    now[0] = 11.0
    assert not hits(core, names)
    filled(core, ROW)


def test_reads_of_a_store_that_is_down_are_misses_without_fill(core: Core, store: FailingStore) -> None:
    """They go to the database, without error."""
    names = filled(core, ROW)
    store.failing = {"read"}
    assert core.lookup(ENTRY, names, serve=True) == Miss(None)
    assert core.counters.snapshot().store_errors == 1


def test_a_fill_that_fails_is_lost_and_nothing_else(core: Core, store: FailingStore) -> None:
    """The result has been returned already."""
    missed = core.lookup(ENTRY, stamps(ROW), serve=True)
    assert isinstance(missed, Miss)
    assert missed.ticket is not None
    store.failing = {"put"}
    core.fill(missed.ticket, b"body", ttl=60, load_time=0)
    assert core.counters.snapshot().store_errors == 1


def test_holds_that_fail_are_journalled_and_the_commit_goes_through(core: Core, store: FailingStore) -> None:
    """What it touched is published before the store is asked for anything again."""
    names = filled(core, ROW)
    store.failing = {"hold", "touch"}
    committed: list[bool] = []
    commit(core, lambda: committed.append(True), ROW)
    assert committed == [True]
    assert not hits(core, names), "the journal could not be replayed, so the store is not trusted"
    store.failing = set()
    assert not hits(core, names)
    assert core.journal.pending() == {}


def test_a_release_that_fails_raises_nothing_and_is_journalled(core: Core, store: FailingStore) -> None:
    """The database has committed: an error would say that it had not."""
    names = filled(core, ROW)
    store.failing = {"release"}
    commit(core, lambda: None, ROW)
    assert core.journal.pending()
    store.failing = set()
    assert not hits(core, names)


def test_a_failed_commit_whose_release_fails_raises_the_commits_error(core: Core, store: FailingStore) -> None:
    """The user must learn what the database said, not what the cache did."""
    store.failing = {"release"}

    def fail() -> None:
        msg = "deferred constraint"
        raise ValueError(msg)

    with pytest.raises(ValueError, match="deferred constraint"):
        commit(core, fail, ROW)
    assert core.journal.pending()


def test_a_commit_may_be_refused_when_its_holds_fail(store: FailingStore) -> None:
    """``on_store_down="fail"``: nothing is committed that readers would not learn of."""
    core = Core(Config(on_store_down="fail"), store)
    store.failing = {"hold"}
    committed: list[bool] = []
    with pytest.raises(CommitRefused, match="hold failed"):
        commit(core, lambda: committed.append(True), ROW)
    assert committed == []


def test_a_commit_may_ignore_that_its_holds_fail(store: FailingStore) -> None:
    """``on_store_down="ignore"``: old results live until their time is up."""
    core = Core(Config(on_store_down="ignore"), store)
    names = filled(core, ROW)
    store.failing = {"hold"}
    commit(core, lambda: None, ROW)
    store.failing = set()
    assert hits(core, names)


def test_a_commit_that_is_cancelled_while_releasing_is_journalled(
    core: Core, store: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends the task is let out, and nothing is forgotten."""

    def cancelled(*_args: object, **_kw: object) -> tuple[bool, ...]:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "release", cancelled)
    with pytest.raises(KeyboardInterrupt):
        commit(core, lambda: None, ROW)
    assert core.journal.pending()


def test_an_invalidation_after_a_commit_never_raises(core: Core, store: FailingStore) -> None:
    """It waits in the journal."""
    names = filled(core, ROW)
    store.failing = {"touch"}
    core.invalidate_committed({ROW})
    store.failing = set()
    assert not hits(core, names)


def test_a_commit_that_outlives_its_holds_is_counted() -> None:
    """Its stamps get new tokens all the same."""
    now = [0.0]
    core = Core(Config(hold_ttl=10), MemoryStore(clock=lambda: now[0]))
    names = filled(core, ROW)

    def slow() -> None:
        now[0] = 11.0
        filled(core, ROW)  # the hold is over, and a reader still sees what was there before

    commit(core, slow, ROW)
    assert not hits(core, names)
    assert core.counters.snapshot().late_commits == 1


def test_saved_load_time_is_added_up(core: Core) -> None:
    """Each hit saves the load that filled it."""
    names = filled(core, ROW)
    hits(core, names)
    assert core.counters.snapshot().load_time_saved == pytest.approx(1.0)


def test_disabled_is_of_this_task_alone_and_ends(core: Core) -> None:
    """A context variable says so."""
    with core.disabled():
        assert not core.enabled
    assert core.enabled


def test_a_closed_cache_says_so(core: Core) -> None:
    """The error names the cache and what to do."""
    core.closed = True
    with pytest.raises(ClosedError, match="make a new one"):
        core.require_open()
