"""What is known of the rows that an INSERT has made, beyond what its parameters say.

SQLAlchemy itself asks for the primary key, by RETURNING or as the driver's number of the last row, and with RETURNING for the columns that have a
default of the database's. What is still unknown then can be asked for by primary key, in the same transaction: nobody else sees the rows yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Dialect

from rowstamp.analysis.effects import inserted_effects
from rowstamp.analysis.images import IMAGE_LIMIT
from rowstamp.analysis.sources import options_of
from rowstamp.analysis.upserts import Upsert
from rowstamp.analysis.writes import KeyEffect, WriteAnalysis
from rowstamp.model import Dependency

__all__ = ["Inserted"]

Image = dict[str, Any]


@dataclass(slots=True)
class Inserted:
    """An INSERT of which the database's answer has to tell keys.

    Attributes:
        analysis: what its shape says.
        keys: the keys that its parameters do not tell.
        parameter_sets: the parameters by name.
        plan: how to ask for its rows, if that can be done.
        translate: the ``schema_translate_map`` in force.
        images: what is known of each row, by column name; ``None``: nothing.
    """

    analysis: WriteAnalysis
    keys: tuple[KeyEffect, ...]
    parameter_sets: Sequence[Mapping[str, Any]]
    plan: Upsert | None
    translate: Mapping[Any, Any] | None
    images: list[Image] | None = field(default=None, init=False)

    def answered(
        self, primary: Sequence[Sequence[Any] | None] | None, returned: Sequence[Mapping[Any, Any]] | None
    ) -> None:
        """Note what the execution has answered: the primary key of each row, and what was returned of it by itself."""
        rows = [tuple(row) for row in primary or () if row is not None and None not in tuple(row)]
        if primary is None or len(rows) != len(primary) or self._mixes():
            return
        names = [column.name for column in self.analysis.table.primary_key]
        self.images = [self._given() | dict(zip(names, row, strict=True)) for row in rows]
        if returned is not None and len(returned) == len(rows):
            for image, row in zip(self.images, returned, strict=True):
                image |= {column.name: row[column] for column in self._columns() if column in row}

    def _mixes(self) -> bool:
        """Whether parts of several primary keys are parameters: nobody says in which order the other parts are told."""
        primary = [touch.source for key in self.keys if key.from_result for touch in key.touches]
        return len(self.parameter_sets) > 1 and any(part is not None for source in primary for part in source)

    def _given(self) -> Image:
        """Return what the parameters say of the row, if there is but one; of several it is not known which row is whose."""
        if len(self.parameter_sets) > 1 or any(len(key.touches) > 1 for key in self.keys):
            return {}
        found: Image = {}
        for key in self.keys:
            for column, part in zip(key.columns, key.touches[0].source, strict=True):
                options = None if part is None else options_of(column, part, self.parameter_sets[0])
                if options is not None:
                    found[column.name] = options[0]
        return found

    def _columns(self) -> list[Any]:
        return [column for key in self.keys for column in key.columns]

    def question(self) -> dict[str, list[Any]] | None:
        """Return the parameters of the question for what is not known yet, or ``None`` if all is, or nothing can be asked."""
        if self.plan is None or self.images is None or len(self.images) > IMAGE_LIMIT:
            return None
        if all(column.name in image for image in self.images for column in self._columns()):
            return None
        names = [column.name for column in self.plan.table.primary_key]
        return self.plan.asked_by([tuple(image[name] for name in names) for image in self.images])

    def shown(self, rows: Sequence[Any]) -> None:
        """Note the database's answer to the question. If it does not show every row, it is not believed."""
        if self.plan is not None and self.images is not None and len(rows) == len(self.images):
            names = [column.name for column in self.plan.question.selected_columns]
            self.images = [dict(zip(names, row, strict=True)) for row in rows]

    def effects(self, *, scope: str, dialect: Dialect) -> set[Dependency]:
        """Return what was touched of the keys, as far as it is known now."""
        return inserted_effects(
            self.analysis.table, self.keys, self.images, scope=scope, dialect=dialect, translate=self.translate
        )
