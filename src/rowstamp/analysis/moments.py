"""Texts that PostgreSQL reads as moments where it expects a date or a time: what they mean ends by itself.

Much may stand beside the word: a time, a zone (``today UTC``), a day of the week, ``on``, brackets of arrays and ranges. So every text is taken for one
that has the word, and is not longer than PostgreSQL takes for a date.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

__all__ = ["moments_in", "names_moment", "shows_moment"]

_LONGEST: Final = 128
_WORD: Final = re.compile(r"(?<![a-z])(?:now|today|tomorrow|yesterday)(?![a-z])", re.IGNORECASE)


def moments_in(text: str) -> list[str]:
    """Return the words of a text, lower case, by which it may be read as a moment."""
    return [word.lower() for word in _WORD.findall(text)] if len(text) <= _LONGEST else []


def names_moment(parameters: object) -> bool:
    """Return whether one of the parameters, as the driver gets them, may be read as a moment.

    What each is compared with is not looked at: the text may be cast anywhere, and hardly anybody looks for a row named ``today``.
    """
    if isinstance(parameters, Mapping):
        values: Iterable[Any] = cast("Mapping[str, Any]", parameters).values()
    else:
        values = cast("Iterable[Any]", parameters or ())
    return any(map(_is_moment, values))


def _is_moment(value: Any) -> bool:
    if isinstance(value, str):
        return bool(moments_in(value))
    return isinstance(value, list | tuple) and names_moment(cast("Iterable[Any]", value))


def shows_moment(sql: str) -> bool:
    """Return whether the SQL that is sent contains a literal that may be read as a moment."""
    # All that stands behind a quote: in a comment before it another might stand by itself.
    return any(map(moments_in, sql.split("'")[1:]))
