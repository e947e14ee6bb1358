"""What must hold of any text: nothing raises, no write is lost, and SQLite itself sees no more than we do."""

import sqlite3

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from rowstamp.analysis.text import TextKind, parse_text

pytestmark = pytest.mark.once

DIALECTS = st.sampled_from(["postgresql", "sqlite", "mysql", "mariadb"])

SOUP = """SELECT FROM WHERE INSERT INTO UPDATE DELETE SET VALUES WITH AS TABLE JOIN ON USING REPLACE MERGE WHEN THEN COPY TO
EXPLAIN ANALYZE CREATE DROP ALTER TRUNCATE INDEX VIEW TEMP PRAGMA COMMIT BEGIN UNION ( ) ( ) , , . ; ; = * ' " ` [ ] $$ -- /* */
:a %s ? $1 @v @@w ?| :: 1 1.5 'x' "y" `z` a b t f( now() \\ # # \n""".replace("\n", " ").split(" ")


@given(sql=st.text() | st.lists(st.sampled_from(SOUP), max_size=20).map(" ".join), dialect=DIALECTS)
def test_no_text_raises(sql: str, dialect: str) -> None:
    """Whatever the text, there are facts, and a reason where they are worth nothing."""
    facts = parse_text(sql, dialect)
    assert facts.understood is (facts.reason == "")
    assert not facts.understood or facts.kind is not TextKind.UNKNOWN
    assert facts.kind is not TextKind.WRITE or facts.writes or not facts.understood


BLANKS = st.sampled_from([" ", "\n", "\t ", " /* c ; */ ", " -- DELETE FROM x;\n", "/**/", " /* it's \" */\r\n"])

TEMPLATES = {
    "postgresql": [
        "INSERT INTO {t} ( a ) VALUES ( {v} ) ON CONFLICT ( a ) DO NOTHING",
        "INSERT INTO {t} AS x SELECT * FROM other WHERE a = {v} RETURNING a",
        "UPDATE ONLY {t} SET a = {v} , b = 'x' FROM other WHERE b = {v}",
        "DELETE FROM {t} USING other WHERE a = {v}",
        "WITH x AS ( DELETE FROM {t} WHERE a = {v} RETURNING * ) SELECT * FROM x",
        "WITH {t} AS ( SELECT 1 ) INSERT INTO {t} SELECT {v} FROM other",
        "MERGE INTO {t} USING other ON a = {v} WHEN MATCHED THEN DELETE",
        "SELECT {v} ; DELETE FROM {t} ; SELECT 1",
        "COPY {t} FROM STDIN",
        "TRUNCATE TABLE other , {t}",
        "EXPLAIN ( ANALYZE , BUFFERS ) UPDATE {t} SET a = {v}",
    ],
    "sqlite": [
        "INSERT OR IGNORE INTO {t} ( a ) VALUES ( {v} )",
        "REPLACE INTO {t} SELECT {v} FROM other",
        "UPDATE OR FAIL {t} SET a = {v} WHERE b IN other",
        "DELETE FROM {t} WHERE a = {v} AND b IN ( SELECT 1 FROM other )",
        "WITH {t} AS ( SELECT 1 ) DELETE FROM {t} WHERE a = {v}",
    ],
    "mysql": [
        "INSERT IGNORE {t} SET a = {v}",
        "REPLACE LOW_PRIORITY INTO {t} ( a ) SELECT {v} FROM other",
        "INSERT INTO {t} ( a ) VALUES ( {v} ) ON DUPLICATE KEY UPDATE a = {v} , b = 1",
        "UPDATE other JOIN {t} ON 1 = {v} SET b = 1",
        "UPDATE other , {t} SET b = {v}",
        "DELETE x FROM other JOIN {t} AS x ON a = {v}",
        "DELETE FROM x USING other , {t} AS x WHERE a = {v}",
        "LOAD DATA LOCAL INFILE 'x' INTO TABLE {t}",
        "ANALYZE DELETE FROM {t} WHERE a = {v}",
    ],
}
SPELLINGS = {
    "postgresql": ["target", "Target", '"target"', "s.target", 's."target"', '"c"."s"."target"'],
    "sqlite": ["target", "TARGET", '"target"', "[target]", "`target`", "main.target", '"main".[target]'],
    "mysql": ["target", "Target", "`target`", "s.target", "`s`.`target`"],
}
MARKERS = {
    "postgresql": [":v", ":1", "%s", "%(v)s", "$1", "'it''s'", "E'\\'; --'", "$q$ ' $q$", "1.5", "f(2)"],
    "sqlite": [":v", ":1", "?", "?2", "@v", "$v", "'it''s'", "x'00'", "1e3", "f(2)"],
    "mysql": [":v", "?", "%s", "%(v)s", "'it''s'", '"; --"', "@v", "0xff", "f(2)"],
}


@st.composite
def spelled_dml(draw: st.DrawFn) -> tuple[str, str]:
    """A write of the table `target`, spelled in some way that means the same."""
    dialect = draw(st.sampled_from(sorted(TEMPLATES)))
    words: list[str] = []
    for word in draw(st.sampled_from(TEMPLATES[dialect])).split(" "):
        if word == "{t}":
            words.append(draw(st.sampled_from(SPELLINGS[dialect])))
        elif word == "{v}":
            words.append(draw(st.sampled_from(MARKERS[dialect])))
        else:
            words.append(draw(st.sampled_from([word, word.lower(), word.title()])) if word.isalpha() else word)
    text = "".join(part for word in words for part in (draw(BLANKS), word))
    return dialect, text + draw(st.sampled_from(["", ";", " -- end", "\n;\n"]))


