"""What a test names as a workflow, and the app that it belongs to."""

from __future__ import annotations

import inspect
import linecache
from typing import Any, cast

from perdure.api.functions import Registered
from perdure.app import Perdure
from perdure.errors import RegistrationError

IN_A_THREAD = "await asyncio.to_thread(...), or a test that is no coroutine"


def workflow_of(given: object) -> Registered[..., Any]:
    """What a caller gave as a workflow.

    Raises:
        RegistrationError: it is none.
    """
    if not isinstance(given, Registered) or given.definition.kind != "workflow":
        raise RegistrationError(
            f"{given!r} is no workflow. Give the function itself, decorated with @app.workflow."
        )
    return cast("Registered[..., Any]", given)


def app_of(function: Registered[..., Any]) -> Perdure:
    """The app that a function is registered with."""
    app = function.client.app
    if not isinstance(app, Perdure):
        raise RegistrationError(f"{function!r} belongs to no app.")
    return app


def line_of_workflow(workflow: Registered[..., Any]) -> str:
    """`file:line` where it is defined, or ""."""
    code = getattr(inspect.unwrap(workflow.definition.function), "__code__", None)
    if code is None:
        return ""
    number = code.co_firstlineno  # of its first decorator
    while linecache.getline(code.co_filename, number).lstrip().startswith("@"):
        number += 1
    return f"{code.co_filename}:{number}"
