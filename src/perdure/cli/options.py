"""Options that several commands have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Group, Parameter

from perdure.cli.locate import Source, locate

WHERE = Group("Where", sort_key=10)
COMMON = Group("Output", sort_key=20)


APP = (
    "The app, as module:attr; its settings name the database. Default: PERDURE_APP, or `app` "
    "under [tool.perdure] in pyproject.toml, or in perdure.toml."
)
URL = (
    "The database, as sqlite:///path.db; no code is imported. Default: the app's, else "
    "PERDURE_DATABASE_URL, a settings file, or sqlite:///perdure.db."
)
CHILDREN = "Also what it has started and what has not ended."
APP_NAME = "The app's name=, if it has one and is not named by -A."
JSON = "Answer in JSON, with values as they are recorded."
DEBUG = "Show tracebacks and log records on stderr."
ID = "The id. `ID#2` is its second generation."

Id = Annotated[str, Parameter(help=ID)]


@Parameter(name="*")
@dataclass(frozen=True)
class Where:
    """Which database a command reads."""

    app: Annotated[str | None, Parameter(name=["--app", "-A"], group=WHERE, help=APP)] = None
    url: Annotated[str | None, Parameter(group=WHERE, help=URL)] = None
    app_name: Annotated[str | None, Parameter(group=WHERE, help=APP_NAME)] = None


@Parameter(name="*")
@dataclass(frozen=True)
class Read:
    """How a reading command answers."""

    json: Annotated[bool, Parameter(group=COMMON, help=JSON)] = False
    debug: Annotated[bool, Parameter(group=COMMON, help=DEBUG)] = False


@Parameter(name="*")
@dataclass(frozen=True)
class Act:
    """Options of a command that answers with no data of its own."""

    debug: Annotated[bool, Parameter(group=COMMON, help=DEBUG)] = False


def source_of(where: Where | None) -> Source:
    """The database that the options name."""
    where = where or Where()
    return locate(where.app, where.url, where.app_name)
