"""What an upsert's clause says, as far as SQLAlchemy does not say so in public."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table
from sqlalchemy.engine.interfaces import ExecuteStyle

from rowstamp._sqlalchemy import upsert_clause

__all__ = ["conflict_columns", "in_batches", "set_on_conflict", "skips_conflicts"]


def skips_conflicts(statement: Any, dialect: str) -> bool:
    """Return whether an INSERT leaves out the rows in whose way others stand, and does nothing else: DO NOTHING, IGNORE."""
    clause = upsert_clause(statement)
    words = [str(text).strip().upper() for text, _ in statement._prefixes]
    if clause is not None:
        return clause.__visit_name__ == "on_conflict_do_nothing" and not words
    return words == [{"mysql": "IGNORE", "mariadb": "IGNORE", "sqlite": "OR IGNORE"}.get(dialect)]


def in_batches(context: Any) -> bool:
    """Return whether an INSERT of several sets of parameters is sent as several statements, of which this is one."""
    return context.execute_style is ExecuteStyle.INSERTMANYVALUES


def set_on_conflict(clause: Any) -> list[str] | None:
    """Return the names or keys of the columns that a row gets from SET, or ``None`` if they are not all columns."""
    kind = getattr(clause, "__visit_name__", "")
    sets = {"on_conflict_do_update": "update_values_to_set", "on_duplicate_key_update": "update"}
    if kind not in sets:
        return None
    given: Any = getattr(clause, sets[kind])
    columns: list[Any] = list(
        given.keys() if hasattr(given, "keys") else [column for column, _ in given]
    )  # pairs in 2.0
    found = [each if isinstance(each, str) else getattr(each, "key", None) for each in columns]
    names = [str(each) for each in found if each is not None]
    return names if len(names) == len(found) else None


def conflict_columns(clause: Any, table: Table[Any]) -> set[str] | None:
    """Return the names of the columns of the key that ON CONFLICT names; empty if it is not understood, ``None`` without one."""
    if getattr(clause, "__visit_name__", "") != "on_conflict_do_update":
        return None
    if getattr(clause, "inferred_target_whereclause", None) is not None:
        return set()
    name = getattr(clause, "constraint_target", None)
    if name is not None:
        found = [each for each in table.constraints if each.name == name]
        return {column.name for column in getattr(found[0], "columns", ())} if len(found) == 1 else set()
    elements = clause.inferred_target_elements or ()
    names = [each if isinstance(each, str) else getattr(each, "name", None) for each in elements]
    columns = {column.name for column in table.columns}
    return {str(each) for each in names} if names and all(each in columns for each in names) else set()
