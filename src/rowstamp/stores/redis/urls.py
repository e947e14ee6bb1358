"""Store URLs as addresses."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import SplitResult

from rowstamp.stores.redis.address import OPTIONS, TLS_FILES, TLS_SCHEMES, Address
from rowstamp.stores.redis.cluster import CLUSTER_OPTIONS, ClusterAddress
from rowstamp.stores.redis.sentinel import SENTINEL_OPTIONS, SentinelAddress

__all__ = ["address_of_url", "known_options"]


def known_options(scheme: str) -> tuple[str, ...]:
    """Return the options that a URL of this scheme may have."""
    special = {"redis+sentinel": SENTINEL_OPTIONS, "redis+cluster": CLUSTER_OPTIONS, "unix": ("db", *OPTIONS)}
    return special.get(scheme) or ((*OPTIONS, *TLS_FILES) if scheme in TLS_SCHEMES else OPTIONS)


def address_of_url(parts: SplitResult, options: Mapping[str, str]) -> Address | SentinelAddress | ClusterAddress:
    """Return the address in a URL.

    Raises:
        ConfigurationError: a part of it makes no sense.
    """
    if parts.scheme == "redis+sentinel":
        return SentinelAddress.of_url(parts, options)
    if parts.scheme == "redis+cluster":
        return ClusterAddress.of_url(parts, options)
    return Address.of_url(parts, options)
