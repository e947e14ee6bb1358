"""The LMDB store: the contract of every store, and what only this one promises."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rowstamp import AsyncCache
from rowstamp.errors import ConfigurationError, StoreError
from rowstamp.model import StampState
from rowstamp.store import AsyncStore, Store
from rowstamp.stores import _lmdb_home, open_store
from rowstamp.stores._lmdb_records import Damaged, parse_stamp
from rowstamp.stores.breaker import FAILURES
from rowstamp.stores.lmdb import LmdbStore, machine_clock
from rowstamp.testing import FakeClock, StoreSuite
from rowstamp.testing.store_harness import HELD, MISSING, digest, token
from tests.store.lmdb_peer import Peer

pytestmark = pytest.mark.once


class TestLmdbStore(StoreSuite):
    evicts = True
    leases = True
    compares = True
    batches = True

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        self.made = 0

    def make_store(self, clock: FakeClock) -> LmdbStore:
        self.made += 1
        return LmdbStore(self.folder / str(self.made), clock=clock)

    def make_bounded_store(self, clock: FakeClock, max_bytes: int) -> LmdbStore:
        self.made += 1
        return LmdbStore(self.folder / str(self.made), max_bytes, clock=clock)


E, F = digest("entry"), digest("another entry")
A, B = digest("stamp a"), digest("stamp b")
ANN, BOB = digest("writer ann"), digest("writer bob")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> Iterator[LmdbStore]:
    store = LmdbStore(folder)
    yield store
    store.check()
    store.close()


@pytest.fixture
def peer(folder: Path) -> Iterator[Peer]:
    with Peer(folder) as peer:
        peer.do("check")
        yield peer


def states(store: LmdbStore, *stamps: bytes) -> tuple[StampState, ...]:
    return store.read(digest("no such entry"), stamps).stamps


# ---------------------------------------------------------------------------------------------------- processes


def test_processes_share_entries_stamps_and_holds(store: LmdbStore, peer: Peer) -> None:
    store.mint({A: digest("a1")})
    store.put(E, b"blob", 100)
    assert peer.do("read", E, [A, B]) == (b"blob", (token("a1"), MISSING))
    peer.do("hold", [A], ANN, 100)
    assert states(store, A) == (HELD,)
    assert peer.do("release", {A: digest("a2")}, ANN) == (True,)
    assert states(store, A) == (token("a2"),)


def test_a_hold_of_a_killed_process_ends_as_a_missing_stamp(folder: Path, peer: Peer) -> None:
    clock = FakeClock()
    clock.now = machine_clock()
    store = LmdbStore(folder, clock=clock)
    store.mint({A: digest("a1")})
    peer.do("hold", [A], ANN, 10)
    peer.kill()
    assert states(store, A) == (HELD,)
    clock.advance(20)
    assert states(store, A) == (MISSING,)
    assert store.mint({A: digest("a2")}) == (token("a2"),)
    store.close()


def test_a_process_killed_in_the_middle_of_a_write_leaves_nothing_of_it(store: LmdbStore, peer: Peer) -> None:
    store.mint({A: digest("a1")})
    peer.send("stall_writing")
    assert peer.answer() == "stalled"
    peer.kill()
    store.touch({A: digest("a2")})
    assert states(store, A, bytes(16)) == (token("a2"), MISSING)


def test_a_process_stopped_in_the_middle_of_a_write_lets_others_read_and_delays_their_writes_only_so_long(
    folder: Path, peer: Peer
) -> None:
    store = LmdbStore(folder, timeout=0.01)
    store.mint({A: digest("a1")})
    peer.send("stall_writing")
    assert peer.answer() == "stalled"
    peer.stop()
    for _ in range(FAILURES):
        with pytest.raises(StoreError, match=r"another writer of .* did not finish within 0.01 s"):
            store.hold([A], ANN, 100)
    assert store._home.breaker.is_open
    with pytest.raises(StoreError, match="left alone for a moment"):
        store.hold([A], ANN, 100)
    assert states(store, A) == (token("a1"),)
    peer.kill()
    store._home.breaker._retry_at = 0.0  # the pause is over
    store.hold([A], ANN, 100)
    assert states(store, A) == (HELD,)
    store.close()


def test_the_slot_of_a_reader_that_was_killed_is_given_back(folder: Path, store: LmdbStore, peer: Peer) -> None:
    store.read(E, [A])
    peer.send("stall_reading")
    assert peer.answer() == "stalled"
    peer.kill()
    opened = store._home.current()
    assert opened is not None
    assert str(peer.process.pid) in opened.env.readers()
    store._home.close()
    store.read(E, [A])
    opened = store._home.current()
    assert opened is not None
    assert str(peer.process.pid) not in opened.env.readers()


# -------------------------------------------------------------------------------------------------------- forks


def in_child(action: Callable[[], bool]) -> bool:
    """Fork, and tell whether the action returned true in the child."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and forks, which is the subject here
        pid = os.fork()
    if pid == 0:
        outcome = 1
        try:
            outcome = 0 if action() else 1
        finally:
            os._exit(outcome)
    return os.waitpid(pid, 0)[1] == 0


