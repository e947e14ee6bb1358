"""What the user declares of names that SQL alone does not explain: views, functions, procedures, and tables with triggers.

A name without a schema stands for that name in any schema, as it does in statements that do not say which they mean.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from rowstamp.analysis.functions import FunctionKind, classify
from rowstamp.analysis.schema import write_names

__all__ = ["NOTHING_DECLARED", "Called", "Declaration", "Declarations", "Name", "split"]

Name: TypeAlias = tuple[str | None, str]
"""A schema, or ``None``, and a name, both in lower case."""


def split(name: str) -> Name:
    """Return ``schema.name`` or ``name`` in parts, in lower case."""
    schema, _, last = name.lower().rpartition(".")
    return schema or None, last


@dataclass(frozen=True, slots=True)
class Declaration:
    """What is behind a name.

    Attributes:
        depends_on: the tables that a view shows or a function reads; ``None`` if nothing was said of that.
        writes: the tables that change, in ways not known, when the function is called or the table is written.
        columns: columns that change along: each with its table.
    """

    depends_on: frozenset[Name] | None = None
    writes: frozenset[Name] = frozenset()
    columns: frozenset[tuple[Name, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Called:
    """What is known of the functions that a statement calls.

    Attributes:
        unknown: one of which nothing is known; empty if there is none.
        volatile: one whose value changes by itself; empty if there is none.
        reads: the tables that declared ones read.
        writes: the tables that declared ones change.
    """

    unknown: str = ""
    volatile: str = ""
    reads: frozenset[Name] = frozenset()
    writes: frozenset[Name] = frozenset()


@dataclass(frozen=True, slots=True)
class Declarations:
    """All that was declared.

    Attributes:
        by_name: each declaration by its name.
    """

    by_name: Mapping[Name, Declaration] = field(default_factory=dict[Name, Declaration])

    def adding(self, name: Name, declaration: Declaration) -> Declarations:
        """Return these and one more."""
        return Declarations({**self.by_name, name: declaration})

    def called(self, functions: Collection[str], dialect_name: str) -> Called:
        """Return what is known of functions, given by name."""
        unknown, volatile = "", ""
        reads: set[Name] = set()
        writes: set[Name] = set()
        for function in sorted(functions):
            declared = list(self._meant(split(function)))
            if declared:
                for each in declared:
                    reads |= each.depends_on or set()
                    writes |= each.writes | {table for table, _ in each.columns}
                continue
            kind = classify(function, dialect_name)
            unknown = unknown or (function if kind is FunctionKind.UNKNOWN else "")
            volatile = volatile or (function if kind is FunctionKind.VOLATILE else "")
        return Called(unknown, volatile, frozenset(reads), frozenset(writes))

    def _meant(self, name: Name) -> Iterator[Declaration]:
        for (schema, last), declaration in self.by_name.items():
            if last == name[1] and (schema is None or name[0] is None or schema == name[0]):
                yield declaration

    def behind(self, tables: Iterable[Name]) -> frozenset[Name]:
        """Return the tables that are behind those of these names that are views, transitively."""
        found: set[Name] = set()
        waiting = list(tables)
        while waiting:
            for declaration in self._meant(waiting.pop()):
                more = (declaration.depends_on or frozenset()) - found
                found |= more
                waiting.extend(more)
        return frozenset(found)

    def touched(self, stamps: Collection[str]) -> Iterator[tuple[Name, Declaration]]:
        """Yield what was declared of the tables whose stamps a write touches, by the names of these stamps."""
        for (schema, last), declaration in self.by_name.items():
            # ?.T is touched by writes that did not say which schema they mean.
            meant = {last} if schema is None else {write_names(schema, last)[1], f"?.{last}"}
            if not meant.isdisjoint(stamps):
                yield (schema, last), declaration


NOTHING_DECLARED: Final = Declarations()
