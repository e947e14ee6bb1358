"""The oracle notices when a rule of the cache is missing: each rule is switched off once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.oracle import mutations as without
from tests.oracle import mutations_of_reads as reading_without
from tests.oracle.databases import postgres_engine, sqlite_engine
from tests.oracle.program import DifferenceError, Figures, program
from tests.servers.support import Databases

pytestmark = [pytest.mark.once, pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")]

SEEDS = 20
"""Most programs that are tried. The first one given notices it today; new kinds of reads and writes may change that."""


@pytest.mark.parametrize(
    ("switch_off", "seed", "writes", "reads"),
    [
        (without.nothing_published, 0, (), ""),
        (without.no_table_stamp, 0, (), ""),
        (without.no_row_stamps, 0, (), ""),
        (without.no_unknown_rows_of_writes, 0, (), ""),
        (without.no_unknown_rows_of_reads, 0, (), ""),
        (without.images_show_nothing, 0, ("update_row", "delete_row"), "foreign_key"),
        (without.no_changed_columns, 2, (), ""),
        (without.no_membership, 0, (), ""),
        (without.no_cascades, 4, ("delete_row", "delete"), ""),
        (without.rows_of_cascades_stay, 4, ("delete_row", "delete"), ""),
        (without.cascades_take_one_step, 5, ("delete_row", "delete"), "unique"),
        (without.no_keys_of_inserts, 1, (), ""),
        (without.keys_left_out_do_not_count, 1, ("add_without_key",), "flag"),
        (without.keys_never_differ, 1, ("lightweight", "insert_row"), ""),
        (without.no_text_writes, 0, ("text", "driver"), ""),
        (without.changed_keys_stay, 2, ("change_key", "key_of_entity", "delete_row"), ""),
        (without.upserts_insert_only, 0, ("upsert",), ""),
        (without.upserts_set_nothing, 1, ("upsert",), ""),
        (without.upserts_find_no_row, 0, ("upsert",), ""),
        (without.undone_savepoints_clear, 3, (), ""),
        (without.old_values_do_not_count, 0, ("update_row", "delete_row"), ""),
        (without.new_values_do_not_count, 1, ("insert_row", "delete_row"), "in"),
        (without.computed_columns_stay, 0, ("update_row",), "computed"),
        (without.columns_with_onupdate_stay, 0, ("update_row",), "changed_along"),
        (without.nulls_of_cascades_do_not_count, 0, ("delete_row",), "foreign_key_null"),
        (without.what_is_not_asked_stays, 0, ("delete_row", "delete"), ""),
        (without.cascades_of_text_stay, 1, ("text",), "changed_along"),
        (without.rows_of_a_select_do_not_come, 0, ("insert_from_select", "delete_row"), "key"),
        (without.one_alternative_of_a_write_is_enough, 0, ("update_either",), "key"),
        (without.rows_of_many_effects_are_new, 1, ("delete_some",), "narrow_key"),
        (without.upserts_keep_keys, 1, ("upsert",), "foreign_key"),
        (without.views_show_nothing, 0, ("update_row",), "view"),
        (without.only_the_first_set_of_parameters_counts, 1, ("update_many_rows",), ""),
        (without.nothing_is_replaced, 0, ("replace",), ""),
        (without.inserts_that_may_do_nothing_do_nothing, 4, ("upsert", "delete_row"), "or_of_keys"),
        (without.many_effects_are_forgotten, 0, ("update_row",), ""),
        (without.keys_are_not_followed, 8, ("change_key",), "foreign_key"),
        (without.lookups_find_everything, 0, ("insert_many_without_keys", "delete_row"), "narrow_key"),
        (without.no_row_is_old, 0, ("update_from",), "in"),
        (without.released_savepoints_clear, 1, (), ""),
        (reading_without.or_counts_as_and, 1, (), "or"),
        (reading_without.rows_seen_do_not_count, 0, ("update_row", "attribute"), "self_join"),
        (reading_without.one_appearance_is_enough, 0, (), "alias"),
        (reading_without.not_keeps_or, 2, (), "not_and"),
        (reading_without.null_is_a_value_like_others, 4, (), "null_taken"),
        (reading_without.whatever_is_there_has_passed, 1, (), "exists_count"),
        (reading_without.not_exists_names_rows, 1, (), "not_exists_names"),
        (reading_without.subqueries_take_any_pin, 2, (), "cut_taken"),
        (reading_without.unions_take_any_pin, 2, ("insert_row", "delete_row"), "cut_union"),
        (reading_without.one_part_of_a_union_is_enough, 1, (), "union_given_out"),
        (reading_without.columns_read_do_not_count, 2, (), "where_column"),
        (reading_without.only_selected_columns_count, 2, (), "where_column"),
        (reading_without.full_joins_count_as_inner, 0, ("update_row",), "full_join"),
        (reading_without.conditions_of_outer_joins_pass, 2, ("update_row",), "exists_outer_join"),
        (reading_without.one_reader_is_enough, 6, ("update_row", "delete_row"), "taken_twice"),
        (reading_without.recursion_hands_on, 0, ("reference", "insert_row", "delete_row"), "recursive"),
        (reading_without.one_alternative_is_handed_on, 1, (), "alternatives_given_out"),
        (reading_without.only_the_first_table_counts, 0, (), "inner_join"),
        (reading_without.joined_rows_decide_nothing, 0, ("update_row",), "outer_join_that_asks"),
        (reading_without.joined_rows_keep_their_places, 3, ("update_row",), "outer_join_that_sorts"),
        (reading_without.groups_show_their_rows, 0, ("update_row",), "outer_join_that_groups"),
        (reading_without.what_decides_does_not_count, 3, ("update_row",), "joined_where"),
        (without.rows_without_a_value_stay, 0, ("insert_row", "delete_row"), "foreign_key_null"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_missing_rule_is_noticed(
    switch_off: Callable[[pytest.MonkeyPatch], None],
    seed: int,
    writes: tuple[str, ...],
    reads: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With one rule switched off a program meets a stale read."""
    switch_off(monkeypatch)
    for number in range(seed, seed + SEEDS):
        with sqlite_engine(tmp_path / f"{number}.db") as engine:
            if differs(number, engine, writes, reads):
                return
    pytest.fail(f"{SEEDS} programs did not notice it")


