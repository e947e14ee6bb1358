"""What is semi-private of SQLAlchemy's types."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

__all__ = ["has_variants", "variant_for"]


def has_variants(type_: TypeEngine[Any]) -> bool:
    """Return whether a type is another one on some databases (``with_variant``)."""
    return bool(type_._variant_mapping)


def variant_for(type_: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    """Return what a type is on a database (``with_variant``): itself, if nothing else was said."""
    return type_._variant_mapping.get(dialect.name, type_)
