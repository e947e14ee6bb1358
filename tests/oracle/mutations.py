"""Rules of the cache, each with a way to switch it off. `docs/rules.md` lists them, with what guards the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.engine.default import DefaultDialect

import rowstamp.analysis.cascades
import rowstamp.analysis.changed
import rowstamp.analysis.chosen
import rowstamp.analysis.effects
import rowstamp.analysis.found
import rowstamp.analysis.inserted
import rowstamp.analysis.pins
import rowstamp.analysis.upserts
import rowstamp.analysis.writes
import rowstamp.orm.attachment
import rowstamp.orm.cascades
import rowstamp.orm.consequences
import rowstamp.orm.raw
import rowstamp.orm.shape
import rowstamp.orm.transaction
import rowstamp.orm.writes
from rowstamp.analysis.declarations import Declarations
from rowstamp.analysis.dependencies import Needs
from rowstamp.analysis.writes import Rows
from rowstamp.codec import canonical
from rowstamp.core import Core
from rowstamp.model import Dependency, Unknown
from rowstamp.orm.transaction import TransactionState, state_of

Patch = pytest.MonkeyPatch


def _publish(patch: Patch, keep: Callable[[Dependency], bool]) -> None:
    """Have commits publish only some of the effects."""
    original = Core.commit

    def commit(self: Core, effects: Iterable[Dependency], commit_database: Callable[[], Any], **options: Any) -> None:
        original(self, [effect for effect in effects if keep(effect)], commit_database, **options)

    patch.setattr(Core, "commit", commit)


def no_table_stamp(patch: Patch) -> None:
    _publish(patch, lambda effect: effect.kind != "table")


def no_row_stamps(patch: Patch) -> None:
    _publish(patch, lambda effect: not isinstance(effect.value, bytes))


def no_unknown_rows_of_writes(patch: Patch) -> None:
    _publish(patch, lambda effect: not isinstance(effect.value, Unknown))


def nothing_published(patch: Patch) -> None:
    _publish(patch, lambda _: False)


def no_unknown_rows_of_reads(patch: Patch) -> None:
    original: Any = vars(rowstamp.orm.shape)["needs"]

    def needs(*args: Any, **kwargs: Any) -> Needs:
        found: Needs = original(*args, **kwargs)
        return replace(found, certain=tuple(each for each in found.certain if not isinstance(each.value, Unknown)))

    patch.setattr(rowstamp.orm.shape, "needs", needs)


def lookups_find_everything(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.found.Finding, "has_all", lambda *_: True)


def no_row_is_old(patch: Patch) -> None:
    _publish(patch, lambda effect: not effect.facet.startswith("old"))


def no_cascades(patch: Patch) -> None:
    for module in (rowstamp.analysis.effects, rowstamp.orm.consequences, rowstamp.orm.cascades):
        patch.setattr(module, "cascade_effects", lambda *_, **__: set[Dependency]())
    patch.setattr(rowstamp.orm.writes, "follow", lambda *_: set[Dependency]())


def rows_of_cascades_stay(patch: Patch) -> None:
    patch.setattr(rowstamp.orm.cascades, "fate_effects", lambda *_, **__: set[Dependency]())


def cascades_take_one_step(patch: Patch) -> None:
    add = rowstamp.orm.cascades._Walk.add

    def add_once(walk: Any, table: Any, rows: Any) -> None:
        if not walk.seen:
            add(walk, table, rows)

    patch.setattr(rowstamp.orm.cascades._Walk, "add", add_once)


def nulls_of_cascades_do_not_count(patch: Patch) -> None:
    after: Any = rowstamp.analysis.cascades.Referring._after

    def kept(referring: Any, before: Any, cause: Any) -> Any:
        action = referring.key.on_delete if cause.after is None else referring.key.on_update
        return before if action == "SET NULL" else after(referring, before, cause)

    patch.setattr(rowstamp.analysis.cascades.Referring, "_after", kept)


def what_is_not_asked_stays(patch: Patch) -> None:
    patch.setattr(rowstamp.orm.cascades, "QUESTION_LIMIT", 0)
    patch.setattr(rowstamp.orm.cascades, "wide_effects", lambda *_: set[Dependency]())
    patch.setattr(rowstamp.orm.cascades, "cascade_effects", lambda *_, **__: set[Dependency]())


def cascades_of_text_stay(patch: Patch) -> None:
    patch.setattr(rowstamp.orm.consequences, "cascade_effects", lambda *_, **__: set[Dependency]())


def no_keys_of_inserts(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.inserted, "inserted_effects", lambda *_, **__: set[Dependency]())
    patch.setattr(rowstamp.analysis.writes, "_inserted", lambda *_: iter(()))
    patch.setattr(rowstamp.orm.attachment, "plan_upsert", lambda *_: None)


def keys_left_out_do_not_count(patch: Patch) -> None:
    original: Any = vars(rowstamp.analysis.inserted)["inserted_effects"]

    def of_primary_key(table: Any, awaited: Any, *args: Any, **options: Any) -> set[Dependency]:
        found: set[Dependency] = original(table, [key for key in awaited if key.from_result], *args, **options)
        return found

    patch.setattr(rowstamp.analysis.inserted, "inserted_effects", of_primary_key)


def keys_never_differ(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.effects, "keys_differ", lambda *_, **__: (False, False))


def images_show_nothing(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.effects, "_image_values", lambda *_: list[bytes]())


def _without_touches(patch: Patch, rows: Rows) -> None:
    """Have writes touch only rows as they were before, or only as they are afterwards."""
    original = rowstamp.analysis.effects._touched_values

    def touched_values(key: Any, touch: Any, *args: Any) -> set[bytes] | None:
        return set() if touch.rows is rows else original(key, touch, *args)

    patch.setattr(rowstamp.analysis.effects, "_touched_values", touched_values)


def old_values_do_not_count(patch: Patch) -> None:
    _without_touches(patch, Rows.BEFORE)


def new_values_do_not_count(patch: Patch) -> None:
    _without_touches(patch, Rows.AFTER)


def computed_columns_stay(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.changed, "_computed_from", lambda *_: iter(()))


def columns_with_onupdate_stay(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.changed, "_by_themselves", lambda *_, **__: iter(()))


def rows_of_a_select_do_not_come(patch: Patch) -> None:
    original: Any = vars(rowstamp.analysis.writes)["_inserted"]

    def inserted(compiled: Any, statement: Any, columns: Any) -> Any:
        return iter(()) if statement.select is not None else original(compiled, statement, columns)

    patch.setattr(rowstamp.analysis.writes, "_inserted", inserted)


def one_alternative_of_a_write_is_enough(patch: Patch) -> None:
    for module in (rowstamp.analysis.pins, rowstamp.analysis.chosen):
        original: Any = vars(module)["pins_of_rows"]
        patch.setattr(module, "pins_of_rows", lambda *args, original=original: original(*args)[:1])


def ctes_of_writes_change_nothing(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.writes, "dml_ctes", lambda _: ())


def ctes_of_reads_change_nothing(patch: Patch) -> None:
    patch.setattr(rowstamp.orm.writes, "named_effects", lambda *_: set[Dependency]())
    patch.setattr(rowstamp.orm.writes, "warn_of_everything", lambda *_: set[Dependency]())


def only_the_first_set_of_parameters_counts(patch: Patch) -> None:
    original: Any = vars(rowstamp.orm.writes)["parameter_values"]
    patch.setattr(rowstamp.orm.writes, "parameter_values", lambda context: original(context)[:1])


def nothing_is_replaced(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.writes, "has_prefixes", lambda _: False)


def inserts_that_may_do_nothing_do_nothing(patch: Patch) -> None:
    patch.setattr(rowstamp.orm.writes, "_wrote_none", lambda _: True)


def many_effects_are_forgotten(patch: Patch) -> None:
    patch.setattr(rowstamp.orm.transaction, "EFFECT_LIMIT", 0)
    patch.setattr(rowstamp.orm.transaction, "_widened", lambda _: ())


def rows_of_many_effects_are_new(patch: Patch) -> None:
    widened: Any = vars(rowstamp.orm.transaction)["_widened"]
    patch.setattr(rowstamp.orm.transaction, "EFFECT_LIMIT", 0)
    patch.setattr(
        rowstamp.orm.transaction,
        "_widened",
        lambda effect: (each for each in widened(effect) if not each.facet.startswith("old")),
    )


def keys_are_not_followed(patch: Patch) -> None:
    original = rowstamp.analysis.cascades.Fate.reaches

    def reaches(fate: Any, key: Any) -> bool:
        return fate.after is None and original(fate, key)

    patch.setattr(rowstamp.analysis.cascades.Fate, "reaches", reaches)


def no_changed_columns(patch: Patch) -> None:
    _publish(patch, lambda effect: not effect.facet.startswith("."))


def no_membership(patch: Patch) -> None:
    _publish(patch, lambda effect: effect.facet != "rows")


def no_text_writes(patch: Patch) -> None:
    patch.setattr(rowstamp.orm.raw, "_effects", lambda *_: set[Dependency]())


def changed_keys_stay(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.writes, "_changes_key", lambda *_: False)


def upserts_insert_only(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.writes, "is_upsert", lambda _: False)
    patch.setattr(rowstamp.orm.attachment, "plan_upsert", lambda *_: None)


def upserts_set_nothing(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.upserts, "changed_along", lambda *_: frozenset[str]())


def upserts_keep_keys(patch: Patch) -> None:
    stamps: Any = rowstamp.analysis.upserts.Upsert._stamps

    def known(upsert: Any, *args: Any) -> Iterator[Dependency]:
        return (each for each in stamps(upsert, *args) if not isinstance(each.value, Unknown))

    patch.setattr(rowstamp.analysis.upserts.Upsert, "_stamps", known)


def upserts_find_no_row(patch: Patch) -> None:
    patch.setattr(rowstamp.analysis.upserts.Upsert, "_stamps", lambda *_: iter(()))


def views_show_nothing(patch: Patch) -> None:
    patch.setattr(Declarations, "behind", lambda *_: frozenset[Any]())


def own_writes_unseen(patch: Patch) -> None:
    patch.setattr(TransactionState, "meets", lambda *_: False)


def undone_savepoints_clear(patch: Patch) -> None:
    original: Any = DefaultDialect.do_rollback_to_savepoint

    def undo(self: DefaultDialect, connection: Any, name: str) -> None:
        original(self, connection, name)
        state_of(connection.connection).ended()

    patch.setattr(DefaultDialect, "do_rollback_to_savepoint", undo)


def released_savepoints_clear(patch: Patch) -> None:
    original: Any = DefaultDialect.do_release_savepoint

    def release(self: DefaultDialect, connection: Any, name: str) -> None:
        original(self, connection, name)
        state_of(connection.connection).ended()

    patch.setattr(DefaultDialect, "do_release_savepoint", release)


def rows_without_a_value_stay(patch: Patch) -> None:
    _publish(patch, lambda effect: effect.value != canonical((None,)))