def test_a_fork_uses_the_store_and_so_does_its_parent(store: LmdbStore) -> None:
    store.mint({A: digest("a1")})

    def child() -> bool:
        seen = states(store, A) == (token("a1"),)
        store.touch({B: digest("b1")})
        return seen

    assert in_child(child)
    assert states(store, A, B) == (token("a1"), token("b1"))


def test_no_environment_crosses_a_fork(store: LmdbStore) -> None:
    """Its slots for readers would be the parent's, and closing it in the child would free them."""
    store.read(E, ())
    assert store._home._opened is not None
    assert in_child(lambda: store._home._opened is None)
    assert store._home._opened is None


def test_a_fork_that_python_was_not_told_of_is_refused(store: LmdbStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.read(E, ())
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(StoreError, match="open the store after it"):
        store.read(E, ())


# ----------------------------------------------------------------------------------------------- what is stale


def test_after_a_reboot_nothing_is_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LmdbStore(folder)
    store.mint({A: digest("a1")})
    store.hold([B], ANN, 100)
    store.put(E, b"blob", 100)
    store.close()
    monkeypatch.setattr(_lmdb_home, "boot_id", lambda: b"another boot")
    again = LmdbStore(folder)
    assert again.read(E, [A, B]) == (None, (MISSING, MISSING))
    again.close()


def test_a_copy_of_the_file_begins_empty(folder: Path, tmp_path: Path) -> None:
    store = LmdbStore(folder)
    store.mint({A: digest("a1")})
    store.close()
    shutil.copytree(folder, tmp_path / "copy")
    copy = LmdbStore(tmp_path / "copy")
    assert states(copy, A) == (MISSING,)
    copy.close()


def test_a_folder_that_was_removed_is_left_for_the_one_that_others_make(
    folder: Path, store: LmdbStore, peer: Peer
) -> None:
    store.mint({A: digest("a1")})
    shutil.rmtree(folder)
    peer.do("mint", {A: digest("a2")})
    assert states(store, A) == (token("a2"),)
    store.hold([A], ANN, 100)
    assert peer.do("read", E, [A]).stamps == (HELD,)


def test_another_process_s_writes_are_no_quiet(folder: Path, store: LmdbStore, peer: Peer) -> None:
    store.mint({A: digest("a1")})
    store.put(E, b"blob", 100)
    moment = store.unchanged(E, b"blob", [A], [digest("a1")])
    assert moment is not None
    peer.do("read", E, [A])
    assert store.quiet_since(moment)
    peer.do("hold", [A], ANN, 100)
    assert not store.quiet_since(moment)
    peer.do("release", {A: digest("a2")}, ANN)
    moment = store.unchanged(E, b"blob", [A], [digest("a2")])
    assert moment is not None
    shutil.rmtree(folder)
    assert not store.quiet_since(moment)
    assert store.unchanged(E, b"blob", [A], [digest("a2")]) is None
    peer.do("mint", {A: digest("a3")})
    assert states(store, A) == (token("a3"),)
    assert not store.quiet_since(moment)


def test_a_store_that_was_opened_again_is_not_quiet(folder: Path, store: LmdbStore) -> None:
    """Another file may have the same number of writes."""
    store.put(E, b"blob", 100)
    moment = store.unchanged(E, b"blob", [], [])
    assert moment is not None
    store._home.close()
    assert not store.quiet_since(moment)
    assert store.read(E, []).entry == b"blob"
    assert not store.quiet_since(moment)


# ------------------------------------------------------------------------------------------------------- damage


def test_a_file_that_is_no_store_is_made_anew(folder: Path) -> None:
    folder.mkdir()
    (folder / "rowstamp.lmdb").write_bytes(b"these bytes are no store" * 1000)
    store = LmdbStore(folder)
    assert states(store, A) == (MISSING,)
    store.mint({A: digest("a1")})
    assert states(store, A) == (token("a1"),)
    store.close()


def test_a_file_that_was_cut_is_made_anew(folder: Path) -> None:
    store = LmdbStore(folder)
    for number in range(100):
        store.put(digest(f"entry {number}"), bytes(5000), 100)
    store.close()
    with (folder / "rowstamp.lmdb").open("r+b") as file:
        file.truncate(8192)
    again = LmdbStore(folder)
    assert [again.read(digest(f"entry {number}"), ()).entry for number in range(100)] == [None] * 100
    again.close()


def test_damage_met_on_the_way_is_said_once_and_then_gone(store: LmdbStore) -> None:
    store.mint({A: digest("a1")})
    with store._home.writing() as opened, opened.env.begin(write=True) as txn:
        txn.put(A, b"?", db=opened.stamps)
    with pytest.raises(StoreError, match=r"was damaged .* thrown away: what it held will be loaded anew"):
        states(store, A)
    assert states(store, A) == (MISSING,)
    store.mint({A: digest("a2")})


@pytest.mark.parametrize("record", [b"", b"t", b"h", b"h" + bytes(23), b"?" + bytes(24)])
def test_a_record_that_nobody_wrote_is_damage(record: bytes) -> None:
    with pytest.raises(Damaged):
        parse_stamp(record)


# --------------------------------------------------------------------------------------------------------- full


def test_a_full_file_drops_its_entries_and_goes_on(folder: Path) -> None:
    """LMDB's own bound is met before ours; what is held stays held."""
    store = LmdbStore(folder, 1024 * 1024, map_size=256 * 1024)
    store.hold([A], ANN, 100)
    for number in range(200):
        store.put(digest(f"entry {number}"), bytes(10_000), 100)
    assert store.read(digest("entry 199"), ()).entry == bytes(10_000)
    assert store.read(digest("entry 0"), ()).entry is None
    assert states(store, A) == (HELD,)
    assert store.release({A: digest("a2")}, ANN) == (True,)
    store.check()
    store.close()


def test_what_cannot_be_kept_at_all_fails_alone(folder: Path) -> None:
    store = LmdbStore(folder, 1024 * 1024, map_size=128 * 1024)
    with pytest.raises(StoreError, match="MDB_MAP_FULL"):
        store.put(E, bytes(200_000), 100)
    store.put(F, b"blob", 100)
    assert store.read(F, ()).entry == b"blob"
    store.close()


def test_stamps_that_live_long_do_not_push_out_the_entries(folder: Path) -> None:
    store = LmdbStore(folder, 128 * 1024)
    store.put(E, bytes(1000), 10)
    for number in range(3000):
        store.mint({digest(f"stamp {number}"): digest("token")})
    assert store.read(E, ()).entry == bytes(1000)
    assert states(store, digest("stamp 0"), digest("stamp 2999")) == (MISSING, token("token"))
    store.check()
    store.close()


def test_what_has_ended_is_cleared_away_by_later_writes(folder: Path) -> None:
    clock = FakeClock()
    store = LmdbStore(folder, clock=clock)
    for number in range(40):
        store.put(digest(f"entry {number}"), b"blob", 10)
        store.hold([digest(f"held {number}")], ANN, 10)
    clock.advance(20)
    for _ in range(10):
        store.touch({A: digest("a1")})
    with store._home.writing() as opened, opened.env.begin() as txn:
        assert [txn.stat(db=database)["entries"] for database in opened.databases] == [0, 1, 1]
    store.close()


def test_a_token_that_nobody_reads_ends_sooner(folder: Path) -> None:
    clock = FakeClock()
    store = LmdbStore(folder, clock=clock)
    store.mint({A: digest("a1")})
    store.touch({A: digest("a2"), B: digest("b2")})
    clock.advance(3600)
    assert states(store, A, B) == (token("a2"), MISSING)
    clock.advance(24 * 3600)
    assert states(store, A) == (MISSING,)
    store.close()


# ------------------------------------------------------------------------------------------------------- the rest


def test_a_write_in_the_middle_of_a_write_is_refused(store: LmdbStore) -> None:
    with store._home.writing(), pytest.raises(StoreError, match="in the middle of a first"):
        store.touch({A: digest("a1")})


def test_a_closed_store_says_so(folder: Path) -> None:
    store = LmdbStore(folder)
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.read(E, ())
    with pytest.raises(StoreError, match="closed"):
        store.put(E, b"", 1)


def test_a_second_store_in_the_folder_survives_the_end_of_the_first(folder: Path) -> None:
    first, second = LmdbStore(folder), LmdbStore(folder)
    first.mint({A: digest("a1")})
    first.close()
    assert states(second, A) == (token("a1"),)
    second.close()


def test_check_notices_what_is_listed_nowhere(folder: Path) -> None:
    store = LmdbStore(folder)
    with store._home.writing() as opened, opened.env.begin(write=True) as txn:
        txn.put(E, bytes(8), db=opened.entries)
    with pytest.raises(AssertionError, match="not where they end"):
        store.check()
    store.close()


def test_the_files_are_for_this_user_only(folder: Path, store: LmdbStore) -> None:
    store.mint({A: digest("a1")})
    assert [path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir())] == [0] * 4


