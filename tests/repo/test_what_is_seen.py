"""The rows of `docs/what-is-seen.md` are tests, which exist and are run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "what-is-seen.md"
ROW = re.compile(r"\|(?P<form>[^|]+)\|(?P<precision>[^|]+)\|\s*`(?P<test>test_\w+\.py::test_\w+)`\s*\|")


def rows() -> list[str]:
    """The lines of the page's tables, without their heads."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    return [
        line for line, after in zip(lines, [*lines[1:], ""], strict=True) if not _is_rule(line) and not _is_rule(after)
    ]


def _is_rule(line: str) -> bool:
    return bool(line) and set(line) <= set("|-")


def named_tests(lines: list[str]) -> list[str]:
    return [found["test"] for line in lines if (found := ROW.fullmatch(line)) is not None]


def test_every_row_names_a_form_its_precision_and_a_test() -> None:
    assert [line for line in rows() if not ROW.fullmatch(line)] == []
    assert len(rows()) > 50


def test_every_named_test_is_collected() -> None:
    named = sorted({f"tests/conformance/{test}" for test in named_tests(rows())})
    files = sorted({name.partition("::")[0] for name in named})
    assert [file for file in files if not (ROOT / file).is_file()] == []
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-n", "0", *files]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, text=True).stdout
    collected = {line.partition("[")[0] for line in listing.splitlines()}
    assert [name for name in named if name not in collected] == []


def test_a_row_without_a_test_would_be_noticed() -> None:
    assert named_tests(["| a form | rows | |", "| a form | rows | `test_a.py::test_b` |"]) == ["test_a.py::test_b"]
