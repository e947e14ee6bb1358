"""Rules by which reads depend on rows and columns, each with a way to switch it off."""

from __future__ import annotations

from typing import Any

import pytest

import rowstamp.analysis.collect
import rowstamp.analysis.conditions
import rowstamp.analysis.dependencies
import rowstamp.analysis.handing_on
import rowstamp.analysis.pins
import rowstamp.analysis.reads
import rowstamp.analysis.seen
import rowstamp.orm.shape
from rowstamp.analysis.subqueries import parts
from rowstamp.model import Dependency

Patch = pytest.MonkeyPatch


def rows_seen_do_not_count(patch: Patch) -> None:
    patch.setattr(rowstamp.orm.shape, "rows_seen", lambda *_, **__: list[Dependency]())


def on_restricts_both_sides(patch: Patch) -> None:
    pins: Any = rowstamp.analysis.pins
    enter = pins._enter

    def enter_join(join: Any, scope: Any, **where: Any) -> Any:
        both = enter(join.left, scope, **where)[0] | enter(join.right, scope, **where)[0]
        scope.restrict(join.onclause, both, frozenset())
        return both, frozenset()

    patch.setattr(pins, "_enter_join", enter_join)


def or_counts_as_and(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.conditions, "either", rowstamp.analysis.conditions.both)


def one_appearance_is_enough(patch: Patch) -> None:
    original = rowstamp.analysis.reads._pins

    def pins(occurrences: Any, notes: Any) -> Any:
        return original(occurrences[:1], notes)

    patch.setattr(rowstamp.analysis.reads, "_pins", pins)


def fragments_read_nothing(patch: Patch) -> None:
    def with_text(reads: Any, *_: Any) -> Any:
        return rowstamp.analysis.reads.ReadAnalysis(reads, None, rowstamp.analysis.reads.Access.READS)

    patch.setattr(rowstamp.analysis.reads, "_with_text", with_text)


def not_keeps_or(patch: Patch) -> None:
    patch.setattr(
        rowstamp.analysis.conditions, "_NEGATED", {each: each for each in rowstamp.analysis.conditions._NEGATED}
    )


def null_is_a_value_like_others(patch: Patch) -> None:
    for module in (rowstamp.analysis.pins, rowstamp.analysis.handing_on):
        patch.setattr(module, "has_null", lambda _: False)


def whatever_is_there_has_passed(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.handing_on, "rows_have_passed", lambda _: True)


def not_exists_names_rows(patch: Patch) -> None:
    conditions: Any = rowstamp.analysis.conditions
    fact = conditions._fact

    def found(condition: Any, *, true: bool) -> Any:
        return fact(condition, true=true or getattr(condition, "operator", None) is conditions.operators.exists)

    patch.setattr(conditions, "_fact", found)


def subqueries_take_any_pin(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.handing_on, "takes", lambda *_: True)


def unions_take_any_pin(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.handing_on, "is_cut_off", lambda _: False)


def one_part_of_a_union_is_enough(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.handing_on, "parts", lambda query: parts(query)[:1])


def columns_read_do_not_count(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.dependencies, "_facets", lambda stamp, _: iter([stamp.of_membership()]))


def only_selected_columns_count(patch: Patch) -> None:
    compiler: Any = rowstamp.analysis.collect._TakesNotes
    note, visit = compiler._note_column, compiler.visit_column

    def visit_column(self: Any, column: Any, *args: Any, **kw: Any) -> Any:
        self._note_column = (lambda each: note(self, each)) if kw.get("within_columns_clause") else lambda _: None
        return visit(self, column, *args, **kw)

    patch.setattr(compiler, "visit_column", visit_column)


def what_decides_does_not_count(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.seen._Finder, "_asked", lambda *_: frozenset[str]())
