"""Ask the database for the rows that it will change along with those of a write, foreign key by foreign key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Table
from sqlalchemy.engine import Connection

from rowstamp.analysis.cascades import REFERRED, Fate, Referring, fate_effects, referring
from rowstamp.analysis.effects import cascade_effects, wide_effects
from rowstamp.analysis.images import IMAGE_LIMIT
from rowstamp.analysis.tables import Change, ForeignKey, acting_keys
from rowstamp.model import Dependency
from rowstamp.orm.attachment import Attachment, Rights
from rowstamp.orm.images import question_rows, rights_of

__all__ = ["follow"]

QUESTION_LIMIT: Final = 12
"""Most questions that one write asks for what the database changes along with it."""


@dataclass
class _Walk:
    """One write and what it has led to.

    Attributes:
        attachment: the engine's attachment.
        connection: where the write is about to be sent.
        translate: the ``schema_translate_map`` in force.
        found: what is touched.
        waiting: rows whose fate is known, and not yet what it means for those who refer to them.
        seen: the fates that were followed, by table.
        asked: how many questions were asked.
    """

    attachment: Attachment
    connection: Connection
    translate: Mapping[Any, Any] | None
    found: set[Dependency] = field(default_factory=set[Dependency])
    waiting: list[tuple[Table[Any], list[Fate]]] = field(default_factory=list[tuple[Table[Any], list[Fate]]])
    seen: set[str] = field(default_factory=set[str])
    asked: int = 0

    def add(self, table: Table[Any], rows: Sequence[Fate]) -> None:
        """Have the rows followed that were not."""
        new = {f"{table.name} {fate}": fate for fate in rows}
        left = [fate for shown, fate in new.items() if shown not in self.seen]
        self.seen.update(new)
        if left:
            self.waiting.append((table, left))

    def step(self, parent: Table[Any], key: ForeignKey, rows: Sequence[Fate]) -> None:
        """Follow one foreign key from rows that it refers to."""
        plan = referring(parent, key, self.attachment.dialect)
        answer = self.ask(plan, rows) if plan is not None else None
        if plan is None or answer is None:
            deletes = any(fate.after is None for fate in rows)
            change = key.change(Change(parent.name.lower(), deletes, updates=None))
            schema, name = key.child
            translated = self.translate.get(schema, schema) if self.translate else schema
            scope = self.attachment.scope
            self.found |= wide_effects(translated, name, scope)
            self.found |= cascade_effects([change], scope=scope, translate=self.translate)
            return
        fates = plan.fates(answer, rows)
        self.found |= fate_effects(
            plan.table, fates, scope=self.attachment.scope, dialect=self.attachment.dialect, translate=self.translate
        )
        self.add(plan.table, fates)

    def ask(self, plan: Referring, rows: Sequence[Fate]) -> Sequence[Any] | None:
        """Return the rows that refer to these, or ``None`` if they cannot be told."""
        values = plan.referred(rows)
        if values is None or len(values) > IMAGE_LIMIT or self.asked >= QUESTION_LIMIT:
            return None
        if not values:
            return ()
        # What follows from foreign keys does so in spite of the row-level security under which the question is asked.
        rights = rights_of(self.attachment, self.connection, plan.table, plan.question, self.translate)
        if rights is not Rights.PLAIN:
            return None
        self.asked += 1
        found = question_rows(
            self.attachment, self.connection, plan.table, plan.question, {REFERRED: values}, self.translate
        )
        return None if found is None or len(found) > IMAGE_LIMIT else found


def follow(
    attachment: Attachment,
    connection: Connection,
    table: Table[Any],
    rows: Sequence[Fate],
    translate: Mapping[Any, Any] | None,
) -> set[Dependency]:
    """Return what is touched by what the database will change along with rows of a table.

    Args:
        attachment: the engine's attachment.
        connection: where the write is about to be sent; its transaction has these rows locked.
        table: the table that is written.
        rows: what will become of its rows.
        translate: the ``schema_translate_map`` in force.
    """
    walk = _Walk(attachment, connection, translate)
    walk.add(table, rows)
    while walk.waiting:
        parent, fates = walk.waiting.pop()
        for key in acting_keys(parent.name):
            concerned = [fate for fate in fates if fate.reaches(key)]
            if concerned:
                walk.step(parent, key, concerned)
    return walk.found
