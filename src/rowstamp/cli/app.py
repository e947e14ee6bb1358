"""The commands of ``rowstamp`` and the options that stand before them."""

from __future__ import annotations

import importlib.metadata
from typing import Annotated

import typer

from rowstamp.cli.demo.command import demo

__all__ = ["app"]

app = typer.Typer(
    name="rowstamp",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if asked:
        typer.echo(f"rowstamp {importlib.metadata.version('rowstamp')}")
        raise typer.Exit


@app.callback()
def rowstamp(
    *,
    _version_option: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Cache SQLAlchemy query results and never serve a stale one."""


app.command(name="demo")(demo)
