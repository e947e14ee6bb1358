"""Mistakes in the configuration are named at once."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest

from rowstamp import Cache, ConfigurationError, cached
from rowstamp.config import Config, check_near, check_secrets
from rowstamp.errors import CorruptEntry, RowstampError, UncacheableValue, UnsupportedArgument
from rowstamp.journal import JOURNAL_LIMIT, Journal

pytestmark = pytest.mark.once


@pytest.mark.parametrize("ttl", [0, -1, math.nan, math.inf, "60", None, True])
def test_a_time_to_live_is_a_positive_number(ttl: Any) -> None:
    """The message names the value and shows a good one."""
    with pytest.raises(ConfigurationError, match=r"give a positive number of seconds"):
        Cache(ttl=ttl)
    if ttl is not None:
        with pytest.raises(ConfigurationError, match=r"give a positive number of seconds"):
            cached(ttl=ttl)


@pytest.mark.parametrize("tags", ["home", b"home", 5, [""], [1]])
def test_tags_are_a_collection_of_names(tags: Any) -> None:
    """A bare string is a mistake: its letters would be the tags."""
    with pytest.raises(ConfigurationError):
        cached(tags=tags)


@pytest.mark.parametrize(
    "options", [{"namespace": ""}, {"namespace": 5}, {"vary": "tenant"}, {"on_store_down": "panic"}, {"hold_ttl": 0}]
)
def test_each_option_is_checked(options: dict[str, Any]) -> None:
    """At construction, not at the first hit."""
    with pytest.raises(ConfigurationError, match=str(next(iter(options)))):
        Config(**options)


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ("search_path", r"vary=\['search_path'\]"),
        ("the tenant", "give a function"),
        (b"role", "give a function"),
        (5, "give a function"),
        (["Search Path"], "'Search Path', which is neither"),
        (["role; DROP TABLE"], "which is neither"),
        ([str.lower, 5], "5, which is neither"),
    ],
)
def test_what_varies_is_functions_and_names(vary: Any, said: str) -> None:
    """A name of connection state stands in a list, in lower case."""
    with pytest.raises(ConfigurationError, match=said):
        Config(vary=vary)


def test_what_varies_is_sorted_out() -> None:
    """Functions are called for each key; the order of names says nothing."""
    config = Config(vary=["role", lambda: "north", "app.tenant", "@tenant"])
    assert config.states == ("@tenant", "app.tenant", "role")
    assert config.varied() == ("north",)
    assert Config().varied() is None


@pytest.mark.parametrize("near", [True, False, -1, 1.5, "much", "0 MiB", b"64"])
def test_near_is_a_size(near: Any) -> None:
    """A number of bytes or a size with its unit; nothing is said by 0."""
    with pytest.raises(ConfigurationError, match=r"near=.*leaves the store no room|near=.*is not a size"):
        Cache(near=near)


@pytest.mark.parametrize(("near", "size"), [(None, None), (0, 0), (1000, 1000), ("64 MiB", 64 << 20), ("1kB", 1000)])
def test_a_size_near_is_bytes_or_has_a_unit(near: Any, size: int | None) -> None:
    """Nothing said leaves it to the store."""
    assert check_near(near) == size


@pytest.mark.parametrize("secret", ["", b"", "too short", b"x" * 15, 5, [], ["x" * 16, "y"], [5], {"a": "x" * 16}])
def test_a_secret_is_long_enough(secret: Any) -> None:
    """And no part of it is shown."""
    with pytest.raises(ConfigurationError, match="secret=") as caught:
        Cache(secret=secret)
    assert "too short" not in str(caught.value)


def test_a_secret_is_text_or_bytes_or_several() -> None:
    """Text counts as its UTF-8; what a configuration shows is not among it."""
    assert check_secrets(None) == ()
    assert check_secrets("é" * 8) == (("é" * 8).encode(),)
    assert check_secrets(["x" * 16, b"y" * 16]) == (b"x" * 16, b"y" * 16)
    assert "xxxx" not in repr(Config(secrets=check_secrets("x" * 16)))


@pytest.mark.parametrize("compress", [0, -1, True, "some"])
def test_a_threshold_is_a_size(compress: Any) -> None:
    """From so many bytes on results are compressed."""
    with pytest.raises(ConfigurationError, match="compress="):
        Cache(compress=compress)


@pytest.mark.parametrize("store", [5, None, object()], ids=["number", "none", "object"])
def test_a_store_is_a_url_or_a_store(store: Any) -> None:
    """The message names what was given."""
    with pytest.raises(ConfigurationError, match="no store"):
        Cache(store)


@pytest.mark.parametrize(
    "error",
    [UncacheableValue("decimal.Decimal", "signalling"), CorruptEntry("checksum"), UnsupportedArgument("x")],
    ids=repr,
)
def test_errors_survive_pickling(error: RowstampError) -> None:
    """They cross process boundaries with their words."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)


def test_a_journal_keeps_what_was_added_again() -> None:
    """A stamp touched and then journalled once more is still to be touched."""
    journal = Journal(b"everything")
    journal.add([b"a", b"b"])
    touched = journal.pending()
    journal.add([b"a"])
    journal.done(touched)
    assert list(journal.pending()) == [b"a"]


def test_a_journal_that_overflows_asks_for_everything() -> None:
    """It is bounded, and forgets nothing for that."""
    journal = Journal(b"everything")
    journal.add(str(number).encode() for number in range(JOURNAL_LIMIT + 1))
    assert list(journal.pending()) == [b"everything"]