def test_a_condition_of_a_left_join_taken_for_its_left_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`a LEFT JOIN b ON a.id = 1` returns every row of `a`."""
    reading_without.on_restricts_both_sides(monkeypatch)
    with sqlite_engine(tmp_path / "oracle.db") as engine:
        assert any(differs(number, engine, ("update_row",), "left_join_on") for number in range(SEEDS))


def test_a_text_fragment_taken_for_a_condition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fragment may name tables that the statement does not show."""
    reading_without.fragments_read_nothing(monkeypatch)
    with sqlite_engine(tmp_path / "oracle.db") as engine:
        assert any(differs(number, engine, ("link",), "fragment") for number in range(SEEDS))


def test_own_writes_that_are_not_seen(postgres_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    """On SQLite a writing transaction is never served in any case, so this rule shows on PostgreSQL."""
    without.own_writes_unseen(monkeypatch)
    with postgres_engine(postgres_databases) as engine:
        assert any(differs(number, engine, ()) for number in range(SEEDS))


@pytest.mark.parametrize("switch_off", [without.ctes_of_writes_change_nothing, without.ctes_of_reads_change_nothing])
def test_a_cte_that_writes_taken_for_one_that_reads(
    switch_off: Callable[[pytest.MonkeyPatch], None], postgres_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`WITH gone AS (DELETE …)` is PostgreSQL's."""
    switch_off(monkeypatch)
    with postgres_engine(postgres_databases) as engine:
        assert any(differs(number, engine, ("with",), "changed_along") for number in range(SEEDS))


def differs(seed: int, engine: Engine, writes: tuple[str, ...], reads: str = "") -> bool:
    """Run a program and tell whether a cached read was stale."""
    try:
        with program(seed, engine, Figures(), writes, reads) as each:
            each.run(range(50))
    except DifferenceError as exc:
        return "\n  database " in str(exc)
    return False