@given(spelled_dml())
@settings(max_examples=200)
def test_no_spelling_hides_a_write(spelled: tuple[str, str]) -> None:
    """Case, quotes, comments, blanks and markers change nothing about what is written."""
    dialect, sql = spelled
    facts = parse_text(sql, dialect)
    assert not facts.understood or "target" in {name for _, name in facts.writes}


# ------------------------------------------------------------------------------------- compared with SQLite itself

TABLES = ["a", "b", "c", "d"]
NAMES = st.sampled_from(TABLES)
READ, WRITES, FUNCTION = 20, {9, 18, 23}, 31


@st.composite
def queries(draw: st.DrawFn, depth: int = 2) -> str:
    """A query of SQLite's over the tables a to d, with CTEs of the same names."""
    source = st.one_of(NAMES, NAMES.map(lambda name: f"main.{name}"), NAMES.map(lambda name: f'"{name}" AS q'))
    if depth:
        source |= queries(depth - 1).map(lambda query: f"({query})") | NAMES.map(lambda name: f"({name})")
    sources = draw(st.lists(source, min_size=1, max_size=3))
    separators = st.sampled_from([", ", " JOIN ", " LEFT JOIN ", " NATURAL JOIN "])
    text = sources[0]
    for further in sources[1:]:
        text += draw(separators) + further
    conditions = ["1", f"1 IN {draw(NAMES)}", f"1 IN main.{draw(NAMES)}", "abs(1) > lower('x')"]
    if depth:
        conditions += [f"EXISTS ({draw(queries(depth - 1))})", f"1 IN ({draw(queries(depth - 1))})"]
    query = f"SELECT 1 AS x FROM {text} WHERE {draw(st.sampled_from(conditions))}"
    if depth and draw(st.booleans()):
        query += f" UNION SELECT 1 FROM {draw(NAMES)}"
    if depth and draw(st.booleans()):
        recursive = draw(st.sampled_from(["", "RECURSIVE "]))
        ctes = ", ".join(
            f"{name} AS ({draw(queries(depth - 1))})" for name in draw(st.sets(NAMES, min_size=1, max_size=2))
        )
        query = f"WITH {recursive}{ctes} {query}"
    return query


@st.composite
def sqlite_texts(draw: st.DrawFn) -> str:
    """A query or DML statement of SQLite's."""
    query, target = draw(queries()), draw(NAMES)
    return draw(
        st.sampled_from(
            [
                query,
                f"INSERT INTO {target} {query}",
                f"REPLACE INTO main.{target} (x) {query}",
                f"UPDATE {target} SET x = ({query})",
                f"UPDATE OR IGNORE {target} AS z SET x = 1 FROM {draw(NAMES)}, ({query})",
                f"DELETE FROM {target} WHERE x IN ({query})",
                f"WITH {draw(NAMES)} AS ({query}) DELETE FROM {target} WHERE x IN {draw(NAMES)}",
            ]
        )
    )


def seen_by_sqlite(sql: str) -> tuple[set[str], set[str], set[str]] | None:
    """The tables opened, the tables written and the functions called in SQLite's program; None if it refuses."""
    reads: set[str] = set()
    writes: set[str] = set()
    functions: set[str] = set()

    def authorize(action: int, first: str | None, second: str | None, _database: str | None, _by: str | None) -> int:
        # Without a column, SQLite reports the names of CTEs too.
        if action == READ and first in TABLES and second:
            reads.add(first)
        elif action in WRITES and first in TABLES:
            writes.add(first)
        elif action == FUNCTION and second:
            functions.add(second.lower())
        return sqlite3.SQLITE_OK

    connection = sqlite3.connect(":memory:")
    try:
        for name in TABLES:
            connection.execute(f"CREATE TABLE {name} (x)")
        pages = dict(connection.execute("SELECT rootpage, name FROM sqlite_master"))
        connection.set_authorizer(authorize)
        for _, opcode, _, page, *_ in connection.execute("EXPLAIN " + sql):
            if opcode in {"OpenRead", "OpenWrite"} and page in pages:
                reads.add(pages[page])
    except sqlite3.Error:
        return None
    finally:
        connection.close()
    return reads, writes, functions


@given(sqlite_texts())
@settings(max_examples=200, deadline=None)
@example("SELECT 1 FROM (WITH a AS (SELECT 1 FROM b) SELECT 1 FROM a), a")
@example("WITH a AS (SELECT 1 FROM b) DELETE FROM a WHERE x IN c")
def test_sqlite_sees_no_more_than_we_do(sql: str) -> None:
    """Every table and function that SQLite's own compiler finds in a text is in its facts."""
    seen = seen_by_sqlite(sql)
    assume(seen is not None)
    assert seen is not None
    facts = parse_text(sql, "sqlite")
    if not facts.understood:
        return
    reads, writes, functions = seen
    ours, written = {name for _, name in facts.reads}, {name for _, name in facts.writes}
    assert reads <= ours | written
    assert writes <= written
    assert functions <= facts.functions


@given(queries())
@settings(max_examples=60, deadline=None)
def test_ordinary_queries_are_understood(sql: str) -> None:
    """Not to understand is always sound, and would be useless."""
    assume(seen_by_sqlite(sql) is not None)
    assert parse_text(sql, "sqlite").understood
