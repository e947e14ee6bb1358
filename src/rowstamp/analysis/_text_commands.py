"""Decides statements by their keywords, and hands queries and DML to the parser.

Whatever is not listed here is not understood. What a list says of one database must be true of it: on MySQL and MariaDB
``ANALYZE TABLE``, ``LOCK TABLES``, ``FLUSH`` and others commit the transaction silently, and are therefore unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from rowstamp.analysis._text_cursor import Cursor
from rowstamp.analysis._text_define import definition
from rowstamp.analysis._text_facts import NotUnderstood, TextFacts, TextKind, nothing, unknown
from rowstamp.analysis._text_lexer import Lexeme, Token
from rowstamp.analysis.functions import FunctionKind, classify

__all__ = ["statement_facts"]

_QUERIES: Final = frozenset({"SELECT", "WITH", "VALUES", "TABLE", "("})
_DML: Final = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE", "MERGE"})
_DEFINITIONS: Final = frozenset(
    {"CREATE", "DROP", "ALTER", "TRUNCATE", "RENAME", "REFRESH", "COMMENT", "GRANT", "REVOKE"}
)

_END: Final = r"( (WORK|TRANSACTION))?( AND( NO)? CHAIN)?( (NO )?RELEASE)?"
_MODES: Final = (
    r"( (ISOLATION LEVEL|READ|WRITE|ONLY|COMMITTED|UNCOMMITTED|REPEATABLE|SERIALIZABLE|(NOT )?DEFERRABLE"
    r"|WITH CONSISTENT SNAPSHOT|,))*"
)
_TRANSACTIONS: Final = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (TextKind.BEGIN, rf"(BEGIN( (WORK|TRANSACTION|DEFERRED|IMMEDIATE|EXCLUSIVE))*|START TRANSACTION){_MODES}"),
        (TextKind.COMMIT, rf"(COMMIT|END){_END}"),
        (TextKind.ROLLBACK, rf"(ROLLBACK|ABORT){_END}"),
        (TextKind.SAVEPOINT, r"(SAVEPOINT|RELEASE( SAVEPOINT)?|ROLLBACK( (WORK|TRANSACTION))? TO( SAVEPOINT)?) \S+"),
    )
)

_HARMLESS: Final = {
    "postgres": frozenset({
        "ANALYZE", "CHECKPOINT", "CLOSE", "CLUSTER", "DEALLOCATE", "FETCH", "LISTEN", "MOVE", "NOTIFY", "PREPARE",
        "REINDEX", "UNLISTEN", "VACUUM",
    }),
    "sqlite": frozenset({"ANALYZE", "REINDEX", "VACUUM"}),
    "mysql": frozenset({"CHECKSUM", "DEALLOCATE", "HELP", "PREPARE"}),
}  # fmt: skip
"""A cursor's FETCH only runs what its DECLARE has reported; EXECUTE of a prepared statement is not here."""

_HARMLESS_SETTINGS: Final = frozenset({
    "APPLICATION_NAME", "CLIENT_MIN_MESSAGES", "IDLE_IN_TRANSACTION_SESSION_TIMEOUT", "INNODB_LOCK_WAIT_TIMEOUT",
    "LOCK_TIMEOUT", "LOCK_WAIT_TIMEOUT", "MAX_EXECUTION_TIME", "MAX_STATEMENT_TIME", "STATEMENT_TIMEOUT",
})  # fmt: skip

_HARMLESS_PRAGMAS: Final = frozenset({
    # These only read, whatever their argument is.
    "COLLATION_LIST", "COMPILE_OPTIONS", "DATABASE_LIST", "DATA_VERSION", "FOREIGN_KEY_CHECK", "FOREIGN_KEY_LIST",
    "FREELIST_COUNT", "FUNCTION_LIST", "INDEX_INFO", "INDEX_LIST", "INDEX_XINFO", "INTEGRITY_CHECK", "MODULE_LIST",
    "PAGE_COUNT", "PRAGMA_LIST", "QUICK_CHECK", "STATS", "TABLE_INFO", "TABLE_LIST", "TABLE_XINFO",
    # These set how the database works, never what a statement means. Of foreign keys only the cascades depend.
    "AUTOMATIC_INDEX", "ANALYSIS_LIMIT", "BUSY_TIMEOUT", "CACHE_SIZE", "CACHE_SPILL", "CHECKPOINT_FULLFSYNC",
    "FOREIGN_KEYS", "FULLFSYNC", "INCREMENTAL_VACUUM", "JOURNAL_MODE", "JOURNAL_SIZE_LIMIT", "LOCKING_MODE", "MMAP_SIZE",
    "OPTIMIZE", "SECURE_DELETE", "SHRINK_MEMORY", "SYNCHRONOUS", "TEMP_STORE", "THREADS", "WAL_AUTOCHECKPOINT",
    "WAL_CHECKPOINT",
})  # fmt: skip


