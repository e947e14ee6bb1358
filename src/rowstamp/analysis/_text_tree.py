"""Queries and DML: what the parser's tree says they read and write.

The parser is made to translate between dialects, and forgives much. Its tree is therefore believed only where the tokens
agree: every name after FROM, JOIN, INTO and UPDATE must have become a table, every verb a write. Functions are taken
from the tokens alone, for the parser renames those it knows.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from sqlglot import ErrorLevel, exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError

from rowstamp.analysis._text_calls import called_functions, prepared, sources, verbs
from rowstamp.analysis._text_cursor import lowered
from rowstamp.analysis._text_facts import Name, NotUnderstood, TextFacts, TextKind
from rowstamp.analysis._text_lexer import LITERAL, Token, render

if TYPE_CHECKING:
    from sqlglot.expressions.core import Expression  # its home since version 30

__all__ = ["query_facts"]


class _Quiet(threading.local):
    """Keeps the parser's warnings about what it does not know out of the application's log, in this thread only."""

    active = False

    def filter(self, _record: logging.LogRecord) -> bool:
        """Tell whether a message of the parser may be logged: always, unless we are the ones who parse."""
        return not self.active


_quiet: Final = _Quiet()
logging.getLogger("sqlglot").addFilter(_quiet.filter)

_ROOTS: Final[dict[str, tuple[type[Expression], ...]]] = {
    "SELECT": (exp.Select, exp.SetOperation, exp.Subquery),
    "TABLE": (exp.Select, exp.SetOperation, exp.Subquery),
    "VALUES": (exp.Values, exp.Select, exp.SetOperation, exp.Subquery),
    "WITH": (exp.Select, exp.SetOperation, exp.Subquery, exp.Insert, exp.Update, exp.Delete, exp.Merge),
    "INSERT": (exp.Insert,),
    "UPDATE": (exp.Update,),
    "DELETE": (exp.Delete,),
    "MERGE": (exp.Merge,),
}
"""What the tree of a statement that begins with a word can be. For anything else the parser has guessed."""

_NO_CTES: Final[frozenset[str]] = frozenset()


def query_facts(tokens: Sequence[Token], dialect: str) -> TextFacts:
    """Return the facts of a query or DML statement.

    Raises:
        NotUnderstood: the parser does not know it, or its tree does not account for every name of a table.
    """
    tokens = prepared(tokens, dialect)
    text, places = render(tokens, dialect)
    survey = _Survey(dialect, places)
    survey.visit(_parse(text, tokens, dialect), _NO_CTES)
    _confirm(survey, tokens)
    functions = called_functions(tokens, dialect, survey.named)
    reads, extra = survey.reads, sources(tokens, dialect)
    return TextFacts(
        kind=_kind(survey, functions),
        reads=frozenset(reads | {lowered([tokens[place].text for place in chain]) for chain in extra.members}),
        writes=frozenset(survey.writes),
        functions=functions,
        locks=extra.locks,
    )


def _parse(text: str, tokens: Sequence[Token], dialect: str) -> Expression:
    _quiet.active = True
    try:
        parser = Dialect.get_or_raise(dialect)
        trees = parser.parser(error_level=ErrorLevel.IMMEDIATE).parse(parser.tokenize(text), text)
    except SqlglotError as problem:
        raise NotUnderstood("the parser does not know this statement") from problem
    finally:
        _quiet.active = False
    first = next((token.upper for token in tokens if token.upper != "("), "")
    tree = trees[0] if len(trees) == 1 else None
    if not isinstance(tree, _ROOTS.get(first, ())):
        raise NotUnderstood(f"the parser does not know this {first or 'statement'}")
    return tree


def _kind(survey: _Survey, functions: frozenset[str]) -> TextKind:
    if survey.temporary or "set_config" in functions:
        return TextKind.SESSION
    return TextKind.WRITE if survey.writes else TextKind.READ


def _confirm(survey: _Survey, tokens: Sequence[Token]) -> None:
    """Give up where tokens and tree disagree."""
    for chain in sources(tokens, survey.dialect).tables:
        if chain[-1] not in survey.tables:
            raise NotUnderstood(f"the parser took {tokens[chain[-1]].text} for something else than a table")
    if verbs(tokens) > survey.verbs:
        raise NotUnderstood("a write that the parser did not see")
    if survey.verbs and not survey.writes:
        raise NotUnderstood("a write without its table")


class _Survey:
    """A walk over a tree that collects its tables.

    Args:
        dialect: the parser's name of the database.
        places: the place of each token by its position in the text that was parsed.
    """

    def __init__(self, dialect: str, places: dict[int, int]) -> None:
        self.dialect = dialect
        self.reads: set[Name] = set()
        self.writes: set[Name] = set()
        self.tables: set[int] = set()
        """Places of the tokens that became names of tables."""
        self.named: set[int] = set()
        """Places of the tokens that name a table, a CTE or an alias: with parentheses behind them they call nothing."""
        self.verbs = 0
        self.temporary = False
        self._places = places

    def visit(self, node: Expression, ctes: frozenset[str]) -> None:
        """Collect from a node and everything below it, where `ctes` are the names that stand for CTEs."""
        ctes = self._with(node, ctes)
        match node:
            case exp.Table():
                self._table(node, ctes)
            case exp.Insert() | exp.Update() | exp.Delete() | exp.Merge():
                self._dml(node, ctes)
            case exp.Into():
                self._into(node)
            case exp.Lock():
                pass  # FOR UPDATE OF names aliases
            case exp.TableAlias():
                self._alias(node)
            case exp.Command():
                raise NotUnderstood("the parser gave up on a part of this statement")
            case _:
                self._below(node, ctes)

    def _below(self, node: Expression, ctes: frozenset[str], *, skip: Iterable[object] = ()) -> None:
        skipped = {id(child) for child in skip}
        for child in node.iter_expressions():
            if id(child) not in skipped and not isinstance(child, exp.With):
                self.visit(child, ctes)

    def _with(self, node: Expression, ctes: frozenset[str]) -> frozenset[str]:
        """Visit the CTEs of a node, and return the names of CTEs that the node itself sees.

        A body sees the CTEs before it, and itself if recursive. PostgreSQL and SQLite may let it see later ones too;
        to report such a name as a table costs only precision.
        """
        clause = next((child for child in node.iter_expressions() if isinstance(child, exp.With)), None)
        if clause is None:
            return ctes
        for cte in clause.expressions:
            alias = cte.args["alias"]
            name = self._folded(alias.this)
            self._alias(alias)
            self._below(cte, ctes | {name} if clause.recursive else ctes, skip=[alias])
            ctes |= {name}
        return ctes

    def _table(self, node: exp.Table, ctes: frozenset[str], *, target: bool = False) -> None:
        """Record a table. Joins that hang on it are read, and on MySQL, where it is a target, written as well."""
        if isinstance(node.this, exp.Identifier):
            self._record(node, ctes, target=target)
        elif node.this is not None and not isinstance(node.this, exp.Func):
            raise NotUnderstood("something else than a name where a table belongs")
        # INDEXED BY is parsed as a table.
        self._below(node, ctes, skip=[node.args.get("indexed"), *self._joined(node, ctes, target=target)])

    def _joined(self, node: exp.Table, ctes: frozenset[str], *, target: bool) -> list[Expression]:
        joins: list[Expression] = node.args.get("joins") or []
        if not (target and self.dialect == "mysql"):
            return []
        for join in joins:
            self._target(join.this, ctes)
            self._below(join, ctes, skip=[join.this])
        return joins

    def _record(self, node: exp.Table, ctes: frozenset[str], *, target: bool) -> None:
        parts = [part for part in node.parts if isinstance(part, exp.Identifier)]
        if len(parts) != len(node.parts) or any(part.name == LITERAL for part in parts):
            raise NotUnderstood("something else than a name where a table belongs")
        place = self._mark(parts[-1])
        if place is not None:
            self.tables.add(place)
        if not target and len(parts) == 1 and self._folded(parts[0]) in ctes:
            return
        (self.writes if target else self.reads).add(lowered([part.name for part in parts]))

    def _dml(self, node: exp.Insert | exp.Update | exp.Delete | exp.Merge, ctes: frozenset[str]) -> None:
        target = node.this
        if isinstance(node.parent, exp.When) and not isinstance(target, exp.Table):
            self._below(node, ctes)  # an action of MERGE, whose table is the MERGE's
            return
        self.verbs += 1
        listed: list[Expression] = node.args.get("tables") or []
        if listed and self.dialect != "mysql":
            raise NotUnderstood("a list of tables to delete from")
        for table in listed:
            # These are names or aliases of tables that FROM lists, which are all taken for written.
            self._mark(table.this)
        using: list[Expression] = []
        if self.dialect == "mysql" and isinstance(node, exp.Delete):
            using = node.args.get("using") or []
        for written in [target, *using]:
            self._target(written, ctes)
        self._below(node, ctes, skip=[target, *using, *listed])

    def _target(self, node: object, ctes: frozenset[str]) -> None:
        match node:
            case exp.Schema(this=exp.Table() as table):
                self._table(table, ctes, target=True)
            case exp.Table():
                self._table(node, ctes, target=True)
            case exp.Subquery() if self.dialect == "mysql":
                self.visit(node, ctes)
            case _:
                raise NotUnderstood("a write whose target is not a table")

    def _into(self, node: exp.Into) -> None:
        """SELECT … INTO makes a table, except on MySQL, where it sets variables."""
        table = node.this
        if self.dialect == "mysql" and isinstance(table, exp.Table) and isinstance(table.this, exp.Parameter):
            return
        if self.dialect != "postgres" or not isinstance(table, exp.Table):
            raise NotUnderstood("SELECT INTO something else than a table")
        self.verbs += 1
        self.temporary = self.temporary or bool(node.args.get("temporary"))
        self._table(table, _NO_CTES, target=True)

    def _alias(self, node: exp.TableAlias) -> None:
        if node.this is not None:
            self._mark(node.this)

    def _mark(self, name: object) -> int | None:
        """Remember that a token names something, and return its place."""
        if not isinstance(name, exp.Identifier):
            return None
        place = self._places.get(name.meta.get("start", -1))
        if place is not None:
            self.named.add(place)
        return place

    def _folded(self, name: object) -> str:
        """Return a CTE's name so that equal results are certainly one CTE.

        PostgreSQL folds what is not quoted, SQLite everything; MySQL's rules depend on the server, so that only names
        spelled alike are taken for one.
        """
        if not isinstance(name, exp.Identifier):
            raise NotUnderstood("a CTE without a name")
        text: str = name.name
        fold = self.dialect == "sqlite" or (self.dialect == "postgres" and not name.args.get("quoted"))
        return text.translate(_ASCII_LOWER) if fold else text


_ASCII_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
