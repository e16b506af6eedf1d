"""The tables of the page of the benchmarks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import pictures
from benchmarks.page import BEGIN, END, into, main, merged, page


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
        "finished": True,
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


def test_run_that_was_stopped_is_told() -> None:
    told = "stopped before its end"
    assert told not in page(written())
    assert told in page(written() | {"finished": False})


def test_tables_are_put_in_their_place() -> None:
    made = into(f"before\n{BEGIN}\nold\n{END}\nafter\n", "new")
    assert made == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="one after the other"):
        into("nothing", "new")


def grown() -> dict[str, Any]:
    return {
        "sqlite full": {
            "resume": {"medians": {"tasks_per_s_1000": 30_000.0, "tasks_per_s_10000": 29_000.0}},
            "growth": {"medians": {
                "kept_wake_ms_100": 1.0, "kept_wake_ms_1000": 1.1,
                "replayed_wake_ms_100": 9.0, "replayed_wake_ms_1000": 88.0,
            }},
            "crowd": {"medians": {
                "count_finished": 1e6, "claim_us_alone": 300.0, "claim_us_beside_finished": 310.0,
            }},
            "waiting": {"medians": {
                "disk_bytes_each_1000": 1_500.0, "disk_bytes_each_10000": 1_490.0,
                "worker_bytes_each_1000": 7.0,
            }},
        }
    }  # fmt: skip


def words(file: Path) -> list[str]:
    return [each.text or "" for each in ET.parse(file).iter() if each.tag.endswith("}text")]


def test_picture_of_peers_shows_every_peer_backend_and_work(tmp_path: Path) -> None:
    made = pictures.peers(written()["results"], tmp_path)
    assert made is not None
    shown = words(tmp_path / made.file)
    expected = {"perdure on sqlite full", "dbos sqlite", "tasks in sequence", "latency p50"}
    assert expected <= set(shown)


def test_picture_of_growth_has_a_panel_for_what_was_measured(tmp_path: Path) -> None:
    made = pictures.growth(grown(), tmp_path)
    assert made is not None
    shown = words(tmp_path / made.file)
    assert {"1,000", "10,000", "sqlite full: kept", "sqlite full: replayed", "1,000,000"} <= set(
        shown
    )
    assert "sqlite full: on disk" in shown
    assert "sqlite full: worker" not in shown, "one point says nothing of growth"


def test_same_figures_give_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for name in ("first", "second"):
        for made in (
            pictures.peers(written()["results"], tmp_path / name),
            pictures.growth(grown(), tmp_path / name),
        ):
            assert made is not None
            found.append((tmp_path / name / made.file).read_bytes())
    assert found[:2] == found[2:]
    assert not any(b"dc:date" in each for each in found)


def test_nothing_to_show_makes_no_picture(tmp_path: Path) -> None:
    assert pictures.peers({"sqlite full": {}}, tmp_path) is None
    assert pictures.growth({"sqlite full": {}, "dbos sqlite": {}}, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_last_file_counts_for_each_work() -> None:
    first = {"results": {"a": {"x": 1, "y": 1}}}
    second = {"results": {"a": {"y": 2}, "b": {"z": 2}}}
    assert merged([first, second]) == {"a": {"x": 1, "y": 2}, "b": {"z": 2}}
    assert first == {"results": {"a": {"x": 1, "y": 1}}}, "files are left as they are"


def test_command_puts_tables_and_pictures_into_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers, own, made = (tmp_path / name for name in ("peers.json", "own.json", "made.md"))
    peers.write_text(json.dumps(written()))
    own.write_text(json.dumps({"results": grown()}))
    made.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    words = ["benchmarks.page", str(peers), str(own), "--into", str(made)]
    monkeypatch.setattr(sys, "argv", words)
    main()
    text = made.read_text()
    assert "](pictures/benchmarks-peers.svg)" in text
    assert "](pictures/benchmarks-growth.svg)" in text
    assert "| dbos sqlite | 10 |" in text
    assert {file.name for file in (tmp_path / "pictures").iterdir()} == {
        "benchmarks-peers.svg",
        "benchmarks-growth.svg",
    }
    assert "](pictures" not in page(json.loads(peers.read_text())), "tables alone need no pictures"
