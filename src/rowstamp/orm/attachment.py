"""What a cache knows of an engine it is attached to, and where that is found again.

Everything hangs on the engine's dialect: its ``execution_options()`` copies share it, its pool resets connections through
it, and its events reach every execution. Engines themselves are left as they are.
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast
from weakref import WeakKeyDictionary

from sqlalchemy.engine import Dialect, Engine
from sqlalchemy.engine.url import URL

from rowstamp._sqlalchemy import connect_isolation, is_initialized
from rowstamp.analysis.calls import functions_of_dml
from rowstamp.analysis.declarations import NOTHING_DECLARED, Declarations
from rowstamp.analysis.images import ImagePlan, plan_image
from rowstamp.analysis.reads import ReadAnalysis, analyse, analyse_text
from rowstamp.analysis.upserts import Upsert, plan_upsert
from rowstamp.analysis.writes import WriteAnalysis, analyse_dml
from rowstamp.codec import canonical
from rowstamp.model import DIGEST_SIZE
from rowstamp.orm.defects import warn_of_defect
from rowstamp.orm.shape import Shape
from rowstamp.outage import is_mariadb_end

if TYPE_CHECKING:
    from rowstamp.core import Core

__all__ = ["Attachment", "Rights", "attachment_of", "database_identity", "register", "same_name", "unregister"]


_WriteShape: TypeAlias = tuple[WriteAnalysis, ImagePlan | Upsert | None]

TEXT_LIMIT: Final = 1024
"""Most raw SQL texts whose analysis is remembered."""


class Rights(enum.Enum):
    """What may be asked of the rows of a table before they are written."""

    NONE = "nothing"
    ASK = "which rows there are"
    PLAIN = "the same, and a write leaves none of them alone that it chooses"


@dataclass(eq=False)
class Attachment:
    """A cache attached to an engine.

    Attributes:
        core: the cache.
        engine: the engine, as it was given.
        scope: the identity of its database: what all engines on one database share.
        serves: whether reads are served on this engine by itself, or only in sessions that ask for it.
        begins: whether transactions of this engine take their snapshot before their first statement is seen
            (SQLite with a ``BEGIN`` recipe); ``None`` until one was seen.
        replica: whether it is a read replica, which may be behind the stamps.
        caught_up: says whether it is not.
        levels: the isolation levels that its connections were found to have where no option said so.
        images: of which tables row images can be had, by their name in SQL, as far as somebody has tried.
        alters: whether a connection of this engine was ever given a state of its own (``SET ROLE``, a temporary table).
        resting: the facts under which a session without a connection needs no second look; see :mod:`rowstamp.orm.rest`.
        listeners: what listens to the dialect on its behalf, by event.
    """

    core: Core
    engine: Engine
    scope: str
    serves: bool = True
    begins: bool | None = None
    replica: bool = False
    caught_up: Callable[[Any], bool] | None = None
    levels: set[str] = field(default_factory=set[str])
    alters: bool = False
    resting: tuple[object, ...] | None = None
    images: dict[str, Rights] = field(default_factory=dict[str, "Rights"])
    listeners: dict[str, Callable[..., Any]] = field(default_factory=dict[str, Callable[..., Any]])
    _shapes: WeakKeyDictionary[Any, Shape] = field(default_factory=WeakKeyDictionary[Any, Shape])
    _texts: dict[str, Shape] = field(default_factory=dict[str, Shape])
    _called: WeakKeyDictionary[Any, frozenset[str] | None] = field(
        default_factory=WeakKeyDictionary[Any, "frozenset[str] | None"]
    )
    _declarations: Declarations = NOTHING_DECLARED
    _identity: bytes = b""
    _told: str = ""
    _writes: WeakKeyDictionary[Any, _WriteShape | None] = field(
        default_factory=WeakKeyDictionary[Any, "_WriteShape | None"]
    )

    @property
    def dialect(self) -> Dialect:
        """The dialect shared by the engine and its copies."""
        return self.engine.dialect

    @property
    def database(self) -> tuple[str, str]:
        """Its database: the scope, and which of the databases in it. Only MySQL and MariaDB have several in one."""
        return self.scope, (self.engine.url.database or "") if self.dialect.name in _MYSQL else ""

    @property
    def configured_level(self) -> str | None:
        """The isolation level that ``create_engine`` was told to give each connection."""
        return connect_isolation(self.dialect)

    def refused(self, exc: BaseException) -> bool:
        """Return whether an exception of COMMIT is the database's own answer: nothing was or will be committed.

        A lost connection, a timeout, a cancelled task give no answer. The dialect's ``is_disconnect`` is not enough: PostgreSQL's look at the
        connection, which may not be known to be closed yet.
        """
        dialect: Any = self.dialect
        if not isinstance(exc, dialect.loaded_dbapi.Error) or dialect.is_disconnect(exc, None, None):
            return False
        return _is_answer(dialect.name, exc)

    def identity(self, translate: Mapping[Any, Any] | None) -> bytes:
        """Return a digest of what makes the same SQL mean something else elsewhere; part of every entry's key."""
        if translate or not self._identity:
            found = self._digest(translate)
            if translate or not is_initialized(self.dialect):
                return found
            self._identity = found
        return self._identity

    def tell(self, arguments: Mapping[str, Any]) -> None:
        """Note what a connection is opened with, which is as good as ``SET`` on all connections of this engine."""
        told = repr(sorted((name, _in_order(arguments[name])) for name in _SETTINGS if arguments.get(name)))
        if told != self._told:
            self._told, self._identity = told, b""

    def _digest(self, translate: Mapping[Any, Any] | None) -> bytes:
        url, dialect = self.engine.url, self.dialect
        parts = (
            *self.database,
            dialect.name,
            dialect.driver,
            url.username or "",
            self._told,
            repr(sorted((name, value) for name, value in url.query.items() if name not in _WHERE)),
            getattr(dialect, "default_schema_name", None) or "",
            repr(sorted(translate.items(), key=str)) if translate else "",
        )
        return blake2b(canonical(parts), digest_size=DIGEST_SIZE).digest()

    def shape(self, compiled: Any, statement: Any) -> Shape:
        """Return what is known of the shape of a compiled statement that is no DML; found out once per shape."""
        self._heed_declarations()
        known = self._shapes.get(compiled)
        if known is None:
            known = self._shapes[compiled] = self._shape(self._analyse(compiled, statement))
        return known

    def _analyse(self, compiled: Any, statement: Any) -> ReadAnalysis:
        sql = str(compiled.string)
        try:
            return analyse(
                statement,
                self.dialect,
                sql=sql,
                translated=bool(compiled.schema_translate_map),
                declarations=self._declarations,
            )
        except Exception as exc:  # noqa: BLE001 - whatever it is, the statement still has to work
            warn_of_defect(sql, exc)
            return analyse_text(sql, self.dialect, self._declarations)

    def text_shape(self, sql: str) -> Shape:
        """Return what is known of raw SQL; found out once per text."""
        self._heed_declarations()
        known = self._texts.get(sql)
        if known is None:
            if len(self._texts) >= TEXT_LIMIT:
                self._texts.clear()
            known = self._texts[sql] = self._shape(analyse_text(sql, self.dialect, self._declarations))
        return known

    def _heed_declarations(self) -> None:
        """Forget what was found out of statements before something was declared."""
        if self._declarations is not self.core.declarations:
            self._shapes.clear()
            self._texts.clear()
            self._declarations = self.core.declarations

    def _shape(self, analysis: ReadAnalysis) -> Shape:
        return Shape(analysis, self.core.config.namespace, self.scope, self.dialect)

    def writes(self, compiled: Any) -> _WriteShape | None:
        """Return the analysis of compiled DML, and how to ask for what it leaves open; made once per shape.

        ``None`` if the analysis fails: only the text tells then what is written.
        """
        if compiled not in self._writes:
            self._writes[compiled] = self._analyse_dml(compiled)
        return self._writes[compiled]

    def _analyse_dml(self, compiled: Any) -> _WriteShape | None:
        try:
            analysis = analyse_dml(compiled)
            plan: ImagePlan | Upsert | None = None
            if self.core.config.row_images:
                plan = plan_image(analysis, self.dialect) or plan_upsert(analysis, compiled)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the statement still has to work
            warn_of_defect(str(compiled.string), exc)
            return None
        return analysis, plan

    def called_by(self, compiled: Any) -> frozenset[str] | None:
        """Return which functions compiled DML calls, ``None`` if that is not known; found out once per shape."""
        if compiled not in self._called:
            self._called[compiled] = self._functions_of_dml(compiled)
        return self._called[compiled]

    @staticmethod
    def _functions_of_dml(compiled: Any) -> frozenset[str] | None:
        try:
            return functions_of_dml(compiled)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the statement still has to work
            warn_of_defect(str(compiled.string), exc)
            return None


