"""Which settings a statement changes; what is not certain is not said."""

from __future__ import annotations

from typing import Any

import pytest

from rowstamp.analysis.settings import altered_settings, is_custom, is_local

pytestmark = pytest.mark.once

TOLD: list[tuple[str, str, Any, set[str]]] = [
    ("postgresql", "SET search_path TO north, public", (), {"search_path"}),
    ("postgresql", "set local App.Tenant = 'a;b'", (), set()),
    ("postgresql", "set local App.Tenant = 'north';", (), {"app.tenant"}),
    ("postgresql", "SET SESSION ROLE clerk", (), {"role"}),
    ("postgresql", "SET ROLE NONE", (), {"role"}),
    ("postgresql", "SET LOCAL SESSION AUTHORIZATION clerk", (), {"session_authorization"}),
    ("postgresql", "RESET ROLE", (), {"role"}),
    ("postgresql", "RESET search_path;", (), {"search_path"}),
    ("postgresql", "RESET ALL", (), set()),
    ("postgresql", "RESET SESSION AUTHORIZATION", (), set()),
    ("postgresql", "DISCARD ALL", (), set()),
    ("postgresql", "SET search_path TO a; SET ROLE b", (), set()),
    ("postgresql", "SELECT set_config('a.b', 'c', true), set_config('d.e', %(v)s, true)", {"v": "f"}, {"a.b", "d.e"}),
    ("postgresql", "SELECT set_config(%(n)s::VARCHAR, %(v)s::VARCHAR, %(l)s)", {"n": "A.b", "v": "c"}, {"a.b"}),
    ("postgresql", "SELECT set_config($1::VARCHAR, $2::VARCHAR, $3)", ("a.b", "c", True), {"a.b"}),
    ("postgresql", "SELECT set_config($4, $2, $3)", ("a.b", "c", True), set()),
    ("postgresql", "SELECT set_config(%(n)s, 'x', true)", (), set()),
    ("postgresql", "SELECT set_config(name, 'x', true) FROM settings", (), set()),
    ("mysql", "USE north", (), {"database"}),
    ("mariadb", "SET ROLE clerk", (), {"role"}),
    ("mariadb", "SET @tenant := 'north'", (), {"@tenant"}),
    ("mariadb", "SET @@SESSION.sql_mode = 'ANSI'", (), {"sql_mode"}),
    ("mariadb", "SET SESSION time_zone = 'UTC'", (), {"time_zone"}),
    ("mariadb", "SET GLOBAL time_zone = 'UTC'", (), set()),
    ("mariadb", "SET @a = 1, @b = 2", (), set()),
    ("sqlite", "PRAGMA case_sensitive_like = 1", (), set()),
]


@pytest.mark.parametrize(("dialect", "sql", "parameters", "names"), TOLD)
def test_names(dialect: str, sql: str, parameters: Any, names: set[str]) -> None:
    """An empty set stands for what cannot be told."""
    assert (altered_settings(sql, parameters, dialect) or set()) == names


def test_how_long() -> None:
    """`SET LOCAL` ends with the transaction, and leaves a trace of a setting that is not the database's own."""
    assert is_local("SET LOCAL search_path TO north")
    assert not is_local("SET search_path TO north")
    assert is_custom(frozenset({"app.tenant"}), "")
    assert not is_custom(frozenset({"search_path"}), "")
    assert is_custom(None, "SELECT set_config(name, 'x', true) FROM settings")
    assert not is_custom(None, "SET TRANSACTION READ ONLY")
