"""Rowstamp caches the results of SQLAlchemy queries and never serves a stale one."""

from rowstamp.cache import AsyncCache, Cache
from rowstamp.errors import (
    AttachError,
    ClosedError,
    CommitRefused,
    ConfigurationError,
    LoadTimeout,
    RowstampError,
    RowstampWarning,
    StoreError,
    UnsupportedArgument,
)
from rowstamp.events import Stats
from rowstamp.explain import Explanation
from rowstamp.freshness import Freshness, bounded, strict
from rowstamp.orm.option import cached
from rowstamp.repository import AsyncRepository, Repository

__all__ = [
    "AsyncCache",
    "AsyncRepository",
    "AttachError",
    "Cache",
    "ClosedError",
    "CommitRefused",
    "ConfigurationError",
    "Explanation",
    "Freshness",
    "LoadTimeout",
    "Repository",
    "RowstampError",
    "RowstampWarning",
    "Stats",
    "StoreError",
    "UnsupportedArgument",
    "bounded",
    "cached",
    "strict",
]
