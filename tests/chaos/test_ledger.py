"""The ledger of long campaigns: each line says what was run, and all of them held."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.__main__ import main
from tests.chaos.campaigns import all_campaigns
from tests.fuzz.targets import names

LEDGER = Path(__file__).parents[2] / "docs" / "proof" / "ledger.jsonl"
MEMBERS = {
    "chaos": {"campaign", "store", "count", "seed", "seconds", "counts", "failures"},
    "fuzz": {"target", "seed", "inputs", "accepted", "refused", "seconds", "failures"},
    "simulation": {"seeds", "store", "schedules", "events", "seconds", "counts", "failures"},
}
NAMED = {"chaos": "campaign", "fuzz": "target", "simulation": "store"}
"""The member that says what of its kind a line is about."""


def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in LEDGER.read_text("utf-8").splitlines()]


def test_each_line_says_what_was_run_and_what_came_of_it() -> None:
    known = {"chaos": set(all_campaigns()), "fuzz": set(names()), "simulation": {"memory"}}
    assert lines()
    for line in lines():
        assert MEMBERS[line["what"]] <= line.keys(), line
        assert line[NAMED[line["what"]]] in known[line["what"]]
        assert len(line["commit"].partition("-")[0]) == 40, line
        # What failed is named with what became of it, or it is nothing to be proud of.
        assert not line["failures"] or line.get("mended"), line


def test_every_campaign_is_in_it() -> None:
    assert set(all_campaigns()) <= {line.get("campaign") for line in lines()}
    assert set(names()) <= {line.get("target") for line in lines()}


def test_the_page_tells_the_sums_that_are_in_it() -> None:
    """Of chaos by campaign and store, of fuzzing by target, as rows of its tables."""
    chaos: Counter[tuple[str, str]] = Counter()
    runs: Counter[tuple[str, str]] = Counter()
    fed: Counter[str] = Counter()
    rows: list[str] = []
    for line in lines():
        if line["what"] == "fuzz":
            fed[line["target"]] += line["inputs"]
        elif line["what"] == "simulation":
            rows.append(f"| {line['seeds']} | {line['schedules']:,} | {line['events']:,} |")
        else:
            place = line["campaign"], line["store"]
            chaos[place] += line["count"]
            runs[place] += 1
    rows += [
        f"| `{name}` | {store} | {n:,} | {runs[name, store]} |"
        for (name, store), n in chaos.items()
    ]
    rows += [f"| `{name}` | {n:,} |" for name, n in fed.items()]
    page = LEDGER.with_suffix(".md").read_text("utf-8")
    missing = [row for row in sorted(rows) if row not in page]
    assert missing == [], "\n".join(missing)


def test_what_is_proved_tells_the_same_sums() -> None:
    """In words, on the page of what is promised."""
    counts: Counter[str] = Counter()
    for line in lines():
        counts[line.get("campaign", line["what"])] += line.get("count", 0)
        counts["inputs"] += line.get("inputs", 0)
        counts["schedules"] += line.get("schedules", 0)
        counts["events"] += line.get("events", 0)
    told = " ".join((LEDGER.parents[1] / "reliability.md").read_text("utf-8").split())
    sums = [
        f"{counts['kills']:,} SIGKILLs, {counts['cuts']:,} COMMITs cut,",
        f"{counts['endings']:,} workers asked to end,",
        f"{counts['full']:,} full file systems, {counts['forks']:,} forks,",
        f"{counts['zombies']:,} zombies of one name, {counts['partitions']:,} bad wires,",
        f"{counts['stops']:,} immediate stops of PostgreSQL, {counts['histories']:,} histories,",
        f"{counts['damage']:,} damaged files, {counts['disk']:,} failing disks,",
        f"{counts['rolling'] + counts['outdated']:,} workers replaced by",
        f"{counts['schedules']:,} simulated schedules",
        f"({counts['events'] / 1e6:.1f} million events)",
        f"{counts['inputs']:,} inputs to decoders",
    ]
    assert [each for each in sums if each not in told] == []


def test_a_run_in_which_nothing_happened_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And so it stands in the ledger."""
    ledger = tmp_path / "ledger.jsonl"
    chosen = ["--campaign", "damage", "--count", "0", "--seed", "1", "--ledger", str(ledger)]
    assert main(chosen) == 1
    (line,) = map(json.loads, ledger.read_text("utf-8").splitlines())
    assert "never happened" in line["failures"][0]
    assert "seed 1" in capsys.readouterr().out
