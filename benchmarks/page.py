"""The results in docs/benchmarks.md, from JSON files: `python -m benchmarks.page results.json`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.columns import COLUMNS, Found
from benchmarks.goals import OURS

BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
PICTURES = "pictures"
"""The folder beside the page."""


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
        + ("" if written["finished"] else " The run was stopped before its end.")
    )


def _short(failure: str) -> str:
    """Where it was and what was raised; what lies between names folders of one machine."""
    where, _, why = failure.partition(": ")
    return f"{where}: {(why.splitlines() or [''])[-1].strip()}"


def page(written: Found, everything: Found | None = None) -> str:
    """All tables; those of goals of `everything`, if given."""
    results = written["results"]
    lines = [_how(written), ""]
    for ours in (label for label in results if label.startswith(OURS)):
        lines += [*ratios(results, ours), ""]
    lines += [
        *figures(results),
        "",
        *goals(everything or results),
        "",
        *durability(written["settings"]),
        "",
    ]
    lines += [f"- Not measured or failed: {_short(failure)}" for failure in written["failures"]]
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


def merged(files: Sequence[Found]) -> Found:
    """Results by label and work; where several files have a work, the last one counts."""
    found: dict[str, dict[str, Any]] = {}
    for written in files:
        for label, by_work in written["results"].items():
            found.setdefault(label, {}).update(by_work)
    return found


def illustrated(tables: str, files: Sequence[Found], folder: Path) -> str:
    """The tables with the pictures above them, which are written into this folder."""
    from benchmarks import pictures  # matplotlib, which tables alone do not need

    made = [
        pictures.peers(files[0]["results"], folder),
        pictures.growth(merged(files), folder),
    ]
    lines = [
        f"![{picture.text}]({folder.name}/{picture.file})"
        for picture in made
        if picture is not None
    ]
    return "\n\n".join([*lines, tables])


def main() -> None:
    """Print the tables, or put them and the pictures in their place."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    made.add_argument(
        "json",
        type=Path,
        nargs="+",
        help="the tables and ratios are of the first one; goals and the picture of growth take"
        " each work from the last one that has it",
    )
    made.add_argument(
        "--into",
        type=Path,
        metavar="PAGE",
        help=f"between {BEGIN} and {END}, and the pictures into {PICTURES}/ beside the page",
    )
    options = made.parse_args()
    files = [json.loads(file.read_text("utf-8")) for file in options.json]
    tables = page(files[0], merged(files))
    if options.into is None:
        print(tables)
    else:
        tables = illustrated(tables, files, options.into.parent / PICTURES)
        options.into.write_text(into(options.into.read_text("utf-8"), tables), "utf-8")


if __name__ == "__main__":
    main()
