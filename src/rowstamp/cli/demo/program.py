"""One run of the demo from the empty database to the figures."""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from rowstamp import AsyncCache, Explanation, Stats
from rowstamp.cli.demo.build import build, rows_to_build
from rowstamp.cli.demo.database import Place, open_engine, tables_absent
from rowstamp.cli.demo.figures import Figures, watch_statements
from rowstamp.cli.demo.mix import Mix
from rowstamp.cli.demo.models import MODELS
from rowstamp.cli.demo.reads import category_page
from rowstamp.cli.demo.settings import Settings
from rowstamp.cli.demo.verify import ORDERS, Growth, Ledger, orders_of

__all__ = ["Outcome", "run"]

_TTL = 300.0


@dataclass(frozen=True)
class Outcome:
    """What a run has come to.

    Attributes:
        url: the database.
        figures: what the demo measured.
        stats: what the cache counted while the mix ran.
        explanation: what the cache says of one statement.
    """

    url: URL
    figures: Figures
    stats: Stats
    explanation: Explanation


async def run(where: Place, settings: Settings, console: Console) -> Outcome:
    """Build the shop, run the mix, measure.

    Raises:
        DemoError: the database cannot be used as asked.
        ConfigurationError: the store's URL is not right.
    """
    figures, ledger = Figures(), Ledger()
    namespace = f"rowstamp-demo-{secrets.token_hex(4)}"
    async with (
        AsyncCache(settings.store, namespace=namespace, ttl=_TTL) as cache,
        open_engine(where, settings) as engine,
        tables_absent(engine, where, drop=settings.drop),
    ):
        await _build(engine, settings, console, figures, ledger)
        watch_statements(engine)
        cache.attach(engine)
        for model in MODELS:
            cache.policy(model, ttl=_TTL)
        mix = Mix(cache, async_sessionmaker(engine), settings, ledger, figures)
        stats = await _mix(mix, cache, settings, console, figures)
        explanation = cache.explain(category_page(7, 0))
        # The cache has to let go of the engine before the tables go.
        cache.detach(engine)
        return Outcome(where.url, figures, stats, explanation)


async def _build(engine: AsyncEngine, settings: Settings, console: Console, figures: Figures, ledger: Ledger) -> None:
    began = time.perf_counter()
    with _bar(console, quiet=settings.quiet) as progress:
        bar = progress.add_task("building the shop", total=rows_to_build(settings))
        orders = await build(engine, settings, lambda rows: progress.advance(bar, rows))
        progress.update(bar, completed=rows_to_build(settings))
    figures.build_seconds = time.perf_counter() - began
    ledger.enter([Growth(ORDERS, to=settings.orders)])
    ledger.enter(Growth(orders_of(customer), to=number) for customer, number in orders.items())


async def _mix(mix: Mix, cache: AsyncCache, settings: Settings, console: Console, figures: Figures) -> Stats:
    with _bar(console, quiet=settings.quiet) as progress:
        bar = progress.add_task(f"{settings.tasks} tasks use it", total=settings.seconds)
        await mix.run(lambda passed: progress.update(bar, completed=passed))
        progress.update(bar, completed=settings.seconds)
        stats = cache.stats()
        if figures.sound:
            bar = progress.add_task("each query alone", total=None)
            await mix.measure_quietly()
            progress.update(bar, total=1, completed=1)
    return stats


@contextmanager
def _bar(console: Console, *, quiet: bool) -> Generator[Progress]:
    columns = (TextColumn("{task.description:<18}"), BarColumn(50), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as progress:
        yield progress
