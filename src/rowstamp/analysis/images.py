"""Row images: the keys of the rows that a write is about to change, which its WHERE clause does not say.

`UPDATE product SET price = … WHERE id = 42` has to touch the list of the row's category, and nobody has named it. What a session
has loaded does not tell: another transaction may have moved the row since. So the database is asked, in the same
transaction and just before the write, with the lock that the write itself is about to take. From then on nobody else can change what the
image shows (docs/design.md has the argument for each database).

An image is asked for by primary key only. Whatever else WHERE says can only leave out rows of the image, which touches too much and
never too little; and a row that is not in the image cannot have come in between, if every key asked for was found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

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
from rowstamp.analysis.equality import key_value
from rowstamp.analysis.sources import Source, source_values, values_of
from rowstamp.analysis.writes import Rows, WriteAnalysis

__all__ = ["IMAGE_LIMIT", "Image", "ImagePlan", "plan_image"]

IMAGE_LIMIT: Final = 100
"""Most rows of an image. A write to more touches the unknown rows of the keys that it does not pin."""

_KEYS: Final = "rowstamp_keys"


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """How to ask for the image of a statement's shape.

    Attributes:
        table: the table that is written.
        primary: the columns of its primary key.
        source: where their values are found.
        question: SELECT of the columns of all keys, with a lock.
        begin: a write that touches no row, for databases that lock no rows but have one writer at a time.
    """

    table: Table[Any]
    primary: tuple[Any, ...]
    source: Source
    question: Select[Any]
    begin: Any

    def wanted(
        self, parameter_sets: Sequence[Mapping[str, Any]], dialect: Dialect
    ) -> tuple[set[bytes], list[Any]] | None:
        """Return the primary keys to ask for, canonical and as parameters; ``None`` if they are too many or not known."""
        canonical: set[bytes] = set()
        values: dict[Any, None] = {}
        for parameters in parameter_sets:
            known = source_values(self.primary, self.source, parameters, dialect)
            if known is None or len(canonical.union(known)) > IMAGE_LIMIT:
                return None
            canonical.update(known)
            options = [values_of(part, parameters) for part in self.source]
            values.update(dict.fromkeys(product(*options) if len(options) > 1 else options[0]))
        return canonical, list(values)

    @staticmethod
    def parameters(values: Sequence[Any]) -> dict[str, Any]:
        """Return the parameters of the question."""
        return {_KEYS: values}


def plan_image(analysis: WriteAnalysis, dialect: Dialect) -> ImagePlan | None:
    """Return how to find out the keys that a statement does not pin, or ``None`` if there is nothing to find out, or no way."""
    table = analysis.table
    if not is_table(table) or not _is_needed(analysis):
        return None
    names = {column.name for column in table.primary_key}
    primary = next((key for key in analysis.keys if set(key.key) == names), None)
    # The first touch of an INSERT is of the rows it makes: which rows an upsert changes the key of VALUES does not say.
    if primary is None or primary.touches[0].rows is not Rows.BEFORE or None in primary.touches[0].source:
        return None
    question = _question(analysis, primary.columns, lock_key=_locks_key(table, analysis.changed), dialect=dialect)
    begin = _begin(table, primary.columns[0], deletes=analysis.changed is None)
    return ImagePlan(table, primary.columns, primary.touches[0].source, question, begin)


def _is_needed(analysis: WriteAnalysis) -> bool:
    """Whether rows are changed whose value of some key the statement does not say."""
    return any(None in touch.source for key in analysis.keys for touch in key.touches if touch.rows is Rows.BEFORE)


def _locks_key(table: Table[Any], changed: frozenset[str] | None) -> bool:
    """Whether a write locks what others refer to: it deletes the row, or changes a column that is unique."""
    if changed is None:
        return True
    unique: list[Any] = [
        each for each in table.constraints if isinstance(each, PrimaryKeyConstraint | UniqueConstraint)
    ]
    unique += [index for index in table.indexes if index.unique]
    return any(column.name.lower() in changed for each in unique for column in each.columns)


def _question(analysis: WriteAnalysis, primary: Sequence[Any], *, lock_key: bool, dialect: Dialect) -> Any:
    columns = dict.fromkeys([*primary, *(column for key in analysis.keys for column in key.columns)])
    keys: BindParameter[Any] = bindparam(_KEYS, expanding=True, required=True)
    found = primary[0].in_(keys) if len(primary) == 1 else tuple_(*primary).in_(keys)
    question: Any = select(*columns).where(found)
    # The lock that the write takes, and no stronger one: PostgreSQL lets others refer to a row whose keys stay.
    return question.with_for_update(key_share=not lock_key and dialect.name == "postgresql")


def _begin(table: Table[Any], column: Any, *, deletes: bool) -> Any:
    return delete(table).where(false()) if deletes else update(table).values({column: column}).where(false())


@dataclass(frozen=True, slots=True)
class Image:
    """The rows that a write may change, as they were just before.

    Attributes:
        plan: how they were asked for.
        rows: the values of the key columns of each, by column name.
    """

    plan: ImagePlan
    rows: Mapping[bytes, Mapping[str, Any]]

    @classmethod
    def of(cls, plan: ImagePlan, wanted: set[bytes], rows: Sequence[Any], dialect: Dialect) -> Image | None:
        """Return the image if it shows every row that was asked for, and only these."""
        found: dict[bytes, Mapping[str, Any]] = {}
        names = [column.name for column in plan.question.selected_columns]
        for row in rows:
            values = dict(zip(names, row, strict=True))
            key = key_value(plan.primary, dialect, [values[column.name] for column in plan.primary])
            if key is None:
                return None
            found[key] = values
        return cls(plan, found) if found.keys() == wanted and len(rows) == len(found) else None

    def rows_of(self, parameters: Mapping[str, Any], dialect: Dialect) -> Iterator[Mapping[str, Any]]:
        """Yield the rows that one set of parameters may change."""
        for key in source_values(self.plan.primary, self.plan.source, parameters, dialect) or ():
            yield self.rows[key]
