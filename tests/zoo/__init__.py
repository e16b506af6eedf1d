"""Planted bugs: each breaks one rule of the real code, and must be found.

A check that finds none of the bugs that it is there for proves nothing. Each bug is a function that
patches the code of one process; `found.json` keeps the seed of a simulated schedule in which it
shows, or names the test that finds it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from perdure.testing.simulation.plan import Plan, make_plan

Plant = Callable[[pytest.MonkeyPatch], None]

MODULES = (
    "ownership",
    "losing",
    "doubling",
    "journals",
    "running",
    "schedules",
    "telling",
    "elsewhere",
)
FOUND = Path(__file__).with_name("found.json")


class Bug(msgspec.Struct, frozen=True):
    """One planted bug.

    Attributes:
        cls: its class in the catalogue of failures, such as "A1".
        text: which rule it breaks.
        plant: breaks it.
        test: the test that finds it, where a simulation by its nature cannot.
        plan: programs in which it shows sooner than in those that a seed makes up.
    """

    name: str
    cls: str
    text: str
    plant: Plant
    test: str = ""
    plan: Plan | None = None

    def plan_of(self, seed: int) -> Plan:
        """The schedule of this seed in which it may show."""
        if self.plan is None:
            return make_plan(seed)
        return msgspec.structs.replace(self.plan, seed=seed)


class Find(msgspec.Struct, frozen=True):
    """How a bug was found.

    Attributes:
        seed: of the schedule.
        schedules: how many were played until then.
        broken: the invariant that did not hold.
    """

    seed: int
    schedules: int
    broken: str


_BUGS: dict[str, Bug] = {}


def bug(cls: str, text: str, test: str = "", plan: Plan | None = None) -> Callable[[Plant], Plant]:
    """Note a bug under the name of the function that plants it."""

    def note(plant: Plant) -> Plant:
        name = plant.__name__
        assert name not in _BUGS, name
        _BUGS[name] = Bug(name, cls, text, plant, test, plan)
        return plant

    return note


def bugs() -> dict[str, Bug]:
    """All of them, by name."""
    for module in MODULES:
        importlib.import_module(f"{__name__}.bugs.{module}")
    return _BUGS


def finds() -> dict[str, Find]:
    """How each was found."""
    return msgspec.json.decode(FOUND.read_bytes(), type=dict[str, Find])
