"""``cached(...)``: how a statement asks to be cached."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

from sqlalchemy.orm import UserDefinedOption

from rowstamp._sqlalchemy import with_options
from rowstamp.config import check_tags, check_ttl
from rowstamp.errors import ConfigurationError
from rowstamp.freshness import Freshness, check_freshness
from rowstamp.stampede import Staleness

__all__ = ["OPTION", "cached", "requested"]

OPTION: Final = "rowstamp"
"""The execution option under which a statement asks to be cached (``cached(...)``) or not to be (``False``)."""


class cached(UserDefinedOption):  # noqa: N801 - an option reads like a function, as SQLAlchemy's own do
    """Cache this statement's result.

    Given by ``select(...).options(cached(ttl=60))``, on ``text()`` too, or as the execution option ``"rowstamp"``. It also holds for
    the statement's eager loads, not for lazy loads made later from its entities.

    Args:
        ttl: how long the result may be kept, in seconds; the cache's own by default.
        tags: names by which the result can be invalidated.
        vary: what else makes the result another one (a tenant, a role); anything that can be part of a key.
        freshness: how fresh a hit has to be, ``strict`` or ``bounded(50)``; the cache's own by default.
        stale_while_revalidate: an old result is served, and the statement executed again in the background, for so many seconds
            after its time to live, and if a write has ended it, for so many seconds after it was loaded.
        stale_if_error: the same if the database is not there. Both hold for statements of sessions that are bound to an engine, outside of
            cached functions (which say so themselves), and where the transaction has written nothing that the statement reads;
            elsewhere, as on a ``Connection``, nothing old is served. What is served so is counted as ``stale_hits``, by
            ``cache.counting()`` for one context.

    Raises:
        ConfigurationError: the time to live is not positive, the tags are not a collection of names, or the freshness is none.
    """

    __slots__ = ("freshness", "stale", "tags", "ttl", "vary")

    propagate_to_loaders = False

    def __init__(
        self,
        *,
        ttl: float | None = None,
        tags: Collection[str] = (),
        vary: object = None,
        freshness: Freshness | None = None,
        stale_while_revalidate: float = 0,
        stale_if_error: float = 0,
    ) -> None:
        super().__init__()
        self.stale = Staleness(while_revalidate=stale_while_revalidate, if_error=stale_if_error)
        self.ttl = None if ttl is None else check_ttl(ttl)
        self.tags = check_tags(tags)
        self.vary = vary
        self.freshness = None if freshness is None else check_freshness(freshness)

    def __repr__(self) -> str:
        given = ((name, getattr(self, name)) for name in ("ttl", "tags", "vary", "freshness"))
        stale = (("stale_while_revalidate", self.stale.while_revalidate), ("stale_if_error", self.stale.if_error))
        return f"cached({', '.join(f'{name}={value!r}' for name, value in (*given, *stale) if value)})"


def requested(statement: Any, options: Mapping[str, Any]) -> cached | Literal[False] | None:
    """Return what a statement asks for: a ``cached``, ``False`` (do not), or ``None`` (nothing said).

    The execution option wins over ``.options()``: it is nearer to the call.

    Raises:
        ConfigurationError: the execution option is neither.
    """
    given = options.get(OPTION)
    if given is None:
        for option in reversed(with_options(statement)):
            if isinstance(option, cached):
                return option
        return None
    if given is False:
        return False
    if isinstance(given, cached):
        return given
    if given is True:
        return cached()
    msg = f"execution option {OPTION}={given!r} is neither cached(...) nor False: write {{'{OPTION}': cached(ttl=60)}}"
    raise ConfigurationError(msg)
