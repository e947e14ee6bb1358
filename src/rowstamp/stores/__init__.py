"""The places where entries and stamps live, and the URL that names one.

A store is imported when a URL asks for it, so that nobody pays for a client that is not used.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias, overload
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from rowstamp.config import check_size
from rowstamp.errors import ConfigurationError

if TYPE_CHECKING:
    from rowstamp.store import AsyncStore, Store

__all__ = ["open_store"]

_Opener: TypeAlias = "Callable[[SplitResult, bool], Store | AsyncStore]"

_PLANNED: Final = ("redis+cluster",)
"""Schemes whose meaning is settled, of stores that this version does not have."""


@overload
def open_store(url: str) -> Store: ...


@overload
def open_store(url: str, *, asynchronous: bool) -> Store | AsyncStore: ...


def open_store(url: str, *, asynchronous: bool = False) -> Store | AsyncStore:
    """Return the store that a URL names.

    Args:
        url: ``memory://`` or ``memory://?max_bytes=256MiB``; a size is a number of bytes, or has one of the units kB,
            MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (powers of 1024).

            ``lmdb:///folder`` for the processes of one machine (Linux), in a folder on a local disk. Options: ``size``, the bound
            over entries and stamps (``256MiB``), and ``timeout_ms``, how long a write waits for another (250).

            ``redis://user:password@host:port/db`` (``valkey://`` is the same, ``rediss://`` and ``valkeys://`` are over
            TLS) or ``unix:///path/of/socket?db=0``. Options: ``prefix`` (how keys begin, ``rs``), ``timeout_ms`` (for
            one round trip, 250), ``connect_timeout_ms`` (500), ``client_name``, and for TLS ``ssl_ca_certs``,
            ``ssl_certfile``, ``ssl_keyfile``.

            ``redis+sentinel://user:password@host:port,host:port,host:port/service/db`` for the primary that most of these
            sentinels name; further options are ``sentinel_username`` and ``sentinel_password``. The server is tried once, blocking, for at most those times and the
            name lookup: one that cannot be reached now is no mistake, one that refuses the password or is too old is.
        asynchronous: whether a store is preferred whose methods are awaited, where there is a choice.

    Returns:
        A new store; two calls with one URL of a memory store give two separate stores.

    Raises:
        ConfigurationError: the URL's scheme, one of its options or a value is not known. No part of the message can
            hold a password.
    """
    if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise ConfigurationError(f"a store URL is text like 'memory://', not {type(url).__name__}")
    try:
        parts = urlsplit(url)
    except ValueError:
        # `from None`: urlsplit's message may quote the host part, and with it a password.
        raise ConfigurationError("the store URL cannot be parsed; check its host, port and brackets") from None
    opener = _OPENERS.get(parts.scheme)
    if opener is None:
        raise ConfigurationError(_no_such_scheme(parts.scheme))
    return opener(parts, asynchronous)


def _no_such_scheme(scheme: str) -> str:
    available = _listed(f"{name}://" for name in _OPENERS)
    if scheme in _PLANNED:
        return f"{scheme}:// stores are not available in this version of rowstamp; available: {available}"
    if not scheme:
        return f"the store URL has no scheme; begin it with one of: {available}"
    planned = _listed(f"{name}://" for name in _PLANNED)
    return (
        f"unknown store scheme {scheme!r}; available: {available} (known, but not available in this version: {planned})"
    )


def _open_memory(parts: SplitResult, _: bool) -> Store:  # noqa: FBT001 - one signature for all
    from rowstamp.stores.memory import DEFAULT_MAX_BYTES, MemoryStore

    if parts.netloc or parts.path or parts.fragment:
        raise ConfigurationError(
            "a memory store has no host, path or fragment; write memory:// or memory://?max_bytes=256MiB"
        )
    options = _options(parts, known=("max_bytes",))
    max_bytes = options.get("max_bytes")
    return MemoryStore(DEFAULT_MAX_BYTES if max_bytes is None else check_size(max_bytes, "max_bytes"))


def _open_lmdb(parts: SplitResult, _: bool) -> Store:  # noqa: FBT001 - see above
    if not sys.platform.startswith("linux"):
        raise ConfigurationError(f"lmdb:// stores need Linux, not {sys.platform}: use memory:// or redis://")
    try:
        from rowstamp.stores.lmdb import DEFAULT_SIZE, LmdbStore
    except ImportError as exc:
        raise ConfigurationError("lmdb:// stores need a library; run: python -m pip install 'rowstamp[lmdb]'") from exc

    folder = unquote(parts.path)
    if parts.netloc or parts.fragment or folder in {"", "/"}:
        raise ConfigurationError(
            "an lmdb store is a folder of this machine; write lmdb:///var/cache/shop, three slashes"
        )
    options = _options(parts, known=("size", "timeout_ms"))
    size = options.get("size")
    store = LmdbStore(
        folder,
        DEFAULT_SIZE if size is None else check_size(size, "size"),
        timeout=_milliseconds("timeout_ms", options.get("timeout_ms", "250")) / 1000,
    )
    store.require_usable()
    return store


def _open_redis(parts: SplitResult, asynchronous: bool) -> Store | AsyncStore:  # noqa: FBT001 - see above
    try:
        from rowstamp.stores.redis import address as redis_address
    except ImportError as exc:
        raise ConfigurationError(
            f"{parts.scheme}:// stores need a client; run: python -m pip install 'rowstamp[redis]'"
        ) from exc
    from rowstamp.stores.redis.blocking import RedisStore, require_usable
    from rowstamp.stores.redis.sentinel import SENTINEL_OPTIONS, SentinelAddress

    address: redis_address.Address | SentinelAddress
    if parts.scheme == "redis+sentinel":
        address = SentinelAddress.of_url(parts, _options(parts, known=SENTINEL_OPTIONS))
    else:
        known = redis_address.known_options(parts.scheme)
        address = redis_address.Address.of_url(parts, _options(parts, known=known))
    require_usable(address)
    if not asynchronous:
        return RedisStore(address)
    from rowstamp.stores.redis import AsyncRedisStore

    return AsyncRedisStore(address)


_OPENERS: Final[Mapping[str, _Opener]] = {
    "memory": _open_memory,
    "lmdb": _open_lmdb,
    **dict.fromkeys(("redis", "rediss", "redis+sentinel", "unix", "valkey", "valkeys"), _open_redis),
}


def _options(parts: SplitResult, known: tuple[str, ...]) -> dict[str, str]:
    """Return the options of the query string, each known and given once."""
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            raise ConfigurationError(
                f"unknown option {name!r} for a {parts.scheme}:// store; known options: {_listed(known)}"
            )
        if name in options:
            raise ConfigurationError(f"option {name!r} is given more than once in the store URL; keep one of them")
        options[name] = value
    return options


def _milliseconds(option: str, text: str) -> int:
    """Return a positive number of milliseconds."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or not int(text):
        raise ConfigurationError(f"{option}={text!r} is no time; give a positive number of milliseconds such as 250")
    return int(text)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
