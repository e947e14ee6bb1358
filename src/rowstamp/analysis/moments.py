"""Texts that PostgreSQL reads as moments where it expects a date or a time: what they mean ends by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

__all__ = ["names_moment", "shows_moment"]

_WORD: Final = r"[\s\d:.+-]*(?:now|today|tomorrow|yesterday)[\s\d:.+-]*"
_MOMENT: Final = re.compile(_WORD, re.IGNORECASE)
_QUOTED: Final = re.compile(f"'{_WORD}'", re.IGNORECASE)


def names_moment(parameters: object) -> bool:
    """Return whether one of the parameters, as the driver gets them, may be read as a moment.

    What each is compared with is not looked at: the text may be cast anywhere, and hardly anybody looks for a row named ``today``.
    """
    if isinstance(parameters, Mapping):
        values: Iterable[Any] = cast("Mapping[str, Any]", parameters).values()
    else:
        values = cast("Iterable[Any]", parameters or ())
    return any(isinstance(value, str) and _MOMENT.fullmatch(value) for value in values)


def shows_moment(sql: str) -> bool:
    """Return whether the SQL that is sent contains a literal that may be read as a moment."""
    return _QUOTED.search(sql) is not None