def statement_facts(tokens: Sequence[Token], dialect: str) -> TextFacts:
    """Return the facts of one statement.

    Args:
        tokens: its tokens, at least one.
        dialect: the parser's name of the database.

    Raises:
        NotUnderstood: its effect is not certain.
    """
    word = tokens[0].upper
    if word in _QUERIES or word in _DML:
        return _parsed(tokens, dialect)
    if word in _DEFINITIONS:
        return definition(tokens, dialect, _parsed)
    transaction = _transaction(tokens)
    if transaction is not None:
        return nothing(transaction)
    decide = _DECIDED.get(word)
    if decide is not None:
        return decide(tokens, dialect)
    # PREPARE TRANSACTION ends the transaction; its changes appear whenever anybody says COMMIT PREPARED.
    if word in _HARMLESS[dialect] and not (len(tokens) > 1 and tokens[1].upper == "TRANSACTION"):
        return nothing(TextKind.HARMLESS)
    raise NotUnderstood(f"the effect of {tokens[0].text} is not known")


def _parsed(tokens: Sequence[Token], dialect: str) -> TextFacts:
    # The parser takes a quarter of a second to import, which a program without raw SQL need not pay.
    from rowstamp.analysis._text_tree import query_facts

    return query_facts(tokens, dialect)


def _transaction(tokens: Sequence[Token]) -> TextKind | None:
    phrase = " ".join(token.upper or "name" for token in tokens)
    return next((kind for kind, pattern in _TRANSACTIONS if pattern.fullmatch(phrase)), None)


def _set(tokens: Sequence[Token], dialect: str) -> TextFacts:
    if dialect == "mysql":
        _refuse_acting_set(tokens)
    cursor = Cursor(tokens)
    cursor.take("SET")
    cursor.take_any("SESSION", "LOCAL")
    harmless = cursor.word() in _HARMLESS_SETTINGS and not any(token.upper == "," for token in tokens)
    return nothing(TextKind.HARMLESS if harmless else TextKind.SESSION)


def _refuse_acting_set(tokens: Sequence[Token]) -> None:
    """MySQL's SET evaluates expressions, can commit, and MariaDB's ``SET STATEMENT … FOR`` runs another statement."""
    for token in tokens[1:]:
        if token.upper in {"(", "STATEMENT"} or "autocommit" in token.text.lower():
            raise NotUnderstood(f"SET with {token.text}")


def _reset(tokens: Sequence[Token], _dialect: str) -> TextFacts:
    harmless = len(tokens) == 2 and tokens[1].upper in _HARMLESS_SETTINGS
    return nothing(TextKind.HARMLESS if harmless else TextKind.SESSION)


def _session(tokens: Sequence[Token], _dialect: str) -> TextFacts:
    return nothing(TextKind.SESSION) if _calls_nothing(tokens) else unknown(f"{tokens[0].text} with an expression")


def _show(tokens: Sequence[Token], _dialect: str) -> TextFacts:
    return nothing(TextKind.HARMLESS) if _calls_nothing(tokens) else unknown("SHOW with an expression")


def _calls_nothing(tokens: Sequence[Token]) -> bool:
    return not any(token.upper == "(" for token in tokens)


def _pragma(tokens: Sequence[Token], dialect: str) -> TextFacts:
    if dialect != "sqlite":
        raise NotUnderstood("only SQLite has PRAGMA")
    cursor = Cursor(tokens)
    cursor.take("PRAGMA")
    _, name = cursor.name()
    harmless = not cursor.rest or name.upper() in _HARMLESS_PRAGMAS
    return nothing(TextKind.HARMLESS if harmless else TextKind.SESSION)


def _lock(_tokens: Sequence[Token], dialect: str) -> TextFacts:
    if dialect != "postgres":
        raise NotUnderstood("LOCK commits the transaction")
    return TextFacts(TextKind.HARMLESS, locks=True)


def _explain(tokens: Sequence[Token], dialect: str) -> TextFacts:
    cursor = Cursor(tokens)
    cursor.take_any("EXPLAIN", "DESCRIBE", "DESC")
    options = (
        {token.upper for token in cursor.group()} if cursor.word() == "(" and dialect == "postgres" else set[str]()
    )
    options |= cursor.take_any(*_ANALYZE, "VERBOSE", "EXTENDED", "PARTITIONS", "QUERY", "PLAN")
    if cursor.take("FORMAT", "="):
        cursor.name()
    options |= cursor.take_any(*_ANALYZE)
    return _explained(cursor.rest, dialect, runs=not options.isdisjoint(_ANALYZE))


_ANALYZE: Final = ("ANALYZE", "ANALYSE")
"""PostgreSQL takes both spellings."""


