"""Rules by which reads depend on rows and columns, each with a way to switch it off."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.sql.selectable import AliasedReturnsRows

import rowstamp.analysis.bodies
import rowstamp.analysis.collect
import rowstamp.analysis.conditions
import rowstamp.analysis.dependencies
import rowstamp.analysis.handing_on
import rowstamp.analysis.pins
import rowstamp.analysis.reads
import rowstamp.analysis.seen
import rowstamp.analysis.subqueries
import rowstamp.orm.shape
from rowstamp.analysis.conditions import is_query
from rowstamp.analysis.subqueries import parts, ungrouped
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


def full_joins_count_as_inner(patch: Patch) -> None:
    pins: Any = rowstamp.analysis.pins
    enter = pins._enter

    def enter_join(join: Any, scope: Any, **where: Any) -> Any:
        both = enter(join.left, scope, **where)[0] | enter(join.right, scope, **where)[0]
        right = frozenset(enter(join.right, pins.Scope(), **where)[0]) if join.isouter else both
        scope.restrict(join.onclause, both if join.full else right, frozenset())
        return both, frozenset()

    patch.setattr(pins, "_enter_join", enter_join)


def conditions_of_outer_joins_pass(patch: Patch) -> None:
    patch.setattr(
        rowstamp.analysis.pins._Solver,
        "_restricts",
        lambda self, at, element: element in at.restricts or element not in self._inside,
    )


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


def one_reader_is_enough(patch: Patch) -> None:
    links: Any = rowstamp.analysis.handing_on._Links

    def handed_in(self: Any, body: Any) -> Any:
        readers = self._readers.get(id(body.statement), ())
        return dict(readers[0](body)) if readers else {}

    patch.setattr(links, "_handed_in", handed_in)


def recursion_hands_on(patch: Patch) -> None:
    def behind(element: Any) -> Any:
        inner = element
        while isinstance(inner, AliasedReturnsRows):
            inner = inner.element
        inner = ungrouped(inner)
        return inner if is_query(inner) else None

    for module in (rowstamp.analysis.handing_on, rowstamp.analysis.subqueries):
        patch.setattr(module, "behind", behind)


def one_alternative_is_handed_on(patch: Patch) -> None:
    patch.setattr(
        rowstamp.analysis.bodies.Body, "values", lambda body, element, name: body.solution[0].get((element, name))
    )


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


def only_the_first_table_counts(patch: Patch) -> None:
    reads: Any = vars(rowstamp.analysis.reads)["_table_reads"]
    patch.setattr(rowstamp.analysis.reads, "_table_reads", lambda *args, **options: reads(*args, **options)[:1])


def joined_rows_decide_nothing(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.seen._Finder, "_hanging_on", lambda _, join: join.restricts)


def joined_rows_keep_their_places(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.seen._Finder, "_keeps_places", lambda *_: True)


def groups_show_their_rows(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.seen, "group_by", lambda _: ())


def what_decides_does_not_count(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.seen._Finder, "_asked", lambda *_: frozenset[str]())