_MYSQL: Final = frozenset({"mysql", "mariadb"})

_DATABASE_ENDS: Final = ("08", "57")
"""Classes of SQLSTATE by which PostgreSQL, or a driver in its name, ends a connection or a statement: COMMIT may have taken place."""


def _is_answer(dialect_name: str, exc: Any) -> bool:
    """Return whether an error came from the database as its answer to the statement, and not in the place of one."""
    if dialect_name == "postgresql":
        state = getattr(exc, "sqlstate", None) or getattr(exc, "pgcode", None)
        return isinstance(state, str) and not state.startswith(_DATABASE_ENDS)
    if dialect_name in _MYSQL:
        number = exc.args[0] if exc.args else None
        return isinstance(number, int) and not is_mariadb_end(number)
    return True


_SETTINGS: Final = ("charset", "init_command", "options", "server_settings", "sql_mode")
"""Arguments of the drivers' ``connect``, in a URL or in ``connect_args``, by which the same SQL may mean something else."""


def _in_order(value: object) -> object:
    return sorted(cast("Mapping[str, object]", value).items()) if isinstance(value, Mapping) else value


_WHERE: Final = frozenset({"host", "hostaddr", "port", "unix_socket"})
"""Parts of a URL's query that say where the database is, which its scope says, be it on a primary or a replica."""

