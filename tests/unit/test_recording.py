"""What a recorder knows of stamps on which a result turns out not to depend, by the rows that its loads have shown."""

from rowstamp.recording import Recorder


def recorder() -> Recorder:
    return Recorder(object(), None, {})


def test_a_table_whose_rows_are_told_by_every_load_may_be_let_go_of() -> None:
    found = recorder()
    for row in (b"row 1", b"row 2"):
        found.add({b"table": b"token", b"other": b"token"}, [b"table"])
        found.load([b"table"])
        found.tell([b"table"], [row], guard=[b"table"])
    assert found.shown() == ((b"row 1", b"row 2"), {b"table"}, {b"table"})
    assert set(found.tokens) == {b"table", b"other"}


def test_what_was_never_needed_is_left_out_without_rows_in_its_place() -> None:
    found = recorder()
    found.add({b"new rows": b"token"}, [b"new rows"])
    found.load([b"new rows"])
    found.tell([b"new rows"], [])
    assert found.shown() == ((), set(), {b"new rows"})


def test_what_a_result_needs_all_the_same_is_kept() -> None:
    found = recorder()
    found.add({b"table": b"token", b"new rows": b"token"}, [b"table", b"new rows"])
    found.load([b"table", b"new rows"])
    found.tell([b"table", b"new rows"], [b"row"], guard=[b"table"], stays=[b"new rows"])
    assert found.shown() == ((b"row",), {b"table"}, {b"table"})


def test_a_load_that_has_not_told_its_rows_keeps_the_table() -> None:
    """A statement of which not all rows were read, or that failed."""
    found = recorder()
    for rows in ([b"row"], None):
        found.add({b"table": b"token"}, [b"table"])
        found.load([b"table"])
        if rows is not None:
            found.tell([b"table"], rows, guard=[b"table"])
    assert found.shown().without == set()


def test_a_table_that_something_else_depends_on_is_kept() -> None:
    """Whichever came first: a count of all its rows, or the rows."""
    before, after = recorder(), recorder()
    before.add({b"table": b"token"})
    for each in (before, after):
        assert each.adopt([], [b"table"]) == ([b"table"] if each is after else [])
        each.add({b"table": b"token"}, [b"table"])
        each.load([b"table"])
        each.tell([b"table"], [b"row"], guard=[b"table"])
    assert after.adopt([b"table"]) == []
    assert before.shown().without == after.shown().without == set()


def test_a_lookup_alone_tells_no_rows() -> None:
    """What a lookup has captured is kept until the load that it was for has told its rows."""
    found = recorder()
    found.add({b"table": b"token"}, [b"table"])
    assert found.shown().without == set()
