"""Medians for people, and everything as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench import Figures, Work
from benchmarks.goals import goal_of
from benchmarks.runner import Results


def medians(runs: Sequence[Figures]) -> dict[str, tuple[float, float, float]]:
    """Median, lowest and highest value of each figure."""
    names = dict.fromkeys(name for run in runs for name in run)
    found = {}
    for name in names:
        values = [run[name] for run in runs if name in run]
        found[name] = (statistics.median(values), min(values), max(values))
    return found


def as_text(results: Results, works: Sequence[Work]) -> str:
    """A table per work and backend, with the goals beside the figures."""
    lines = []
    for work in works:
        for label, by_work in results.runs.items():
            runs = by_work.get(work.name)
            if not runs:
                continue
            lines.append(f"{work.title} - {label}, {len(runs)} run(s)")
            for name, (middle, low, high) in medians(runs).items():
                goal = goal_of(label, work.name, name)
                verdict = ""
                if goal is not None:
                    verdict = f"  goal {goal}: {'met' if goal.is_met(middle) else 'MISSED'}"
                spread = f"[{_number(low)} - {_number(high)}]"
                lines.append(f"  {name:36}{_number(middle):>12}   {spread}{verdict}")
    lines += [f"FAILED {failure}" for failure in results.failures]
    return "\n".join(lines)


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.3g}" if abs(value) >= 1 else f"{value:.3f}"


def write_json(
    path: Path, results: Results, settings: Mapping[str, Any], machine: Mapping[str, str]
) -> None:
    """All runs, their medians and goals, and how they were taken."""
    found: dict[str, Any] = {}
    for label, by_work in results.runs.items():
        found[label] = {
            work: {
                "medians": {name: values[0] for name, values in medians(runs).items()},
                "goals": _goals(label, work, runs),
                "runs": runs,
            }
            for work, runs in by_work.items()
        }
    text = json.dumps(
        {
            "machine": dict(machine),
            "settings": dict(settings),
            "finished": results.finished,
            "rounds": results.states,
            "failures": results.failures,
            "results": found,
        },
        indent=1,
    )
    # At once: whoever is stopped while it writes leaves what was there before.
    half = path.with_name(path.name + ".new")
    half.write_text(text + "\n", "utf-8")
    half.replace(path)


def _goals(label: str, work: str, runs: Sequence[Figures]) -> dict[str, Any]:
    found = {}
    for name, (middle, _, _) in medians(runs).items():
        goal = goal_of(label, work, name)
        if goal is not None:
            found[name] = {"goal": str(goal), "met": goal.is_met(middle)}
    return found
