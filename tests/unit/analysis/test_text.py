"""What raw SQL reads and writes: small cases named for the condition, in tables of input and outcome."""

import logging
import subprocess
import sys

import pytest
from sqlglot.errors import SqlglotError

from rowstamp.analysis._text_facts import NotUnderstood
from rowstamp.analysis._text_lexer import lex
from rowstamp.analysis._text_tree import _confirm, _Survey
from rowstamp.analysis.text import LONGEST, TextFacts, TextKind, parse_text

pytestmark = pytest.mark.once

ALL = ("postgresql", "sqlite", "mysql", "mariadb")
PG, LITE, MY = ("postgresql",), ("sqlite",), ("mysql", "mariadb")


def names(tables: frozenset[tuple[str | None, str]]) -> str:
    """`a b s.c`, sorted."""
    return " ".join(sorted(f"{schema}.{name}" if schema else name for schema, name in tables))


def show(facts: TextFacts) -> str:
    """The facts in one line: kind, reads, what is written after `>`, what is called in parentheses."""
    if not facts.understood:
        assert facts.reason
        return "?"
    assert facts.reason == ""
    parts = [facts.kind.value, names(facts.reads)]
    parts += [f"> {names(facts.writes)}"] if facts.writes else []
    parts += [f"({' '.join(sorted(facts.functions))})"] if facts.functions else []
    parts += ["locks"] if facts.locks else []
    return " ".join(part for part in parts if part)


Case = tuple[str, tuple[str, ...], str, str]


def cases(*table: Case) -> pytest.MarkDecorator:
    """Parametrize over (condition, dialects, sql, outcome)."""
    return pytest.mark.parametrize(
        ("dialect", "sql", "outcome"),
        [
            pytest.param(dialect, sql, outcome, id=f"{condition}-{dialect}")
            for condition, dialects, sql, outcome in table
            for dialect in dialects
        ],
    )


