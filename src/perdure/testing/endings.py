"""Whether a workflow under test ended as it was meant to. One that fails early tests nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

from perdure.errors import ConfigurationError
from perdure.testing.reports import Finding, Kind
from perdure.values.exceptions import recorded_traceback

Raises = type[BaseException] | tuple[type[BaseException], ...]
"""What a workflow is meant to raise: one class, several, or () for none."""

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


@dataclass(frozen=True, slots=True)
class Ended:
    """How the workflow ended: what it returned, or what it raised, also as text."""

    value: object = None
    error: str = ""
    raised: BaseException | None = None


def classes_of(given: object) -> tuple[type[BaseException], ...]:
    """What a caller gave as `raises=`.

    Raises:
        ConfigurationError: it is no class of exceptions.
    """
    classes = cast("tuple[object, ...]", given if isinstance(given, tuple) else (given,))
    for each in classes:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise ConfigurationError(
                f"raises={given!r}: expected a class of exceptions, such as LookupError, or a "
                "tuple of them."
            )
    return cast("tuple[type[BaseException], ...]", classes)


def unmeant(
    end: Ended, classes: tuple[type[BaseException], ...], definition: str
) -> Finding | None:
    """What is wrong with the end of an undisturbed run.

    Args:
        classes: what it is meant to raise; empty where it is to return.
        definition: `file:line` of the workflow; the line of a failure is looked for in this file.
    """
    wanted = " or ".join(each.__name__ for each in classes)
    if end.raised is None:
        if not classes:
            return None
        told = f"it returned {end.value!r:.300} and was to raise {wanted}, as raises= says."
        return Finding(Kind.FAILED, told, definition)
    if isinstance(end.raised, classes):
        return None
    name = type(end.raised).__name__
    told = f"the undisturbed run failed, so what comes after that was not tried: {end.error}\n"
    told += (
        f"It was to raise {wanted}, as raises= says."
        if classes
        else f"If that is what the test is about, say so: .options(raises={name})"
    )
    return Finding(Kind.FAILED, told, _line_of(end.raised, definition) or definition)


def _line_of(error: BaseException, definition: str) -> str:
    """The last `file:line` in the file of the workflow that the error came through, or ""."""
    file = definition.rpartition(":")[0]
    lines = [int(line) for name, line in _FRAME.findall(recorded_traceback(error)) if name == file]
    return f"{file}:{lines[-1]}" if lines else ""
