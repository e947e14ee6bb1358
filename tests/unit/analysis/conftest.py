"""The analysis asks every metadata in the program about a table; here only that of these tests counts."""

from __future__ import annotations

import pytest

from rowstamp.analysis import tables
from tests.unit.analysis.shop import metadata


@pytest.fixture(autouse=True)
def _only_this_shop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "mapped_metadata", set)
    monkeypatch.setattr(tables, "_known", tables._Known())
    tables.know(metadata.tables.values())
