"""Print what a run has come to: tables first, the verdict last."""

from __future__ import annotations

import importlib.metadata
import traceback
from collections.abc import Mapping
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rowstamp.cli.demo.figures import MOST_STALE, ReadFigures, median
from rowstamp.cli.demo.mix import UNCACHED_EVERY
from rowstamp.cli.demo.program import Outcome
from rowstamp.cli.demo.reads import READS
from rowstamp.cli.demo.settings import Settings

__all__ = ["MIXED", "WIDTH", "print_report", "print_verdict"]

WIDTH: Final = 100
_GROUPS: Final = {3: "under load", 6: "alone"}
MIXED: Final = "while all tasks run"

_THREE_LINES: Final = """\
cache = AsyncCache("{store}")
cache.attach(engine)
cache.policy(Product, ttl=300)  # for each model; or a single statement: .options(cached(ttl=60))"""


def print_report(outcome: Outcome, settings: Settings, console: Console) -> None:
    """Print everything but the verdict."""
    _headline(outcome, settings, console)
    console.print(_reads(outcome))
    console.print(
        f"Medians. Every {UNCACHED_EVERY}th read of a kind goes past the cache, so both see the same load. Under load a query also waits "
        "for other tasks of the event loop, and a hit does not; the columns on the right are without other tasks.",
        style="dim",
    )
    console.print(_writes(outcome))
    console.print(_totals(outcome))
    console.print(_checks(outcome))
    _heading(console, "What the cache says of one statement: print(cache.explain(statement))")
    console.print(Text(str(outcome.explanation)))
    _heading(console, "The three lines that turn it on")
    console.print(
        Text(_THREE_LINES.format(store=settings.store.partition("?")[0] if "@" not in settings.store else "..."))
    )
    console.print()


def print_verdict(outcome: Outcome, console: Console) -> None:
    """Print what failed, what was stale, and the line that says how many hits were verified and how many were stale."""
    figures = outcome.figures
    for error in figures.failures:
        console.print(Text("".join(traceback.format_exception(error))), style="red")
        console.print(Text(f"a task failed: {type(error).__name__}: {error}"), style="bold red")
    for line in figures.stale[:MOST_STALE]:
        console.print(Text(f"stale: {line}"), style="red")
    if figures.hopeless:
        console.print(f"ended early: {MOST_STALE} stale hits are enough", style="red")
    style = "bold green" if figures.sound else "bold red"
    console.print(Text(f"verified hits {figures.verified:,} · stale hits {len(figures.stale):,}"), style=style)


def _headline(outcome: Outcome, settings: Settings, console: Console) -> None:
    version = importlib.metadata.version("rowstamp")
    url = outcome.url
    console.print(
        Text(
            f"rowstamp {version} · {url.drivername} · {settings.store.partition(':')[0]} store · {settings.tasks} tasks, "
            f"{settings.seconds:g} s, {settings.writes:.0%} writes, seed {settings.seed}"
        ),
        style="bold",
    )
    console.print(
        f"{settings.products:,} products in {settings.categories:,} categories, {settings.customers:,} customers, "
        f"{settings.orders:,} orders; built in {outcome.figures.build_seconds:.1f} s"
    )


def _heading(console: Console, title: str) -> None:
    console.print()
    console.print(Text(title), style="bold")


def _table(*columns: str, groups: Mapping[int, str] | None = None) -> Table:
    """Return an empty table; the first column is for words, the others for numbers.

    Args:
        columns: the headings.
        groups: what stands above the heading of a column, by its number.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for number, name in enumerate(columns):
        heading = f"{groups.get(number, '')}\n{name}" if groups else name
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    return table


# ------------------------------------------------------------------------------------------------------ tables


def _reads(outcome: Outcome) -> Table:
    table = _table("query", "reads", "hits", "uncached", "hit", "gain", "uncached", "hit", "gain", groups=_GROUPS)
    for read in READS:
        figures = outcome.figures.reads.get(read.name)
        if figures is not None:
            table.add_row(read.name, *_read_cells(figures))
    return table


def _read_cells(figures: ReadFigures) -> list[str]:
    ratio = f"{figures.hits / figures.reads:.0%}" if figures.reads else "-"
    loaded = (median(figures.uncached_times), median(figures.hit_times))
    alone = (median(figures.quiet_uncached_times), median(figures.quiet_hit_times))
    return [f"{figures.reads:,}", ratio, *_pair(*loaded), *_pair(*alone)]


def _pair(uncached: float | None, hit: float | None) -> list[str]:
    gain = f"{uncached / hit:.2g}×" if uncached and hit and uncached / hit < 10 else None
    gain = gain or (f"{uncached / hit:,.0f}×" if uncached and hit else "-")
    return [_time(uncached), _time(hit), gain]


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.1f} ms" if seconds < 0.1 else f"{seconds * 1e3:,.0f} ms"


def _writes(outcome: Outcome) -> Table:
    table = _table("write transaction", "number", "median")
    for name, times in sorted(outcome.figures.writes.items(), key=lambda each: -len(each[1])):
        table.add_row(name, f"{len(times):,}", _time(median(times)))
    return table


def _totals(outcome: Outcome) -> Table:
    stats = outcome.stats
    table = _table("cache", "number")
    table.add_row("database queries saved (hits of single statements)", f"{stats.hits:,}")
    table.add_row("queries sent and kept (misses, fills)", f"{stats.misses:,}, {stats.fills:,}")
    table.add_row("database time saved", f"{stats.load_time_saved:,.1f} s")
    table.add_row("invalidations (commits that touched something)", f"{stats.invalidations:,}")
    for reason, number in sorted(stats.bypasses.items(), key=lambda each: -each[1]):
        table.add_row(Text(f"past the cache: {reason}"), f"{number:,}")
    if stats.store_errors:
        table.add_row("store errors", f"{stats.store_errors:,}")
    return table


def _checks(outcome: Outcome) -> Table:
    figures = outcome.figures
    table = _table("verification", "hits")
    table.add_row("compared with the database, writers held still", f"{figures.compared:,}")
    table.add_row(f"checked against what had been committed before, {MIXED}", f"{figures.recorded:,}")
    table.add_row("verified in one way or both", f"{figures.verified:,}")
    table.add_row("reads by key asked for again, no write having concerned their rows", f"{figures.judged:,}")
    table.add_row("of those, needlessly invalidated", f"{sum(figures.needless.values()):,}")
    return table
