"""What is known of a statement's shape on one engine, so that an execution only fills in its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

from sqlalchemy.engine import Dialect
from sqlalchemy.sql.expression import FromClause

from rowstamp.analysis.collations import collations_known
from rowstamp.analysis.collect import table_key
from rowstamp.analysis.dependencies import Ignored, dependencies
from rowstamp.analysis.reads import ReadAnalysis
from rowstamp.analysis.schema import fingerprint
from rowstamp.core import Policy
from rowstamp.keys import stamp_names
from rowstamp.model import DIGEST_SIZE, Dependency
from rowstamp.orm.option import cached

__all__ = ["Shape"]

MEMO_LIMIT: Final = 512
"""Most sets of pinned values whose dependencies a shape remembers."""


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
        self._memo: dict[object, tuple[tuple[Dependency, ...], list[bytes]]] = {}
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
    ) -> tuple[tuple[Dependency, ...], list[bytes]]:
        """Return what one execution depends on, and the names of the stamps that stand for it.

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
    ) -> tuple[tuple[Dependency, ...], list[bytes]]:
        found = dependencies(
            self.analysis, values, scope=self._scope, dialect=self._dialect, translate=translate, ignored=ignored
        )
        everything = (Dependency.everything(), *found, *(Dependency.tag(tag) for tag in tags))
        return everything, stamp_names(self._namespace, everything)
