"""Profiles of works."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from benchmarks import profiles
from benchmarks.backends import opened
from benchmarks.bench import Bench, Work
from benchmarks.sizes import SMALLEST


def busy_alone() -> int:
    return sum(range(1_000))


def busy_on_a_thread() -> int:
    return sum(range(1_000))


def test_summary_counts_a_function_once_in_each_stack() -> None:
    text = profiles.summary(["a (x.py);b (y.py);a (x.py) 3", "a (x.py) 1"])
    assert text.splitlines() == [
        "4 samples",
        "with calls   itself",
        "    100.0%   100.0%  a (x.py)",
        "     75.0%     0.0%  b (y.py)",
    ]
    assert "No samples" in profiles.summary([])


def test_traced_sees_this_thread_and_new_ones(tmp_path: Path) -> None:
    with profiles.traced(tmp_path / "file.txt"):
        thread = threading.Thread(target=busy_on_a_thread)
        thread.start()
        busy_alone()
        thread.join()
    text = (tmp_path / "file.txt").read_text()
    assert "busy_alone" in text
    assert "busy_on_a_thread" in text


def test_each_work_and_backend_gets_a_file(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)

    def run(_: Bench) -> dict[str, float]:
        return {"sum": float(busy_alone())}

    works = [
        Work(name="alone", title="alone", run=run),
        Work(name="fleet", title="fleet", run=run, needs_processes=True),
    ]
    with opened(["memory"], SMALLEST) as (benches, _):
        profiles.run_profiled(benches, works, tmp_path / "made")
    assert [file.name for file in (tmp_path / "made").iterdir()] == ["alone-memory.txt"]
    assert "busy_alone" in (tmp_path / "made" / "alone-memory.txt").read_text()
