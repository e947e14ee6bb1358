"""Texts that PostgreSQL reads as the present day or time."""

from __future__ import annotations

import pytest

from rowstamp.analysis.moments import names_moment, shows_moment

MOMENTS = [
    "today",
    " NOW ",
    "today UTC",
    "tomorrow America/New_York",
    "on today",
    "today_",
    "[yesterday,today)",
    "thursday, (today)",
]
OTHERS = ["", "2020-01-01", "known", "yesterdays", "todaY" * 2, "what happened today was " + "very " * 30 + "long"]


@pytest.mark.parametrize("text", MOMENTS)
def test_texts_that_are_moments(text: str) -> None:
    """PostgreSQL takes each of them for a date: as a parameter, in a list, or rendered into the statement."""
    assert names_moment({"day": text})
    assert names_moment((1, ["2020-01-01", text]))
    assert shows_moment(f"/* it's */ SELECT '{text}'")


@pytest.mark.parametrize("text", OTHERS)
def test_texts_that_are_none(text: str) -> None:
    """They name no moment."""
    assert not names_moment({"text": text, "list": [text, 1, None]})
    assert not shows_moment(f"SELECT now.id FROM now WHERE text = '{text}'")
