"""The LMDB environment behind a path: one for all stores of this process, opened when needed and left before a fork.

**Whose stamps they are.** Nothing old may come back, so the file says under which boot of the machine it was begun and which file
it is (the inode). After a reboot, or as a copy of another file, it is emptied when it is opened: the clock by which things end
has begun anew, and what was written meanwhile is not known. Each operation looks whether the path still leads to the file that
is open: after ``rm -r`` the others would make a new one, and hear nothing of each other. (A machine that goes back to a snapshot of
itself, file and boot and all, cannot be told from one that went on.)

**Nobody waits for ever.** LMDB's own lock for writers has no timeout, so that a process stopped in the middle of a write would
stop every commit on the machine. In front of it stands a POSIX lock on a file of ours, which is tried for a bounded time; it
ends with its process, and a fork does not inherit it. Who holds it finds LMDB's own lock free.

**Forks.** An environment must not cross a fork: in the child its slots for readers belong to the parent, and closing it there frees
them while the parent reads. So it is closed just before each fork, and parent and child open it again when they need it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

import lmdb

from rowstamp.errors import StoreError
from rowstamp.stores.breaker import Breaker, Gate

__all__ = ["FORMAT", "Home", "Opened", "home_at"]

FORMAT: Final = b"rowstamp 1"
"""Raised when records change their meaning; a file of another format is emptied."""

_FILE: Final = "rowstamp.lmdb"
_GUARD: Final = "rowstamp.guard"
_META: Final = b"rowstamp"
_READERS: Final = 2048
_FIRST_NAP: Final = 0.00002
_LONGEST_NAP: Final = 0.002

_DAMAGE: Final = (
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.VersionMismatchError,
)


class Opened(NamedTuple):
    """An open environment.

    Attributes:
        env: the environment.
        entries: its database of entries.
        stamps: its database of stamps.
        ends: its database of ends.
        file: the inode of its file.
    """

    env: lmdb.Environment
    entries: Any
    stamps: Any
    ends: Any
    file: int

    @property
    def databases(self) -> tuple[Any, Any, Any]:
        """The databases of things that come and go."""
        return self.entries, self.stamps, self.ends


class Home:
    """The environment in one folder, for all stores of this process that are there.

    Whoever reads or writes holds :attr:`lock`, so that nothing is closed under somebody's feet. It is re-entrant: a garbage
    collection may end an abandoned transaction in the middle of an operation, whose own operation is then refused, not stuck.

    Args:
        folder: where it is.
        map_size: how large its file may become, in bytes, if it is to be made.
        timeout: how long a writer waits for another, in seconds.
    """

    def __init__(self, folder: Path, map_size: int, timeout: float) -> None:
        self.lock = threading.RLock()
        self.path = folder / _FILE
        self._name = str(self.path)  # what would be made of a Path again on each hit
        self.timeout = timeout
        self.breaker = Breaker()
        self._folder = folder
        self._map_size = map_size
        self._pid = os.getpid()
        self._users = 0
        self._writing = threading.Lock()
        self._writer = 0
        self._guard: tuple[int, int] | None = None
        self._opened: Opened | None = None

    def join(self) -> None:
        """Count one more store that is here."""
        with self.lock:
            self._users += 1

    def leave(self) -> None:
        """Count one store less; the last one closes the environment."""
        with self.lock:
            self._users -= 1
            if self._users or self._pid != os.getpid():
                return
        # Not waited for: this may be a garbage collection in the middle of a write. Then the process' end closes it.
        if self._writing.acquire(blocking=False):
            try:
                self.close()
            finally:
                self._writing.release()

    # ------------------------------------------------------------------------------------------------- opening

    def current(self) -> Opened | None:
        """Return the environment if it is open and still the one at the path; the caller holds :attr:`lock` while using it.

        Raises:
            StoreError: it was opened by another process, of which this one is a fork that Python was not told of.
        """
        found = self._opened
        if found is None:
            return None
        if self._pid != os.getpid():
            raise StoreError(f"{self.path} was opened before a fork made behind Python's back: open the store after it")
        try:
            return found if os.stat(self._name).st_ino == found.file else None  # noqa: PTH116 - on the way of every hit
        except OSError:
            return None

    def reopen(self) -> None:
        """Open the environment, if it is not open.

        Raises:
            StoreError: it cannot be opened.
        """
        with self.writing():
            pass

    def _ensure(self) -> Opened:
        found = self.current()
        if found is None:
            self._close_environment()
            try:
                found = self._opened = self._opened_once()
            except _DAMAGE:
                self._discard()
                found = self._opened = self._opened_once()
        return found

    def _opened_once(self) -> Opened:
        # Who comes later takes the size from the file: nobody's map is then too small for what another has written.
        size = 0 if self.path.exists() and self.path.stat().st_size else self._map_size
        env = lmdb.open(
            str(self.path),
            subdir=False,
            map_size=size,
            mode=0o600,
            max_dbs=3,
            max_readers=_READERS,
            sync=False,  # after a crash of the machine the file is emptied anyway
            metasync=False,
            readahead=False,
            meminit=False,
            max_spare_txns=4,
        )
        try:
            _require_whole(env, self.path)
            env.reader_check()
            return self._begun(env)
        except BaseException:
            env.close()
            raise

    def _begun(self, env: lmdb.Environment) -> Opened:
        """Return the environment with its databases, emptied if what is in it counts no more."""
        entries, stamps, ends = (env.open_db(name) for name in (b"entries", b"stamps", b"ends"))
        inode = self.path.stat().st_ino
        identity = b" ".join((FORMAT, boot_id(), str(inode).encode()))
        with env.begin(write=True) as txn:
            if txn.get(_META) != identity:
                for database in (entries, stamps, ends):
                    txn.drop(database, delete=False)
                txn.put(_META, identity)
        return Opened(env, entries, stamps, ends, inode)

    def _discard(self) -> None:
        """Throw the file away, for it is damaged. Other processes notice, and use the one that is made next."""
        self._close_environment()
        for path in (self.path, self.path.with_name(f"{_FILE}-lock")):
            path.unlink(missing_ok=True)

    def _close_environment(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.env.close()

    def close(self) -> None:
        """Close what is open; it is opened again when it is needed."""
        with self.lock:
            self._close_environment()
            self._close_guard()

    # ------------------------------------------------------------------------------------------------- writing

    @contextlib.contextmanager
    def writing(self) -> Generator[Opened]:
        """The environment, for one who is about to write; all other writers are kept out, here and in other processes.

        Raises:
            StoreError: somebody else is writing for too long, or the environment cannot be opened.
        """
        if self._writer == threading.get_ident():
            raise StoreError("the store was asked for a second write in the middle of a first")
        timeout = self._patience()
        if not self._writing.acquire(timeout=timeout):
            raise self._blocked(timeout)
        self._writer = threading.get_ident()
        opened: Opened | None = None
        try:
            self._lock_file(timeout)
            try:
                with self.lock:
                    opened = self._ensure()
                    yield opened
            finally:
                self._unlock_file()
        except (OSError, lmdb.Error) as exc:
            if opened is not None:
                raise
            raise StoreError(f"{self._folder} cannot be used for a store: {exc}") from exc
        finally:
            self._writer = 0
            self._writing.release()

    def _patience(self) -> float:
        gate = self.breaker.ask()
        if gate is Gate.REFUSE:
            raise StoreError(f"a writer of {self.path} does not finish, and is left alone for a moment")
        return self.timeout if gate is Gate.ADMIT else 0.0

    def _blocked(self, waited: float) -> StoreError:
        self.breaker.failed()
        return StoreError(f"another writer of {self.path} did not finish within {waited:g} s")

    def _lock_file(self, timeout: float) -> None:
        give_up, nap = time.monotonic() + timeout, _FIRST_NAP
        while not self._try_lock_file():
            if time.monotonic() >= give_up:
                raise self._blocked(timeout)
            time.sleep(nap)
            nap = min(2 * nap, _LONGEST_NAP)
        self.breaker.succeeded()

    def _try_lock_file(self) -> bool:
        """Take the lock if it is free; the file it is on must be the one that the others see."""
        if self._guard is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._folder / _GUARD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._guard = descriptor, os.fstat(descriptor).st_ino
        descriptor, inode = self._guard
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        try:
            if (self._folder / _GUARD).stat().st_ino == inode:
                return True
        except FileNotFoundError:
            pass
        self._close_guard()
        return False

    def _unlock_file(self) -> None:
        if self._guard is not None:
            fcntl.lockf(self._guard[0], fcntl.LOCK_UN)

    def _close_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            os.close(guard[0])

    def failed(self, exc: lmdb.Error) -> StoreError:
        """Return what is raised instead of an error of LMDB; a damaged file is thrown away. To be asked outside of :attr:`lock`."""
        if not isinstance(exc, _DAMAGE):
            return StoreError(f"{self.path}: {exc}")
        with contextlib.suppress(StoreError, lmdb.Error), self.writing():
            self._discard()
        return StoreError(f"{self.path} was damaged ({exc}) and is thrown away: what it held will be loaded anew")

    # --------------------------------------------------------------------------------------------------- forks

    def before_fork(self) -> None:
        """Leave the environment, and let nobody in before the fork has taken place."""
        self._writing.acquire()
        self.lock.acquire()
        self.close()

    def after_fork(self) -> None:
        """Let everybody in again."""
        self._pid = os.getpid()
        self.lock.release()
        self._writing.release()


def _require_whole(env: lmdb.Environment, path: Path) -> None:
    """Refuse a file that was cut: to read beyond its end would kill the process."""
    needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if path.stat().st_size < needed:
        raise lmdb.CorruptedError(f"{path} ends before its last page", 0)


def boot_id() -> bytes:
    """Return what tells this run of the machine from all others."""
    return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()


_homes: WeakValueDictionary[Path, Home] = WeakValueDictionary()
_homes_lock = threading.Lock()


def home_at(folder: Path, make: Callable[[Path], Home]) -> Home:
    """Return the home in a folder; all stores of the process have the same, for LMDB opens a file once in each."""
    folder = folder.resolve()
    with _homes_lock:
        home = _homes.get(folder)
        if home is None:
            home = _homes[folder] = make(folder)
        return home


_leaving: list[Home] = []


def _before_fork() -> None:
    _homes_lock.acquire()
    _leaving[:] = sorted(_homes.values(), key=lambda home: home.path)
    for home in _leaving:
        home.before_fork()


def _after_fork() -> None:
    for home in _leaving:
        home.after_fork()
    _leaving.clear()
    _homes_lock.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
