"""`docs/rules.md` lists every mutation of the oracle, and what guards the rules that the oracle does not reach."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "rules.md"
ORACLE = ROOT / "tests" / "oracle"
ROW = re.compile(r"\|[^|]+\| `(?P<name>\w+|test_\w+\.py::test_\w+)` \|")
FOLDERS = ("tests/conformance", "tests/unit/analysis")


def listed() -> list[str]:
    """The second column of the page's tables."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and "| found by |" not in line]
    assert [line for line in lines if not ROW.fullmatch(line)] == []
    return [found["name"] for line in lines if (found := ROW.fullmatch(line)) is not None]


def functions_in(files: Iterable[Path]) -> set[str]:
    trees = [ast.parse(file.read_text()) for file in files]
    return {each.name for tree in trees for each in tree.body if isinstance(each, ast.FunctionDef)}


def test_every_mutation_is_listed_and_used() -> None:
    mutations = {name for name in functions_in(ORACLE.glob("mutations*.py")) if not name.startswith("_")}
    used = set(re.findall(r"without\.(\w+)", (ORACLE / "test_mutations.py").read_text()))
    assert mutations == used
    assert mutations == {name for name in listed() if "::" not in name}


def test_no_rule_is_listed_twice() -> None:
    assert len(listed()) == len(set(listed()))


def test_every_named_test_is_there() -> None:
    named = [name.split("::") for name in listed() if "::" in name]
    found = [
        name
        for file, name in named
        if name in functions_in(path for folder in FOLDERS if (path := ROOT / folder / file).is_file())
    ]
    assert found == [name for _, name in named]
