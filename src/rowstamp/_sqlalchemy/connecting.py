"""With what an engine opens its connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Engine

__all__ = ["opening_arguments"]


def opening_arguments(engine: Engine) -> Mapping[str, Any]:
    """Return the named arguments that an engine gives to its driver; none where it has a ``creator`` of the application.

    ``create_engine`` keeps them for itself, in the function that its pool calls.
    """
    creator: Any = getattr(engine.pool, "_creator", None)
    names = getattr(getattr(creator, "__code__", None), "co_freevars", ())
    cells = getattr(creator, "__closure__", None) or ()
    try:
        kept: dict[str, Any] = {name: cell.cell_contents for name, cell in zip(names, cells, strict=True)}
    except ValueError:  # a variable that has no value yet: it is the application's function
        return {}
    found: Mapping[str, Any] = kept.get("cparams", {})
    return found