@cases(
    ("one-table", ALL, "SELECT a FROM t WHERE b = 1", "read t"),
    ("case-is-folded", ALL, "select A from T where B = 1", "read t"),
    ("comma-list", ALL, "SELECT * FROM a, b x, c", "read a b c"),
    ("comma-list-in-parentheses", MY, "SELECT * FROM a JOIN (b, c) ON 1", "read a b c"),
    ("joins", ALL, "SELECT * FROM a JOIN b ON a.x = b.x LEFT JOIN c USING (x)", "read a b c"),
    ("comma-after-on", ALL, "SELECT * FROM a JOIN b ON a.x = b.x, c ORDER BY p, q", "read a b c"),
    ("nested-join", ALL, "SELECT * FROM a JOIN (b JOIN c ON b.x = c.x) ON a.x = b.x", "read a b c"),
    ("schema", ALL, "SELECT * FROM s.t", "read s.t"),
    ("catalog-is-dropped", PG, "SELECT * FROM c.s.t", "read s.t"),
    ("quoted", PG, 'SELECT "T"."A" FROM "S"."T"', "read s.t"),
    ("quoted-backticks", MY, "SELECT `t`.`a` FROM `s`.`T`", "read s.t"),
    ("quoted-brackets", LITE, 'SELECT * FROM [my t], `u`, "v"', "read my t u v"),
    ("subquery-in-where", ALL, "SELECT 1 FROM a WHERE x IN (SELECT x FROM b)", "read a b"),
    ("subquery-in-select", ALL, "SELECT (SELECT x FROM b) FROM a", "read a b"),
    ("exists", ALL, "SELECT 1 FROM a WHERE EXISTS (SELECT 1 FROM b)", "read a b"),
    ("derived-table", ALL, "SELECT * FROM (SELECT * FROM b) q", "read b"),
    ("union", ALL, "SELECT 1 FROM a UNION ALL SELECT 2 FROM b", "read a b"),
    ("in-parentheses", ALL, "(SELECT 1 FROM a)", "read a"),
    ("values", PG, "VALUES (1), (2)", "read"),
    ("table-statement", PG + MY, "TABLE t", "read t"),
    ("table-statement-inside", PG, "SELECT EXISTS (TABLE u), 1 FROM t WHERE x IN (TABLE v)", "read t u v"),
    ("in-table", LITE, "SELECT 1 FROM a WHERE x IN b AND y IN main.c", "read a b main.c"),
    ("lateral", PG, "SELECT * FROM a, LATERAL (SELECT * FROM b) q", "read a b"),
    ("only-and-star", PG, "SELECT * FROM ONLY a, b * WHERE true", "read a b"),
    ("only", PG, "SELECT t.* FROM ONLY t", "read t"),
    ("table-function", PG, "SELECT * FROM generate_series(1, 2) g", "read (generate_series)"),
    ("rows-from", PG, "SELECT * FROM ROWS FROM (f(1), g(2)) x", "read (f g)"),
    ("catalogues-are-tables", PG, "SELECT 1 FROM pg_catalog.pg_class, information_schema.tables",
     "read information_schema.tables pg_catalog.pg_class"),
    ("sqlite-master", LITE, "SELECT name FROM sqlite_master", "read sqlite_master"),
    ("window", ALL, "SELECT rank() OVER (PARTITION BY a ORDER BY b) FROM t", "read t (rank)"),
    ("filter-and-within-group", PG,
     "SELECT count(*) FILTER (WHERE a), mode() WITHIN GROUP (ORDER BY a) FROM t", "read t (count mode)"),
    ("json-operators", PG, "SELECT a ->> 'x', a #> 'y', a ? 'b', a ?| array['c'], a @? 'z' FROM t", "read t"),
    ("arrays", PG, "SELECT a[1:2], ARRAY(SELECT x FROM u) FROM t WHERE a = ANY($1::int[])", "read t u"),
    ("index-hints", MY, "SELECT * FROM t FORCE INDEX (i, j), u USE INDEX FOR JOIN (k)", "read t u"),
    ("indexed-by", LITE, "SELECT * FROM t INDEXED BY i", "read t"),
    ("hint-comment", ALL, "SELECT /*+ BKA(x) */ a FROM t", "read t"),
    ("extract-from-is-no-table", PG + MY, "SELECT extract(year FROM a), trim(both 'x' FROM b) FROM t",
     "read t (extract trim)"),
    ("distinct-from-is-no-table", PG, "SELECT a IS DISTINCT FROM b, c FROM t", "read t"),
)  # fmt: skip
def test_reads(dialect: str, sql: str, outcome: str) -> None:
    """A query reads every table that it names, wherever in it."""
    assert show(parse_text(sql, dialect)) == outcome


@cases(
    ("is-no-table", ALL, "WITH x AS (SELECT * FROM a) SELECT * FROM x", "read a"),
    ("chain", ALL, "WITH x AS (SELECT * FROM a), y AS (SELECT * FROM x) SELECT * FROM y", "read a"),
    ("recursive", ALL, "WITH RECURSIVE x AS (SELECT 1 UNION ALL SELECT n FROM x JOIN a ON 1=1) SELECT * FROM x", "read a"),
    ("not-recursive-reads-the-table", PG + MY, "WITH a AS (SELECT * FROM a) SELECT * FROM a", "read a"),
    ("inner-scope", ALL, "SELECT * FROM (WITH a AS (SELECT 1) SELECT * FROM a) q, a", "read a"),
    ("scope-ends-with-parentheses", ALL, "(WITH a AS (SELECT 1) SELECT 2 FROM a) UNION SELECT * FROM a", "read a"),
    ("before-union", ALL, "WITH a AS (SELECT 1) SELECT 2 UNION SELECT * FROM a", "read"),
    ("qualified-is-the-table", ALL, "WITH a AS (SELECT 1) SELECT * FROM s.a", "read s.a"),
    ("quoted-is-another-name", PG, 'WITH "A" AS (SELECT 1) SELECT * FROM a', "read a"),
    ("folded-is-the-same-name", PG, "WITH A AS (SELECT 1) SELECT * FROM a", "read"),
    ("earlier-cannot-see-later", PG, "WITH x AS (SELECT * FROM y), y AS (SELECT 1) SELECT 1", "read y"),
    ("name-before-columns-is-no-call", PG, "WITH f(a) AS (SELECT 1) SELECT * FROM f", "read"),
    ("name-of-a-function", PG, "WITH now(a) AS (SELECT 1) SELECT now() FROM now", "read (now)"),
    ("write-inside", PG, "WITH x AS (DELETE FROM a RETURNING *) SELECT * FROM x", "write > a"),
    ("two-writes-inside", PG,
     "WITH x AS (UPDATE a SET b = 1 RETURNING *), y AS (INSERT INTO c SELECT * FROM x) SELECT 1 FROM d", "write d > a c"),
    ("before-dml", ALL, "WITH x AS (SELECT * FROM a) DELETE FROM t WHERE b IN (SELECT b FROM x)", "write a > t"),
    ("target-is-never-a-cte", LITE, "WITH t AS (SELECT 1) INSERT INTO t SELECT * FROM t", "write > t"),
)  # fmt: skip
def test_ctes(dialect: str, sql: str, outcome: str) -> None:
    """A CTE's name is no table where it is visible, and only there."""
    assert show(parse_text(sql, dialect)) == outcome


