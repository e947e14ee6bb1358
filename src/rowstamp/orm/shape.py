"""What is known of a statement's shape on one engine, so that an execution only fills in its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import blake2b
from typing import Any, Final

from sqlalchemy.engine import Dialect
from sqlalchemy.sql.expression import FromClause

from rowstamp.analysis.collations import collations_known
from rowstamp.analysis.collect import table_key
from rowstamp.analysis.dependencies import Ignored, Needs, needs, new_rows_matter, rows_seen
from rowstamp.analysis.reads import ReadAnalysis
from rowstamp.analysis.schema import fingerprint
from rowstamp.core import Policy
from rowstamp.keys import stamp_names
from rowstamp.model import DIGEST_SIZE, Dependency
from rowstamp.orm.option import cached
from rowstamp.protocol_seen import Instead

__all__ = ["Shape", "Stamped"]

MEMO_LIMIT: Final = 512
"""Most sets of pinned values whose dependencies a shape remembers."""


@dataclass(frozen=True)
class Stamped:
    """What one execution depends on, with the names of the stamps that stand for it. It serves all executions with the same values.

    Attributes:
        dependencies: what its result depends on, whatever it shows.
        stamps: their stamps.
        guard: the stamps on which it depends besides, unless rows that it shows take their place.
        new: the same, unless it shows all rows that it looks up; these stamps are of the rows that come.
        needs: how that is told.
        owner: the shape that it is an execution of.
    """

    dependencies: tuple[Dependency, ...]
    stamps: list[bytes]
    guard: list[bytes]
    new: list[bytes]
    needs: Needs
    owner: Shape

    @cached_property
    def before_load(self) -> tuple[Dependency, ...]:
        """What the result depends on as long as it is not known."""
        return (*self.dependencies, *self.needs.guard, *(stamp for stamp, _ in self.needs.new))

    @cached_property
    def unless_shown(self) -> list[bytes]:
        """The stamps on which it depends unless it shows certain rows."""
        return [*self.guard, *self.new]

    def instead(self, rows: Sequence[Sequence[Any]]) -> Instead | None:
        """Return what takes the place of :attr:`unless_shown` if these are the rows of its result; ``None``: nothing."""
        if not (self.guard or self.new):
            return None
        stays = self.owner.new_rows_matter(self.needs, rows) if self.new else []
        seen = self.owner.rows(self.needs, rows) if self.guard else None
        if seen is not None:
            return Instead(seen, self.guard, stays)
        return Instead((), (), [*self.guard, *stays]) if len(stays) < len(self.new) else None


class Shape:
    """The analysis of a statement's shape, with what follows from it once and for all.

    Args:
        analysis: what :func:`rowstamp.analysis.reads.analyse` said.
        namespace: the cache's namespace.
        scope: the identity of the database.
        dialect: the engine's dialect.
    """

    __slots__ = ("_dialect", "_ignored", "_memo", "_namespace", "_policy", "_scope", "analysis", "fingerprint")

    def __init__(self, analysis: ReadAnalysis, namespace: str, scope: str, dialect: Dialect) -> None:
        self.analysis = analysis
        self._namespace = namespace
        self._scope = scope
        self._dialect = dialect
        self._memo: dict[object, Stamped] = {}
        self._policy: tuple[object, cached | None] = (None, None)
        self._ignored: tuple[object, Ignored | None] = (None, None)
        digest = blake2b(digest_size=DIGEST_SIZE)
        for read in analysis.reads:
            if isinstance(read.table, FromClause):
                digest.update(fingerprint(read.table))
        self.fingerprint = digest.digest()
        """A digest of the columns of every table the statement reads."""

    def policy_option(self, policies: Mapping[tuple[str | None, str], Policy]) -> cached | None:
        """Return what the tables' policies ask for, if each table has one; the shortest time to live wins.

        Args:
            policies: the cache's policies, a mapping that is replaced when one is set.
        """
        if self._policy[0] is not policies:
            self._policy = (policies, self._policy_option(policies))
        return self._policy[1]

    def _policy_option(self, policies: Mapping[tuple[str | None, str], Policy]) -> cached | None:
        found = [
            policies.get(read.table if isinstance(read.table, tuple) else table_key(read.table))
            for read in self.analysis.reads
            if not read.declared
        ]
        known = [policy for policy in found if policy is not None]
        if not known or len(known) != len(found):
            return None
        return cached(ttl=min((policy.ttl for policy in known if policy.ttl is not None), default=None))

    def ignored(self, policies: Mapping[tuple[str | None, str], Policy]) -> Ignored | None:
        """Return the columns that may be stale in the entities it loads, by table; ``None`` if there are none.

        Args:
            policies: as in :meth:`policy_option`.
        """
        if self._ignored[0] is not policies:
            keys = (
                read.table if isinstance(read.table, tuple) else table_key(read.table) for read in self.analysis.reads
            )
            found = {key: policies[key].ignore for key in keys if key in policies and policies[key].ignore}
            self._ignored = (policies, found or None)
            self._memo.clear()
        return self._ignored[1]

    def dependencies(
        self,
        values: Mapping[str, Any],
        translate: Mapping[Any, Any] | None,
        tags: tuple[str, ...],
        ignored: Ignored | None = None,
    ) -> Stamped:
        """Return what one execution depends on.

        Args:
            values: the parameters, by name, before the driver's own processing.
            translate: the ``schema_translate_map`` in force.
            tags: the tags of the entry.
            ignored: what :meth:`ignored` returned, or ``None`` if every column has to be fresh.
        """
        if translate:
            return self._dependencies(values, translate, tags, ignored)
        memo_key = (collations_known(self._dialect), self.analysis.pinned_values(values), tags, ignored is None)
        try:
            known = self._memo.get(memo_key)
        except TypeError:  # a value that cannot be hashed cannot be remembered
            return self._dependencies(values, translate, tags, ignored)
        if known is None:
            if len(self._memo) >= MEMO_LIMIT:
                self._memo.clear()
            known = self._memo[memo_key] = self._dependencies(values, translate, tags, ignored)
        return known

    def _dependencies(
        self,
        values: Mapping[str, Any],
        translate: Mapping[Any, Any] | None,
        tags: tuple[str, ...],
        ignored: Ignored | None,
    ) -> Stamped:
        found = needs(
            self.analysis, values, scope=self._scope, dialect=self._dialect, translate=translate, ignored=ignored
        )
        certain = (Dependency.everything(), *found.certain, *(Dependency.tag(tag) for tag in tags))
        names = partial(stamp_names, self._namespace)
        return Stamped(
            certain, names(certain), names(found.guard), names([stamp for stamp, _ in found.new]), found, self
        )

    def rows(self, found: Needs, rows: Sequence[Sequence[Any]]) -> list[bytes] | None:
        """Return the stamps of the rows that a result shows, or ``None`` if it does not tell them."""
        seen = rows_seen(found, rows, scope=self._scope, dialect=self._dialect)
        return None if seen is None else stamp_names(self._namespace, seen)

    def new_rows_matter(self, found: Needs, rows: Sequence[Sequence[Any]]) -> list[bytes]:
        """Return the stamps of the rows that come on which a result depends."""
        return stamp_names(self._namespace, new_rows_matter(found, rows, dialect=self._dialect))
