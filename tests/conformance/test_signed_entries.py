"""Signed and compressed results: the same as others, and nobody else's are accepted."""

from __future__ import annotations

from sqlalchemy import select

from rowstamp.entry import pack_entry
from rowstamp.orm.replay import encode_result
from rowstamp.stores.memory import _ENTRY_MARK, _Entry
from tests.conformance.models import Product
from tests.harness import Env, Node

NAMES = select(Product.name).where(Product.category_id == 1).order_by(Product.id)
SECRET = "a secret of some length"


def signing(env: Env, secret: object = SECRET) -> Node:
    return env.new_node(secret=secret, compress=1)


def plant(env: Env, name: str) -> None:
    """Put a result into the store as one would who can write there and knows this library."""
    body = encode_result([("name", None)], [(name,)], 1)
    for key, kept in list(env.memory._kept.items()):
        if isinstance(kept, _Entry):
            entry = key.removeprefix(_ENTRY_MARK)
            env.memory.put(entry, pack_entry(entry, {}, body), 60)


def test_a_signed_and_compressed_result_is_served(sqlite_env: Env) -> None:
    node = signing(sqlite_env)
    node.warm(NAMES)
    assert node.rows(NAMES) == sqlite_env.truth(NAMES)
    assert signing(sqlite_env).served(NAMES), "another process with the secret"


def test_what_was_written_without_the_secret_is_a_miss_and_counted(sqlite_env: Env) -> None:
    node = signing(sqlite_env)
    node.warm(NAMES)
    plant(sqlite_env, "planted")
    assert node.rows(NAMES) == sqlite_env.truth(NAMES)
    assert node.cache.stats().corrupt == 1
    assert node.served(NAMES), "it was not overwritten"


def test_another_secret_is_no_secret(sqlite_env: Env) -> None:
    signing(sqlite_env).warm(NAMES)
    other = signing(sqlite_env, "another secret, as long")
    assert not other.served(NAMES)
    assert other.cache.stats().corrupt == 1


def test_a_secret_that_is_being_replaced_is_accepted(sqlite_env: Env) -> None:
    signing(sqlite_env).warm(NAMES)
    assert signing(sqlite_env, ["another secret, as long", SECRET]).served(NAMES)
