"""What an operator writes: URLs, settings files, the environment, the input of a command."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psycopg  # noqa: F401 - loaded before the watch begins, as everything that a URL may load

from perdure import Perdure
from perdure.api.functions import Registered
from perdure.api.settings import Settings, load_settings
from perdure.backends.postgres.connections import parse
from perdure.cli.failures import CommandError
from perdure.cli.locate import Source, configured_app
from perdure.cli.run import bind_input
from perdure.drivers import make_backend
from perdure.engine.env import SystemEnv
from perdure.errors import ConfigurationError
from tests.fuzz.targets import Target, text
from tests.fuzz.targets.values import NAMES, payload
from tests.values.samples import Point

SECRET = "s3cr3t-canary"
"""A password. Wherever it is one, no message may have it."""

_AS_PASSWORD = re.compile(
    rf"(?<!sqlite://)(?<=://)(?P<user>[^:/?@\s]*):{SECRET}@|(?<=[?&])password={SECRET}(?=&|$)"
)
URLS = (
    *("memory://", "sqlite:///relative.db", "sqlite:////absolute/path with space.db"),
    *(
        f"postgresql://user:{SECRET}@host:5432/db?sslmode=require",
        "postgres:///db?pooler=transaction",
    ),
    *(f"postgresql://user:{SECRET}@h1:1,h2:2/db?target_session_attrs=read-write", "postgresql://"),
    *(f"postgresql://user@host/db?password={SECRET}", "postgresql://[::1]:5432/db"),
    *(f"postgresql://u:{SECRET}@a/d postgresql://u:{SECRET}@b/d", "sqlite:///a.db sqlite:///b.db"),
    *("sqlite:///../../etc/passwd", "sqlite:///a%00b", "mysql://host/db", "sqlite:///x?mode=ro"),
)


def _hides(urls: Iterable[str]) -> bool:
    """Whether it stands in these, and as a password wherever it does."""
    # What stands behind sqlite:// is a path, and shown as it is; so is what names a host or a user.
    rest = [_AS_PASSWORD.sub(r"\g<user>", each) for each in urls]
    return any(map(_AS_PASSWORD.search, urls)) and not any(SECRET in each for each in rest)


def _read_url(url: str) -> None:
    hidden = _hides(url.split())
    try:
        settings = Settings(database_url=url)
        backend = make_backend(settings, SystemEnv())
        shown = f"{backend!r} {Source(settings, 'a test').url}"
    except ConfigurationError as error:
        if hidden and SECRET in str(error):
            raise AssertionError(f"a message with a password: {error}") from error
        raise
    assert not hidden or SECRET not in shown, shown
    for each in settings.urls:
        if each.startswith("postgres"):
            target = parse(each)
            assert not hidden or SECRET not in target.shown, target.shown


def url() -> Target:
    """A database URL, or several with spaces between. No file or socket is opened for it."""
    return Target(
        "url",
        [each.encode() for each in URLS],
        _read_url,
        typed=(ConfigurationError,),
        prepare=text,
        words=(
            "?",
            "&",
            "@",
            "/",
            ":",
            "://",
            "%00",
            "%40",
            "pooler=",
            "host=",
            "passfile=",
            SECRET,
        ),
    )


# --- files --------------------------------------------------------------------------------------

_FOLDER = Path(tempfile.mkdtemp(prefix="perdure-fuzz-"))
_SETTINGS = b"""\
database_url = ["sqlite:///a.db", "sqlite:///b.db"]
name = "shop"
synchronous = "normal"
local_worker = false
concurrency = 4
lease = 12.5
grace = 0.0
crash_limit = 3
code_version = "1.2"
app = "shop.main:app"
"""
_WORDS = (*Settings.__struct_fields__, "app", "tool.perdure", "[tool]", "[[tool]]", "inf", "nan")
_DEEP = (b"x = " + b"[" * 20_000, b"x = " + b"{a=" * 20_000, b"a." * 5_000 + b"b = 1")


def _file(name: str) -> Any:
    def write(body: bytes) -> str:
        for old in _FOLDER.iterdir():
            old.unlink()
        (_FOLDER / name).write_bytes(body)
        return name

    return write


def _read_files(name: str) -> None:
    del name
    try:
        configured_app(_FOLDER)
    except ConfigurationError:
        load_settings({}, environ={}, directory=_FOLDER)  # and not only this one
        raise AssertionError("refused for the command line, and not for the app") from None
    load_settings({}, environ={}, directory=_FOLDER)


def settings_file() -> Target:
    """`perdure.toml`."""
    lines = [line + b"\n" for line in _SETTINGS.splitlines()]
    return Target(
        "settings_file",
        [_SETTINGS, *lines],
        _read_files,
        typed=(ConfigurationError,),
        prepare=_file("perdure.toml"),
        words=_WORDS,
        bombs=_DEEP,
    )


def pyproject() -> Target:
    """`pyproject.toml`, of which one table is ours."""
    table = b"[tool.perdure]\n" + _SETTINGS
    others = [
        b"tool = 5\n",
        b"[tool]\nperdure = 5\n",
        b"[[tool]]\nx = 1\n",
        b"[tool.other]\nx = 1\n",
    ]
    return Target(
        "pyproject",
        [table, b'[project]\nname = "x"\n' + table, *others],
        _read_files,
        typed=(ConfigurationError,),
        prepare=_file("pyproject.toml"),
        words=_WORDS,
        bombs=_DEEP,
    )


# --- the environment ----------------------------------------------------------------------------


def _variables(body: bytes) -> dict[str, str]:
    """Lines of NAME=VALUE, as text that may hold surrogates, which the environment's may."""
    lines = (line.partition("=") for line in text(body).split("\n"))
    return {f"PERDURE_{name}": value for name, equals, value in lines if equals}


def _read_environment(variables: dict[str, str]) -> None:
    load_settings({}, environ=variables, directory=_FOLDER / "none")


def environment() -> Target:
    """`PERDURE_...` variables."""
    lines = [
        *(
            b"DATABASE_URL=sqlite:///x.db",
            b"NAME=shop",
            b"LEASE=12.5",
            b"GRACE=0",
            b"CONCURRENCY=4",
        ),
        *(b"LOCAL_WORKER=false", b"CRASH_LIMIT=3", b"SYNCHRONOUS=normal", b"APP=shop.main:app"),
    ]
    return Target(
        "environment",
        [*lines, b"\n".join(lines)],
        _read_environment,
        typed=(ConfigurationError,),
        prepare=_variables,
        words=(*_WORDS, "1e999", "0x10", "١٢", "true", "1_000", "-0", "9" * 5_000),
    )


# --- the command line ---------------------------------------------------------------------------

_APP = Perdure("memory://")


@_APP.workflow(name="flow")
def _flow(number: int, point: Point, rest: Any = None, *more: str) -> None:
    """Its arguments are what counts."""


def _read_input(body: bytes) -> None:
    workflow: Registered[..., Any] = _flow
    args, kwargs = bind_input(workflow, body)
    assert isinstance(args, list)
    assert all(isinstance(name, str) for name in kwargs)


def command_input() -> Target:
    """`perdure run --input`."""
    good = [b'{"number":1,"point":{"x":1,"y":2},"rest":[1,null]}', b'[1,{"x":1},null,"a","b"]']
    values = [b'{"number":1,"rest":' + each + b"}" for each in payload().examples[:80]]
    return Target(
        "command_input",
        [*good, *values],
        _read_input,
        typed=(CommandError,),
        words=(*NAMES, "number", "point", "rest", "more"),
        bombs=(b"[" * 100_000, b'{"number":' * 100_000),
    )
