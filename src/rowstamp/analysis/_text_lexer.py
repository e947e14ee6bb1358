r"""Cuts raw SQL into tokens exactly as the database would, or refuses to.

The parser behind this package is lenient: it swallows a statement it does not know up to the next semicolon, even one
inside a string, and knows neither nested comments on every database nor MySQL's executable ones. So it never sees a
user's text. This lexer knows where strings, quoted names, comments and bind markers begin and end, and where databases
or their settings disagree about that (``--`` without a blank on MySQL, ``\'`` with and without its
``NO_BACKSLASH_ESCAPES``) it gives up. What the parser gets is rendered from the tokens: no comments, one literal for all
strings, one marker for all parameters.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rowstamp.analysis._text_facts import NotUnderstood

__all__ = ["LITERAL", "MARKER", "Lexeme", "Token", "lex", "render", "statements"]

LITERAL: Final = "~"
"""What every string literal is to the parser: nothing that could be taken for a name."""

MARKER: Final = "p"
"""The name that every bind marker has for the parser."""


class Lexeme(enum.Enum):
    """The kinds of tokens."""

    WORD = enum.auto()
    """A keyword or an unquoted name."""
    QUOTED = enum.auto()
    """A quoted name; its text is the name itself."""
    STRING = enum.auto()
    """A string, bytes or bit literal; its text is what stands between the quotes."""
    NUMBER = enum.auto()
    PARAM = enum.auto()
    VARIABLE = enum.auto()
    """MySQL's ``@a`` and ``@@b``."""
    SYMBOL = enum.auto()
    """One character of an operator or of punctuation; ``::`` and ``:=`` are one token."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token of raw SQL.

    Args:
        lexeme: what it is.
        text: its text.
        upper: its text in upper case if it is an unquoted word or a symbol, else empty: keywords are compared with this.
        glued: whether nothing stood between the token before and this one.
    """

    lexeme: Lexeme
    text: str
    upper: str
    glued: bool

    @property
    def is_name(self) -> bool:
        """Whether it can name something."""
        return self.lexeme in {Lexeme.WORD, Lexeme.QUOTED}


# Databases disagree about these: PostgreSQL takes a no-break space for a letter, MySQL ends a comment only at a newline.
_DISPUTED: Final = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\xa0\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]|\r(?!\n)"
)

_COMMON: Final = r"""
    (?P<space>[ \t\r\n]+)
  | (?P<comment>/\*(?![!]|M!)(?:(?!\*/|/\*)[\s\S])*\*/ | {line_comment})
  | (?P<string>{string})
  | (?P<quoted>{quoted})
  | (?P<marker>{marker} | __\[POSTCOMPILE_\w+\])
  | (?P<number>(?:0[xX][0-9a-fA-F]+ | \d+(?:\.\d+)?(?:[eE][+-]?\d+)? | \.\d+(?:[eE][+-]?\d+)?)(?![\w.$]))
  | (?P<word>[^\W\d][\w$]*)
  | (?P<percent>%%)
  | (?P<symbol>::|:=|(?!/\*)(?:{symbol}))
"""

_COLON: Final = r"(?<!:):[A-Za-z_0-9]\w*"
_FORMAT: Final = r"%s(?!\w) | %\([^()'\"\s]+\)s(?!\w)"

_PATTERNS: Final = {
    "postgres": _COMMON.format(
        line_comment=r"--[^\n\r]*",
        string=(
            r"[eE]'(?:[^'\\]|''|\\[\s\S])*'(?!') | [bBxXnN]'[^'\\]*' | (?<!&)'(?:[^']|'')*'(?!')"
            r" | \$(?P<tag>(?:[^\W\d]\w*)?)\$[\s\S]*?\$(?P=tag)\$"
        ),
        quoted=r'(?<!&)"[^"\\`\x00-\x1f]+"(?!")',
        marker=rf"\$\d+(?!\w) | {_COLON} | {_FORMAT}",
        symbol=r"[-+*/<>=~!@\#%^&|?.,;:()\[\]]",
    ),
    "sqlite": _COMMON.format(
        line_comment=r"--[^\n]*",
        string=r"[xX]'[0-9a-fA-F]*' | '(?:[^']|'')*'(?!')",
        quoted=r'"[^"\\`\x00-\x1f]+"(?!") | `[^"\\`\x00-\x1f]+`(?!`) | \[[^\]\["\\`\x00-\x1f]+\]',
        marker=rf"\?\d* | [@$][A-Za-z_]\w*(?![:\w$]) | {_COLON} | {_FORMAT}",
        symbol=r"[-+*/<>=~!%&|.,;:()]",
    ),
    "mysql": _COMMON.format(
        line_comment=r"--(?=[ \t\r\n]|\Z)[^\n]*|\#[^\n]*",
        string=r"[bBxXnN]'[^'\\]*' | '(?:[^'\\]|''|\\[^'])*'(?!') | \"(?:[^\"\\]|\"\"|\\[^\"])*\"(?!\")",
        quoted=r'`[^"\\`\x00-\x1f]+`(?!`)',
        marker=rf"\? | {_COLON} | {_FORMAT}",
        symbol=r"(?P<variable>@@?(?:[A-Za-z_][\w$]*|`[\w$.]+`))|(?!--)[-+*/<>=~!%^&|.,;:()]",
    ),
}
_LEXERS: Final = {dialect: re.compile(pattern, re.VERBOSE) for dialect, pattern in _PATTERNS.items()}

