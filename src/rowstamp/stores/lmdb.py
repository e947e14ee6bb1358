"""The store of one machine: entries and stamps in a file that all its processes map into memory (LMDB).

A read is a handful of microseconds and asks nobody: readers take no lock, and see all of it at one moment. A write is one small
transaction, for which the processes queue. Entries and unheld stamps are kept within a bound, and what ends first goes first;
a read writes nothing, so that there is no other order to go by. Holds may go beyond the bound, into a reserve that only they use.

**It blocks, in an event loop too.** A read takes less time there than handing it to a thread would. A write waits while
another process writes (tens of microseconds), at most for the timeout of the URL, and a writer that does not finish is then left
alone by a circuit breaker.

**Its clock** is the machine's since it was started (``CLOCK_BOOTTIME``), the same for all its processes. See
:mod:`rowstamp.stores._lmdb_home` for what becomes of the file after a reboot, and when processes fork, die or stop.
"""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import lmdb

from rowstamp.errors import ConfigurationError, StoreError
from rowstamp.model import ManySnapshot, StampState, StoreSnapshot
from rowstamp.store import Moment
from rowstamp.stores import _lmdb_records as records
from rowstamp.stores._lmdb_home import Home, Opened, home_at
from rowstamp.stores._lmdb_records import MISSING, Damaged, End, Group, Stamp, parse_end, parse_stamp, state_of

__all__ = ["DEFAULT_SIZE", "LARGEST_SIZE", "SMALLEST_SIZE", "LmdbStore"]

T = TypeVar("T")
_Txn: TypeAlias = "lmdb.Transaction[bytes]"

DEFAULT_SIZE: Final = 256 * 1024 * 1024
SMALLEST_SIZE: Final = 64 * 1024
LARGEST_SIZE: Final = 1024**4
"""Bounds of the bound, in bytes."""

_LEASE: Final = b"l"
"""After the key of an entry, the key of its lease: an entry of a few bytes that ends by itself."""

_RESERVE: Final = 32 * 1024 * 1024
_SWEEP: Final = 8
"""How many ended things a write clears away besides its own work."""


