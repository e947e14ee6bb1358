"""What SQLAlchemy itself has found out of the rows that an INSERT made. To be asked once the result was set up: it remembers its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["inserted_keys", "returned_defaults"]


def inserted_keys(context: Any) -> Sequence[Sequence[Any] | None] | None:
    """Return the primary key of each row an executed INSERT made, or ``None`` if they are not all known."""
    try:
        rows = context.inserted_primary_key_rows
    except Exception:  # noqa: BLE001 - whatever a dialect raises here, the keys are simply not known
        return None
    return rows if rows is not None and len(rows) == len(context.compiled_parameters) else None


def returned_defaults(context: Any) -> Sequence[Mapping[Any, Any]] | None:
    """Return what RETURNING has told of each row an executed INSERT made, by column; ``None`` if it was not asked for."""
    rows = context.returned_default_rows
    return None if rows is None else [row._mapping for row in rows]
