"""Which functions a cached query may call."""

import sqlite3

import pytest

from rowstamp.analysis.functions import PURE, VOLATILE, VOLATILE_IN, FunctionKind, classify

PURE_CASES = {
    "postgresql": "lower LOWER count sum string_agg row_number date_trunc extract to_char jsonb_build_object jsonb_path_query "
    "array_length unnest generate_series coalesce nullif greatest to_tsvector ts_rank cast numeric varchar pg_catalog.lower",
    "sqlite": "lower count total group_concat json_extract json_each row_number iif printf bm25 sqrt cast coalesce",
    "mysql": "lower count group_concat json_extract date_format if ifnull json_table year date timestampdiff cast values",
}
VOLATILE_CASES = {
    "postgresql": "now clock_timestamp current_date random gen_random_uuid nextval currval lastval txid_current today "
    "set_config pg_backend_pid current_user session_user user version current_setting age pg_advisory_lock pg_try_advisory_xact_lock "
    "pg_notify pg_sleep setval bernoulli pg_relation_size pg_table_is_visible pg_get_indexdef explain copy timeofday uuidv7",
    "sqlite": "random randomblob changes total_changes last_insert_rowid current_timestamp date time datetime julianday "
    "unixepoch strftime timediff pragma_table_info sqlite_version",
    "mysql": "now rand uuid uuid_short last_insert_id row_count found_rows connection_id database version user sysdate "
    "unix_timestamp curdate get_lock release_lock sleep @a @@b nextval utc_timestamp",
}
UNKNOWN_CASES = {
    "postgresql": "my_function s.lower lo_create lo_get lo_unlink dblink dblink_exec query_to_xml table_to_xml "
    "cursor_to_xml ts_stat ts_rewrite pg_read_file pg_create_logical_replication_slot pg_stat_reset binary_upgrade_x",
    "sqlite": "my_function load_extension writefile readfile edit fts3_tokenizer main.lower any",
    "mysql": "my_function s.lower load_file benchmark sys_exec",
}
KINDS = {FunctionKind.PURE: PURE_CASES, FunctionKind.VOLATILE: VOLATILE_CASES, FunctionKind.UNKNOWN: UNKNOWN_CASES}


@pytest.mark.parametrize(
    ("kind", "dialect", "name"),
    [
        (kind, dialect, name)
        for kind, table in KINDS.items()
        for dialect, line in table.items()
        for name in line.split()
    ],
)
def test_kinds(kind: FunctionKind, dialect: str, name: str) -> None:
    """A function is what its database's manual says; what acts on rows or runs SQL is unknown."""
    assert classify(name, dialect) is kind


def test_mariadb_is_like_mysql() -> None:
    """Both names of the dialect know the same functions."""
    assert PURE["mariadb"] == PURE["mysql"]
    assert VOLATILE_IN["mariadb"] == VOLATILE_IN["mysql"]


def test_another_database_knows_no_pure_function() -> None:
    """What is volatile somewhere is volatile everywhere; nothing is pure on a database that is not known."""
    assert classify("now", "oracle") is FunctionKind.VOLATILE
    assert classify("lower", "oracle") is FunctionKind.UNKNOWN


@pytest.mark.parametrize("dialect", sorted(PURE))
def test_no_function_is_two_things(dialect: str) -> None:
    """The lists do not contradict each other."""
    assert not PURE[dialect] & (VOLATILE | VOLATILE_IN[dialect])


@pytest.mark.parametrize("dialect", sorted(PURE))
def test_names_are_in_lower_case(dialect: str) -> None:
    """A name in upper case would never be found."""
    names = PURE[dialect] | VOLATILE | VOLATILE_IN[dialect]
    assert {
        name for name in names if name != name.lower() or not name.replace("_", "").replace(" ", "").isalnum()
    } == set()


FULL_TEXT = {
    "bm25",
    "highlight",
    "match",
    "snippet",
}  # functions of a full-text table, which no flag calls deterministic


def test_sqlite_calls_no_pure_function_volatile() -> None:
    """Of the scalar functions that this SQLite does not flag as deterministic, none is pure for us."""
    connection = sqlite3.connect(":memory:")
    rows = connection.execute("SELECT name, type, flags & 0x800 FROM pragma_function_list WHERE builtin").fetchall()
    connection.close()
    constant = {name for name, _, flag in rows if flag}
    suspects = {name for name, type_, flag in rows if type_ == "s" and not flag} - constant - FULL_TEXT
    assert "random" in suspects
    assert suspects & PURE["sqlite"] == set()
