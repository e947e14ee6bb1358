"""Rowstamp caches the results of SQLAlchemy queries and never serves a stale one."""

from rowstamp.cache import AsyncCache, Cache
from rowstamp.errors import (
    AttachError,
    ClosedError,
    CommitRefused,
    ConfigurationError,
    RowstampError,
    StoreError,
    UnsupportedArgument,
)
from rowstamp.events import Stats
from rowstamp.explain import Explanation
from rowstamp.orm.option import cached
from rowstamp.orm.writes import RowstampWarning

__all__ = [
    "AsyncCache",
    "AttachError",
    "Cache",
    "ClosedError",
    "CommitRefused",
    "ConfigurationError",
    "Explanation",
    "RowstampError",
    "RowstampWarning",
    "Stats",
    "StoreError",
    "UnsupportedArgument",
    "cached",
]
