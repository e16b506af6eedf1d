"""The tables of docs/benchmarks.md, from a JSON file: `python -m benchmarks.page results.json`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.goals import OURS

BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
Found = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One figure of one work, for everybody who has it.

    Attributes:
        figure: of a resume only the beginning: its end is how many tasks there were.
        lower: whether less is better.
    """

    title: str
    work: str
    figure: str
    lower: bool = False

    def of(self, by_work: Found) -> float | None:
        """The median, if it was measured."""
        for name, value in by_work.get(self.work, {}).get("medians", {}).items():
            if name == self.figure or (self.figure.endswith("_") and name.startswith(self.figure)):
                return float(value)
        return None

    def times(self, ours: float, theirs: float) -> float:
        """How many times better the first one is."""
        return theirs / ours if self.lower else ours / theirs


COLUMNS = (
    Column("tasks in sequence, 1/s", "tasks", "tasks_per_s"),
    Column("workflows of 5 tasks, results/s", "clients", "results_per_s"),
    Column("latency p50, ms", "latency", "idle_p50_ms", lower=True),
    Column("latency p99, ms", "latency", "idle_p99_ms", lower=True),
    Column("resumed tasks, 1/s", "resume", "tasks_per_s_"),
)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def ratios(results: Found, ours: str) -> list[str]:
    """How many times better perdure is than each peer on one of its backends."""
    rows = []
    for label, by_work in results.items():
        if label.startswith(OURS):
            continue
        cells = []
        for column in COLUMNS:
            mine, theirs = column.of(results[ours]), column.of(by_work)
            cells.append(_number(column.times(mine, theirs)) if mine and theirs else "-")
        rows.append([label, *cells])
    head = [f"perdure on {ours}: times better than", *[column.title for column in COLUMNS]]
    return _table(head, rows)


def figures(results: Found) -> list[str]:
    """The medians."""
    rows = []
    for label, by_work in results.items():
        found = [column.of(by_work) for column in COLUMNS]
        name = f"**perdure {label}**" if label.startswith(OURS) else label
        rows.append([name, *["-" if value is None else _number(value) for value in found]])
    return _table(["median", *[column.title for column in COLUMNS]], rows)


def goals(results: Found) -> list[str]:
    """Perdure's goals and what was reached."""
    rows = []
    for label, by_work in results.items():
        for work, found in by_work.items():
            for name, goal in found.get("goals", {}).items():
                reached = _number(found["medians"][name])
                verdict = "met" if goal["met"] else "missed"
                rows.append([f"{label}: {work}, {name}", goal["goal"], reached, verdict])
    return _table(["goal", "wanted", "median", ""], rows)


def durability(settings: Found) -> list[str]:
    """Everybody's settings."""
    rows = [
        [label, facts["durability"], str(facts["concurrency"])]
        for label, facts in settings.get("peers", {}).items()
    ]
    return _table(["peer", "durability", "workflows at a time"], rows)


def _how(written: Found) -> str:
    machine, rounds = written["machine"], written["rounds"]
    sizes = written["settings"]["sizes"]
    loads = ", ".join(f"{state['load_1_min']:.1f}" for state in rounds)
    return (
        f"{machine['cpu']}, {machine['cpus']} cores, {machine['file_system']}; perdure on Python"
        f" {machine['python']}, SQLite {machine['sqlite']}. Interleaved rounds: {len(rounds)}; load"
        f" at their beginnings: {loads}. At most {sizes['tasks']} tasks in sequence,"
        f" {sizes['workflows']} workflows, {sizes['probes']} probes, {sizes['journals'][0]} resumed"
        " tasks; slow peers do less of it."
    )


def page(written: Found) -> str:
    """All tables."""
    results = written["results"]
    lines = [_how(written), ""]
    for ours in (label for label in results if label.startswith(OURS)):
        lines += [*ratios(results, ours), ""]
    lines += [*figures(results), "", *goals(results), "", *durability(written["settings"]), ""]
    lines += [f"- Not measured or failed: {failure}" for failure in written["failures"]]
    return "\n".join(lines).strip()


def into(text: str, tables: str) -> str:
    """The page with its tables made anew.

    Raises:
        ValueError: it has no place for them.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"The page should have {BEGIN} and {END}, one after the other.")
    return f"{before}{begin}\n{tables}\n{end}{after}"


def main() -> None:
    """Print the tables, or put them in their place."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    made.add_argument("json", type=Path)
    made.add_argument("--into", type=Path, metavar="PAGE", help=f"between {BEGIN} and {END}")
    options = made.parse_args()
    tables = page(json.loads(options.json.read_text("utf-8")))
    if options.into is None:
        print(tables)
    else:
        options.into.write_text(into(options.into.read_text("utf-8"), tables), "utf-8")


if __name__ == "__main__":
    main()