_LEXEMES: Final = {
    "string": Lexeme.STRING,
    "tag": Lexeme.STRING,
    "quoted": Lexeme.QUOTED,
    "marker": Lexeme.PARAM,
    "number": Lexeme.NUMBER,
    "word": Lexeme.WORD,
    "percent": Lexeme.SYMBOL,
    "symbol": Lexeme.SYMBOL,
    "variable": Lexeme.VARIABLE,
}


def lex(sql: str, dialect: str) -> list[Token]:
    """Return the tokens of a text.

    Args:
        sql: any text.
        dialect: the parser's name of the database: ``postgres``, ``sqlite`` or ``mysql``.

    Raises:
        NotUnderstood: where a token begins or ends is not certain.
    """
    if _DISPUTED.search(sql):
        raise NotUnderstood("a control character or an unusual blank")
    tokens: list[Token] = []
    glued = False
    position = 0
    match = _LEXERS[dialect].match
    while position < len(sql):
        found = match(sql, position)
        if found is None:
            raise NotUnderstood(f"cannot tell what begins at character {position}")
        position = found.end()
        group = _group(found)
        if group in {"space", "comment"}:
            glued = False
            continue
        token = _token(_LEXEMES[group], found.group(), glued=glued)
        if token.lexeme is Lexeme.STRING and tokens and _escapes(tokens[-1]):
            raise NotUnderstood("a string with escapes that goes on after a blank")
        tokens.append(token)
        glued = True
    return tokens


def _escapes(token: Token) -> bool:
    """PostgreSQL reads ``E'a' 'b'`` on two lines as one string, whose second half has escapes too."""
    return token.lexeme is Lexeme.STRING and token.text[0] in "eE"


def _group(found: re.Match[str]) -> str:
    groups = found.re.groupindex
    if "variable" in groups and found["variable"] is not None:
        return "variable"
    # A nested group closes before the one around it, so that the last group to close is the alternative that matched.
    return found.lastgroup or "symbol"


def _token(lexeme: Lexeme, text: str, *, glued: bool) -> Token:
    if lexeme is Lexeme.QUOTED:
        return Token(lexeme, text[1:-1], "", glued)
    if lexeme is Lexeme.VARIABLE:
        return Token(lexeme, text.replace("`", "").lower(), "", glued)
    if lexeme is Lexeme.SYMBOL:
        text = "%" if text == "%%" else text
        return Token(lexeme, text, text, glued)
    if lexeme is not Lexeme.WORD:
        return Token(lexeme, text, "", glued)
    if not text.isascii() and (text.upper().isascii() or text.lower().isascii()):
        # The Kelvin sign folds to k and the long s to S in Python, in no database: to the parser it might be a keyword.
        raise NotUnderstood(f"a name that folds into plain letters: {text}")
    return Token(lexeme, text, text.upper(), glued)


def statements(tokens: Iterable[Token]) -> list[list[Token]]:
    """Return the statements that semicolons separate, without the empty ones."""
    found: list[list[Token]] = [[]]
    for token in tokens:
        if token.upper == ";":
            found.append([])
        else:
            found[-1].append(token)
    return [statement for statement in found if statement]


def render(tokens: Sequence[Token], dialect: str) -> tuple[str, dict[int, int]]:
    """Return a text for the parser, and the place of each token by the position where it begins in that text."""
    parts: list[str] = []
    places: dict[int, int] = {}
    length = 0
    for place, token in enumerate(tokens):
        part = _rendered(token, dialect)
        if not (token.glued and token.lexeme is Lexeme.SYMBOL and tokens[place - 1].lexeme is Lexeme.SYMBOL):
            parts.append(" ")
            length += 1
        places[length] = place
        parts.append(part)
        length += len(part)
    return "".join(parts), places


def _rendered(token: Token, dialect: str) -> str:
    match token.lexeme:
        case Lexeme.STRING:
            return f"'{LITERAL}'"
        case Lexeme.PARAM:
            return f":{MARKER}"
        case Lexeme.QUOTED:
            return f"`{token.text}`" if dialect == "mysql" else f'"{token.text}"'
        case _:
            return token.text
