"""DDL: which tables a definition makes, changes or removes.

Only what is certain is understood. The rest (functions, triggers, rules, policies, partitions, cascades, …) can change
what any statement means, and definitions are rare: to call them not understood costs little.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from rowstamp.analysis._text_cursor import Cursor
from rowstamp.analysis._text_facts import Name, NotUnderstood, TextFacts, TextKind, unknown
from rowstamp.analysis._text_lexer import Token

__all__ = ["QueryFacts", "definition"]

QueryFacts = Callable[[Sequence[Token], str], TextFacts]
"""Returns the facts of a query inside another statement."""

_FAR_REACHING = frozenset({
    "CASCADE", "DISCARD", "EXCHANGE", "IMPORT", "INHERIT", "INHERITS", "PARTITION", "PARTITIONS", "POLICY", "RULE",
    "SCHEMA", "SECURITY", "TRIGGER",
})  # fmt: skip
"""Words that make a definition change other tables than the ones it names, or what statements mean."""

_TEMPORARY = frozenset({"TEMP", "TEMPORARY"})


def definition(tokens: Sequence[Token], dialect: str, query_facts: QueryFacts) -> TextFacts:
    """Return the facts of a statement that begins with a word of CREATE, DROP, ALTER, TRUNCATE and the like."""
    try:
        return _decide(tokens, dialect, query_facts)
    except NotUnderstood as problem:
        return unknown(str(problem), TextKind.DEFINE)


def _decide(tokens: Sequence[Token], dialect: str, query_facts: QueryFacts) -> TextFacts:
    _refuse_far_reaching(tokens)
    cursor = Cursor(tokens)
    if cursor.take("CREATE"):
        return _create(cursor, dialect, query_facts)
    if cursor.take("DROP"):
        return _drop(cursor)
    if cursor.take("ALTER"):
        return _alter(cursor)
    if cursor.take("TRUNCATE"):
        return _truncate(cursor)
    if cursor.take("RENAME", "TABLE"):
        return _rename(cursor)
    if cursor.take("REFRESH", "MATERIALIZED", "VIEW"):
        cursor.take("CONCURRENTLY")
        return TextFacts(TextKind.DEFINE, writes=frozenset({cursor.name()}))
    raise NotUnderstood(f"the effect of {tokens[0].text} is not known")


def _refuse_far_reaching(tokens: Sequence[Token]) -> None:
    for before, token in itertools.pairwise(tokens):
        if token.upper in _FAR_REACHING and before.upper not in {"DELETE", "UPDATE"}:
            raise NotUnderstood(f"a definition with {token.upper}")


def _create(cursor: Cursor, dialect: str, query_facts: QueryFacts) -> TextFacts:
    cursor.take("OR", "REPLACE")
    flags = cursor.take_any("TEMP", "TEMPORARY", "GLOBAL", "LOCAL", "UNLOGGED", "UNIQUE", "MATERIALIZED", "FULLTEXT")
    if cursor.take("INDEX"):
        return TextFacts(TextKind.DEFINE, writes=_after_on(cursor))
    if not (cursor.take("TABLE") or cursor.take("VIEW")):
        raise NotUnderstood("only tables, views and indexes have effects that are certain when they are created")
    cursor.take("IF", "NOT", "EXISTS")
    made = cursor.name()
    # A new table of a schema earlier in the search path takes over the bare name from another one.
    writes = frozenset({made, (None, made[1])})
    inner = _defining_query(cursor, dialect, query_facts)
    kind = TextKind.SESSION if flags & _TEMPORARY else TextKind.DEFINE
    if inner is None:
        return TextFacts(kind, writes=writes)
    if not inner.understood or inner.kind is not TextKind.READ:
        raise NotUnderstood("a definition by a query that is not understood")
    return TextFacts(kind, inner.reads, writes, inner.functions, inner.locks)


def _defining_query(cursor: Cursor, dialect: str, query_facts: QueryFacts) -> TextFacts | None:
    if not cursor.skip_to("AS", "SELECT"):
        return None
    cursor.take("AS")
    if cursor.word() in {"SELECT", "WITH", "VALUES", "TABLE", "("}:
        return query_facts(cursor.rest, dialect)
    raise NotUnderstood("a definition by something that is not a query")


def _drop(cursor: Cursor) -> TextFacts:
    temporary = bool(cursor.take_any(*_TEMPORARY))
    if cursor.take("INDEX"):
        return TextFacts(TextKind.DEFINE, writes=_after_on(cursor) if cursor.skip_to("ON") else frozenset())
    if not (cursor.take("TABLE") or cursor.take("VIEW") or cursor.take("MATERIALIZED", "VIEW")):
        raise NotUnderstood("only tables, views and indexes have effects that are certain when they are dropped")
    cursor.take("IF", "EXISTS")
    writes = cursor.names()
    cursor.take("RESTRICT")
    cursor.finish()
    return TextFacts(TextKind.SESSION if temporary else TextKind.DEFINE, writes=writes)


def _alter(cursor: Cursor) -> TextFacts:
    cursor.take_any("ONLINE", "IGNORE")
    cursor.expect("TABLE")
    cursor.take("IF", "EXISTS")
    cursor.take("ONLY")
    writes = {cursor.name()}
    while cursor.skip_to("RENAME"):
        cursor.take("RENAME")
        # RENAME COLUMN a TO b and RENAME a TO b are of columns; MySQL's RENAME b is of the table.
        if cursor.take_any("TO", "AS", "=") or "TO" not in {token.upper for token in cursor.rest}:
            writes.add(cursor.name())
    return TextFacts(TextKind.DEFINE, writes=frozenset(writes))


def _truncate(cursor: Cursor) -> TextFacts:
    cursor.take("TABLE")
    writes = cursor.names()
    cursor.take_any("RESTART", "CONTINUE", "IDENTITY", "RESTRICT", "WAIT", "NOWAIT")
    cursor.finish()
    return TextFacts(TextKind.DEFINE, writes=writes)


def _rename(cursor: Cursor) -> TextFacts:
    cursor.take("IF", "EXISTS")
    writes: set[Name] = set()
    while True:
        writes.add(cursor.name())
        cursor.expect("TO")
        writes.add(cursor.name())
        if not cursor.take(","):
            cursor.finish()
            return TextFacts(TextKind.DEFINE, writes=frozenset(writes))


def _after_on(cursor: Cursor) -> frozenset[Name]:
    if not cursor.skip_to("ON"):
        raise NotUnderstood("an index without its table")
    cursor.expect("ON")
    cursor.take("ONLY")
    return frozenset({cursor.name()})