_ATTRIBUTE: Final = "_rowstamp_attachment"


def attachment_of(dialect: Dialect) -> Attachment | None:
    """Return the attachment of an engine, found by its dialect.

    It is kept on the dialect itself: a weak dictionary would never let go of it, for its value refers to its key.
    """
    found: Attachment | None = dialect.__dict__.get(_ATTRIBUTE)
    return found


def register(attachment: Attachment) -> None:
    """Make an attachment known."""
    attachment.dialect.__dict__[_ATTRIBUTE] = attachment


def unregister(attachment: Attachment) -> None:
    """Forget an attachment."""
    attachment.dialect.__dict__.pop(_ATTRIBUTE, None)


def database_identity(url: URL) -> str:
    """Return a name for the database behind a URL, the same for every driver that reaches it.

    Names of this machine are one name. An in-memory SQLite database exists once per engine, so its identity is
    a new one each time. What MySQL and MariaDB call databases are schemas of one server: a statement may name the tables of another,
    so all of a server's are one.
    """
    backend = "mysql" if url.get_backend_name() == "mariadb" else url.get_backend_name()
    if backend == "sqlite":
        return _sqlite_identity(url)
    host = url.host or url.query.get("host") or url.query.get("unix_socket") or "localhost"
    host = host if isinstance(host, str) else ",".join(host)
    host = "localhost" if host in {"127.0.0.1", "::1"} else host.lower()
    port = url.port or url.query.get("port") or {"postgresql": 5432, "mysql": 3306}.get(backend, "")
    return f"{backend}://{host}:{port}/{'' if backend == 'mysql' else url.database or ''}"


def same_name(one: Engine, other: Engine) -> bool:
    """Return whether two engines' URLs name a database of the same kind and name, wherever it is."""
    return one.dialect.name == other.dialect.name and one.url.database == other.url.database


def _sqlite_identity(url: URL) -> str:
    database = url.database or ""
    if database in {"", ":memory:"} or "mode=memory" in str(url) or ":memory:" in database:
        return f"sqlite-memory://{secrets.token_hex(16)}"
    path = database.removeprefix("file:").partition("?")[0]
    return f"sqlite://{Path(path).resolve()}"
