"""What the tokens of a query or DML statement say by themselves: its functions, where tables are named, its verbs."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from rowstamp.analysis._text_facts import NotUnderstood
from rowstamp.analysis._text_lexer import Lexeme, Token
from rowstamp.analysis.moments import moments_in

__all__ = ["Sources", "called_functions", "prepared", "sources", "verbs"]

_VERBS: Final = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE"})

_MODIFIERS: Final = {
    "mysql": frozenset({"LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "QUICK", "IGNORE"}),
    "sqlite": frozenset({"ABORT", "FAIL", "IGNORE", "REPLACE", "ROLLBACK"}),
    "postgres": frozenset[str](),
}

# Reserved words: before a parenthesis they never call anything, for a function of such a name would need quotes.
_RESERVED: Final = frozenset(
    """
    ALL AND AS BETWEEN CASE DISTINCT ELSE EXCEPT EXISTS FROM GROUP HAVING IN INTERSECT INTO JOIN LIMIT NOT ON OR RETURNING
    SELECT THEN TO UNION USING VALUES WHEN WHERE
    """.split()  # noqa: SIM905 - as a list it would fill pages
)
_NOT_CALLED: Final = {
    "postgres": _RESERVED | {"ANY", "ARRAY", "ILIKE", "LATERAL", "LIKE", "OFFSET", "ONLY", "ROW", "SOME", "SYMMETRIC"},
    "sqlite": _RESERVED,
    "mysql": _RESERVED
    | {"ANY", "INDEX", "KEY", "LATERAL", "LIKE", "PARTITION", "REGEXP", "RLIKE", "ROW", "SOME", "XOR"},
}

# Words that call nothing only after another one (a literal or quoted name is the empty word). Elsewhere they may name
# functions.
_NOT_CALLED_AFTER: Final = {
    "AGAINST": frozenset({")"}),
    "BY": frozenset({"GROUP", "ORDER", "PARTITION"}),
    "COLUMNS": frozenset({""}),
    "CONFLICT": frozenset({"ON"}),
    "FILTER": frozenset({")"}),
    "INSERT": frozenset({"THEN"}),
    "MATERIALIZED": frozenset({"AS", "NOT"}),
    "OVER": frozenset({")"}),
    "OVERLAPS": frozenset({")"}),
    "SETS": frozenset({"GROUPING"}),
    "ZONE": frozenset({"TIME"}),
}

_NILADIC: Final = {
    "postgres": frozenset({
        "CURRENT_CATALOG", "CURRENT_DATE", "CURRENT_ROLE", "CURRENT_SCHEMA", "CURRENT_TIME", "CURRENT_TIMESTAMP",
        "CURRENT_USER", "LOCALTIME", "LOCALTIMESTAMP", "SESSION_USER", "SYSTEM_USER", "USER",
    }),
    "sqlite": frozenset({"CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP"}),
    "mysql": frozenset({
        "CURRENT_DATE", "CURRENT_ROLE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "CURRENT_USER", "LOCALTIME",
        "LOCALTIMESTAMP", "SYSDATE", "UTC_DATE", "UTC_TIME", "UTC_TIMESTAMP",
    }),
}  # fmt: skip

_QUERY_WORDS: Final = frozenset({"SELECT", "WITH", "VALUES", "TABLE", "UNNEST"})
_BEFORE_TABLE: Final = frozenset({"(", "LATERAL", "ONLY", "ROWS", "FROM", "TEMP", "TEMPORARY", "UNLOGGED", "TABLE"})
_ENDS_TABLES: Final = frozenset(
    """
    CONFLICT DUPLICATE EXCEPT FETCH FOR GROUP HAVING INTERSECT INTO LIMIT OFFSET ORDER RETURNING SELECT SET UNION VALUES WHEN
    WHERE WINDOW
    """.split()  # noqa: SIM905 - as a list it would fill pages
)
_FROM_INSIDE: Final = frozenset({"EXTRACT", "MID", "OVERLAY", "POSITION", "SUBSTR", "SUBSTRING", "TRIM"})


class Sources(NamedTuple):
    """Where the tokens name tables, each as the places of its parts, and whether they lock rows."""

    tables: list[list[int]]
    """Names that must have become tables in the tree."""
    members: list[list[int]]
    """SQLite's ``x IN name``, which the parser takes for a column."""
    locks: bool


