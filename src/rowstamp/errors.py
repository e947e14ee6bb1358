"""The errors of rowstamp: one tree, each with a sentence that names the value and the remedy.

::

    RowstampError
    ├── ConfigurationError        a mistake in Cache(...), attach(...), policy(...), cached(...): raised at that call
    │   └── AttachError           attach/detach of the wrong thing, twice, or with the wrong kind of cache
    ├── ClosedError               a cache was used after close()
    ├── UnsupportedArgument       a value that cannot be part of a key (also a TypeError)
    ├── UncacheableValue          a value that cannot be stored exactly; its result stays uncached
    ├── CorruptEntry              bytes that are not an entry of this format; they count as a miss
    ├── LoadTimeout               timeout=: a load takes longer than its caller waits (also a TimeoutError)
    ├── StoreError                the store could not do what it was asked
    └── CommitRefused             on_store_down="fail": the holds could not be taken, nothing was committed

Every error is picklable and has a stable ``code``. ``RowstampWarning`` is no error: everything works, but less precisely.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AttachError",
    "ClosedError",
    "CommitRefused",
    "ConfigurationError",
    "CorruptEntry",
    "LoadTimeout",
    "RowstampError",
    "RowstampWarning",
    "StoreError",
    "UncacheableValue",
    "UnsupportedArgument",
]


class RowstampError(Exception):
    """Base of every error that rowstamp raises on purpose."""

    code: ClassVar[str] = "rowstamp"


class RowstampWarning(UserWarning):
    """A statement that could not be analysed as it should: its effects are not known, or the analysis has failed."""


class ConfigurationError(RowstampError):
    """A configuration mistake, raised by the call that contains it and never at the first hit."""

    code = "configuration"


class AttachError(ConfigurationError):
    """``attach`` or ``detach`` was given something it cannot work with."""

    code = "attach"


class ClosedError(RowstampError):
    """The cache was closed and can no longer be used."""

    code = "closed"


class UnsupportedArgument(RowstampError, TypeError):
    """A parameter has no exact, stable representation and cannot be part of a key."""

    code = "unsupported-argument"


class UncacheableValue(RowstampError):
    """A value that cannot be kept exactly, so that the result holding it is not stored.

    Args:
        type_name: the qualified name of the value's type.
        detail: what exactly could not be kept, if the type alone does not say it.
    """

    code = "uncacheable-value"

    def __init__(self, type_name: str, detail: str = "") -> None:
        super().__init__(type_name, detail)
        self.type_name = type_name
        self.detail = detail

    @property
    def reason(self) -> str:
        """The sentence used as the bypass reason."""
        return f"value of type {self.type_name} cannot be kept exactly" + (f": {self.detail}" if self.detail else "")

    def __str__(self) -> str:
        return self.reason


class CorruptEntry(RowstampError):
    """Stored bytes that are damaged, foreign or of another format version."""

    code = "corrupt-entry"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class LoadTimeout(RowstampError, TimeoutError):
    """A load takes longer than its caller waits for it; it goes on, and its result is stored.

    Args:
        seconds: how long the caller has waited.
    """

    code = "load-timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"the load takes longer than timeout={self.seconds:g} seconds; it goes on in the background"


class StoreError(RowstampError):
    """The store could not be reached, was too slow, or refused an operation."""

    code = "store"


class CommitRefused(RowstampError):
    """The holds of a transaction could not be taken, and ``on_store_down="fail"`` forbids to commit without them."""

    code = "commit-refused"
