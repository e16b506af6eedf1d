"""From a database URL to a state backend. Beside the tests, the only importer of drivers."""

from __future__ import annotations

from pathlib import Path

from perdure.api.settings import Settings
from perdure.backends.base import Backend
from perdure.engine.env import Env
from perdure.errors import ConfigurationError


def make_backend(settings: Settings, env: Env, *, read_only: bool = False) -> Backend:
    """The state backend of a URL; touches nothing yet. `read_only` is for tools that only look.

    Raises:
        ConfigurationError: the URL cannot be used, or its driver is not installed.
    """
    url = settings.database_url
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "memory" and not rest:
        from perdure.backends.memory import MemoryBackend  # noqa: PLC0415 - only who uses it pays

        return MemoryBackend(env.now)
    if separator and scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        from perdure.backends.sqlite import SQLiteBackend  # noqa: PLC0415 - only who uses it pays

        path, mode = Path(rest[1:]), settings.synchronous
        return SQLiteBackend(path, synchronous=mode, now=env.now, read_only=read_only)
    if separator and scheme in {"postgresql", "postgres"}:
        return _make_postgres(url, read_only=read_only)
    shown = url if scheme in {"memory", "sqlite"} else f"{scheme}://..."
    raise ConfigurationError(
        f"Database URL {shown!r} cannot be used. Expected 'sqlite:///relative/path.db', "
        "'sqlite:////absolute/path.db', 'postgresql://user@host/database' or 'memory://'."
    )


def _make_postgres(url: str, *, read_only: bool) -> Backend:
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