@cases(
    ("insert", ALL, "INSERT INTO t (a) VALUES (1)", "write > t"),
    ("insert-select", ALL, "INSERT INTO t SELECT * FROM u", "write u > t"),
    ("insert-default", PG + LITE, "INSERT INTO t DEFAULT VALUES", "write > t"),
    ("upsert", PG + LITE, "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = (SELECT b FROM u)", "write u > t"),
    ("upsert", MY, "INSERT INTO t SELECT a, b FROM u, v ON DUPLICATE KEY UPDATE a = 1, b = 2", "write u v > t"),
    ("insert-set", MY, "INSERT INTO t SET a = 1", "write > t"),
    ("insert-without-into", MY, "INSERT t SET a = 1", "write > t"),
    ("insert-modifiers", MY, "INSERT LOW_PRIORITY IGNORE INTO t VALUES (1)", "write > t"),
    ("insert-or", LITE, "INSERT OR IGNORE INTO t VALUES (1)", "write > t"),
    ("replace", LITE + MY, "REPLACE INTO t SELECT * FROM u", "write u > t"),
    ("replace-after-cte", LITE, "WITH x AS (SELECT 1) REPLACE INTO t SELECT * FROM x", "write > t"),
    ("insert-is-a-function-too", MY, "SELECT insert('a', 1, 1, 'b'), replace(a, b, c) FROM t", "read t (insert replace)"),
    ("returning", PG + LITE, "INSERT INTO s.t VALUES (1) RETURNING (SELECT a FROM u)", "write u > s.t"),
    ("update", ALL, "UPDATE t SET a = 1 WHERE b IN (SELECT b FROM u)", "write u > t"),
    ("update-from", PG + LITE, "UPDATE t SET a = 1 FROM u JOIN v ON u.x = v.x WHERE t.x = u.x", "write u v > t"),
    ("update-only", PG, "UPDATE ONLY t SET a = 1", "write > t"),
    ("update-tuple", PG, "UPDATE t SET a = 1, b = (SELECT 1 FROM u)", "write u > t"),
    ("update-or", LITE, "UPDATE OR REPLACE t SET a = 1", "write > t"),
    ("update-modifiers", MY, "UPDATE LOW_PRIORITY IGNORE t SET a = 1", "write > t"),
    ("update-joined", MY, "UPDATE a JOIN b ON a.x = b.x SET b.y = 1", "write > a b"),
    ("update-listed", MY, "UPDATE a, b SET b.y = 1", "write > a b"),
    ("update-joined-query", MY, "UPDATE a JOIN (SELECT * FROM c) q ON 1 SET y = 1", "write c > a"),
    ("delete", ALL, "DELETE FROM t WHERE a = 1", "write > t"),
    ("delete-using", PG, "DELETE FROM t USING u, v WHERE t.a = u.a", "write u v > t"),
    ("delete-quick", MY, "DELETE QUICK FROM t", "write > t"),
    ("delete-joined", MY, "DELETE x FROM a AS x JOIN b ON 1", "write > a b"),
    ("delete-using", MY, "DELETE FROM a USING a JOIN b ON 1", "write > a b"),
    ("merge", PG, ("MERGE INTO t USING (SELECT * FROM u) s ON t.a = s.a WHEN MATCHED THEN DELETE "
     "WHEN NOT MATCHED THEN INSERT (a) VALUES (s.a)"), "write u > t"),
    ("merge-update", PG, "MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN UPDATE SET b = 1", "write u > t"),
    ("select-into", PG, "SELECT a INTO t FROM u", "write u > t"),
    ("copy-from", PG, "COPY s.t (a, b) FROM STDIN", "write > s.t"),
    ("copy-to", PG, "COPY t TO STDOUT", "read t (copy)"),
    ("copy-query", PG, "COPY (SELECT f(a) FROM t) TO STDOUT", "read t (copy f)"),
    ("copy-program", PG, "COPY t FROM PROGRAM 'x'", "?"),
    ("load-data", MY, "LOAD DATA INFILE 'x' INTO TABLE t", "write > t"),
    ("several", ALL, "SELECT 1 FROM a; DELETE FROM b; SELECT 2 FROM c;", "write a c > b"),
    ("semicolon-in-string", ALL, "SELECT '; DELETE FROM b' FROM a", "read a"),
    ("semicolon-in-comment", ALL, "SELECT 1 /* ; DELETE FROM b */ FROM a -- ; x", "read a"),
    ("semicolon-in-dollars", PG, "SELECT $x$ ; DELETE FROM b $$ $x$ FROM a", "read a"),
    ("after-a-command", ALL, "SHOW x; DELETE FROM b", "write > b"),
)  # fmt: skip
def test_writes(dialect: str, sql: str, outcome: str) -> None:
    """DML writes its targets, and reads what else it names."""
    if sql.startswith("SHOW") and dialect == "sqlite":
        outcome = "write > b"
    assert show(parse_text(sql, dialect)) == outcome


