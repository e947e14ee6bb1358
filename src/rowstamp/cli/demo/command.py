"""The options of ``rowstamp demo``, and its exit code."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer
from rich.console import Console

from rowstamp import ConfigurationError
from rowstamp.cli.demo.database import place
from rowstamp.cli.demo.program import Outcome, run
from rowstamp.cli.demo.report import WIDTH, print_report, print_verdict
from rowstamp.cli.demo.settings import DemoError, Settings

__all__ = ["demo"]


def demo(
    *,
    db: Annotated[
        str | None,
        typer.Option(
            help="URL of a database, or 'postgres' for a private server. Default: SQLite in a temporary directory. "
            "The demo's tables are removed again at the end."
        ),
    ] = None,
    store: Annotated[str, typer.Option(help="URL of the cache's store.")] = "memory://",
    products: Annotated[int, typer.Option(min=100, help="Size of the shop.")] = 100_000,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long the tasks run.")] = 15.0,
    tasks: Annotated[int, typer.Option(min=1, max=100, help="How many tasks run side by side.")] = 8,
    writes: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of writes among the operations.")] = 0.03,
    seed: Annotated[int, typer.Option(help="What the data and the choices are generated from.")] = 1,
    drop: Annotated[bool, typer.Option("--drop", help="Replace tables that an earlier run has left.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the verdict only.")] = False,
) -> None:
    """Watch the cache work: a shop database under load, and a verifier that looks for stale hits.

    Exits with 1 if a hit was stale or a task failed, and with 2 if it cannot run as asked.
    """
    settings = Settings(
        db=db,
        store=store,
        products=products,
        seconds=seconds,
        tasks=tasks,
        writes=writes,
        seed=seed,
        drop=drop,
        quiet=quiet,
    )
    console = _console()
    outcome = _outcome(settings, console)
    if not quiet:
        print_report(outcome, settings, console)
    print_verdict(outcome, console)
    if not outcome.figures.sound:
        raise typer.Exit(1)


def _outcome(settings: Settings, console: Console) -> Outcome:
    try:
        with place(settings) as where:
            return asyncio.run(run(where, settings, console))
    except (DemoError, ConfigurationError) as exc:
        typer.echo(f"rowstamp demo: {exc}", err=True)
        raise typer.Exit(2) from exc


def _console() -> Console:
    """Return a console; one that writes to a file or a pipe knows no width, and would take 80."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=WIDTH)
