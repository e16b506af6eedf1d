"""Finds the calls in workflow code that a replay would answer differently: clocks, chance, ids.

It looks at calls while the workflow runs (`sys.setprofile`), so it names the line, also where the
value has led to no difference yet. Only calls written in the user's own code count, not those that
a library makes for itself, and none in tasks or inside of `wf.record`.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import socket
import sys
import sysconfig
import time
import uuid
from collections.abc import Callable, Generator
from datetime import date, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from perdure.engine.context import WorkflowContext, current
from perdure.errors import PerdureError

Note = Callable[[str, str, str], None]
"""Told what was called, at which `file:line`, and what to use instead."""

_TIME, _MOMENT, _CHANCE, _ID = "wf.utc_now() or wf.now()", "wf.now()", "wf.random", "wf.uuid()"
_WORLD = 'wf.record("name", function) or a task'
_MODULE_CHANCE: Any = random.random

SUSPECTS: dict[object, tuple[str, str]] = {
    time.time: ("time.time()", _TIME),
    time.time_ns: ("time.time_ns()", _TIME),
    time.monotonic: ("time.monotonic()", _TIME),
    time.monotonic_ns: ("time.monotonic_ns()", _TIME),
    time.perf_counter: ("time.perf_counter()", _TIME),
    time.perf_counter_ns: ("time.perf_counter_ns()", _TIME),
    time.localtime: ("time.localtime()", _TIME),
    time.gmtime: ("time.gmtime()", _TIME),
    time.strftime: ("time.strftime()", "wf.utc_now().strftime()"),
    time.ctime: ("time.ctime()", _TIME),
    time.process_time: ("time.process_time()", _TIME),
    time.sleep: ("time.sleep()", "wf.sleep()"),
    datetime.now: ("datetime.now()", _MOMENT),
    getattr(datetime, "utcnow"): ("datetime.utcnow()", _MOMENT),  # noqa: B009 - deprecated, so the type checkers do not know it
    datetime.today: ("datetime.today()", _MOMENT),
    date.today: ("date.today()", _MOMENT),
    os.urandom: ("os.urandom()", "wf.token() or wf.random"),
    os.getpid: ("os.getpid()", _WORLD),
    socket.gethostname: ("socket.gethostname()", _WORLD),
    open: ("open()", _WORLD),
    input: ("input()", _WORLD),
    os.listdir: ("os.listdir()", _WORLD),
    os.scandir: ("os.scandir()", _WORLD),
    _MODULE_CHANCE: ("random.random()", _CHANCE),
    _MODULE_CHANCE.__self__.getrandbits: ("random.getrandbits()", _CHANCE),
}
"""C functions by identity: what they are called, and what to use instead."""

_THROUGH = {random.__file__: "random", uuid.__file__: "uuid", secrets.__file__: "secrets"}
"""Modules whose functions only pass on chance: it is their caller who asks."""
_LIBRARIES = tuple(
    str(Path(folder)) + os.sep
    for folder in {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        str(Path(__file__).parent.parent),
    }
)


@contextlib.contextmanager
def watching(note: Note) -> Generator[None]:
    """Tell of every suspect call on this thread until the end of the block."""
    before = sys.getprofile()

    def look(frame: FrameType, event: str, called: object) -> None:
        if event == "c_call":
            _look(frame, called, note)

    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(before)


def _look(frame: FrameType, called: object, note: Note) -> None:
    try:
        suspect = SUSPECTS.get(called)
    except TypeError:  # a method of something that cannot be hashed
        return
    if suspect is None:
        return
    name, instead = suspect
    caller: FrameType | None = frame
    while caller is not None and (module := _THROUGH.get(caller.f_code.co_filename)):
        name = f"{module}.{caller.f_code.co_name}()"
        instead = _ID if module == "uuid" else _CHANCE
        caller = caller.f_back
    if caller is not None and _is_of_user(caller.f_code.co_filename) and _is_in_workflow():
        note(name, f"{caller.f_code.co_filename}:{caller.f_lineno}", instead)


def _is_of_user(file: str) -> bool:
    return not file.startswith(("<frozen", *_LIBRARIES))


def _is_in_workflow() -> bool:
    try:
        context = current()
    except PerdureError:
        return True
    return isinstance(context, WorkflowContext) and not context.refusing