@cases(
    ("create-table", ALL, "CREATE TABLE t (a int REFERENCES u (b) ON DELETE CASCADE)", "define > t"),
    ("create-qualified-takes-over-the-bare-name", ALL, "CREATE TABLE IF NOT EXISTS s.t (a int)", "define > s.t t"),
    ("create-as", ALL, "CREATE TABLE t AS SELECT f(a) FROM u", "define u > t (f)"),
    ("create-temporary", ALL, "CREATE TEMPORARY TABLE t (a int)", "session > t"),
    ("select-into-temporary", PG, "SELECT a, b INTO TEMP t FROM u", "session u > t"),
    ("create-view", ALL, "CREATE VIEW v AS SELECT * FROM t", "define t > v"),
    ("create-index", ALL, "CREATE UNIQUE INDEX i ON t (a)", "define > t"),
    ("create-function", PG, "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ DELETE FROM t; SELECT 1 $$", "?"),
    ("create-trigger", LITE, "CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM u; END", "?"),
    ("create-rule", PG, "CREATE RULE r AS ON INSERT TO t DO INSTEAD NOTHING", "?"),
    ("create-partition", PG, "CREATE TABLE p PARTITION OF t DEFAULT", "?"),
    ("drop", ALL, "DROP TABLE IF EXISTS a, s.b", "define > a s.b"),
    ("drop-cascade", PG, "DROP TABLE a CASCADE", "?"),
    ("drop-schema", PG, "DROP SCHEMA s", "?"),
    ("alter", ALL, "ALTER TABLE t ADD COLUMN b int", "define > t"),
    ("alter-rename", ALL, "ALTER TABLE a RENAME TO b", "define > a b"),
    ("alter-rename-without-to", MY, "ALTER TABLE a RENAME b", "define > a b"),
    ("alter-partition", PG, "ALTER TABLE t ATTACH PARTITION p DEFAULT", "?"),
    ("rename", MY, "RENAME TABLE a TO b, c TO d", "define > a b c d"),
    ("truncate", PG, "TRUNCATE TABLE ONLY a, s.b RESTART IDENTITY", "define > a s.b"),
    ("truncate-cascade", PG, "TRUNCATE a CASCADE", "?"),
    ("refresh", PG, "REFRESH MATERIALIZED VIEW CONCURRENTLY v", "define > v"),
    ("grant", ALL, "GRANT SELECT ON t TO u", "?"),
)  # fmt: skip
def test_definitions(dialect: str, sql: str, outcome: str) -> None:
    """DDL writes the tables it makes, changes or drops, and is not understood where it reaches further."""
    facts = parse_text(sql, dialect)
    assert show(facts) == outcome
    assert facts.understood or facts.kind in {TextKind.DEFINE, TextKind.UNKNOWN}


