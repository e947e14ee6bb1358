"""Results of functions ↔ bytes: what comes back is what the annotation says, exactly as it went in, and new each time.

The annotation decides how a value is taken apart and put together again; what is in it decides nothing, so stored bytes can make
no class of their choice. Leaves go through :mod:`rowstamp.codec`, which keeps types and values exactly. Objects are put
together from their fields, without running constructors or validators again: they ran when the value was made. (msgspec structs
are the exception: they have no other way.)

A value that does not fit its annotation, or that would not come back the same, is refused with
:class:`~rowstamp.errors.UncacheableValue`: the caller gets it as it is, and nothing is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from rowstamp.codec import canonical, decode, encode
from rowstamp.errors import CorruptEntry, UncacheableValue
from rowstamp.values._entities import Found, PackedEntities, UnpackedEntities
from rowstamp.values._plans import Plan, plan_of
from rowstamp.values._sharing import sharer

__all__ = ["Plan", "pack_result", "plan_of", "sharer", "unpack_result"]


def pack_result(plan: Plan, value: object, sessions: Sequence[Session]) -> bytes:
    """Turn a function's result into bytes.

    Args:
        plan: what :func:`plan_of` made of the annotation.
        value: the result.
        sessions: the sessions the function was given; entities in the result must be in one of them, or in none.

    Raises:
        UncacheableValue: it does not fit the annotation, or some part of it cannot be kept exactly.
    """
    entities = PackedEntities(sessions)
    stored = plan.pack(value, entities)
    body = encode([stored, entities.rows()])
    if not entities:
        _check_round_trip(plan, stored, body)
    return body


def _check_round_trip(plan: Plan, stored: object, body: bytes) -> None:
    """Refuse what comes back as something else: a property, ``__new__`` or ``__setattr__`` of a class may see to that."""
    try:
        again = plan.pack(unpack_result(plan, body, ()), PackedEntities(()))
    except CorruptEntry as exc:
        raise UncacheableValue("result", f"it cannot be made again: {exc}") from exc
    if canonical(again) != canonical(stored):
        raise UncacheableValue("result", "it would come back as something else")


def unpack_result(plan: Plan, body: bytes, sessions: Sequence[Session], found: Found | None = None) -> Any:
    """Make the result that :func:`pack_result` was given; entities come back in the sessions of this call.

    Args:
        plan: what :func:`plan_of` made of the annotation.
        body: the bytes.
        sessions: the sessions the function is given.
        found: told of each entity that a session had already, and that is given out as it is there.

    Raises:
        CorruptEntry: the bytes are not such a result.
    """
    stored = decode(body)
    try:
        packed, rows = stored
        return plan.unpack(packed, UnpackedEntities(rows, sessions, found))
    except CorruptEntry:
        raise
    except Exception as exc:
        # Fields that are gone, classes that changed: whatever does not fit any more is a miss.
        raise CorruptEntry(f"{type(exc).__name__}: {exc}") from exc
