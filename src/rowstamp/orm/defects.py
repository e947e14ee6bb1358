"""What is done where the analysis of a statement fails: that is a defect of rowstamp, and no reason for the statement not to work.

The statement then goes by its text, as raw SQL does. To let the error pass was rejected: an application would fail with the cache
that works without it. To be silent was rejected as well: the defect would cost precision for ever.
"""

from __future__ import annotations

import logging
import warnings
from typing import Final

from rowstamp.errors import RowstampWarning

__all__ = ["warn_of_defect"]

_log: Final = logging.getLogger("rowstamp")


def warn_of_defect(sql: str, exc: Exception) -> None:
    """Say that the analysis of a statement has failed; the log gets the traceback."""
    shown = " ".join(sql.split())[:200]
    _log.error("the analysis of a statement has failed: %s", shown, exc_info=exc)
    warnings.warn(
        f"rowstamp cannot analyse this statement ({type(exc).__name__}: {exc}) and goes by its text; please report it: {shown}",
        RowstampWarning,
        stacklevel=2,
    )