def machine_clock() -> float:
    """Return the seconds since the machine was started, the same for all its processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class LmdbStore:
    """A :class:`~rowstamp.store.Store` in a folder, for any number of processes of one machine and their threads.

    The processes must see the folder on a local file system. It may be used before and after a fork.

    Args:
        folder: where the files are; made if it is not there, readable for this user only.
        size: the bound over entries and stamps, in bytes of pages.
        timeout: how long a write waits for that of another process, in seconds.
        map_size: how large the file may become, in bytes; by default so large that holds always have room.
        clock: seconds from any moment that all processes agree on, never going back.

    Raises:
        ConfigurationError: the bound is too small or too large, or there can be no such folder.
    """

    def __init__(
        self,
        folder: str | Path,
        size: int = DEFAULT_SIZE,
        *,
        timeout: float = 0.25,
        map_size: int | None = None,
        clock: Callable[[], float] = machine_clock,
    ) -> None:
        if not SMALLEST_SIZE <= size <= LARGEST_SIZE:
            raise ConfigurationError(f"size={size!r} is no size for an LMDB store: give 64KiB to 1TiB, such as 256MiB")
        self._size = size
        self._clock = clock
        self._closed = False
        # Pages that a transaction replaces are free only after it, and free pages are seldom side by side: hence four times.
        space = map_size or 4 * size + _RESERVE
        self._home = home_at(Path(folder), lambda path: Home(path, space, timeout))
        self._home.join()
        self._leave = weakref.finalize(self, self._home.leave)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._home.path.parent}>"

    # ------------------------------------------------------------------------------------------------- reading

    def read(self, entry: bytes | None, stamps: Sequence[bytes]) -> StoreSnapshot:
        """See :meth:`rowstamp.store.Store.read`. All of it is read at one moment."""
        try:
            snapshot = self._read(entry, stamps)
            if snapshot is None:
                self._require_open()
                self._home.reopen()
                snapshot = self._read(entry, stamps)
        except lmdb.ReadersFullError as exc:
            raise StoreError(f"too many readers of {self._home.path} at once") from exc
        except lmdb.Error as exc:
            raise self._home.failed(exc) from exc
        except Damaged as exc:
            raise self._damaged(exc) from exc
        if snapshot is None:
            raise StoreError(f"{self._home.path} is replaced again and again")
        return snapshot

    def _read(self, entry: bytes | None, stamps: Sequence[bytes]) -> StoreSnapshot | None:
        """Return what is there, or ``None`` if the environment is not open."""
        now = self._clock()
        with self._home.lock:
            opened = self._home.current()
            if opened is None:
                return None
            txn = opened.env.begin()
            try:
                get, database = txn.get, opened.stamps
                found = None if entry is None else get(entry, db=opened.entries)
                kept = [get(stamp, db=database) for stamp in stamps]
            finally:
                txn.abort()
        states = tuple([MISSING if record is None else state_of(record, now) for record in kept])
        if found is None:
            return StoreSnapshot(None, states)
        end, blob = records.parse_entry(found)
        return StoreSnapshot(blob if now < end else None, states)

    def unchanged(self, entry: bytes, blob: bytes, stamps: Sequence[bytes], tokens: Sequence[bytes]) -> Moment | None:
        """See :meth:`rowstamp.store.Comparing.unchanged`. All of it is compared at one moment."""
        now = self._clock()
        try:
            with self._home.lock:
                opened = self._home.current()
                if opened is None:
                    return None
                with opened.env.begin() as txn:
                    number, found = txn.id(), txn.get(entry, db=opened.entries)
                    kept = [txn.get(stamp, db=opened.stamps) for stamp in stamps]
            if found is None:
                return None
            end, there = records.parse_entry(found)
        except (lmdb.Error, StoreError, Damaged):
            return None
        until = min([end, *(records.end_of(record, token) for record, token in zip(kept, tokens, strict=True))])
        return Moment(opened, number, until) if there == blob and now < until else None

    def quiet_since(self, moment: Moment) -> bool:
        """See :meth:`rowstamp.store.Comparing.quiet_since`.

        Whatever any process does to the file is a transaction, and LMDB numbers them: under the same number all is there that was,
        but for what has ended since. The number is asked of a transaction of our own, which begins after each commit that has returned.
        """
        where, number, until = moment
        try:
            with self._home.lock:
                opened = self._home.current()
                if opened is None or opened is not where:
                    return False
                txn = opened.env.begin()
                is_last = txn.id() == number
                txn.abort()
        except (lmdb.Error, StoreError):
            return False
        return is_last and self._clock() < until

    def _damaged(self, exc: Damaged) -> StoreError:
        return self._home.failed(lmdb.CorruptedError(str(exc), 0))

    def _require_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")

    # ------------------------------------------------------------------------------------------------- entries

    def put(self, entry: bytes, blob: bytes, ttl: float) -> None:
        """See :meth:`rowstamp.store.Store.put`. What was there before is gone, even if the blob is too large."""
        if len(blob) > self._size // 4:
            self.delete(entry)
            return
        self._write(lambda changes: changes.put_entry(entry, blob, ttl))

    def delete(self, entry: bytes) -> None:
        """See :meth:`rowstamp.store.Store.delete`."""
        self._write(lambda changes: changes.drop_entry(entry))

    # -------------------------------------------------------------------------------------------------- stamps

    def mint(self, tokens: Mapping[bytes, bytes]) -> tuple[StampState, ...]:
        """See :meth:`rowstamp.store.Store.mint`."""
        if not tokens:
            return ()
        return self._write(lambda changes: tuple([changes.mint(stamp, token) for stamp, token in tokens.items()]))

    def hold(self, stamps: Sequence[bytes], writer: bytes, ttl: float) -> None:
        """See :meth:`rowstamp.store.Store.hold`."""
        if stamps:
            self._write(lambda changes: changes.hold(stamps, writer, ttl))

    def release(self, tokens: Mapping[bytes, bytes], writer: bytes) -> tuple[bool, ...]:
        """See :meth:`rowstamp.store.Store.release`."""
        if not tokens:
            return ()
        return self._write(
            lambda changes: tuple([changes.release(stamp, token, writer) for stamp, token in tokens.items()])
        )

    def touch(self, tokens: Mapping[bytes, bytes]) -> None:
        """See :meth:`rowstamp.store.Store.touch`."""
        if tokens:
            self._write(lambda changes: changes.touch(tokens))

    def read_many(self, entries: Sequence[bytes], stamps: Sequence[bytes]) -> ManySnapshot:
        """See :meth:`rowstamp.store.Batching.read_many`."""
        found = tuple([self.read(entry, ()).entry for entry in entries])
        return ManySnapshot(found, self.read(None, stamps).stamps)

    def put_many(
        self, tokens: Mapping[bytes, bytes], entries: Sequence[tuple[bytes, bytes, float]], stamps: Sequence[bytes]
    ) -> tuple[StampState, ...]:
        """See :meth:`rowstamp.store.Batching.put_many`. Writers queue, so all of it is one transaction."""

        def work(changes: _Changes) -> None:
            changes.touch(tokens)
            for entry, blob, ttl in entries:
                if len(blob) > self._size // 4:
                    changes.drop_entry(entry)
                else:
                    changes.put_entry(entry, blob, ttl)

        self._write(work)
        return self.read(None, stamps).stamps

    # -------------------------------------------------------------------------------------------------- leases

    def lease(self, entry: bytes, holder: bytes, ttl: float) -> bytes:
        """See :meth:`rowstamp.store.Leasing.lease`."""
        return self._write(lambda changes: changes.lease(entry + _LEASE, holder, ttl))

    def unlease(self, entry: bytes, holder: bytes) -> None:
        """See :meth:`rowstamp.store.Leasing.unlease`."""
        self._write(lambda changes: changes.unlease(entry + _LEASE, holder))

    def clear(self) -> None:
        """See :meth:`rowstamp.store.Store.clear`. Unheld stamps go too, and with them every load in flight."""
        self._write(lambda changes: changes.clear())

    def close(self) -> None:
        """See :meth:`rowstamp.store.Store.close`. What it holds stays for the others."""
        self._closed = True
        self._leave()

    def require_usable(self) -> None:
        """Open the file, for mistakes that would otherwise disable the cache in silence.

        Raises:
            ConfigurationError: there can be no file there. That another process writes just now is no mistake.
        """
        try:
            self._home.reopen()
        except StoreError as exc:
            if isinstance(exc.__cause__, OSError | lmdb.Error):
                raise ConfigurationError(f"{exc}; give a folder on a local disk that this user may write") from exc

    # ------------------------------------------------------------------------------------------------- writing

    def _write(self, work: Callable[[_Changes], T]) -> T:
        """Make changes in one transaction. A full file loses what it may lose."""
        self._require_open()
        try:
            with self._home.writing() as opened:
                with contextlib.suppress(lmdb.MapFullError, lmdb.TxnFullError):
                    return self._transact(opened, work)
                opened.env.reader_check()
                # What a transaction frees can be used by the second one after it.
                for change in (_Changes.clear, _Changes.nothing):
                    with contextlib.suppress(lmdb.MapFullError, lmdb.TxnFullError):
                        self._transact(opened, change)
                return self._transact(opened, work)
        except lmdb.Error as exc:
            raise self._home.failed(exc) from exc
        except Damaged as exc:
            raise self._damaged(exc) from exc

    def _transact(self, opened: Opened, work: Callable[[_Changes], T]) -> T:
        with opened.env.begin(write=True) as txn:
            changes = _Changes(opened, txn, self._clock())
            result = work(changes)
            changes.sweep()
            changes.evict(self._size)
            return result

    # ---------------------------------------------------------------------------------------------- inspection

    def check(self) -> None:
        """See :meth:`rowstamp.store.Store.check`. Takes time in proportion to the number of items."""
        if not self._closed:
            self._write(lambda changes: changes.check(self._size))


class _Changes:
    """One write transaction: what it does keeps ``ends`` in step with the rest."""

    def __init__(self, opened: Opened, txn: _Txn, now: float) -> None:
        self._entries, self._stamps, self._ends = opened.databases
        self._txn = txn
        self._now = now

    # ------------------------------------------------------------------------------------------------- entries

    def put_entry(self, entry: bytes, blob: bytes, ttl: float) -> None:
        end = self._now + ttl
        # Taken out first: the pages of the old one are then free before the new ones are taken.
        self.drop_entry(entry)
        self._txn.put(entry, records.pack_entry(end, blob), db=self._entries)
        self._list(End(Group.ENTRIES, end, entry))

    def drop_entry(self, entry: bytes) -> None:
        found = self._txn.pop(entry, db=self._entries)
        if found is not None:
            self._unlist(End(Group.ENTRIES, records.parse_entry(found)[0], entry))

    def lease(self, name: bytes, holder: bytes, ttl: float) -> bytes:
        found = self._txn.get(name, db=self._entries)
        end, owner = records.parse_entry(found) if found is not None else (0.0, b"")
        if end > self._now:
            return owner
        self.put_entry(name, holder, ttl)
        return holder

    def unlease(self, name: bytes, holder: bytes) -> None:
        found = self._txn.get(name, db=self._entries)
        if found is not None and records.parse_entry(found)[1] == holder:
            self.drop_entry(name)

    def _list(self, end: End) -> None:
        self._txn.put(end.key(), b"", db=self._ends)

    def _unlist(self, end: End) -> None:
        self._txn.delete(end.key(), db=self._ends)

    # -------------------------------------------------------------------------------------------------- stamps

    def _stamp(self, name: bytes) -> Stamp:
        """Take a stamp out, to put another in its place."""
        stored = parse_stamp(self._txn.pop(name, db=self._stamps))
        if stored.group is not None:
            self._unlist(End(stored.group, stored.end, name))
        return stored.live(self._now)

    def _keep(self, name: bytes, stamp: Stamp) -> Stamp:
        if stamp.group is not None:
            self._txn.put(name, stamp.packed(), db=self._stamps)
            self._list(End(stamp.group, stamp.end, name))
        return stamp

    def mint(self, name: bytes, token: bytes) -> StampState:
        stamp = self._stamp(name)
        if stamp.state is MISSING:
            stamp = stamp.with_token(token, self._now, wanted=True)
        return self._keep(name, stamp).state

    def hold(self, names: Sequence[bytes], writer: bytes, ttl: float) -> None:
        for name in names:
            self._keep(name, self._stamp(name).with_hold(writer, self._now + ttl))

    def release(self, name: bytes, token: bytes, writer: bytes) -> bool:
        stamp = self._stamp(name)
        self._renew(name, stamp.without_hold(writer), token)
        return writer in stamp.holds

    def touch(self, tokens: Mapping[bytes, bytes]) -> None:
        for name, token in tokens.items():
            self._renew(name, self._stamp(name), token)

    def _renew(self, name: bytes, stamp: Stamp, token: bytes) -> None:
        self._keep(name, stamp if stamp.holds else stamp.with_token(token, self._now))

    # -------------------------------------------------------------------------------------------------- bounds

    def in_use(self, *databases: Any) -> int:
        """Return the bytes of the pages that these databases, or all of them, use."""
        total = 0
        for database in databases or (self._entries, self._stamps, self._ends):
            stat = self._txn.stat(db=database)
            total += (stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]) * stat["psize"]
        return total

    def _first(self, group: Group) -> End | None:
        """Return what ends first in a group."""
        with self._txn.cursor(db=self._ends) as cursor:
            if cursor.set_range(group.value) and cursor.key().startswith(group.value):
                return parse_end(cursor.key())
        return None

    def _remove(self, end: End) -> None:
        self._unlist(end)
        self._txn.delete(end.name, db=self._entries if end.group is Group.ENTRIES else self._stamps)

    def sweep(self) -> None:
        """Clear away some of what has ended, so that it does not pile up where nobody looks."""
        for group in Group:
            for _ in range(_SWEEP):
                end = self._first(group)
                if end is None or end.at > self._now:
                    break
                self._remove(end)

    def evict(self, size: int) -> None:
        """Keep to the bound, as far as that can be done without losing a hold."""
        while self.in_use() > size:
            # With their places in `ends`, stamps may take half of the room: they live longer than most entries, which they
            # would all push out.
            stamps_first = self.in_use(self._stamps) > size // 4
            order = (Group.STAMPS, Group.ENTRIES) if stamps_first else (Group.ENTRIES, Group.STAMPS)
            end = self._first(order[0]) or self._first(order[1])
            if end is None:
                return
            self._remove(end)

    def clear(self) -> None:
        """Lose all that may be lost."""
        held = [(name, parse_stamp(self._txn.get(name, db=self._stamps))) for name in self._held()]
        for database in (self._entries, self._stamps, self._ends):
            self._txn.drop(database, delete=False)
        for name, stamp in held:
            self._keep(name, stamp)

    def nothing(self) -> None:
        """Change nothing, in a transaction that counts."""
        self._txn.put(b"nothing", b"")

    def _held(self) -> list[bytes]:
        with self._txn.cursor(db=self._ends) as cursor:
            there = cursor.set_range(Group.HELD.value)
            ends = map(parse_end, cursor.iternext(values=False)) if there else iter(())
            return [end.name for end in takewhile(lambda end: end.group is Group.HELD, ends)]

    # ---------------------------------------------------------------------------------------------- inspection

    def check(self, size: int) -> None:
        """Raise ``AssertionError`` if ``ends`` does not list just what is there, or the bound is not kept."""
        with self._txn.cursor(db=self._ends) as cursor:
            listed = {parse_end(key) for key in cursor.iternext(values=False)}
        with self._txn.cursor(db=self._entries) as cursor:
            there = {End(Group.ENTRIES, records.parse_entry(value)[0], key) for key, value in cursor}
        with self._txn.cursor(db=self._stamps) as cursor:
            stamps = [(key, parse_stamp(value)) for key, value in cursor]
        there |= {End(stamp.group or Group.STAMPS, stamp.end, name) for name, stamp in stamps}
        _require(listed == there, f"of {len(there)} things {len(listed ^ there)} are not where they end")
        evictable = any(end.group is not Group.HELD for end in there)
        _require(not evictable or self.in_use() <= size, f"{self.in_use()} bytes are in use where {size} are allowed")


def _require(condition: bool, otherwise: str) -> None:  # noqa: FBT001 - an assertion that `python -O` leaves in
    if not condition:
        raise AssertionError(otherwise)
