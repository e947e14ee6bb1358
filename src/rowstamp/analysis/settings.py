"""Which settings of its connection a statement changes. What they are changed to, only the database can tell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["altered_settings", "is_custom", "is_local"]

_NAME: Final = r"[A-Za-z_][\w$]*(?:\.[A-Za-z_][\w$]*)*"
_ONE_STATEMENT: Final = r"[^;]*;?\s*"

_POSTGRESQL: Final = (
    (re.compile(rf"\s*SET\s+(?:SESSION\s+|LOCAL\s+)?(ROLE)\b{_ONE_STATEMENT}", re.IGNORECASE), ""),
    (re.compile(rf"\s*SET\s+(?:SESSION\s+|LOCAL\s+)?SESSION\s+AUTHORIZATION\b{_ONE_STATEMENT}", re.IGNORECASE), "session_authorization"),
    (re.compile(rf"\s*SET\s+(?:SESSION\s+|LOCAL\s+)?({_NAME})\s*(?:=|\bTO\b){_ONE_STATEMENT}", re.IGNORECASE), ""),
    (re.compile(rf"\s*RESET\s+(?!ALL\b|SESSION\b)({_NAME})\s*;?\s*", re.IGNORECASE), ""),
)  # fmt: skip
_ONE_VALUE: Final = r"[^;,]*;?\s*"
_MYSQL: Final = (
    (re.compile(rf"\s*USE\b{_ONE_STATEMENT}", re.IGNORECASE), "database"),
    (re.compile(rf"\s*SET\s+(ROLE)\b{_ONE_VALUE}", re.IGNORECASE), ""),
    (re.compile(rf"\s*SET\s+(@{_NAME})\s*:?={_ONE_VALUE}", re.IGNORECASE), ""),
    (re.compile(rf"\s*SET\s+(?:SESSION\s+|LOCAL\s+|@@(?:SESSION\.|LOCAL\.)?)?({_NAME})\s*:?={_ONE_VALUE}", re.IGNORECASE), ""),
)  # fmt: skip
_FORMS: Final = {"postgresql": _POSTGRESQL, "mysql": _MYSQL, "mariadb": _MYSQL}

_CALL: Final = re.compile(r"\bset_config\b", re.IGNORECASE)
_CALL_WITH_NAME: Final = re.compile(
    r"\bset_config\s*\(\s*(?:'(?P<text>[^'\\]*)'|%\((?P<key>\w+)\)s|\$(?P<number>\d+))(?:::\w+)?\s*,", re.IGNORECASE
)
_LOCAL: Final = re.compile(
    r"^\s*SET\s+(LOCAL|TRANSACTION)\b|\bset_config\s*\([^()]*,\s*'?t(rue)?'?\s*\)", re.IGNORECASE
)
"""What ends with the transaction. A ``set_config`` whose third argument is a parameter is taken to outlast it."""


def altered_settings(sql: str, parameters: object, dialect_name: str) -> frozenset[str] | None:
    """Return the names of the settings that a statement changes, in lower case; ``None`` if they cannot be told.

    ``"database"`` is what ``USE`` changes, and ``"@name"`` a variable of MySQL's or MariaDB's.

    Args:
        sql: the text as the driver gets it.
        parameters: its parameters, among which the name of a setting may be.
        dialect_name: SQLAlchemy's name of the database.
    """
    if dialect_name == "postgresql" and _CALL.search(sql):
        return _names_of_calls(sql, parameters)
    for pattern, name in _FORMS.get(dialect_name, ()):
        match = pattern.fullmatch(sql)
        if match is not None:
            return frozenset({name or match[1].lower()})
    return None


def _names_of_calls(sql: str, parameters: object) -> frozenset[str] | None:
    names: set[str] = set()
    calls = list(_CALL_WITH_NAME.finditer(sql))
    if len(calls) != len(_CALL.findall(sql)):
        return None
    for call in calls:
        name = call["text"] if call["text"] is not None else _parameter(parameters, call["key"], call["number"])
        if not isinstance(name, str):
            return None
        names.add(name.lower())
    return frozenset(names)


def _parameter(parameters: object, key: str | None, number: str | None) -> object:
    if key is not None:
        return parameters.get(key) if isinstance(parameters, Mapping) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    index = int(number or 0) - 1
    if isinstance(parameters, Sequence) and 0 <= index < len(parameters):  # pyright: ignore[reportUnknownArgumentType]
        return parameters[index]  # pyright: ignore[reportUnknownVariableType]
    return None


def is_local(sql: str) -> bool:
    """Return whether a statement changes settings until its transaction ends, and not for longer."""
    return _LOCAL.search(sql) is not None


def is_custom(names: frozenset[str] | None, sql: str) -> bool:
    """Return whether a setting may be one that PostgreSQL does not know, which is ``''`` after a transaction and was ``NULL`` before."""
    return any("." in name for name in names) if names is not None else _CALL.search(sql) is not None
