"""The ``rowstamp`` command: ``rowstamp`` and ``python -m rowstamp``."""

from __future__ import annotations

import sys

__all__ = ["main"]

_EXTRA = frozenset({"rich", "typer"})


def main() -> None:
    """Run the command line; where its packages are not installed, say which command installs them."""
    try:
        from rowstamp.cli.app import app
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] not in _EXTRA:
            raise
        sys.exit(f"rowstamp: the command line needs {exc.name}; install it with: python -m pip install 'rowstamp[cli]'")
    app(prog_name="rowstamp")


if __name__ == "__main__":
    main()
