"""The scripts that run in the server: each on one key, as a cluster wants it, and none in need of anything but its arguments."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final, NamedTuple, TypeAlias

from redis.exceptions import NoScriptError

__all__ = ["Reply", "Script", "Words", "hold", "meet", "mint", "release", "say", "sources"]

Words: TypeAlias = tuple[bytes | str | int, ...]
Reply: TypeAlias = Any

_ALLOW_OOM: Final = "allow-oom"
"""A full server can still be held: a writer that could not hold while readers are served would make them stale."""


class Script(NamedTuple):
    """A script on one key."""

    sha: str
    source: bytes


@lru_cache
def _script(name: str, *, flags: str = "") -> Script:
    folder = files("rowstamp.stores.redis") / "lua"
    parts = (f"#!lua{flags and ' flags='}{flags}\n".encode(), (folder / "common.lua").read_bytes())
    source = b"".join((*parts, (folder / f"{name}.lua").read_bytes()))
    return Script(sha1(source, usedforsecurity=False).hexdigest(), source)


def mint() -> Script:
    """Give a missing stamp a token."""
    return _script("mint")


def hold() -> Script:
    """Put a writer into the set of holders."""
    return _script("hold", flags=_ALLOW_OOM)


def release() -> Script:
    """Take a writer out of the set of holders."""
    return _script("release", flags=_ALLOW_OOM)


def meet() -> Script:
    """Say how long ago somebody first met this server."""
    return _script("meet", flags=_ALLOW_OOM)


@lru_cache
def sources() -> Mapping[str, bytes]:
    """Return the text of every script by its digest."""
    return {script.sha: script.source for script in (mint(), hold(), release(), meet())}


def say(commands: Sequence[Words], *, asking: bool = False) -> Generator[list[Words], list[Reply], list[Reply]]:
    """Say commands and return their replies; what the server could not run because it has forgotten a script is said again.

    Args:
        commands: what to say.
        asking: whether each is for a slot that is on its way to this server (``ASK``).
    """
    replies = yield from _say(commands, asking=asking)
    again = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    if not again:
        return replies
    texts: list[Words] = [("EVAL", sources()[str(commands[place][1])], *commands[place][2:]) for place in again]
    found = dict(zip(again, (yield from _say(texts, asking=asking)), strict=True))
    return [found.get(place, reply) for place, reply in enumerate(replies)]


def _say(commands: Sequence[Words], *, asking: bool) -> Generator[list[Words], list[Reply], list[Reply]]:
    if not asking:
        return (yield [*commands])
    said: list[Words] = [words for command in commands for words in (("ASKING",), command)]
    return (yield said)[1::2]
