"""Names of stamps and keys of entries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rowstamp.keys import entry_key, stamp_name
from rowstamp.model import Dependency

texts = st.text(max_size=6)
dependencies = st.one_of(
    st.just(Dependency.everything()),
    st.builds(Dependency.table, texts, texts),
    st.builds(Dependency.tag, texts),
    st.builds(Dependency.unknown_rows, texts, texts, st.lists(texts, max_size=2).map(tuple)),
    st.builds(Dependency.rows, texts, texts, st.lists(texts, max_size=2).map(tuple), st.binary(max_size=6)),
)


@given(dependencies, dependencies, texts, texts)
def test_two_stamps_have_one_name_exactly_if_they_are_one(
    one: Dependency, other: Dependency, namespace: str, other_namespace: str
) -> None:
    """Neither a namespace nor a part of a dependency can be mistaken for another."""
    same = one == other and namespace == other_namespace
    assert (stamp_name(namespace, one) == stamp_name(other_namespace, other)) is same


parameters = st.lists(st.one_of(st.integers(), texts, st.booleans(), st.none(), st.floats()), max_size=3).map(tuple)


@given(texts, texts, parameters, parameters)
def test_entries_of_different_statements_have_different_keys(
    sql: str, other_sql: str, values: tuple[object, ...], other_values: tuple[object, ...]
) -> None:
    """SQL and parameters both count, the parameters with their types."""
    same = sql == other_sql and repr(values) == repr(other_values)
    assert (entry_key("n", [b"db"], sql, values) == entry_key("n", [b"db"], other_sql, other_values)) is same


def test_what_the_user_varies_by_is_part_of_the_key() -> None:
    """Two tenants never meet."""
    assert entry_key("n", [], "SELECT 1", (), vary="a") != entry_key("n", [], "SELECT 1", (), vary="b")


def test_true_and_one_are_different_parameters() -> None:
    """Python calls them equal, and so would a dictionary."""
    assert entry_key("n", [], "SELECT ?", (True,)) != entry_key("n", [], "SELECT ?", (1,))


def test_identities_are_not_run_together() -> None:
    """Two parts are not one longer part."""
    assert entry_key("n", [b"ab", b"c"], "s", ()) != entry_key("n", [b"a", b"bc"], "s", ())


def test_no_user_data_stands_in_a_key() -> None:
    """Keys are digests."""
    assert b"secret" not in entry_key("n", [], "SELECT 'secret'", ("secret",))
    assert b"secret" not in stamp_name("n", Dependency.tag("secret"))