def prepared(tokens: Sequence[Token], dialect: str) -> list[Token]:
    """Return the tokens without what the parser does not know and what changes no table.

    These are the modifiers of MySQL's and SQLite's DML; REPLACE becomes INSERT, and gets its INTO where MySQL may do
    without.
    """
    made: list[Token] = []
    place = 0
    while place < len(tokens):
        token = tokens[place]
        place += 1
        if not _is_verb(tokens, place - 1) or dialect == "postgres":
            made.append(token)
            continue
        inserts = token.upper in {"INSERT", "REPLACE"}
        made.append(_word("INSERT") if inserts else token)
        place = _after_modifiers(tokens, place, dialect)
        if inserts and dialect == "mysql" and place < len(tokens) and tokens[place].upper != "INTO":
            made.append(_word("INTO"))
    return made


def _after_modifiers(tokens: Sequence[Token], place: int, dialect: str) -> int:
    if dialect == "sqlite":
        follows = [token.upper for token in tokens[place : place + 2]]
        return place + 2 if follows[:1] == ["OR"] and follows[-1] in _MODIFIERS[dialect] else place
    while place < len(tokens) and tokens[place].upper in _MODIFIERS[dialect]:
        place += 1
    return place


def _word(text: str) -> Token:
    return Token(Lexeme.WORD, text, text, glued=False)


def _is_verb(tokens: Sequence[Token], place: int) -> bool:
    """Whether a token begins a write: at the start, or behind a parenthesis and followed by a name or keyword."""
    if tokens[place].upper not in _VERBS:
        return False
    if place == 0:
        return True
    follows = place + 1 < len(tokens) and tokens[place + 1].is_name
    return follows and tokens[place - 1].upper in {"(", ")"}


def verbs(tokens: Sequence[Token]) -> int:
    """Return how many writes the tokens begin."""
    return sum(_is_verb(tokens, place) for place in range(len(tokens)))


# ------------------------------------------------------------------------------------------------- functions


def called_functions(tokens: Sequence[Token], dialect: str, named: Collection[int]) -> frozenset[str]:
    """Return the names of the functions that the tokens call.

    Args:
        tokens: the tokens of a statement.
        dialect: the parser's name of the database.
        named: places of the tokens that name a table or an alias.
    """
    found: set[str] = set()
    for place, token in enumerate(tokens):
        match token.lexeme:
            case Lexeme.WORD | Lexeme.QUOTED:
                if place not in named:
                    found |= _called(tokens, place, dialect)
            case Lexeme.VARIABLE:
                found.add(token.text)
            case Lexeme.STRING:
                if dialect == "postgres":
                    found.update(moments_in(token.text))
                if _upper(tokens, place + 1) == "(":
                    # With ANSI_QUOTES on, MySQL's "f"(x) is a call.
                    raise NotUnderstood("a string before a parenthesis")
            case _:
                pass
    return frozenset(found)


def _called(tokens: Sequence[Token], place: int, dialect: str) -> set[str]:
    token = tokens[place]
    before = _upper(tokens, place - 1)
    if _upper(tokens, place + 1) != "(":
        niladic = before != "." and token.upper in _NILADIC[dialect]
        operator = dialect == "sqlite" and token.upper in {"REGEXP", "MATCH"}
        return {token.text.lower()} if niladic or operator else set()
    if before in {"AS", "::"}:
        return set()  # a type with arguments, or an alias with columns
    if token.upper == "SET" and place and tokens[place - 1].is_name and before not in _RESERVED:
        return set()  # UPDATE t SET (a, b) = …
    if token.upper in _NOT_CALLED[dialect] or before in _NOT_CALLED_AFTER.get(token.upper, ()):
        return set()
    name = token.text.lower()
    if before != "." or place < 2:
        return {name}
    schema = tokens[place - 2].text.lower()
    return {name} if dialect == "postgres" and schema == "pg_catalog" else {f"{schema}.{name}"}


