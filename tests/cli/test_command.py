"""The command itself: its version, and what it says where its packages are missing."""

import importlib.metadata
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from rowstamp.cli.app import app

pytestmark = pytest.mark.once


def test_it_tells_its_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout == f"rowstamp {importlib.metadata.version('rowstamp')}\n"


def test_python_m_runs_it() -> None:
    done = subprocess.run([sys.executable, "-m", "rowstamp", "--help"], capture_output=True, check=True, text=True)
    assert "demo" in done.stdout


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_without_its_packages_it_names_the_command_that_installs_them(package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from rowstamp.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, check=False, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "python -m pip install 'rowstamp[cli]'" in done.stderr
