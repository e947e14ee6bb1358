"""What a journal keeps, and until when."""

from __future__ import annotations

import threading

import pytest

from rowstamp import journal as journals
from rowstamp.journal import Journal

pytestmark = pytest.mark.once

EVERYTHING, A, B = b"everything", b"a", b"b"


@pytest.fixture
def journal() -> Journal:
    return Journal(EVERYTHING)


def test_what_was_touched_is_forgotten(journal: Journal) -> None:
    journal.add([A, B])
    journal.done(journal.pending())
    assert journal.empty
    assert not journal.pending()


def test_a_commit_during_a_replay_stays(journal: Journal) -> None:
    journal.add([A, B])
    replayed = journal.pending()
    journal.add([B])
    journal.done(replayed)
    assert set(journal.pending()) == {B}


def test_two_threads_may_replay_the_same(journal: Journal) -> None:
    journal.add([A, B])
    first, second = journal.pending(), journal.pending()
    journal.done(first)
    journal.add([A])
    journal.done(second)
    assert set(journal.pending()) == {A}


def test_a_commit_under_way_is_pending_until_after_its_end(journal: Journal) -> None:
    with journal.committing([A]):
        for _ in range(2):
            assert not journal.empty
            assert set(journal.pending()) == {A}
            journal.done(journal.pending())
    assert set(journal.pending()) == {A}
    journal.done(journal.pending())
    assert journal.empty


def test_a_replay_that_began_before_the_commit_ended_does_not_forget_it(journal: Journal) -> None:
    with journal.committing([A]):
        replayed = journal.pending()
    journal.done(replayed)
    assert set(journal.pending()) == {A}


def test_a_commit_that_fails_is_kept_too(journal: Journal) -> None:
    with pytest.raises(ZeroDivisionError), journal.committing([A]):
        raise ZeroDivisionError
    assert set(journal.pending()) == {A}


def test_two_commits_under_way_with_the_same_stamps(journal: Journal) -> None:
    with journal.committing([A]):
        with journal.committing([A]):
            pass
        journal.done(journal.pending())
        assert set(journal.pending()) == {A}


def test_more_than_it_keeps_is_everything(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "JOURNAL_LIMIT", 3)
    journal.add([A, B])
    replayed = journal.pending()
    journal.add([b"c", b"d"])
    assert set(journal.pending()) == {EVERYTHING}
    journal.done(replayed)
    assert set(journal.pending()) == {EVERYTHING}
    journal.done(journal.pending())
    assert journal.empty


def test_threads_that_add_and_replay_lose_nothing(journal: Journal) -> None:
    """Each stamp is touched at least once after it was added last."""
    touched: dict[bytes, int] = {}
    added: dict[bytes, int] = {}
    adding = threading.Barrier(3)

    def add(name: bytes) -> None:
        adding.wait()
        for number in range(300):
            added[name] = number
            journal.add([name])

    def replay() -> None:
        adding.wait()
        while any(thread.is_alive() for thread in adders) or not journal.empty:
            pending = journal.pending()
            touched.update({name: added[name] for name in pending})
            journal.done(pending)

    adders = [threading.Thread(target=add, args=(name,)) for name in (A, B)]
    for thread in adders:
        thread.start()
    replay()
    for thread in adders:
        thread.join()
    assert touched == added == {A: 299, B: 299}
