"""What the options of ``rowstamp demo`` come to."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DemoError", "Settings"]


class DemoError(Exception):
    """The demo cannot run as asked; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The options of one run.

    Attributes:
        db: the URL of a database, ``"postgres"`` for a private server, or ``None`` for SQLite in a temporary directory.
        store: the URL of the cache's store.
        products: how many products the shop has; the other tables follow from it.
        seconds: how long the mix runs.
        tasks: how many tasks run it side by side.
        writes: the share of writes among the operations, 0 to 1.
        seed: what the data and the choices of each task are generated from.
        drop: whether tables of an earlier run are replaced.
        quiet: whether only the verdict is printed.
    """

    db: str | None = None
    store: str = "memory://"
    products: int = 100_000
    seconds: float = 15.0
    tasks: int = 8
    writes: float = 0.03
    seed: int = 1
    drop: bool = False
    quiet: bool = False

    @property
    def categories(self) -> int:
        """The number of categories: 200 in a shop of full size."""
        return max(10, min(200, self.products // 100))

    @property
    def customers(self) -> int:
        """The number of customers."""
        return max(50, self.products // 5)

    @property
    def orders(self) -> int:
        """The number of orders when the mix begins."""
        return max(100, self.products // 2)
