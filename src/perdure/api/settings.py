"""Settings of an app: arguments over environment over files over defaults. Reads, never writes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

from perdure.core.identity import validate_identifier
from perdure.errors import ConfigurationError, InvalidIdentifier

MOST = 1_000_000_000
"""No number of ours is meant to be higher; clocks in microseconds could run over."""
DEFAULT_URL = "sqlite:///perdure.db"
_BETWEEN_URLS = re.compile(r"\s+(?=[a-z]+://)")
"""A path may hold spaces, and a PostgreSQL URL commas."""
_PASSWORD = re.compile(r"(?P<before>//[^/@:?]*:).*(?P<after>@)|(?P<name>password=)[^&]*")

_PREFIX = "PERDURE_"
_OTHER = frozenset({"PERDURE_APP", "PERDURE_WORKER_PARENT"})
"""Environment variables of ours that are not settings of an app."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an app goes by. Durations are seconds.

    Attributes:
        database_url: `sqlite:///path` (relative to the working directory), `sqlite:////abs/path`
            `postgresql://...` or `memory://`; several, for several servers, with spaces between.
        name: the app's name; part of every seed. Apps of other names share a database unseen.
        synchronous: "full" survives power loss; "normal" may lose the newest commits then.
        local_worker: whether this process runs what it waits for.
        concurrency: attempts at a time in this process.
        lease: how long a claim holds without renewal.
        grace: how long a waiting workflow keeps its frame in memory.
        crash_limit: crashes without progress after which an invocation is dead.
        code_version: stored with every start.
    """

    database_url: str = DEFAULT_URL
    name: str = "perdure"
    synchronous: Literal["full", "normal"] = "full"
    local_worker: bool = True
    concurrency: int = 16
    lease: float = 30.0
    grace: float = 0.1
    crash_limit: int = 10
    code_version: str = ""

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs; more than one for several servers."""
        return tuple(_BETWEEN_URLS.split(self.database_url.strip()))

    @property
    def shown_urls(self) -> str:
        """The URLs for people, without passwords."""
        hidden = r"\g<before>\g<name>***\g<after>"
        return " ".join(_PASSWORD.sub(hidden, url) for url in self.urls)

    def __repr__(self) -> str:
        """What a log or a traceback may show: no password."""
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        shown["database_url"] = self.shown_urls
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def __post_init__(self) -> None:
        """Refuse numbers that could not mean anything."""
        for name, least in (("concurrency", 1), ("crash_limit", 1), ("lease", 0.5), ("grace", 0)):
            value = getattr(self, name)
            if not least <= value <= MOST:
                raise ConfigurationError(f"{name}={value!r}: expected {least} to {MOST:,}.")
        try:
            validate_identifier(self.name, "name")
        except InvalidIdentifier as error:
            raise ConfigurationError(f"The app's {error}") from error


def load_settings(
    given: Mapping[str, Any],
    *,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Settings:
    """Merge the layers; None in `given` means "not given".

    Raises:
        ConfigurationError: an unknown key or an unusable value; names the layer it came from.
    """
    environ = os.environ if environ is None else environ
    merged: dict[str, Any] = {}
    for source, layer in (
        *_file_layers(directory or Path.cwd()),
        ("the environment", _from_environment(environ)),
        ("Perdure(...)", {key: value for key, value in given.items() if value is not None}),
    ):
        values = _with_urls_joined(source, layer)
        _check(source, values)
        merged.update(values)
    return msgspec.convert(merged, Settings, strict=False)


def _with_urls_joined(source: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A list of URLs becomes one text, as the environment gives it."""
    urls = values.get("database_url")
    if not isinstance(urls, (list, tuple)):
        return values
    several = cast("Sequence[object]", urls)
    texts = [url.strip() for url in several if isinstance(url, str) and url.strip()]
    if not texts or len(texts) < len(several):
        raise ConfigurationError(
            f"Setting in {source}: database_url is a list of {len(several)} items of which "
            f"{len(texts)} are URLs. Give the URL of every server."
        )
    return {**values, "database_url": " ".join(texts)}


def _check(source: str, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if key not in Settings.__struct_fields__:
            known = ", ".join(Settings.__struct_fields__)
            raise ConfigurationError(
                f"Setting {key!r} in {source} is unknown. Known settings: {known}."
            )
        try:
            msgspec.convert({key: value}, Settings, strict=False)
        except (msgspec.ValidationError, UnicodeEncodeError) as error:  # of what is no UTF-8
            shown = "" if key == "database_url" else f"={value!r}"  # it may hold a password
            why = str(error).partition(" - at ")[0]
            if key == "synchronous":
                why = 'expected "full" (default), or "normal", which may lose the newest commits'
            raise ConfigurationError(f"Setting {key}{shown} in {source}: {why}.") from error
        except ConfigurationError as error:
            raise ConfigurationError(f"Setting in {source}: {error}") from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        key.removeprefix(_PREFIX).lower(): value
        for key, value in environ.items()
        if key.startswith(_PREFIX) and key not in _OTHER and not key.startswith("PERDURE_TEST_")
    }


def settings_table(value: object, file: Path) -> dict[str, Any]:
    """What a file has for us, or what that is in.

    Raises:
        ConfigurationError: it is no table.
    """
    if not isinstance(value, dict):
        raise ConfigurationError(f"{file}: [tool.perdure] must be a table, found {value!r}.")
    return cast("dict[str, Any]", value)


def _file_layers(directory: Path) -> list[tuple[str, dict[str, Any]]]:
    layers: list[tuple[str, dict[str, Any]]] = []
    for file in (directory / "pyproject.toml", directory / "perdure.toml"):
        if not file.is_file():
            continue
        import tomllib  # noqa: PLC0415 - only who has such a file pays for the parser

        try:
            table = tomllib.loads(file.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"{file} cannot be read: {error}. Mend or remove it."
            ) from error
        if file.name == "pyproject.toml":
            table = settings_table(
                settings_table(table.get("tool", {}), file).get("perdure", {}), file
            )
        table.pop("app", None)  # for the command line, not for the app itself
        layers.append((str(file), table))
    return layers