def _explained(tokens: Sequence[Token], dialect: str, *, runs: bool) -> TextFacts:
    if runs:
        inner = statement_facts(tokens, dialect) if tokens else unknown("EXPLAIN of nothing")
        return replace(inner, functions=inner.functions | {"explain"})
    if dialect != "mysql" or not tokens or tokens[0].upper not in _QUERIES:
        return nothing(TextKind.HARMLESS)
    # MySQL runs derived tables to explain the query around them, and with them what they call.
    inner = statement_facts(tokens, dialect)
    if any(classify(name, dialect) is FunctionKind.UNKNOWN for name in inner.functions):
        return replace(inner, functions=inner.functions | {"explain"})
    return nothing(TextKind.HARMLESS)


def _analyze(tokens: Sequence[Token], dialect: str) -> TextFacts:
    if dialect != "mysql":
        return nothing(TextKind.HARMLESS)
    cursor = Cursor(tokens)
    cursor.take("ANALYZE")
    if cursor.take("FORMAT", "="):
        cursor.name()
    if cursor.word() in _QUERIES - {"TABLE"} or cursor.word() in _DML:
        return _explained(cursor.rest, dialect, runs=True)
    raise NotUnderstood("ANALYZE TABLE commits the transaction")


def _call(tokens: Sequence[Token], dialect: str) -> TextFacts:
    """CALL of a procedure, or MySQL's DO of an expression; of PostgreSQL's DO nobody knows the language."""
    if dialect == "sqlite" or (tokens[0].upper == "DO" and dialect != "mysql"):
        raise NotUnderstood(f"the effect of {tokens[0].text} is not known")
    word = Token(tokens[0].lexeme, "SELECT", "SELECT", glued=False)
    rest = tokens[1:]
    if tokens[0].upper == "CALL" and not any(token.upper == "(" for token in rest):
        rest = [*rest, _symbol("("), _symbol(")")]  # MySQL does without where there are no arguments
    facts = _parsed([word, *rest], dialect)
    return replace(facts, functions=facts.functions | {"call"})


def _symbol(text: str) -> Token:
    return Token(Lexeme.SYMBOL, text, text, glued=True)


def _declare(tokens: Sequence[Token], dialect: str) -> TextFacts:
    cursor = Cursor(tokens)
    if dialect != "postgres" or not cursor.skip_to("CURSOR") or not cursor.skip_to("FOR"):
        raise NotUnderstood("a DECLARE that is not of a cursor")
    cursor.expect("FOR")
    inner = statement_facts(cursor.rest, dialect) if cursor.rest else unknown("a cursor without a query")
    return replace(inner, functions=inner.functions | {"declare cursor"})


def _copy(tokens: Sequence[Token], dialect: str) -> TextFacts:
    if dialect != "postgres" or any(token.upper == "PROGRAM" for token in tokens):
        raise NotUnderstood("COPY that runs a program")
    cursor = Cursor(tokens)
    cursor.expect("COPY")
    if cursor.word() == "(":
        query = cursor.group()
        inner = statement_facts(query, dialect) if query else unknown("COPY of nothing")
        return replace(inner, functions=inner.functions | {"copy"})
    table = cursor.name()
    if cursor.word() == "(":
        cursor.group()
    if cursor.take("TO"):
        return TextFacts(TextKind.READ, reads=frozenset({table}), functions=frozenset({"copy"}))
    cursor.expect("FROM")
    return TextFacts(TextKind.WRITE, writes=frozenset({table}))


def _load(tokens: Sequence[Token], dialect: str) -> TextFacts:
    cursor = Cursor(tokens)
    if dialect != "mysql" or not (cursor.take("LOAD", "DATA") or cursor.take("LOAD", "XML")):
        raise NotUnderstood("LOAD of something that is not data")
    while cursor.skip_to("INTO"):
        cursor.expect("INTO")
        if cursor.take("TABLE"):
            table = cursor.name()
            if any(token.upper == "SET" for token in cursor.rest):
                raise NotUnderstood("LOAD DATA with expressions")
            return TextFacts(TextKind.WRITE, writes=frozenset({table}))
    raise NotUnderstood("LOAD DATA without its table")


_DECIDED: Final[dict[str, Callable[[Sequence[Token], str], TextFacts]]] = {
    "ANALYZE": _analyze,
    "ATTACH": _session,
    "CALL": _call,
    "COPY": _copy,
    "DECLARE": _declare,
    "DESC": _explain,
    "DESCRIBE": _explain,
    "DETACH": _session,
    "DISCARD": _session,
    "DO": _call,
    "EXPLAIN": _explain,
    "LOAD": _load,
    "LOCK": _lock,
    "PRAGMA": _pragma,
    "RESET": _reset,
    "SET": _set,
    "SHOW": _show,
    "USE": _session,
}
