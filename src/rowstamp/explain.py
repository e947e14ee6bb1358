"""What a cache would do with a statement, and why: the answer of ``cache.explain(stmt)``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from rowstamp.codec import decode
from rowstamp.model import Dependency, Unknown

__all__ = ["Explanation", "TableExplanation", "describe"]


@dataclass(frozen=True, slots=True)
class TableExplanation:
    """How a statement reads one table, and so which writes to it end its result.

    Attributes:
        name: the table.
        pins: the keys whose values restrict its rows, such as ``("id",)`` or ``("order_id+line",)``; empty if any row may matter.
        columns: the columns of which the result is made, besides the keys that pin its rows; ``None`` if any may matter.
        why: why any row may matter; empty if its rows are pinned.
        why_any_column: why any column may matter; empty if only some do.
        seen: the keys of joined rows that are told by the result, which depends on those it shows and not on the whole table.
        any_row: the columns that matter in rows that the result does not show, besides rows that come and go; ``None``: these rows do
            not matter.
    """

    name: str
    pins: tuple[str, ...]
    columns: tuple[str, ...] | None
    why: str
    why_any_column: str
    seen: tuple[str, ...] = ()
    any_row: tuple[str, ...] | None = None

    def __str__(self) -> str:
        if self.columns is None:
            return f"{self.name}: {self._rows()}, all columns ({self.why_any_column})"
        return f"{self.name}: {self._rows()}, columns: {', '.join(self.columns) or 'none'}"

    def _rows(self) -> str:
        rows = [f"rows pinned by {', '.join(self.pins)}"] if self.pins else []
        rows += [f"rows seen: {self.name}.{key}" for key in self.seen]
        if self.any_row is not None:
            rows.append(f"rows that come and go, and {', '.join(self.any_row)} of any row")
        return "; ".join(rows) or f"any row ({self.why})"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a cache would do with a statement.

    Attributes:
        sql: the text it is compiled to.
        cacheable: whether its result may be cached.
        asked: whether it is to be cached: by ``cached(...)`` or by a policy.
        reason: why it is not served from the cache; empty if it is.
        key: the key of its entry in hexadecimal; empty if it has none.
        tables: how it reads each table.
        dependencies: what its result depends on; a write that touches one of these makes it unusable.
        ttl: how long the result would be kept, in seconds.
        unless_found: what it depends on besides, unless it shows every row that it looks up by a unique key.
    """

    sql: str
    cacheable: bool
    asked: bool
    reason: str
    key: str
    tables: tuple[TableExplanation, ...]
    dependencies: tuple[Dependency, ...]
    ttl: float
    unless_found: tuple[Dependency, ...] = ()

    def __str__(self) -> str:
        verdict = "cached" if self.cacheable and self.asked else "not cached"
        lines = [
            f"{verdict}: {self.reason}" if self.reason else f"{verdict} for {self.ttl:g} s",
            f"  sql: {_one_line(self.sql)}",
        ]
        if self.key:
            lines.append(f"  key: {self.key}")
        lines += [f"  reads {table}" for table in self.tables]
        lines += [
            f"  until a write touches {describe(each)}" for each in self.dependencies if each.kind != "everything"
        ]
        lines += [f"  or {describe(each)}, if it has not found every row that it names" for each in self.unless_found]
        return "\n".join(lines)


def _one_line(sql: str) -> str:
    return " ".join(sql.split())


_FACETS: Final = {"rows": "!", "old": "-", "old rows": "!-"}


def describe(dependency: Dependency) -> str:
    """Return a dependency in the notation of the documentation: ``T``, ``T.k=v``, ``T.k=?!``, ``T:column``, ``tag t``."""
    if dependency.kind == "everything":
        return "everything"
    if dependency.kind == "tag":
        return f"tag {dependency.name}"
    facet = _FACETS.get(dependency.facet) or dependency.facet.replace(".", ":", 1)
    if dependency.kind == "table":
        return dependency.name + facet
    key = ",".join(dependency.key)
    if dependency.value is Unknown.UNKNOWN:
        return (f"{dependency.name}.{key}=?" if key else f"{dependency.name}.?") + facet
    return f"{dependency.name}.{key}=<value {_shown(dependency.value)}>{facet}"


def _shown(value: object) -> str:
    try:
        parts: Any = decode(value) if isinstance(value, bytes) else value
    except Exception:  # noqa: BLE001 - a canonical value need not be decodable; it is shown as it is then
        return value.hex() if isinstance(value, bytes) else str(value)
    return ",".join(str(part) for part in parts) if type(parts) is tuple else str(parts)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
