"""Row images: the keys of the rows that a write is about to change, which its WHERE clause does not say.

`UPDATE product SET price = … WHERE id = 42` has to touch the list of the row's category, and nobody has named it. What a session
has loaded does not tell: another transaction may have moved the row since. So the database is asked, in the same
transaction and just before the write, with the lock that the write itself is about to take. From then on nobody else can change what the
image shows (docs/design.md has the argument for each database).

An image is asked for by primary key where WHERE says it. Whatever else WHERE says can only leave out rows of the image, which touches
too much and never too little; and a row that is not in the image cannot have come in between, if every key asked for was found.
Where WHERE names another key, or keys that are not there, the image is asked for by the very conditions of WHERE, and the write
has to write as many rows as it shows: all of them are locked and still chosen, so one more would be one too many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, cast

from sqlalchemy import (
    PrimaryKeyConstraint,
    Select,
    Table,
    UniqueConstraint,
    bindparam,
    delete,
    false,
    select,
    tuple_,
    update,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import BindParameter

from rowstamp._sqlalchemy import is_table
from rowstamp.analysis.chosen import Chosen
from rowstamp.analysis.equality import key_value
from rowstamp.analysis.sources import Source, source_values, values_of
from rowstamp.analysis.tables import cascaded
from rowstamp.analysis.writes import Rows, WriteAnalysis

__all__ = ["IMAGE_LIMIT", "Image", "ImagePlan", "locks_key", "plan_image"]

IMAGE_LIMIT: Final = 100
"""Most rows of an image. A write to more touches the unknown rows of the keys that it does not pin."""

_KEYS: Final = "rowstamp_keys"


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """How to ask for the image of a statement's shape.

    Attributes:
        table: the table that is written.
        primary: the columns of its primary key.
        source: where their values are found; nothing if WHERE does not say them.
        chosen: the rows that the statement chooses, if the question asks for these.
        exact: whether the write can be counted on to write every row that is found.
        question: SELECT of the columns of all keys, with a lock.
        begin: a write that touches no row, for databases that lock no rows but have one writer at a time.
    """

    table: Table[Any]
    primary: tuple[Any, ...]
    source: Source
    chosen: Chosen | None
    exact: bool
    question: Select[Any]
    begin: Any

    def wanted(
        self, parameter_sets: Sequence[Mapping[str, Any]], dialect: Dialect
    ) -> tuple[list[bytes], dict[str, Any]] | None:
        """Return the primary keys that WHERE names, with each set of parameters, and the parameters of the question.

        ``None`` if they are too many or not known.
        """
        if self.chosen is not None:
            values = self.chosen.values(parameter_sets[0]) if len(parameter_sets) == 1 else None
            return None if values is None else ([], values)
        canonical: list[bytes] = []
        keys: dict[Any, None] = {}
        for parameters in parameter_sets:
            known = source_values(self.primary, self.source, parameters, dialect)
            if known is None or len(set(canonical).union(known)) > IMAGE_LIMIT:
                return None
            canonical.extend(dict.fromkeys(known))
            options = [values_of(part, parameters) for part in self.source]
            keys.update(dict.fromkeys(product(*options) if len(options) > 1 else options[0]))
        return canonical, {_KEYS: list(keys)}


def plan_image(analysis: WriteAnalysis, dialect: Dialect) -> ImagePlan | None:
    """Return how to find out the keys that a statement does not pin, or ``None`` if there is nothing to find out, or no way."""
    table, chosen = analysis.table, analysis.chosen
    if not is_table(table) or not _is_needed(analysis):
        return None
    names = {column.name for column in table.primary_key}
    primary = next((key for key in analysis.keys if set(key.key) == names), None)
    # The first touch of an INSERT is of the rows it makes: which rows an upsert changes the key of VALUES does not say.
    if primary is None or primary.touches[0].rows is not Rows.BEFORE:
        return None
    source, exact = primary.touches[0].source, chosen is not None
    if None not in source:
        # One set of parameters may choose what another has moved, unless the key by which they choose stays.
        exact = chosen is not None and chosen.columns <= names and names.isdisjoint(analysis.changed or ())
        chosen = None
    elif chosen is None:
        return None
    question = _question(analysis, primary.columns, chosen, dialect)
    begin = _begin(table, primary.columns[0], deletes=analysis.changed is None)
    return ImagePlan(table, primary.columns, source, chosen, exact, question, begin)


def _is_needed(analysis: WriteAnalysis) -> bool:
    """Whether rows are changed whose value of some key the statement does not say, or other rows along with them."""
    return bool(cascaded(analysis.changes[:1])) or any(
        None in touch.source for key in analysis.keys for touch in key.touches if touch.rows is Rows.BEFORE
    )


def locks_key(table: Table[Any], changed: frozenset[str] | None) -> bool:
    """Return whether a write locks what others refer to: it deletes the row, or changes a column that is unique."""
    if changed is None:
        return True
    unique: list[Any] = [
        each for each in table.constraints if isinstance(each, PrimaryKeyConstraint | UniqueConstraint)
    ]
    unique += [index for index in table.indexes if index.unique]
    return any(column.name.lower() in changed for each in unique for column in each.columns)


def _question(analysis: WriteAnalysis, primary: Sequence[Any], chosen: Chosen | None, dialect: Dialect) -> Any:
    columns = dict.fromkeys([*primary, *(column for key in analysis.keys for column in key.columns)])
    question: Any = select(*columns)
    if chosen is not None:
        question = question.where(*chosen.where).limit(IMAGE_LIMIT + 1)
    else:
        keys: BindParameter[Any] = bindparam(_KEYS, expanding=True, required=True)
        question = question.where(primary[0].in_(keys) if len(primary) == 1 else tuple_(*primary).in_(keys))
    # The lock that the write takes, and no stronger one: PostgreSQL lets others refer to a row whose keys stay.
    lock_key = locks_key(cast("Table[Any]", analysis.table), analysis.changed)
    return question.with_for_update(key_share=not lock_key and dialect.name == "postgresql")


def _begin(table: Table[Any], column: Any, *, deletes: bool) -> Any:
    return delete(table).where(false()) if deletes else update(table).values({column: column}).where(false())


@dataclass(frozen=True, slots=True)
class Image:
    """The rows that a write may change, as they were just before.

    Attributes:
        plan: how they were asked for.
        rows: the values of the key columns of each, by column name.
        whole: whether every key that WHERE names was found.
        count: how many rows the write has to write if it writes them all, once with each set of parameters.
    """

    plan: ImagePlan
    rows: Mapping[bytes, Mapping[str, Any]]
    whole: bool
    count: int

    @classmethod
    def of(cls, plan: ImagePlan, wanted: Sequence[bytes], rows: Sequence[Any], dialect: Dialect) -> Image | None:
        """Return the image that was found, or ``None`` if it has too many rows or such as were not asked for."""
        found: dict[bytes, Mapping[str, Any]] = {}
        names = [column.name for column in plan.question.selected_columns]
        for row in rows:
            values = dict(zip(names, row, strict=True))
            key = key_value(plan.primary, dialect, [values[column.name] for column in plan.primary])
            if key is None:
                return None
            found[key] = values
        if len(found) != len(rows) or len(found) > IMAGE_LIMIT:
            return None
        if plan.chosen is not None:
            return cls(plan, found, whole=False, count=len(found))
        return (
            cls(plan, found, whole=len(found) == len(set(wanted)), count=sum(key in found for key in wanted))
            if found.keys() <= set(wanted)
            else None
        )

    def shows_all(self, written: int, *, plain: bool) -> bool:
        """Return whether there is no row that a write has written and that is not in its image.

        Args:
            written: how many rows it has written.
            plain: whether the table has nothing, such as a trigger, by which rows may be left alone that were chosen.
        """
        if written == 0 or (self.whole and written <= len(self.rows)):
            return True
        return plain and self.plan.exact and written == self.count

    def rows_of(self, parameters: Mapping[str, Any], dialect: Dialect) -> list[Mapping[str, Any]]:
        """Return the rows that one set of parameters may change."""
        if self.plan.chosen is not None:
            return list(self.rows.values())
        keys = source_values(self.plan.primary, self.plan.source, parameters, dialect) or ()
        return [self.rows[key] for key in keys if key in self.rows]
