"""The tables of the page of the benchmarks."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.page import BEGIN, END, into, page


def written() -> dict[str, Any]:
    goal = {"idle_p50_ms": {"goal": "<= 1", "met": False}}
    ours = {
        "tasks": {"medians": {"tasks_per_s": 1_000.0}, "goals": {}},
        "latency": {"medians": {"idle_p50_ms": 4.0}, "goals": goal},
        "resume": {"medians": {"seconds_500": 0.01, "tasks_per_s_500": 50_000.0}, "goals": {}},
    }
    theirs = {
        "tasks": {"medians": {"tasks_per_s": 100.0}},
        "latency": {"medians": {"idle_p50_ms": 2.0}},
    }
    return {
        "machine": {
            "cpu": "some", "cpus": "2", "file_system": "ext4", "python": "3.11", "sqlite": "3.40",
        },
        "rounds": [{"load_1_min": 3.25}],
        "settings": {
            "sizes": {"tasks": 200, "workflows": 150, "probes": 40, "journals": [500]},
            "peers": {"dbos sqlite": {"durability": "synchronous=FULL", "concurrency": 20}},
        },
        "failures": ["pynenc sqlite is not measured: no wheel"],
        "results": {"sqlite full": ours, "dbos sqlite": theirs},
    }  # fmt: skip


def test_ratios_say_how_many_times_better_perdure_is() -> None:
    assert "| dbos sqlite | 10 | - | 0.5 | - | - |" in page(written())


def test_medians_goals_settings_and_failures_are_there() -> None:
    text = page(written())
    assert "| **perdure sqlite full** | 1,000 | - | 4 | - | 50,000 |" in text
    assert "| sqlite full: latency, idle_p50_ms | <= 1 | 4 | missed |" in text
    assert "| dbos sqlite | synchronous=FULL | 20 |" in text
    assert "- Not measured or failed: pynenc sqlite is not measured: no wheel" in text
    assert "load at their beginnings: 3.2" in text


def test_tables_are_put_in_their_place() -> None:
    made = into(f"before\n{BEGIN}\nold\n{END}\nafter\n", "new")
    assert made == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="one after the other"):
        into("nothing", "new")