@cases(
    ("begin", ALL, "BEGIN", "begin"),
    ("begin-in-lower-case", ALL, " begin ;", "begin"),
    ("begin-immediate", LITE, "BEGIN IMMEDIATE", "begin"),
    ("begin-isolation", PG, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", "begin"),
    ("begin-compound", MY, "BEGIN NOT ATOMIC DELETE FROM t; END", "?"),
    ("start", PG + MY, "START TRANSACTION", "begin"),
    ("start-replica", MY, "START REPLICA", "?"),
    ("commit", ALL, "COMMIT", "commit"),
    ("commit-between-comments", ALL, "/* a */ COMMIT -- b", "commit"),
    ("commit-chain", PG, "COMMIT AND CHAIN", "commit"),
    ("commit-prepared", PG, "COMMIT PREPARED 'x'", "?"),
    ("prepare-transaction", PG, "PREPARE TRANSACTION 'x'", "?"),
    ("end", PG + LITE, "END", "commit"),
    ("rollback", ALL, "ROLLBACK", "rollback"),
    ("savepoint", ALL, "SAVEPOINT sa_savepoint_1", "savepoint"),
    ("release", ALL, "RELEASE SAVEPOINT sa_savepoint_1", "savepoint"),
    ("rollback-to", ALL, "ROLLBACK TO SAVEPOINT sa_savepoint_1", "savepoint"),
    ("rollback-to-short", PG + LITE, 'ROLLBACK TO "x"', "savepoint"),
    ("mixed-with-others", ALL, "BEGIN; DELETE FROM t; COMMIT", "?"),
    ("set", PG, "SET search_path TO a, b", "session"),
    ("set-role", PG, "SET ROLE x", "session"),
    ("set-local", PG, "SET LOCAL TIME ZONE 'UTC'", "session"),
    ("set-harmless", PG, "SET LOCAL statement_timeout = '5s'", "harmless"),
    ("set-transaction", PG + MY, "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "session"),
    ("set-several", MY, "SET max_statement_time = 1, sql_mode = 'ANSI'", "session"),
    ("set-autocommit", MY, "SET @@autocommit = 1", "?"),
    ("set-by-query", MY, "SET @a = (SELECT f())", "?"),
    ("set-statement", MY, "SET STATEMENT max_statement_time = 1 FOR DELETE FROM t", "?"),
    ("set-config", PG, "SELECT set_config('a.b', 'c', true)", "session (set_config)"),
    ("reset", PG, "RESET ALL", "session"),
    ("discard", PG, "DISCARD TEMP", "session"),
    ("use", MY, "USE x", "session"),
    ("attach", LITE, "ATTACH DATABASE 'x' AS y", "session"),
    ("pragma-that-reads", LITE, "PRAGMA main.table_info('t')", "harmless"),
    ("pragma-without-argument", LITE, "PRAGMA user_version", "harmless"),
    ("pragma-for-speed", LITE, "PRAGMA journal_mode = WAL", "harmless"),
    ("pragma-that-sets", LITE, "PRAGMA case_sensitive_like = ON", "session"),
    ("pragma-that-sets-in-parentheses", LITE, "PRAGMA user_version(5)", "session"),
    ("pragma-elsewhere", PG + MY, "PRAGMA x", "?"),
    ("show", PG + MY, "SHOW server_version", "harmless"),
    ("listen", PG, "LISTEN x", "harmless"),
    ("vacuum", PG + LITE, "VACUUM t", "harmless"),
    ("analyze", PG + LITE, "ANALYZE t", "harmless"),
    ("analyze-commits", MY, "ANALYZE TABLE t", "?"),
    ("lock", PG, "LOCK TABLE t IN SHARE MODE", "harmless locks"),
    ("lock-commits", MY, "LOCK TABLES t WRITE", "?"),
    ("nothing", ALL, " ; -- x", "harmless"),
)  # fmt: skip
def test_transaction_and_session(dialect: str, sql: str, outcome: str) -> None:
    """What ends a transaction or changes the session is told from what is harmless."""
    assert show(parse_text(sql, dialect)) == outcome


@cases(
    ("plain", ALL, "EXPLAIN SELECT f() FROM t", "harmless"),
    ("of-a-write", ALL, "EXPLAIN DELETE FROM t", "harmless"),
    ("analyze", PG + MY, "EXPLAIN ANALYZE DELETE FROM t", "write > t (explain)"),
    ("analyze-option", PG, "EXPLAIN (COSTS OFF, ANALYZE) DELETE FROM t", "write > t (explain)"),
    ("analyze-statement", MY, "ANALYZE FORMAT=JSON DELETE FROM t", "write > t (explain)"),
    ("analyze-execute", PG, "EXPLAIN ANALYZE EXECUTE p", "?"),
    ("analyse", PG, "EXPLAIN ANALYSE DELETE FROM t", "write > t (explain)"),
    ("analyse-option", PG, "EXPLAIN (COSTS OFF, ANALYSE) DELETE FROM t", "write > t (explain)"),
    ("query-plan", LITE, "EXPLAIN QUERY PLAN DELETE FROM t", "harmless"),
    ("describe", MY, "DESCRIBE t", "harmless"),
)  # fmt: skip
def test_explain(dialect: str, sql: str, outcome: str) -> None:
    """EXPLAIN runs nothing unless told to; MySQL runs derived tables, and so perhaps functions."""
    if dialect in MY and "f()" in sql:
        outcome = "read t (explain f)"
    assert show(parse_text(sql, dialect)) == outcome


@cases(
    ("call", PG + MY, "CALL p(:x, (SELECT 1 FROM t))", "read t (call p)"),
    ("call-without-parentheses", MY, "CALL s.p", "read (call s.p)"),
    ("call", LITE, "CALL p()", "?"),
    ("do-expressions", MY, "DO f(1), g(2)", "read (call f g)"),
    ("do", PG, "DO $$ BEGIN END $$", "?"),
    ("do", MY, "DO $$ BEGIN END $$", "?"),
    ("execute", ALL, "EXECUTE p(1)", "?"),
    ("cursor", PG, "DECLARE c CURSOR WITH HOLD FOR SELECT f() FROM t", "read t (declare cursor f)"),
    ("fetch", PG, "FETCH 5 FROM c", "harmless"),
    ("handler", MY, "HANDLER t OPEN", "?"),
    ("nonsense", ALL, "SELEC 1", "?"),
    ("no-statement-in-parentheses", ALL, "(a)", "?"),
    ("parentheses-alone", ALL, "((", "?"),
    ("broken", ALL, "SELECT FROM WHERE (", "?"),
    ("string-as-table", ALL, "SELECT * FROM a, 'b'", "?"),
    ("marker-as-table", ALL, "SELECT * FROM :t", "?"),
    ("string-never-closed", ALL, "SELECT 'a FROM t", "?"),
    ("comment-never-closed", ALL, "SELECT 1 /* FROM t", "?"),
    ("comment-in-comment", ALL, "SELECT 1 /* /* */ FROM t -- */", "?"),
    ("executable-comment", MY, "SELECT 1 FROM a /*!50000 , b */", "?"),
    ("executable-comment-of-mariadb", MY, "SELECT 1 FROM a /*M! , b */", "?"),
    ("dashes-without-blank", MY, "SELECT 5--1 FROM a\n, b", "?"),
    ("backslash-before-quote", MY, r"SELECT 'a\' FROM b -- ' FROM a", "?"),
    ("backslash-elsewhere", MY, r"SELECT 'a\\', 'b\n' FROM t", "read t"),
    ("backslash-is-a-character", PG + LITE, r"SELECT '\' FROM t WHERE a = ''", "read t"),
    ("escapes", PG, r"SELECT E'a\' FROM b -- ' FROM a", "read a"),
    ("escaped-quote", PG, r"SELECT E'\' FROM b, ' FROM a", "read a"),
    ("escapes-go-on", PG, "SELECT E'a'\n'\\' FROM b -- ' FROM a", "?"),
    ("unicode-escapes", PG, r'SELECT * FROM U&"\0061"', "?"),
    ("quote-in-quotes", PG + LITE, 'SELECT 1 FROM "a""b"', "?"),
    ("ansi-quotes", MY, 'SELECT 1 FROM "t"', "?"),
    ("ansi-quotes-call", MY, 'SELECT "f"(1)', "?"),
    ("no-break-space", ALL, "SELECT 1 FROM a\u00a0b", "?"),
    ("letter-that-folds", ALL, "\u017felect 1 FROM a", "?"),
    ("number-and-word", ALL, "SELECT 1FROM t", "?"),
)  # fmt: skip
def test_what_is_not_certain(dialect: str, sql: str, outcome: str) -> None:
    """Where the database, its settings or the parser might see something else, nothing is claimed."""
    assert show(parse_text(sql, dialect)) == outcome


@cases(
    ("named", ALL, "SELECT a FROM t WHERE b = :name AND c IN (:x, :y) LIMIT :n", "read t"),
    ("named-keyword", ALL, "SELECT a FROM t WHERE b = :from AND c = :select", "read t"),
    ("numeric", ALL, "SELECT a FROM t WHERE b = :1 AND c = :2", "read t"),
    ("pyformat", ALL, "SELECT a FROM t WHERE b = %(na-me)s AND c %% 2 = 0", "read t"),
    ("format", ALL, "SELECT a FROM t WHERE b = %s AND c IN (%s, %s)", "read t"),
    ("qmark", LITE + MY, "SELECT a FROM t WHERE b = ? AND c IN (?, ?) LIMIT ?", "read t"),
    ("qmark", PG, "SELECT a FROM t WHERE b = ? AND c IN (?, ?)", "read t"),
    ("dollar", PG, "SELECT a FROM t WHERE b = $1::int AND c = $2", "read t"),
    ("sqlite", LITE, "SELECT a FROM t WHERE b = ?1 AND c = @x AND d = $y", "read t"),
    ("cast-is-no-marker", PG, "SELECT a::text, 'x'::jsonb FROM t WHERE b = :b::int", "read t"),
    ("marker-in-string", ALL, "SELECT ':a %s ?' FROM t", "read t"),
    ("in-insert", ALL, "INSERT INTO t (a, b) VALUES (:a, %s)", "write > t"),
    ("expanding", ALL, "SELECT a FROM t WHERE b IN (__[POSTCOMPILE_ids])", "read t"),
)  # fmt: skip
def test_bind_markers(dialect: str, sql: str, outcome: str) -> None:
    """Markers of every paramstyle stand for values."""
    assert show(parse_text(sql, dialect)) == outcome


@cases(
    ("called-in-any-case", ALL, "SELECT Lower(a), MAX (b) FROM t", "read t (lower max)"),
    ("schema", ALL, "SELECT s.lower(a) FROM t", "read t (s.lower)"),
    ("pg-catalog", PG, "SELECT pg_catalog.now()", "read (now)"),
    ("quoted", PG, 'SELECT "Now"()', "read (now)"),
    ("niladic", PG, "SELECT user, current_schema, t.user FROM t", "read t (current_schema user)"),
    ("niladic-is-a-column-elsewhere", LITE + MY, "SELECT user FROM t", "read t"),
    ("moment", PG, "SELECT a FROM t WHERE b > ' Today'", "read t (today)"),
    ("variable", MY, "SELECT @A, @@version FROM t", "read t (@@version @a)"),
    ("keywords-call-nothing", PG,
     "SELECT 1 FROM t WHERE (a) IN (1) AND NOT (b) OR EXISTS (SELECT 1) GROUP BY (c), GROUPING SETS ((a))", "read t"),
    ("words-that-are-not-reserved", PG, "SELECT index(a), key(b) FROM t", "read t (index key)"),
    ("words-that-are-not-reserved", LITE, "SELECT any(a) FROM t", "read t (any)"),
    ("types-are-not-calls", ALL, "SELECT CAST(a AS DECIMAL(10, 2)) FROM t", "read t (cast)"),
    ("alias-with-columns", PG, "SELECT * FROM f(1) AS now(a), (VALUES (1)) random(b)", "read (f)"),
    ("sample", PG, "SELECT * FROM t TABLESAMPLE bernoulli (1), u", "read t u (bernoulli)"),
    ("set-of-several-columns", PG + LITE, "UPDATE t SET (a, b) = (1, 2)", "write > t"),
    ("set-after-conflict", PG, "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET (a, b) = (1, 2)", "write > t"),
    ("operator-that-is-a-function", LITE, "SELECT 1 FROM t WHERE a REGEXP 'x'", "read t (regexp)"),
)  # fmt: skip
def test_functions(dialect: str, sql: str, outcome: str) -> None:
    """Every function that is called is named, and nothing else is."""
    assert show(parse_text(sql, dialect)) == outcome


@cases(
    ("for-update", PG + MY, "SELECT * FROM t AS x FOR UPDATE OF x SKIP LOCKED", "read t locks"),
    ("for-share", PG + MY, "SELECT * FROM t FOR SHARE", "read t locks"),
    ("for-no-key-update", PG, "SELECT * FROM t FOR NO KEY UPDATE", "read t locks"),
    ("in-share-mode", MY, "SELECT * FROM t LOCK IN SHARE MODE", "read t locks"),
    ("inside", PG, "SELECT * FROM (SELECT * FROM t FOR UPDATE) q", "read t locks"),
)  # fmt: skip
def test_locks(dialect: str, sql: str, outcome: str) -> None:
    """A query that locks says so."""
    assert show(parse_text(sql, dialect)) == outcome


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        pytest.param("SELECT 1 FROM t", "", id="table"),
        pytest.param("SELECT 1 FROM t, u", "t", id="table-after-comma"),
        pytest.param("SELECT 1 FROM t JOIN (u, v)", "t u", id="table-in-parentheses"),
        pytest.param("SELECT 1, (DELETE FROM t)", "t", id="write"),
    ],
)
def test_a_tree_that_lacks_what_the_tokens_name_is_not_believed(sql: str, tables: str) -> None:
    """Should the parser overlook a table or a write, nothing is claimed."""
    tokens = lex(sql, "postgres")
    overlooking = _Survey("postgres", {})
    overlooking.tables = {place for place, token in enumerate(tokens) if token.text in tables.split()}
    with pytest.raises(NotUnderstood):
        _confirm(overlooking, tokens)


