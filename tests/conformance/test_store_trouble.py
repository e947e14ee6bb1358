"""A store that is down, dies half-way or returns garbage: never an error for the user, never a stale row."""

from collections.abc import Sequence

import pytest
from sqlalchemy import select

from rowstamp import CommitRefused
from rowstamp.stores.memory import MemoryStore
from tests.conformance.models import Product, Tag
from tests.harness import Env, Node, everything
from tests.tricks import OPERATIONS, Crash, Operation

NAMES = select(Product.name).order_by(Product.id)
TAGS = everything(Tag)


def rename(node: Node, name: str) -> None:
    with node.transaction() as session:
        session.get_one(Product, 1).name = name


def names(node: Node) -> list[str]:
    return [name for (name,) in node.rows(NAMES)]


def test_down_from_the_start(env: Env) -> None:
    """With the store down from the start everything works, uncached."""
    env.store.down = set(OPERATIONS)
    assert [names(env)[0], names(env)[0]] == ["atlas"] * 2
    rename(env, "one")
    assert names(env)[0] == "one"
    assert env.cache.stats().store_errors >= 3
    assert env.cache.stats().hits == 0


@pytest.mark.parametrize("operation", ["read", "mint", "put"])
def test_down_for_a_reader(env: Env, operation: Operation) -> None:
    """A reader that the store fails goes to the database; afterwards it is served again."""
    env.store.down = {operation}
    assert names(env) == names(env) == [name for (name,) in env.truth(NAMES)]
    assert env.core_rows(NAMES) == env.truth(NAMES)
    env.store.down = set()
    env.warm(NAMES)


@pytest.mark.parametrize("failing", [["hold"], ["release"], ["hold", "release"], list(OPERATIONS)], ids="+".join)
def test_down_for_a_writer(env: Env, failing: Sequence[Operation]) -> None:
    """What a writer could not tell the store is told before this process uses the store again."""
    env.warm(NAMES)
    env.warm(TAGS)
    env.store.down = set(failing)
    rename(env, "unheard")
    env.store.down = set()
    assert names(env)[0] == "unheard"
    env.clock.advance(11)  # holds that were left behind have ended
    assert names(env)[0] == "unheard"
    assert env.served(NAMES)
    assert env.served(TAGS)


@pytest.mark.parametrize("failing", [["hold"], list(OPERATIONS)], ids="+".join)
def test_a_rollback_of_a_writer_that_was_not_heard(env: Env, failing: Sequence[Operation]) -> None:
    """A rollback needs no store."""
    rows = env.warm(NAMES)
    env.store.down = set(failing)
    with env.session() as session:
        session.get_one(Product, 1).name = "undone"
        session.flush()
        session.rollback()
    env.store.down = set()
    assert env.rows(NAMES) == rows


def test_still_down_when_the_next_reader_comes(env: Env) -> None:
    """While the store stays down for what has to be told, nobody is served from it."""
    env.warm(NAMES)
    env.store.down = {"hold", "touch"}
    rename(env, "unheard")
    env.store.down = {"touch"}
    assert [names(env)[0], names(env)[0]] == ["unheard"] * 2
    env.store.down = set()
    assert names(env)[0] == "unheard"
    assert env.served(NAMES)


def test_a_commit_that_may_not_go_unheard(env: Env) -> None:
    """`on_store_down="fail"` refuses the commit: nothing is changed."""
    strict = env.new_node(on_store_down="fail")
    rows = env.warm(NAMES)
    env.store.down = {"hold"}
    with pytest.raises(CommitRefused, match="refused"):
        rename(strict, "refused")
    env.store.down = set()
    assert env.truth(NAMES) == env.rows(NAMES) == rows
    with strict.session() as session:
        session.get_one(Product, 1).name = "heard"
        session.commit()
    assert names(env)[0] == "heard"


def test_an_explicit_invalidation_that_fails(env: Env) -> None:
    """Whoever asks for an invalidation by hand is told that it failed."""
    from rowstamp import StoreError

    env.warm(NAMES)
    env.store.down = {"touch"}
    with pytest.raises(StoreError):
        env.cache.invalidate(Product)
    with pytest.raises(StoreError):
        env.cache.clear()


def test_a_process_dies_between_commit_and_release(env: Env) -> None:
    """The holds of a dead writer keep everybody from the cache until they end; then everything is new."""
    env.warm(NAMES)
    victim = env.new_node()
    env.store.before["release"].append(_die)
    with pytest.raises(Crash):
        rename(victim, "last words")
    assert env.truth(NAMES)[0] == ("last words",)
    assert not env.served(NAMES)
    assert names(env)[0] == "last words"
    env.clock.advance(11)
    assert names(env)[0] == "last words"
    assert env.served(NAMES)
    assert names(env)[0] == "last words"


def test_a_process_dies_between_hold_and_commit(env: Env) -> None:
    """Nothing was committed; after the hold has ended the old rows are cached anew."""
    rows = env.warm(NAMES)
    victim = env.new_node()
    env.store.after["hold"].append(_die)
    with pytest.raises(Crash):
        rename(victim, "never")
    assert env.rows(NAMES) == rows
    env.clock.advance(11)
    assert env.rows(NAMES) == rows
    assert env.served(NAMES)


def _die() -> None:
    raise Crash


def test_a_reader_dies_before_its_fill(env: Env) -> None:
    """The next reader begins again."""
    env.store.before["put"].append(_die)
    with pytest.raises(Crash):
        env.rows(NAMES)
    assert env.rows(NAMES) == env.truth(NAMES)
    assert env.served(NAMES)


def test_a_commit_that_takes_longer_than_its_holds(env: Env) -> None:
    """When the holds end before the commit does, whatever was filled meanwhile ends with the release, and it is counted."""
    env.warm(NAMES)

    def slow() -> None:
        env.clock.advance(11)
        env.rows(NAMES)
        env.rows(NAMES)

    env.store.before["release"].append(slow)
    env.store.after["hold"].append(slow)
    rename(env, "slow")
    assert names(env)[0] == "slow"
    assert env.cache.stats().late_commits == 1


def blobs(memory: MemoryStore) -> list[bytes]:
    return [key[1:] for key in memory._kept if key[:1] == b"e" and len(key) == 17]


@pytest.mark.parametrize("damage", ["garbage", "empty", "truncated", "one bit", "another key's"])
@pytest.mark.parametrize("core", [False, True], ids=["session", "connection"])
def test_a_damaged_entry(env: Env, damage: str, core: bool) -> None:
    """Bytes that are no entry of this key are a miss, counted, and overwritten."""
    env.warm(TAGS)
    (other,) = blobs(env.memory)
    rows = env.core_rows if core else env.rows
    expected = rows(NAMES)
    assert (env.core_served if core else env.served)(NAMES)
    (entry,) = [each for each in blobs(env.memory) if each != other]
    blob = env.memory.read(entry, ()).entry or b""
    bad = {
        "garbage": b"no entry at all" * 9,
        "empty": b"",
        "truncated": blob[:-3],
        "one bit": blob[:-5] + bytes([blob[-5] ^ 1]) + blob[-4:],
        "another key's": env.memory.read(other, ()).entry or b"",
    }[damage]
    env.memory.put(entry, bad, 300)
    assert rows(NAMES) == expected
    assert env.cache.stats().corrupt == 1
    assert (env.core_served if core else env.served)(NAMES)
    assert env.cache.stats().corrupt == 1
