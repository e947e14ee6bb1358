"""Which functions a DML statement calls: they may write more than it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import ClauseElement

from rowstamp._sqlalchemy import dml_ctes, dml_statement, is_custom_construct, tables_below
from rowstamp.analysis.text import parse_text

__all__ = ["functions_of_dml"]


def functions_of_dml(compiled: Any) -> frozenset[str] | None:
    """Return the lower-case names of the functions that a compiled INSERT, UPDATE or DELETE calls; ``None``: not known."""
    statement = dml_statement(compiled)
    found: set[str] = set()
    opaque = False
    for root in (statement, *dml_ctes(compiled), *_defaults(statement)):
        for part in visitors.iterate(root):
            element: Any = part
            kind = element.__visit_name__
            if kind == "function":
                found.add(".".join([*element.packagenames, element.name]).lower())
            opaque = opaque or kind in {"textclause", "tstring"} or getattr(element, "is_literal", False)
            opaque = opaque or is_custom_construct(element)
    if not opaque:
        return frozenset(found)
    facts = parse_text(str(compiled.string), compiled.dialect.name)
    return facts.functions | found if facts.understood else None


def _defaults(statement: Any) -> Iterator[ClauseElement]:
    """Yield the SQL expressions that the target's columns have for defaults."""
    for table in tables_below(statement.table):
        for column in table.c:
            for default in (getattr(column, "default", None), getattr(column, "onupdate", None)):
                expression = getattr(default, "arg", None)
                if isinstance(expression, ClauseElement):
                    yield expression
