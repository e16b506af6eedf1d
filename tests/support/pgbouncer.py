"""A real PgBouncer for the tests, in transaction mode: found on the machine, or fetched.

Debian's package is fetched by `apt-get download` and unpacked into a folder of the test. Nothing is
installed, no service is started, and it needs no root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.support.postgres import START_SECONDS, WATCH, free_port, server_user

PACKAGES = ("pgbouncer", "libevent-2.1-7*", "libc-ares2*")
"""The program and its libraries that a small machine does not have."""

SESSIONS = 3
"""Sessions of the server that all clients share: so few that they do change hands."""

FETCH_SECONDS = 90.0


def find_pgbouncer(folder: Path) -> tuple[str, dict[str, str]]:
    """The program, and what its environment needs.

    Raises:
        RuntimeError: there is none; the tests fail, for a test that is skipped proves nothing.
    """
    found = shutil.which(
        "pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    )
    if found is not None:
        return found, {}
    trouble = _fetch(folder)
    program = folder / "root" / "usr" / "sbin" / "pgbouncer"
    if not program.is_file():
        raise RuntimeError(
            f"No PgBouncer was found for the tests, and it could not be fetched: {trouble} "
            "Install the package pgbouncer of your system."
        )
    libraries = {str(file.parent) for file in folder.glob("root/**/*.so.*")}
    return str(program), {"LD_LIBRARY_PATH": ":".join(sorted(libraries))}


def _fetch(folder: Path) -> str:
    """Fetch and unpack the packages; gives what went wrong, or ""."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "this machine has no apt-get."
    lists, cache = folder / "lists", folder / "cache"
    (lists / "partial").mkdir(parents=True)
    (cache / "archives" / "partial").mkdir(parents=True)
    own = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={cache}"]
    # With the machine's lists, and where they are old or missing, with new ones of our own.
    trouble = _run(folder, "apt-get", "-q", "download", *PACKAGES)
    if trouble:
        trouble = _run(folder, "apt-get", "-q", *own, "update") or _run(
            folder, "apt-get", "-q", *own, "download", *PACKAGES
        )
    for package in folder.glob("*.deb"):
        trouble = trouble or _run(folder, "dpkg-deb", "-x", str(package), str(folder / "root"))
    return trouble


def _run(folder: Path, *command: str) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} was not done within {FETCH_SECONDS} s."
    return (done.stdout + done.stderr)[-500:] if done.returncode else ""


class PgBouncer:
    """PgBouncer in transaction mode in front of one server; it ends with this process."""

    def __init__(self, server_url: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="perdure-pgbouncer-"))
        self.port = free_port()
        self._user = server_user()
        try:
            program, environment = find_pgbouncer(self.folder)
        except RuntimeError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        (self.folder / "pgbouncer.ini").write_text(self._settings(server_url))
        if self._user is not None:
            self.folder.chmod(0o755)
            os.chown(self.folder, pwd.getpwnam(self._user).pw_uid, -1)
        with (self.folder / "output").open("ab") as output:
            self._watcher = subprocess.Popen(
                [
                    *(sys.executable, "-c", WATCH, self._user or ""),
                    *(program, str(self.folder / "pgbouncer.ini")),
                ],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env=os.environ | environment,
                start_new_session=True,
            )
        self._wait(self.url(server_url))

    def url(self, server_url: str) -> str:
        """The same database through the pooler."""
        parts = urlsplit(server_url)
        return urlunsplit(parts._replace(netloc=f"perdure@127.0.0.1:{self.port}", query=""))

    def remove(self) -> None:
        """Stop it at once."""
        assert self._watcher.stdin is not None
        self._watcher.stdin.write(b"%d\n" % signal.SIGQUIT)
        self._watcher.stdin.close()
        self._watcher.wait(START_SECONDS)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _settings(self, server_url: str) -> str:
        server = conninfo_to_dict(server_url)
        place = " ".join(
            f"{name}={server[name]}"
            for name in ("host", "port", "user", "password")
            if server.get(name)
        )
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "default_pool_size": SESSIONS,
            "max_client_conn": 500,
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        return "\n".join(["[databases]", f"* = {place}", "[pgbouncer]", *lines, ""])

    def _wait(self, url: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(url, connect_timeout=5).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline or self._watcher.poll() is not None:
                    raise RuntimeError(
                        f"PgBouncer did not start: {error}\n"
                        f"{(self.folder / 'output').read_text()[-2000:]}"
                    ) from None
                time.sleep(0.02)
            else:
                return
