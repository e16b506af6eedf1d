"""Which line of workflow code asks: `file:line`, past the frames of perdure and asyncio."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

_PACKAGE = str(Path(__file__).parent.parent) + os.sep
_NOT_WORKFLOW_CODE = (
    _PACKAGE,
    str(Path(os.__file__).parent / "asyncio") + os.sep,
    threading.__file__,
)


def awaiting_line(coroutine: object) -> str:
    """`file:line` of the innermost await of workflow code in a coroutine that does not run."""
    line = ""
    inner: Any = coroutine
    while inner is not None:
        frame = getattr(inner, "cr_frame", None) or getattr(inner, "gi_frame", None)
        if frame is not None and not frame.f_code.co_filename.startswith(_NOT_WORKFLOW_CODE):
            line = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        inner = getattr(inner, "cr_await", None) or getattr(inner, "gi_yieldfrom", None)
    return line


def calling_line() -> str:
    """`file:line` of the nearest frame of workflow code, or "" if there is none.

    There is none where asyncio itself steps a coroutine of ours, such as `gather(task(1))`.
    """
    frame = sys._getframe(1)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - documented
    while frame.f_code.co_filename.startswith(_PACKAGE):
        if frame.f_back is None:
            return ""
        frame = frame.f_back
    if frame.f_code.co_filename.startswith(_NOT_WORKFLOW_CODE):
        return ""
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
