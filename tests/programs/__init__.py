"""Small workflows for crash tests. Each `build` registers one, as "main", with its tasks.

Every task gives something else on every call, in the whole process: a step that runs twice shows.
Where a program exists in both colours, its tasks have the same names in both, so that the two must
leave the same journal. No program branches on what its tasks gave, so its shape is always the same.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from perdure import Perdure, Retry

Build = Callable[[Perdure], None]

_calls = itertools.count(1)
RETRY = Retry(attempts=30, wait_initial=0.001, wait_factor=1.0, jitter=0.0)


def differs(*seen: object) -> str:
    """Another text on each call, with what was given."""
    return f"{next(_calls)}:{seen!r}"


@dataclass(frozen=True)
class Program:
    """A workflow and what to run it with. `twin`: the same in the other colour."""

    name: str
    build: Build
    args: tuple[Any, ...] = ()
    twin: str = ""


MODULES = (
    "blocking",
    "awaiting",
    "elsewhere",
    "held",
    "messaging",
    "cancelling",
    "late",
    "beating",
    "effects",
    "timing",
    "publishing",
    "undoing",
    "branching",
    "ending",
    "telling",
    "several",
    "outside",
    "updating",
    "transacting",
)
"""The modules of this package whose programs are killed at every boundary."""

_PROGRAMS: dict[str, Program] = {}


def programs(*modules: str) -> dict[str, Program]:
    """The programs of these modules of this package, by name."""
    for module in modules:
        importlib.import_module(f"{__name__}.{module}")
    wanted = {f"{__name__}.{module}" for module in modules}
    return {name: each for name, each in _PROGRAMS.items() if each.build.__module__ in wanted}


def program(*args: Any, twin: str = "") -> Callable[[Build], Build]:
    """Note a program under the name of its builder."""

    def note(build: Build) -> Build:
        name = build.__name__
        assert name not in _PROGRAMS, f"two programs are named {name!r}; one would run unseen"
        _PROGRAMS[name] = Program(name, build, args, twin)
        return build

    return note
