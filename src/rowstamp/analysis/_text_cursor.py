"""A cursor over the tokens of one statement, for the commands that are decided without a parser."""

from __future__ import annotations

from collections.abc import Sequence

from rowstamp.analysis._text_facts import Name, NotUnderstood
from rowstamp.analysis._text_lexer import Token

__all__ = ["Cursor", "lowered"]


def lowered(parts: Sequence[str]) -> Name:
    """Return a table's name from its parts: the last is the table's, the one before, if any, the schema's."""
    return (parts[-2].lower() if len(parts) > 1 else None, parts[-1].lower())


class Cursor:
    """A place among the tokens of a statement."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._place = 0

    @property
    def rest(self) -> Sequence[Token]:
        """The tokens that are left."""
        return self._tokens[self._place :]

    def word(self) -> str:
        """Return the next keyword or symbol in upper case without taking it; empty at the end or for anything else."""
        return self._tokens[self._place].upper if self._place < len(self._tokens) else ""

    def take(self, *phrase: str) -> bool:
        """Take a whole phrase if it comes next, and tell whether it did."""
        ahead = self._tokens[self._place : self._place + len(phrase)]
        if [token.upper for token in ahead] != list(phrase):
            return False
        self._place += len(phrase)
        return True

    def take_any(self, *words: str) -> set[str]:
        """Take as many of these words as come next, and return them."""
        taken: set[str] = set()
        while self.word() in words:
            taken.add(self.word())
            self._place += 1
        return taken

    def expect(self, *phrase: str) -> None:
        """Take a phrase, or give up."""
        if not self.take(*phrase):
            raise NotUnderstood(f"no {' '.join(phrase)} where it was expected")

    def name(self) -> Name:
        """Take a name with up to two qualifiers, or give up."""
        parts = [self._part()]
        while self.take("."):
            parts.append(self._part())
        return lowered(parts)

    def names(self) -> frozenset[Name]:
        """Take names separated by commas, each with PostgreSQL's ``ONLY`` and ``*`` if it has them."""
        found: set[Name] = set()
        while True:
            self.take("ONLY")
            found.add(self.name())
            self.take("*")
            if not self.take(","):
                return frozenset(found)

    def group(self) -> Sequence[Token]:
        """Take what stands in the parentheses that open here, without them; give up if none do."""
        self.expect("(")
        begin, depth = self._place, 1
        for place in range(begin, len(self._tokens)):
            depth += {"(": 1, ")": -1}.get(self._tokens[place].upper, 0)
            if depth == 0:
                self._place = place + 1
                return self._tokens[begin:place]
        raise NotUnderstood("a parenthesis that is never closed")

    def skip_to(self, *words: str) -> bool:
        """Go to the first of these words outside of parentheses, and tell whether there is one."""
        depth = 0
        for place in range(self._place, len(self._tokens)):
            upper = self._tokens[place].upper
            depth += {"(": 1, ")": -1}.get(upper, 0)
            if depth == 0 and upper in words:
                self._place = place
                return True
        return False

    def finish(self) -> None:
        """Give up unless every token was taken."""
        if self.rest:
            raise NotUnderstood(f"unexpected {self.rest[0].text}")

    def _part(self) -> str:
        if self._place >= len(self._tokens) or not self._tokens[self._place].is_name:
            raise NotUnderstood("no name where one was expected")
        self._place += 1
        return self._tokens[self._place - 1].text