@pytest.mark.parametrize("size", [0, 4096, 2**50])
def test_a_size_that_is_none_is_refused(folder: Path, size: int) -> None:
    with pytest.raises(ConfigurationError, match=f"size={size} is no size for an LMDB store"):
        LmdbStore(folder, size)


# -------------------------------------------------------------------------------------------------------- URLs


def test_a_url_opens_a_store_for_caches_of_both_kinds(folder: Path) -> None:
    for asynchronous in (False, True):
        store = open_store(f"lmdb://{folder}?size=1MiB&timeout_ms=100", asynchronous=asynchronous)
        assert isinstance(store, LmdbStore)
        assert (store._size, store._home.path) == (2**20, folder / "rowstamp.lmdb")
        store.close()


@pytest.mark.parametrize("url", ["lmdb://", "lmdb:///", "lmdb://tmp/store", "lmdb:///tmp/store#x"])
def test_a_url_that_names_no_folder_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="write lmdb:///var/cache/shop, three slashes"):
        open_store(url)


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("size=lots", "size='lots' is not a size"),
        ("size=1B", "size=1 is no size for an LMDB store"),
        ("timeout_ms=0", "timeout_ms='0' is no time"),
        ("max_bytes=1MB", "unknown option 'max_bytes'"),
    ],
)
def test_a_wrong_option_is_named(folder: Path, option: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        open_store(f"lmdb://{folder}?{option}")


def test_a_folder_that_cannot_be_is_refused_when_the_store_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match=r"cannot be used for a store.*give a folder on a local disk"):
        open_store(f"lmdb://{tmp_path}/file")


async def test_an_async_cache_uses_it(folder: Path) -> None:
    loads: list[int] = []

    async def load() -> str:
        loads.append(1)
        return "value"

    async with AsyncCache(f"lmdb://{folder}") as one, AsyncCache(f"lmdb://{folder}") as other:
        assert [await one.get_or_load("key", load), await other.get_or_load("key", load)] == ["value"] * 2
        await other.delete("key")
        assert await one.get("key") is None
    assert loads == [1]


def test_an_async_cache_tells_the_store_apart(store: LmdbStore) -> None:
    assert [isinstance(store, kind) for kind in (Store, AsyncStore)] == [True, False]
