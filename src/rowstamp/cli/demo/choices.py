"""What a task asks for next: seeded, and skewed as real traffic is."""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Sequence
from typing import Final, TypeVar

from rowstamp.cli.demo.build import WORDS
from rowstamp.cli.demo.settings import Settings

__all__ = ["Choices", "Popularity", "weighted"]

T = TypeVar("T")

_EXPONENT: Final = 1.1


class _Zipf:
    """The numbers 1 to ``size``; the k-th most popular is asked for in proportion to 1/k^1.1.

    Args:
        size: how many numbers there are.
        rng: shuffles them, so that popular numbers are no neighbours.
    """

    def __init__(self, size: int, rng: random.Random) -> None:
        self._numbers = list(range(1, size + 1))
        rng.shuffle(self._numbers)
        self._sums = list(itertools.accumulate(1 / rank**_EXPONENT for rank in range(1, size + 1)))

    def pick(self, rng: random.Random) -> int:
        """Return one of the numbers."""
        return self._numbers[bisect.bisect(self._sums, rng.random() * self._sums[-1], hi=len(self._sums) - 1)]


class Popularity:
    """Which products, categories, customers and search words are asked for often; one for all tasks."""

    def __init__(self, settings: Settings) -> None:
        rng = random.Random(settings.seed)
        self.products = _Zipf(settings.products, rng)
        self.categories = _Zipf(settings.categories, rng)
        self.customers = _Zipf(settings.customers, rng)
        self.words = _Zipf(len(WORDS), rng)
        self.pages = _Zipf(5, random.Random(0))


class Choices:
    """The choices of one task.

    Args:
        popularity: what is asked for often.
        seed: what this task's choices follow from.
    """

    def __init__(self, popularity: Popularity, seed: str) -> None:
        self._popularity = popularity
        self.rng = random.Random(seed)

    def product(self) -> int:
        """Return the id of a product."""
        return self._popularity.products.pick(self.rng)

    def category(self) -> int:
        """Return the id of a category."""
        return self._popularity.categories.pick(self.rng)

    def customer(self) -> int:
        """Return the id of a customer."""
        return self._popularity.customers.pick(self.rng)

    def word(self) -> str:
        """Return a word to search for."""
        return WORDS[self._popularity.words.pick(self.rng) - 1]

    def page(self) -> int:
        """Return the number of a page of a list, most often the first: 0."""
        return (self._popularity.pages.pick(self.rng)) % 5


def weighted(options: Sequence[T], sums: Sequence[float], rng: random.Random) -> T:
    """Return one of the options, by the running sums of their weights."""
    return rng.choices(options, cum_weights=sums)[0]
