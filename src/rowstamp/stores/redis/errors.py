"""The one place where the errors of redis-py and of the network become :class:`~rowstamp.errors.StoreError`."""

from __future__ import annotations

import logging
import ssl
from typing import Final

from redis import exceptions as redis_errors

from rowstamp.errors import StoreError
from rowstamp.stores.redis.server import UnusableServer

__all__ = ["FOREIGN", "is_outage", "is_permanent", "log_eviction", "log_permanent", "store_error"]

FOREIGN: Final[tuple[type[Exception], ...]] = (StoreError, redis_errors.RedisError, OSError, EOFError)
"""What a talk with a server may raise: our own error, the client's, and the network's (timeouts among them)."""

_log: Final = logging.getLogger("rowstamp.redis")

_CREDENTIALS: Final = (
    redis_errors.AuthenticationError,
    redis_errors.AuthorizationError,
    redis_errors.NoPermissionError,
)

# What the server answers, by the first word of its error, and what to do about it.
_REMEDIES: Final = {
    "OOM": "its memory is full: raise maxmemory or choose an eviction policy",
    "READONLY": "it is a replica: connect to the primary",
    "LOADING": "it is still loading its data",
    "BUSY": "a script of somebody else keeps it busy",
    "MISCONF": "it refuses writes because it cannot save to disk: repair that, or set save '' for a cache",
    "NOREPLICAS": "it refuses writes because it has too few replicas",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "CLUSTERDOWN": "the cluster does not serve all of its slots",
    "MOVED": "it is part of a cluster: a redis:// URL names a server on its own",
    "NOAUTH": "it asks for a password: give it in the URL",
    "WRONGPASS": "it does not accept this user and password",
    "NOPERM": "its ACL does not let this user do what the store needs (see the docs for the commands and keys)",
}


def _code(exc: BaseException) -> str:
    """The first word of what the server answered, or nothing."""
    code = getattr(exc, "status_code", None)
    if isinstance(code, str):
        return code
    word = str(exc).partition(" ")[0]
    return word if word in _REMEDIES else ""


def _distrust(exc: BaseException | None) -> ssl.SSLError | None:
    """The refusal of a certificate, theirs or ours, that an error is about; redis-py wraps it without saying so."""
    while exc is not None:
        if isinstance(exc, ssl.SSLError) and "CERT" in str(exc.reason).upper() + str(exc).upper():
            return exc
        exc = exc.__cause__ or exc.__context__
    return None


def store_error(exc: BaseException) -> StoreError:
    """Return the error that stores raise for one of :data:`FOREIGN`; raise it ``from`` that one."""
    if isinstance(exc, StoreError):
        return StoreError(*exc.args)
    remedy = _REMEDIES.get(_code(exc))
    if remedy is not None:
        return StoreError(f"the server refused: {remedy} ({exc})")
    distrust = _distrust(exc)
    if distrust is not None:
        return StoreError(
            "a certificate is not accepted: give the right ssl_ca_certs, and ssl_certfile and ssl_keyfile where the server asks"
            f" for a client's ({distrust.reason})"
        )
    if isinstance(exc, redis_errors.TimeoutError | TimeoutError):
        return StoreError("the server did not answer in time")
    if isinstance(exc, redis_errors.ResponseError):
        return StoreError(f"the server refused: {exc}")
    return StoreError(f"the server cannot be reached: {str(exc) or type(exc).__name__}")


def is_outage(exc: BaseException) -> bool:
    """Whether the server as a whole is of no use now, as opposed to having refused one command."""
    if _code(exc) in {"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "BUSY"}:
        return True
    return not isinstance(exc, redis_errors.ResponseError)


def is_permanent(exc: BaseException) -> bool:
    """Whether the error will stay until somebody changes a password, an ACL, a certificate or the server's version."""
    return (
        _distrust(exc) is not None
        or isinstance(exc, (UnusableServer, *_CREDENTIALS))
        or _code(exc) in {"NOAUTH", "WRONGPASS", "NOPERM"}
    )


def log_permanent(exc: BaseException) -> None:
    """Say that the store is not used, and why: else nobody would notice that a cache is switched off."""
    _log.error("the cache's store is not used: %s", store_error(exc))


def log_eviction(address: object) -> None:
    """Say that the server may evict what must not be evicted, and what to choose instead."""
    _log.warning(
        "the server at %s may evict the stamps of a commit under way (maxmemory-policy allkeys-*), and then old rows may be"
        " served until it is released; choose volatile-lru or noeviction if that matters",
        address,
    )
