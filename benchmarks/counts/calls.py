"""Function calls of this thread while something runs, by the file of the function."""

from __future__ import annotations

import cProfile
import gc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType

import perdure

_SOURCES = str(Path(perdure.__file__).parent) + "/"
ELSEWHERE = "elsewhere"
"""The place of calls of functions that are not perdure's."""


def calls_of(step: Callable[[], object]) -> Counter[str]:
    """How often functions were called, resumed generators too.

    Returns:
        "calls" of functions in Python, "c_calls" of those in C, and under the name of each file of
        perdure the calls of its functions.
    """
    gc.collect()
    gc.disable()  # a collection may come at any call, and calls finalisers
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        step()
    finally:
        profiler.disable()
        gc.enable()
    found: Counter[str] = Counter()
    for entry in profiler.getstats():
        if isinstance(entry.code, CodeType):
            found["calls"] += entry.callcount
            found[_place(entry.code)] += entry.callcount
        else:
            found["c_calls"] += entry.callcount
    return found


def _place(code: CodeType) -> str:
    file = code.co_filename
    return file.removeprefix(_SOURCES) if file.startswith(_SOURCES) else ELSEWHERE
