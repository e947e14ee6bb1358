"""Whether what is sent still is what SQLAlchemy compiled, which is what the analysis knows.

A ``retval=True`` listener may put any text in its place: another table for each tenant, a further condition. Then only that text tells
what is read and written. Most such listeners add a comment, for tracing, and change nothing. It may change the values as well, of which only
the driver's form is left then; so the text has to tell all again.

Not noticed: values that a listener changes in place, in the very dictionary of the execution, and those of INSERTs in batches.
"""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["has_other_values", "is_rewritten"]

_COMMENTS: Final = r"(?:\s|--[^\n]*\n|/\*(?!M?!)(?:[^*]|\*(?!/))*\*/)*"
"""Blanks and finished comments; what MySQL and MariaDB execute (``/*! … */``) is none."""
_BEFORE: Final = re.compile(_COMMENTS)
_AFTER: Final = re.compile(rf"{_COMMENTS}(?:--[^\n]*)?")


def is_rewritten(sent: str, compiled: str, *, in_batches: bool = False) -> bool:
    """Return whether a text that is about to be sent is another than the compiled one, comments around it aside.

    Args:
        sent: what is sent.
        compiled: what SQLAlchemy has compiled.
        in_batches: whether that was for one row, and has other VALUES in each batch: the same beginning is then enough.
    """
    if sent == compiled:
        return False
    same = compiled.partition("VALUES")[0] if in_batches else compiled
    before, found, after = sent.partition(same)
    return not (found and _BEFORE.fullmatch(before) and (in_batches or _AFTER.fullmatch(after)))


def has_other_values(sent: Any, given: Any) -> bool:
    """Return whether parameters that are about to be sent are others than those that SQLAlchemy made of the values."""
    if sent is given or not (sent or given):
        return False
    try:
        return bool(sent != given)
    except Exception:  # noqa: BLE001 - values that do not compare, as NumPy's arrays, may be any
        return True
