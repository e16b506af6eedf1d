"""The committed costs, and what has grown beside them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.counts.counting import Cost
from benchmarks.counts.works import COUNTED

FILE = Path(__file__).with_name("baseline.json")
CALLS = ("calls", "c_calls")
"""How many there are depends on the version of Python a little."""
TRIPS = ("statements", "commits", "trips")
"""The same everywhere, so one more is one too many."""
ALLOWED = dict.fromkeys(CALLS, 0.10) | dict.fromkeys(TRIPS, 0.005)
"""Growth that is no finding, as a share."""
GROWTH_MAX = 2.1
"""Calls for twice the length, as a multiple: what is linear stays below."""
PLACES_TOLD = 4
_UNITS = {work.name: work.unit for work in COUNTED}
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

Costs = Mapping[str, Mapping[str, Cost]]
"""By backend and work."""
Baseline = dict[str, dict[str, dict[str, float]]]


class Findings(NamedTuple):
    """What differs from the baseline, as lines for people.

    Attributes:
        grown: costs too much, or is not linear.
        fallen: costs less by more than is allowed the other way: time for a new baseline.
    """

    grown: list[str]
    fallen: list[str]


def read(file: Path = FILE) -> Baseline:
    """The committed costs; only those of SQL if they were taken with another version of Python."""
    written = json.loads(file.read_text("utf-8"))
    found: Baseline = written["costs"]
    if written["python"] != _PYTHON:
        for works in found.values():
            for each in works.values():
                for name in each.keys() - set(TRIPS):
                    del each[name]
    return found


def write(costs: Costs, file: Path = FILE) -> None:
    """Make these the baseline, and keep it for the backends that were not counted."""
    kept: Baseline = read(file) if file.exists() else {}
    for backend, works in costs.items():
        kept[backend] = {
            work: {name: round(value, 2) for name, value in cost.each.items() if round(value, 2)}
            for work, cost in works.items()
        }
    text = json.dumps({"python": _PYTHON, "costs": kept}, indent=1, sort_keys=True)
    file.write_text(text + "\n", "utf-8")


def compare(costs: Costs, baseline: Baseline) -> Findings:
    """What has grown, and what has fallen."""
    findings = Findings([], [])
    for backend, works in costs.items():
        for work, cost in works.items():
            where = f"{backend}, {work}"
            if cost.growth is not None and cost.growth > GROWTH_MAX:
                findings.grown.append(
                    f"{where}: {cost.growth:.2f} times the calls for twice the length; "
                    f"expected at most {GROWTH_MAX}, for the cost of one must not grow"
                )
            before = baseline.get(backend, {}).get(work)
            if before is None:
                findings.grown.append(f"{where}: not in the baseline")
                continue
            for name, line, has_grown in _differences(cost, before):
                told = f"{where}: {line} {_UNITS[work]}"
                if name in CALLS and has_grown:
                    told += _places(cost, before)
                (findings.grown if has_grown else findings.fallen).append(told)
    return findings


def _differences(cost: Cost, before: Mapping[str, float]) -> Iterator[tuple[str, str, bool]]:
    """Name, text, and whether it has grown; only of those that changed by more than allowed."""
    knows_calls = any(name in before for name in CALLS)
    for name, allowed in ALLOWED.items():
        if name in CALLS and not knows_calls:
            continue
        was, now = before.get(name, 0.0), cost.each.get(name, 0.0)
        if abs(now - was) > max(was * allowed, 0.05):
            share = f"{(now - was) / was:+.0%}" if was else "new"
            yield name, f"{was:g} -> {now:.4g} {name} ({share}, allowed {allowed:.1%})", now > was


def _places(cost: Cost, before: Mapping[str, float]) -> str:
    """Where the calls came from that are new."""
    grown = {
        name: value - before.get(name, 0.0)
        for name, value in cost.each.items()
        if name not in ALLOWED and value - before.get(name, 0.0) >= 0.05
    }
    most = sorted(grown, key=lambda name: -grown[name])[:PLACES_TOLD]
    if not most:
        return ""
    return "; calls of functions in " + ", ".join(f"{name} {grown[name]:+.3g}" for name in most)
