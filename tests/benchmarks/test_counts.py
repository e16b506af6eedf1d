"""The counts of the regression check: they are steady, and they see what is planted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.counts import baseline
from benchmarks.counts.counting import Cost, counts
from benchmarks.counts.postgres_trace import counted
from benchmarks.counts.works import COUNTED, Counted
from perdure.backends.base import CommitResult, Transition
from perdure.backends.sqlite.backend import SQLiteBackend
from tests.support.stores import server_url

LENGTH = 80


def chosen(*names: str) -> list[Counted]:
    return [work for work in COUNTED if work.name in names]


def as_baseline(costs: baseline.Costs) -> baseline.Baseline:
    return {
        backend: {work: dict(cost.each) for work, cost in works.items()}
        for backend, works in costs.items()
    }


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
def test_each_work_costs_the_same_again(backend: str) -> None:
    works = chosen("draws.random.first", "tasks.first", "tasks.replayed", "five.run", "claim.of_16")
    before = {backend: counts(backend, length=LENGTH, works=works)}
    after = {backend: counts(backend, length=LENGTH, works=works)}
    assert baseline.compare(after, as_baseline(before)) == ([], [])


def test_what_reaches_postgres_is_the_same_again() -> None:
    server_url()
    works = chosen("tasks.first", "commit.of_16_ends")
    found = [counts("postgres", length=LENGTH, works=works) for _ in range(2)]
    for work in works:
        before, after = ({name: cost[work.name].each[name] for name in baseline.TRIPS}
                         for cost in found)  # fmt: skip
        assert before == pytest.approx(after, abs=0.04)
        assert before["commits"] == pytest.approx(1, abs=0.04)


def test_planted_read_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    works = chosen("tasks.first", "five.run", "claim.of_one")
    before = as_baseline({"sqlite": counts("sqlite", length=LENGTH, works=works)})
    commit = SQLiteBackend.commit

    def reads_first(
        backend: SQLiteBackend, transitions: tuple[Transition, ...]
    ) -> list[CommitResult]:
        backend.read(transitions[0].key.invocation_id)
        return commit(backend, transitions)

    monkeypatch.setattr(SQLiteBackend, "commit", reads_first)
    after = {"sqlite": counts("sqlite", length=LENGTH, works=works)}
    grown, fallen = baseline.compare(after, before)
    assert fallen == []
    told = "\n".join(grown)
    was = before["sqlite"]["tasks.first"]["statements"]
    assert f"sqlite, tasks.first: {was:g} -> {was + 1:g} statements" in told
    assert "sqlite, five.run" in told
    assert "claim.of_one" not in told, "a claim is no commit of a transition"
    assert "calls of functions in" in told
    assert "backends/sqlite/" in told


def cost(calls: float, statements: float = 2.0, growth: float | None = 2.0) -> baseline.Costs:
    each = {"calls": calls, "engine/flows.py": calls - 10, "statements": statements}
    return {"sqlite": {"tasks.first": Cost(each, growth)}}


def test_growth_within_the_tolerance_and_any_fall_pass() -> None:
    before = as_baseline(cost(100.0))
    assert baseline.compare(cost(109.0), before) == ([], [])
    grown, fallen = baseline.compare(cost(60.0, 1.0), before)
    assert grown == []
    assert fallen == [
        "sqlite, tasks.first: 100 -> 60 calls (-40%, allowed 10.0%) a task",
        "sqlite, tasks.first: 2 -> 1 statements (-50%, allowed 0.5%) a task",
    ]


def test_more_than_the_tolerance_says_what_grew_and_where() -> None:
    grown, _ = baseline.compare(cost(112.0, 3.0), as_baseline(cost(100.0)))
    share, where = "(+12%, allowed 10.0%)", "engine/flows.py +12"
    assert grown == [
        f"sqlite, tasks.first: 100 -> 112 calls {share} a task; calls of functions in {where}",
        "sqlite, tasks.first: 2 -> 3 statements (+50%, allowed 0.5%) a task",
    ]


def test_cost_that_grows_with_the_length_is_found() -> None:
    grown, _ = baseline.compare(cost(100.0, growth=2.3), as_baseline(cost(100.0)))
    (line,) = grown
    assert line.startswith("sqlite, tasks.first: 2.30 times the calls for twice the length")


def test_work_without_a_baseline_is_found() -> None:
    assert baseline.compare(cost(1.0), {}).grown == ["sqlite, tasks.first: not in the baseline"]


def test_baseline_is_written_and_keeps_the_other_backends(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    baseline.write({"memory": cost(7.0)["sqlite"]}, file)
    baseline.write(cost(100.0), file)
    assert baseline.read(file) == as_baseline({**cost(100.0), "memory": cost(7.0)["sqlite"]})


def test_calls_of_another_python_are_not_compared(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    baseline.write(cost(100.0), file)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"python": "3.1"}))
    grown, _ = baseline.compare(cost(900.0, 3.0), baseline.read(file))
    assert grown == ["sqlite, tasks.first: 2 -> 3 statements (+50%, allowed 0.5%) a task"]


def test_committed_baseline_knows_every_work() -> None:
    written = json.loads(baseline.FILE.read_text())["costs"]
    names = {work.name for work in COUNTED}
    assert written.keys() == {"memory", "sqlite", "postgres"}
    assert written["memory"].keys() == written["sqlite"].keys() == names
    assert written["postgres"].keys() == {name for name in names if not name.startswith("draws.")}


def test_trips_are_counted_in_a_trace() -> None:
    lines = (
        'F\t20\tBind\t "" "_pg3_0" 0',
        'F\t9\tExecute\t "" 0',
        'F\t54\tParse\t "" "SELECT 1',
        'FROM t" 1 23',
        'F\t9\tExecute\t "" 0',
        "F\t4\tSync",
        'B\t10\tCommandComplete\t "BEGIN"',
        "B\t5\tReadyForQuery\t T",
        'F\t9\tQuery\t "COMMIT"',
        'B\t11\tCommandComplete\t "COMMIT"',
    )
    assert counted(lines) == {"statements": 3, "commits": 1, "trips": 2}
    own = ('F\t20\tBind\t "" "apply" 0', 'F\t9\tExecute\t "" 0', "B\t5\tReadyForQuery\t I")
    assert counted(own) == {"statements": 1, "commits": 1, "trips": 1}
