"""What a write changes along with what it says: what foreign keys do, and what was declared of triggers, views and functions."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from rowstamp.analysis.declarations import Declaration, Name
from rowstamp.analysis.effects import cascade_effects, facets, wide_effects
from rowstamp.analysis.schema import key_columns, write_names
from rowstamp.analysis.tables import Change, namesakes
from rowstamp.errors import RowstampWarning
from rowstamp.model import Dependency
from rowstamp.orm.attachment import Attachment

__all__ = [
    "EVERYTHING",
    "called_effects",
    "named_effects",
    "warn_of_everything",
    "with_consequences",
]

EVERYTHING: Final = frozenset({Dependency.everything()})


def warn_of_everything(sql: str, reason: str) -> set[Dependency]:
    """Say that a statement invalidates everything, and why; return that effect."""
    shown = " ".join(sql.split())
    warnings.warn(
        f"rowstamp cannot tell what this statement changes ({reason}) and invalidates everything: {shown[:200]}",
        RowstampWarning,
        stacklevel=2,
    )
    return set(EVERYTHING)


def named_effects(
    attachment: Attachment, schema: str | None, name: str, translate: Mapping[Any, Any] | None = None
) -> set[Dependency]:
    """Return the effects of a write to a table known by name, and of what the database changes along with it."""
    change = Change(name.lower(), deletes=True, updates=None)
    own = wide_effects(schema, name, attachment.scope)
    return own | cascade_effects([change], scope=attachment.scope, translate=translate)


def called_effects(attachment: Attachment, functions: Collection[str] | None, sql: str) -> set[Dependency]:
    """Return what the functions may change that a statement calls; ``None``: which they are is not known."""
    if functions is None:
        return warn_of_everything(sql, "a fragment of it is not understood")
    called = attachment.core.declarations.called(functions, attachment.dialect.name)
    # A function of the application runs inside SQLite's own statement and cannot write to this connection.
    if called.unknown and attachment.dialect.name != "sqlite":
        remedy = f'cache.declare("{called.unknown}", depends_on=[…], writes=[…]) would'
        return warn_of_everything(sql, f"nothing is known of the function {called.unknown}(); {remedy}")
    found: set[Dependency] = set()
    for schema, name in called.writes:
        found |= named_effects(attachment, schema, name)
    return found


def with_consequences(attachment: Attachment, found: set[Dependency]) -> set[Dependency]:
    """Return effects with those that were declared to follow from them, transitively."""
    declarations = attachment.core.declarations
    if not declarations.by_name:
        return found
    everything = set(found)
    done: set[Name] = set()
    while True:
        stamps = {each.name for each in everything if each.kind == "table"}
        waiting = [(name, each) for name, each in declarations.touched(stamps) if name not in done]
        if not waiting:
            return everything
        for name, declaration in waiting:
            done.add(name)
            everything |= _following(attachment, name, declaration, everything)


def _following(attachment: Attachment, name: Name, declaration: Declaration, found: set[Dependency]) -> set[Dependency]:
    more: set[Dependency] = set()
    # What is written through a view is written to the tables behind it.
    for schema, table in declaration.writes | (declaration.depends_on or frozenset()):
        more |= named_effects(attachment, schema, table)
    for owner, column in declaration.columns:
        more.update(_column_effects(attachment.scope, owner, column, found if owner == name else None))
    return more


def _column_effects(scope: str, table: Name, column: str, same_rows: set[Dependency] | None) -> Iterator[Dependency]:
    """Yield that one column changes: in the rows that the write touches anyway, or in rows that are not known."""
    names = write_names(*table)
    for name in names:
        stamps = [Dependency.table(scope, name)]
        if same_rows is None:
            stamps.append(Dependency.unknown_rows(scope, name))
        for stamp in stamps:
            yield stamp
            yield stamp.of_column(column)
        for key in {key for each in namesakes(table[1]) for key in key_columns(each)}:
            if column.lower() in (part.lower() for part in key):
                yield from facets(Dependency.unknown_rows(scope, name, key), (), moves=True)
    for each in same_rows or ():
        if each.kind == "rows" and each.name in names and not each.facet:
            yield each.of_column(column)
