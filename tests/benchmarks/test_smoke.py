"""Every work of the benchmarks runs on every backend, at its smallest size. No time counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.backends import CHOICES, opened
from benchmarks.bench import Bench, Work
from benchmarks.report import as_text, write_json
from benchmarks.runner import Results, run_all
from benchmarks.sizes import SMALLEST
from benchmarks.works.all import WORKS
from tests.support.stores import server_url


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    if request.param == "postgres":
        server_url()
    with opened([request.param], SMALLEST) as (benches, _):
        yield benches[0]


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_work_gives_figures(bench: Bench, work: Work) -> None:
    results = run_all([bench], [work], 1, after_each=lambda _: None)
    assert results.failures == []
    if work.needs_processes and bench.label == "memory":
        assert results.runs == {}
        return
    (run,) = results.runs[bench.label][work.name]
    assert bool(run) == (work.name != "limits" or bench.label != "memory")
    assert all(isinstance(value, float | int) for value in run.values())
    for figure, limit in work.against.items():
        assert figure in run
        assert (f"{figure}/{limit}" in run) == (bench.label != "memory")


def test_each_backend_says_how_durable_it_is() -> None:
    server_url()
    with opened(CHOICES, SMALLEST) as (benches, server):
        labels = [bench.label for bench in benches]
    assert labels == ["memory", "sqlite full", "sqlite normal", "postgres synchronous_commit=on"]
    assert server.settings["postgres"]["fsync"] == "on"


def test_results_are_written_with_medians_goals_and_failures(tmp_path: Path) -> None:
    runs = [{"idle_p50_ms": value} for value in (9.0, 0.5, 0.7)]
    by_label = {"sqlite full": {"latency": runs}, "dbos sqlite": {"latency": runs[:1]}}
    results = Results(by_label, [{"load_1_min": 0.5}], ["it broke"])
    text = as_text(results, WORKS)
    assert "met" in text
    assert "MISSED" not in text, "a peer has no goals"
    assert "FAILED it broke" in text
    write_json(tmp_path / "out.json", results, {"runs": 3}, {"cpus": "2"})
    written = json.loads((tmp_path / "out.json").read_text())
    found = written["results"]["sqlite full"]["latency"]
    assert found["medians"] == {"idle_p50_ms": 0.7}
    assert found["goals"] == {"idle_p50_ms": {"goal": "<= 1", "met": True}}
    assert written["failures"] == ["it broke"]


def test_rounds_are_interleaved_and_long_works_run_once() -> None:
    ran: list[str] = []

    def work(name: str, *, once: bool) -> Work:
        def run(_: Bench) -> dict[str, float]:
            ran.append(name)
            return {"count": float(len(ran))}

        return Work(name=name, title=name, run=run, once=once)

    works = [work("a", once=False), work("b", once=True), work("c", once=False)]
    with opened(["memory"], SMALLEST) as (benches, _):
        results = run_all(benches, works, 2, after_each=lambda _: None)
    assert ran == ["a", "b", "c", "a", "c"]
    assert results.runs["memory"]["a"] == [{"count": 1.0}, {"count": 4.0}]
    assert len(results.states) == 2


def test_run_that_is_stopped_keeps_what_it_has(tmp_path: Path) -> None:
    file = tmp_path / "out.json"

    def stopped(_: Bench) -> dict[str, float]:
        raise KeyboardInterrupt

    works = [
        Work(name="latency", title="good", run=lambda _: {"idle_p50_ms": 0.5}),
        Work(name="tasks", title="stopped", run=stopped),
    ]
    with opened(["memory"], SMALLEST) as (benches, _), pytest.raises(KeyboardInterrupt):
        run_all(benches, works, 1, after_each=lambda results: write_json(file, results, {}, {}))
    written = json.loads(file.read_text())
    assert written["results"]["memory"]["latency"]["medians"] == {"idle_p50_ms": 0.5}
    assert not written["finished"]
    assert list(tmp_path.iterdir()) == [file]


def test_work_that_fails_is_told_and_the_others_run() -> None:
    def broken(_: Bench) -> dict[str, float]:
        raise RuntimeError("no disk")

    good = Work(name="good", title="good", run=lambda _: {"figure": 1.0})
    with opened(["memory"], SMALLEST) as (benches, _):
        works = [Work(name="bad", title="bad", run=broken), good]
        results = run_all(benches, works, 1, after_each=lambda _: None)
    assert results.failures == ["round 1, bad on memory: RuntimeError: no disk"]
    assert results.runs == {"memory": {"good": [{"figure": 1.0}]}}
