"""Texts that an ICU collation calls equal, on a PostgreSQL that was built with ICU."""

from __future__ import annotations

from collections.abc import Generator
from typing import cast

import pytest
from sqlalchemy import String, text

from rowstamp.testing.servers import PostgresServer
from tests.conformance.conftest import POSTGRES
from tests.conformance.test_hidden_writes import create
from tests.conformance.test_spellings import by_key, check, define, pins, spelled
from tests.harness import Backend, Env

_COLLATIONS = {
    "any_case": "CREATE COLLATION IF NOT EXISTS any_case"
    " (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
    "any_accent": "CREATE COLLATION IF NOT EXISTS any_accent"
    " (provider = icu, locale = 'und-u-ks-level1-kc-true', deterministic = false)",
}


@pytest.fixture(params=POSTGRES, ids=str)
def icu_env(request: pytest.FixtureRequest) -> Generator[Env]:
    """A database with nondeterministic collations, made before the engine first connects."""
    backend = cast("Backend", request.param)
    server: PostgresServer = request.getfixturevalue("icu_server")
    env = Env(backend, server.url(backend.driver), request.getfixturevalue("runner"))
    env.call(_make_collations, env)
    yield env
    env.call(env.close)


def _make_collations(env: Env) -> None:
    with env.behind() as session:
        for statement in _COLLATIONS.values():
            session.execute(text(statement))


@pytest.mark.parametrize(
    ("collation", "written"), [("any_case", "ALPHA"), ("any_accent", "Älpha")], ids=["another case", "an accent"]
)
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "in the database alone"])
def test_a_row_by_another_spelling(icu_env: Env, collation: str, written: str, declared: bool) -> None:
    """What was read by one spelling ends with a write by another that the database calls equal."""
    table = spelled(String(collation=collation) if declared else String)
    define(icu_env, table, f'TEXT COLLATE "{collation}"', "Alpha")
    check(icu_env, table, "Alpha", written)
    assert not pins(icu_env, by_key(table, "Alpha"))


def test_an_exact_collation_beside_them(icu_env: Env) -> None:
    """A column that names an exact collation pins its rows all the same."""
    table = spelled(String(20, collation="C"))
    create(icu_env, table.metadata, (table, [{"k": "alpha", "v": 1}, {"k": "Alpha", "v": 1}]))
    check(icu_env, table, "alpha", "alpha", other="Alpha")
    assert pins(icu_env, by_key(table, "alpha"))