def _upper(tokens: Sequence[Token], place: int) -> str:
    return tokens[place].upper if 0 <= place < len(tokens) else ""


# ---------------------------------------------------------------------------------------------------- tables


def sources(tokens: Sequence[Token], dialect: str) -> Sources:
    """Return where the tokens certainly name tables, and whether they lock."""
    found = Sources([], [], locks=_locks(tokens))
    levels = [_Level("", lists_tables=False)]
    for place, token in enumerate(tokens):
        level, before = levels[-1], _upper(tokens, place - 1)
        if token.upper == "(":
            # FROM (a, b) and FROM a JOIN (b, c) list tables too.
            lists = level.lists_tables and before in {"FROM", "JOIN", ",", "("}
            levels.append(_Level(before, lists_tables=lists and _upper(tokens, place + 1) not in _QUERY_WORDS))
        elif token.upper == ")" and len(levels) > 1:
            levels.pop()
        elif _names_table(tokens, place, level):
            found.tables.extend(_source(tokens, place))
            level.lists_tables = token.upper not in {"INTO", "TABLE"}
        elif token.upper in _ENDS_TABLES:
            level.lists_tables = False
        elif token.upper == "IN" and dialect == "sqlite" and place + 1 < len(tokens) and tokens[place + 1].is_name:
            chain = _chain(tokens, place + 1)
            if _upper(tokens, chain[-1] + 1) != "(":
                found.members.append(chain)
    return found


@dataclass(slots=True)
class _Level:
    """A pair of parentheses, or the statement around all of them.

    Args:
        opener: the word before it.
        lists_tables: whether a comma here is followed by another table.
    """

    opener: str
    lists_tables: bool


def _locks(tokens: Sequence[Token]) -> bool:
    words = [token.upper for token in tokens]
    return any(
        (word == "FOR" and after in {"UPDATE", "SHARE", "NO", "KEY"}) or (word == "LOCK" and after == "IN")
        for word, after in itertools.pairwise(words)
    )


def _names_table(tokens: Sequence[Token], place: int, level: _Level) -> bool:
    before = _upper(tokens, place - 1)
    match tokens[place].upper:
        case "FROM":
            return before not in {"DISTINCT", "ROWS"} and level.opener not in _FROM_INSIDE
        case "JOIN":
            return before != "FOR"
        case "STRAIGHT_JOIN":
            return level.lists_tables
        case ",":
            return level.lists_tables
        case "INTO":
            return True
        case "TABLE":
            return place + 1 < len(tokens) and tokens[place + 1].is_name
        case "UPDATE":
            return _is_verb(tokens, place)
        case _:
            return False


def _source(tokens: Sequence[Token], place: int) -> list[list[int]]:
    """Return the place of the name behind a keyword, or nothing where a query, function or variable stands there."""
    inserts = tokens[place].upper in {"INTO", "UPDATE"}
    place += 1
    while _upper(tokens, place) in _BEFORE_TABLE and not _opens_query(tokens, place):
        place += 1
    if place >= len(tokens):
        raise NotUnderstood("nothing where a table belongs")
    if tokens[place].upper in _QUERY_WORDS or (inserts and tokens[place].lexeme is Lexeme.VARIABLE):
        return []
    if not tokens[place].is_name:
        raise NotUnderstood("something else than a name where a table belongs")
    chain = _chain(tokens, place)
    return [] if not inserts and _upper(tokens, chain[-1] + 1) == "(" else [chain]


def _opens_query(tokens: Sequence[Token], place: int) -> bool:
    """TABLE begins a query behind FROM and a parenthesis, and is noise behind INTO."""
    return tokens[place].upper == "TABLE" and _upper(tokens, place - 1) != "INTO"


def _chain(tokens: Sequence[Token], place: int) -> list[int]:
    chain = [place]
    while _upper(tokens, chain[-1] + 1) == "." and chain[-1] + 2 < len(tokens) and tokens[chain[-1] + 2].is_name:
        chain.append(chain[-1] + 2)
    return chain
