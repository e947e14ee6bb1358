"""A pytest plugin: every engine has a cache, and every SELECT that may be cached is answered from it.

SQLAlchemy's tests count statements, so a result that an earlier test has left would fail them. Therefore nothing is found
that was not stored for just this execution: a read is loaded into the cache, and then served from there. What reaches the
test has gone the way of a hit, from the stored bytes on, and the database was asked as often as without a cache.

    python -s -m pytest -p cached_everywhere --db sqlite_file test/orm      # in SQLAlchemy's source, this folder in PYTHONPATH
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from sqlalchemy.engine import URL, Connection, Engine

from rowstamp import Cache, cached
from rowstamp._sqlalchemy import session_connection
from rowstamp.errors import UncacheableValue
from rowstamp.orm import reads, session
from rowstamp.orm.option import requested
from rowstamp.orm.reads import PREPARED, Prepared
from rowstamp.orm.replay import ReplayCursor, decode_result, encode_result
from rowstamp.stores.memory import MemoryStore

EXPECTED: Final = {
    "test/orm/test_bind.py::BindIntegrationTest::test_bind_through_execute": "a hit asks for no connection",
    "test/orm/test_cascade.py::PartialFlushTest::test_o2m_m2o": "two sessions write at once: fails on a file without a cache",
    "test/orm/test_defaults.py::TriggerDefaultsTest": "a trigger that nobody has declared is warned of",
}
"""What fails, and why that is right."""

# No row images: they are statements that the tests would count.
_cache: Final = Cache(store=MemoryStore(), row_images=False)
_served: Final = Counter[str]()


class _Turn:
    """Makes each execution an entry of its own, which the load and the hit that follows share."""

    number = 0
    loading = False


def _requested(statement: Any, options: Mapping[str, Any]) -> Any:
    asked = requested(statement, options)
    return cached(vary=_Turn.number) if asked is None else asked


def _attach_all(patch: pytest.MonkeyPatch) -> None:
    original: Callable[..., None] = Engine.__init__

    def init(engine: Engine, *arguments: Any, **named: Any) -> None:
        original(engine, *arguments, **named)
        url: Any = engine.url
        if isinstance(url, URL):  # some engines are made of mocks
            _cache.attach(engine)

    patch.setattr(Engine, "__init__", init)


def _serve_sessions(patch: pytest.MonkeyPatch) -> None:
    """Load what a session misses, and look it up again: it is served as if the session had no connection yet."""
    reader: Any = session._ReadConnection
    decide = reader._decide

    def decided(self: Any, statement: Any, parameters: Any, given: Any, existing: Connection | None) -> Any:
        _Turn.number += 1
        marker, turn = decide(self, statement, parameters, given, existing)
        if not isinstance(marker, Prepared) or marker.ticket is None:
            return marker, turn
        _Turn.loading = True
        with turn:
            options = {**given, PREPARED: marker}
            self._real().execute(statement, parameters or None, execution_options=options).close()
        _Turn.loading = False
        marker, turn = decide(self, statement, parameters, given, session_connection(self._session, self.engine))
        _served["not found again" if isinstance(marker, Prepared) else "of sessions"] += 1
        return marker, turn

    patch.setattr(reader, "_decide", decided)


def _serve_connections(patch: pytest.MonkeyPatch) -> None:
    """Read what was just loaded on a connection from the bytes that were stored."""
    original = reads._execute_and_fill

    def fill(attachment: Any, context: Any, prepared: Prepared, execute: Callable[[], None]) -> None:
        original(attachment, context, prepared, execute)
        loaded = context.cursor
        if not _Turn.loading:
            _Turn.number += 1
        if prepared.ticket is None or not isinstance(loaded, ReplayCursor) or loaded.description is None:
            return
        rows = loaded.fetchall()
        try:
            cursor = decode_result(encode_result(loaded.description, rows, loaded.rowcount)).cursor()
            _served["decoded"] += 1
        except UncacheableValue:
            cursor = ReplayCursor(rows, loaded.description, loaded.rowcount)
            _served["that cannot be stored"] += 1
        cursor.connection, cursor.arraysize = loaded.connection, loaded.arraysize
        context.cursor = cursor

    patch.setattr(reads, "_execute_and_fill", fill)


def pytest_configure(config: pytest.Config) -> None:
    """Put the cache everywhere, for as long as pytest runs."""
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    patch.setattr(reads, "requested", _requested)
    _attach_all(patch)
    _serve_sessions(patch)
    _serve_connections(patch)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is expected to fail."""
    left_out = [item for item in items if any(_is_in(item, name) for name in EXPECTED)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _is_in(item: pytest.Item, name: str) -> bool:
    # SQLAlchemy adds the database to the names of some classes.
    node = item.nodeid.replace("_sqlite+pysqlite", "::")
    return node == name or node.startswith((f"{name}[", f"{name}::"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a run fail that has served nothing: it proves nothing."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["served"] = dict(_served)
    elif not _served["of sessions"] or not _served["decoded"] or _served["not found again"]:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add what a process of pytest-xdist has served."""
    _served.update(getattr(node, "workeroutput", {}).get("served", {}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how much was served."""
    terminalreporter.write_line(f"results served from the cache: {dict(_served)}")
