"""Names for stamps and keys for entries: digests, so that no user data stands in clear in a store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from rowstamp.codec import canonical
from rowstamp.model import DIGEST_SIZE, Dependency, Unknown

__all__ = ["FORMAT_VERSION", "entry_key", "stamp_name", "stamp_names", "tables_first"]

FORMAT_VERSION: Final = 1
"""Part of every key: raised when stamps or entries change their meaning, so that versions never read each other's."""


def _digest(kind: bytes, parts: Iterable[bytes]) -> bytes:
    """Hash parts with their lengths, so that no two sequences of parts look alike."""
    digest = blake2b(digest_size=DIGEST_SIZE, person=b"rowstamp" + kind)
    for part in parts:
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
    return digest.digest()


@lru_cache(maxsize=65536)
def stamp_name(namespace: str, dependency: Dependency) -> bytes:
    """Return the name of the stamp that stands for a dependency in a namespace: 16 bytes."""
    value = dependency.value
    marker = b"none" if value is None else b"?" if value is Unknown.UNKNOWN else b"="
    return _digest(
        b"stamp",
        (
            FORMAT_VERSION.to_bytes(2, "big"),
            namespace.encode("utf-8", "surrogatepass"),
            dependency.scope.encode("utf-8", "surrogatepass"),
            dependency.kind.encode(),
            dependency.name.encode("utf-8", "surrogatepass"),
            *(column.encode("utf-8", "surrogatepass") for column in dependency.key),
            marker,
            value if isinstance(value, bytes) else b"",
            dependency.facet.encode("utf-8", "surrogatepass"),
        ),
    )


def stamp_names(namespace: str, dependencies: Iterable[Dependency]) -> list[bytes]:
    """Return the stamp names of several dependencies, in their order."""
    return [stamp_name(namespace, dependency) for dependency in dependencies]


def tables_first(namespace: str, effects: Iterable[Dependency]) -> tuple[list[bytes], list[bytes]]:
    """Return the stamp names of effects, those of rows with a known key apart: they are touched after the others."""
    effects = tuple(effects)
    rows = {each for each in effects if each.kind == "rows" and each.value is not Unknown.UNKNOWN}
    return stamp_names(namespace, [each for each in effects if each not in rows]), stamp_names(namespace, rows)


def entry_key(namespace: str, identity: Sequence[bytes], sql: str, parameters: object, *, vary: object = None) -> bytes:
    """Return the key of a statement's entry: 16 bytes.

    Args:
        namespace: the cache's namespace.
        identity: whatever makes the same SQL mean something else: the database, driver, user, default schema, the
            fingerprints of the tables, the schema translation.
        sql: the text as it is sent to the driver.
        parameters: the parameters as they are sent to the driver.
        vary: what the user named besides (tenant, role, locale).

    Raises:
        rowstamp.errors.UncacheableValue: a parameter has no exact representation.
    """
    return _digest(
        b"entry",
        (
            FORMAT_VERSION.to_bytes(2, "big"),
            namespace.encode("utf-8", "surrogatepass"),
            sql.encode("utf-8", "surrogatepass"),
            canonical(parameters),
            canonical(vary),
            *identity,
        ),
    )
