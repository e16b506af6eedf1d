"""From a database URL to a state backend. Beside the tests, the only importer of drivers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from perdure.api.settings import Settings
from perdure.backends.base import Backend
from perdure.backends.server import Server
from perdure.backends.urls import file_of
from perdure.engine.env import Env
from perdure.errors import ConfigurationError


def make_backend(settings: Settings, env: Env, *, read_only: bool = False) -> Backend:
    """The state backend of a URL; touches nothing yet. `read_only` is for tools that only look.

    Raises:
        ConfigurationError: the URL cannot be used, or its driver is not installed.
    """
    urls = settings.urls
    if len(urls) == 1:
        return _make_server(urls[0], settings, env, read_only=read_only)
    return _make_sharded(urls, settings, env, read_only=read_only)


def _make_sharded(urls: Sequence[str], settings: Settings, env: Env, *, read_only: bool) -> Backend:
    """Several servers. A list of SQLite files is for tests and development."""
    from perdure.backends.sharded import ShardedBackend  # noqa: PLC0415 - only who uses it pays

    kinds = {url.partition("://")[0].replace("postgresql", "postgres") for url in urls}
    if len(kinds) > 1 or "memory" in kinds:
        # What is no word may be all of a URL without its slashes, with a password in it.
        words = sorted(kind if kind.isalpha() else "..." for kind in kinds)
        raise ConfigurationError(
            f"A list of URLs with {', '.join(words)} cannot be used. Give several "
            "postgresql:// URLs (or several sqlite:/// ones, for tests)."
        )
    servers = [(_shown(url), _make_server(url, settings, env, read_only=read_only)) for url in urls]
    return ShardedBackend(servers, publishes=not read_only)


_SET_OTHERWISE = "How it is opened is set by Perdure(synchronous=...)."
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
"""RFC 3986, section 3.1. What is none of these may be anything, a password as well."""


def _shown(url: str) -> str:
    """Server and database for people: no user, password or parameter."""
    try:
        parts = urlsplit(url)
    except ValueError:  # what is wrong with it, its driver says
        return f"{url.partition('://')[0]}://..."
    # Not `parts.port`: libpq takes several hosts, each with a port.
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _make_server(url: str, settings: Settings, env: Env, *, read_only: bool) -> Server:
    """A backend of one URL."""
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "memory" and not rest:
        from perdure.backends.memory_server import MemoryServer  # noqa: PLC0415 - only who uses it pays

        return MemoryServer(env.now)
    if separator and scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        from perdure.backends.sqlite import SQLiteBackend  # noqa: PLC0415 - only who uses it pays

        path, mode = Path(file_of(url, _SET_OTHERWISE)), settings.synchronous
        return SQLiteBackend(path, synchronous=mode, now=env.now, read_only=read_only)
    if separator and scheme in {"postgresql", "postgres"}:
        return _make_postgres(url, read_only=read_only)
    raise ConfigurationError(
        f"Database URL {_told(url)!r} cannot be used. Expected 'sqlite:///relative/path.db', "
        "'sqlite:////absolute/path.db', 'postgresql://user@host/database' or 'memory://'."
    )


def _told(url: str) -> str:
    """As much of what is no URL as can have no password in it."""
    scheme, separator, _ = url.partition("://")
    known = scheme in {"memory", "sqlite"}
    if separator and not known and _SCHEME.fullmatch(scheme):
        return f"{scheme}://..."
    shown, more, _ = url.partition("?")
    if "@" in shown or (separator and not known):  # a slash or a letter is missing or wrong
        word = url.partition(":")[0]
        return f"{word}:..." if _SCHEME.fullmatch(word) else "..."
    return f"{shown}?..." if more else shown


def _make_postgres(url: str, *, read_only: bool) -> Server:
    try:
        from perdure.backends.postgres import PostgresBackend  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "psycopg":
            raise
        raise ConfigurationError(
            "A postgresql:// URL needs the driver psycopg. Install it with: pip install "
            "'perdure[postgres]'"
        ) from error
    return PostgresBackend(url, read_only=read_only)
