"""Finds what a command is about: an app, a workflow, a database. Imports user code, runs none.

An app is named by `-A module:attr`, `PERDURE_APP` or `[tool.perdure] app`; a database by `--url` or
by the settings of that app, else by the settings of this directory.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import tomllib
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple, cast

import msgspec

from perdure.api.functions import Registered
from perdure.api.settings import Settings, load_settings, settings_table
from perdure.app import Perdure
from perdure.backends.base import Backend, InvocationRecord
from perdure.backends.limits import QueueLimits
from perdure.cli.failures import CommandError, Exit, exit_code_of, usage
from perdure.core.identity import validate_identifier
from perdure.drivers import make_backend
from perdure.engine.env import SystemEnv
from perdure.errors import (
    BackendUnavailable,
    ConfigurationError,
    InvocationNotFound,
    PerdureError,
)

APP_VARIABLE = "PERDURE_APP"
_APP = "an app"
_OURS = str(Path(__file__).parents[1])
_KEY = re.compile(r"(?P<id>.+)#(?P<generation>[1-9]\d{0,17})")


# --- modules ------------------------------------------------------------------------------------


def import_target(
    target: str, what: str, example: str, default: str = ""
) -> tuple[ModuleType, Any]:
    """The module and the object that `module:attr` or `path/to/file.py:attr` names.

    The current directory is importable, as with `python -m`; a file is imported under its stem,
    with its directory importable, so its functions have the names they have when it is run.
    """
    name, separator, attribute = target.rpartition(":")
    if not separator:
        name, attribute = target, default
    if not name or not attribute:
        raise usage(f"{target!r} does not name {what}. Write it as {example}.")
    if name.endswith(".py") or os.sep in name:
        path = Path(name)
        if not path.is_file():
            raise usage(f"There is no file {name!r}. Write {what} as {example}.")
        directory, name = str(path.resolve().parent), path.stem
    else:
        directory = str(Path.cwd())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    module = _import(name, target)
    value: object = module
    for part in attribute.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise usage(f"Module {name!r} has no {attribute!r}.{_offers(module, what)}") from None
    return module, value


def _import(name: str, target: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise usage(
                f"There is no module {error.name!r} (of {target!r}) in {Path.cwd()} or where this "
                "Python looks. Run the command in the directory of the code, or name its file: "
                "path/to/file.py:name."
            ) from error
        raise _import_failure(name, error) from error
    except (TypeError, ValueError) as error:
        if not all(part.isidentifier() for part in name.split(".")):
            raise usage(f"{name!r} is no name of a module.") from error
        raise _import_failure(name, error) from error
    except (Exception, SystemExit) as error:
        raise _import_failure(name, error) from error


def _import_failure(name: str, error: Exception | SystemExit) -> CommandError:
    said = f"{type(error).__name__}: {error}".rstrip(".")
    frames = list(traceback.extract_tb(error.__traceback__))
    if isinstance(error, PerdureError):  # raised by us, about a line of the user's
        frames = [each for each in frames if not each.filename.startswith(_OURS)] or frames
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    if isinstance(error, SyntaxError):  # its own frame is that of the compiler
        said, place = f"{type(error).__name__}: {error.msg}", f" at {error.filename}:{error.lineno}"
    return CommandError(
        f"Module {name!r} could not be imported: {said}{place}. (--debug shows the traceback.)",
        exit_code_of(error) if isinstance(error, PerdureError) else Exit.FAILED,
    )


def _offers(module: ModuleType, what: str) -> str:
    found = vars(module).items()
    apps = [name for name, value in found if isinstance(value, Perdure)]
    workflows = [
        name
        for name, value in found
        if isinstance(value, Registered) and value.definition.kind == "workflow"
    ]
    kind, names = ("apps", apps) if what == _APP else ("workflows", workflows)
    return f" Its {kind}: {', '.join(names)}." if names else f" It has no {kind}."


def load_workflow(target: str) -> Registered[..., Any]:
    """The workflow that `module:workflow` names."""
    _, value = import_target(target, "a workflow", "MODULE:WORKFLOW, such as shop.orders:order")
    if not isinstance(value, Registered):
        raise usage(
            f"{target!r} is {type(value).__name__}, not a workflow. Decorate the function with "
            "@app.workflow."
        )
    found = cast("Registered[..., Any]", value)
    if found.definition.kind != "workflow":
        raise usage(f"{target!r} is a task. Only workflows are run; call it from one.")
    return found


# --- apps and databases -------------------------------------------------------------------------


class Source(NamedTuple):
    """Where a command reads: the settings, who named them, and the queues that an app declares."""

    settings: Settings
    named_by: str
    queues: Mapping[str, QueueLimits] = MappingProxyType({})

    @property
    def url(self) -> str:
        """The database URL without a password."""
        return self.settings.shown_urls

    def each(self) -> list[Source]:
        """One for each server, in the order of the list."""
        return [
            self._replace(settings=msgspec.structs.replace(self.settings, database_url=url))
            for url in self.settings.urls
        ]

    def open_writer(self) -> Backend:
        """The state backend, to be written. It makes a database that is missing; look first."""
        return make_backend(self.settings, SystemEnv())


def load_app(given: str | None) -> tuple[Perdure, str] | None:
    """The app, and who named it; None when nobody did."""
    for named_by, target in (
        ("-A", given),
        (APP_VARIABLE, os.environ.get(APP_VARIABLE)),
        configured_app(Path.cwd()),
    ):
        if target:
            _, app = import_target(target, _APP, "MODULE:ATTR, such as shop.main:app", "app")
            if not isinstance(app, Perdure):
                raise usage(
                    f"{target!r} (from {named_by}) is {type(app).__name__}, not a Perdure app."
                )
            return app, f"{target} (from {named_by})"
    return None


def configured_app(directory: Path) -> tuple[str, str | None]:
    """The file that names an app, and the name; ("", None) where none does.

    Raises:
        ConfigurationError: a file cannot be read, or our table in it is none.
    """
    for file, section in (("perdure.toml", ()), ("pyproject.toml", ("tool", "perdure"))):
        try:
            table: Any = tomllib.loads((directory / file).read_text("utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"{file} cannot be read: {error}. Mend or remove it."
            ) from error
        for name in section:
            table = settings_table(table.get(name, {}), directory / file)
        app = table.get("app")
        if isinstance(app, str):
            return file, app
    return "", None


def locate(app: str | None, url: str | None, app_name: str | None) -> Source:
    """Which database a read command reads. The code of an app is imported only to learn that."""
    if app and url:
        raise usage("-A and --url both name a database. Give one of them.")
    if url is None:
        loaded = load_app(app)
        if loaded is not None:
            found, named_by = loaded
            return Source(found.settings, named_by, found.declared_queues.limits())
    settings = load_settings({"database_url": url, "name": app_name})
    return Source(settings, "--url" if url else "the settings of this directory")


def open_reader(source: Source) -> Backend:
    """The state backend, to be read only: nothing is made, migrated or written."""
    if source.settings.database_url == "memory://":
        raise usage(
            f"{source.named_by} names memory://, which lives and ends with its own process. There "
            "is nothing to read from here; name a database with --url."
        )
    reader = make_backend(source.settings, SystemEnv(), read_only=True)  # or says what is wrong
    for url in source.settings.urls:
        path = url.removeprefix("sqlite:///")
        if path != url and not Path(path).exists():
            raise BackendUnavailable(
                f"There is no database {str(Path(path).absolute())!r} (named by "
                f"{source.named_by}), and this command makes none. Name another with --url, or "
                "the app with -A."
            )
    return reader


def find_record(backend: Backend, wanted: str) -> InvocationRecord:
    """The latest generation of an id, or the one that `id#generation` names.

    Raises:
        InvocationNotFound: there is none.
    """
    validate_identifier(wanted, "id")
    record = backend.read(wanted)
    if record is None and (named := _KEY.fullmatch(wanted)):
        record = backend.read(named["id"], int(named["generation"]))
    if record is None:
        raise InvocationNotFound(
            f"There is no invocation {wanted!r} in this database. List what there is with: "
            "perdure workflow list"
        )
    return record


def key_text(record: InvocationRecord) -> str:
    """The id as `find_record` takes it; with the generation if it is not the first."""
    return str(record.key)