def test_unknown_databases_are_not_understood() -> None:
    """Another database's SQL means what its makers decided."""
    assert not parse_text("SELECT 1", "oracle").understood


def test_very_long_texts_are_not_looked_at() -> None:
    """A load of data is not worth its parsing, and not kept."""
    assert not parse_text("SELECT 1" + " " * LONGEST, "sqlite").understood


def test_too_deep_texts_are_not_understood() -> None:
    """A text that exhausts the parser's stack does no harm."""
    assert not parse_text("SELECT " + "(" * 20_000 + "1" + ")" * 20_000, "sqlite").understood


def test_the_parser_logs_nothing(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the parser does not know is our business, not the application's log's; others may still use it loudly."""

    class Loud:
        @staticmethod
        def get_or_raise(_dialect: str) -> None:
            logging.getLogger("sqlglot").warning("falling back")
            raise SqlglotError

    monkeypatch.setattr("rowstamp.analysis._text_tree.Dialect", Loud)
    assert not parse_text("SELECT 'logs nothing' FROM t", "postgresql").understood
    assert not caplog.records
    logging.getLogger("sqlglot").warning("heard")
    assert [record.message for record in caplog.records] == ["heard"]


def test_transactions_do_without_the_parser() -> None:
    """The parser is imported for the first query or DML, not before."""
    program = (
        "import sys; from rowstamp.analysis.text import parse_text\n"
        "for sql in ('BEGIN', 'SET x = 1', 'PRAGMA foreign_keys = ON', 'SAVEPOINT a', 'COMMIT'): parse_text(sql, 'sqlite')\n"
        "assert 'sqlglot' not in sys.modules\n"
        "parse_text('SELECT 1', 'sqlite'); assert 'sqlglot' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
