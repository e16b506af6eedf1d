"""The auditor on stores that no statement could damage so: shown to it as they would be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from perdure import InvocationState, Perdure, wf
from perdure.backends.audit import CHECKS, Finding, Slots, Subject
from perdure.backends.base import InvocationRecord
from perdure.backends.limits import QueueLimits
from perdure.backends.memory import MemoryBackend
from perdure.core.identity import InvocationKey
from perdure.engine import audit as auditor
from perdure.engine.audit import audit, broken, over_limits
from perdure.engine.baseline import Baseline, line_of
from perdure.errors import ConfigurationError
from tests.support.stores import run_until_idle

S = InvocationState
STORE = b"s" * 16
replace = msgspec.structs.replace


class Shown:
    """A store that shows what it is given."""

    def __init__(self, *subjects: Subject, findings: int = 0) -> None:
        self.subjects, self.findings = subjects, findings
        self.there = {subject.record.key for subject in subjects}

    def audit_page(self, after: int, limit: int) -> list[int]:
        return list(range(after + 1, len(self.subjects) + 1))[:limit]

    def audit_subject(self, number: int) -> Subject | None:
        return self.subjects[number - 1]

    def audit_findings(self, name: str, limit: int) -> list[Finding]:
        return [Finding("w", 1, f"{name} {n}") for n in range(min(self.findings, limit))]

    def audit_slots(self) -> list[Slots]:
        return []

    def read(self, invocation_id: str, generation: int, *, locked: bool = False) -> object:
        return InvocationKey(invocation_id, generation) in self.there or None


@pytest.fixture
def subjects() -> Any:
    """Of a workflow that ended, with a memo and a task of its own."""
    backend = MemoryBackend(store_id=STORE)
    with Perdure(backend=backend, local_worker=False, grace=0.0) as app:

        @app.task(name="work")
        def work() -> int:
            return 1

        @app.workflow(name="main")
        def main() -> int:
            work.start()
            return wf.execute_task(work).result()

        main.options(id="w").start()
        run_until_idle(app)
        rows = sorted(backend._rows.values(), key=lambda row: row.created_at)
        children = [row.key for row in rows if row.parent is not None]
        yield [
            Subject(row, backend.read_journal(row.key), children if row.parent is None else [])
            for row in rows
        ]


def told(subject: Subject) -> set[tuple[str, str]]:
    return {(each.invariant, each.found) for each in broken(subject)}


def test_a_sound_store_with_a_memo(subjects: list[Subject]) -> None:
    report = audit(Shown(*subjects))  # type: ignore[arg-type]
    assert report.violations == ()
    assert report.facts["invocations"] == len(subjects) == 3


def test_a_start_and_a_memo_without_their_invocations(subjects: list[Subject]) -> None:
    (top,) = [each for each in subjects if each.record.parent is None]
    alone = Subject(top.record, top.entries, [])
    report = audit(Shown(alone))  # type: ignore[arg-type]
    assert [each.invariant for each in report.violations] == ["I11", "I11"]
    assert all("no such invocation" in each.found for each in report.violations)


def test_more_violations_than_are_named_are_counted(
    subjects: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditor, "VIOLATIONS_MAX", 5)
    report = audit(Shown(findings=3))  # type: ignore[arg-type]
    assert len(report.violations) == 5
    assert report.unnamed == 3 * len(CHECKS) - 5


def ended_as(subject: Subject, **changes: Any) -> Subject:
    return subject._replace(record=replace(subject.record, **changes))


def test_an_outcome_that_cannot_be_read_is_another_than_the_one_on_record(
    subjects: list[Subject],
) -> None:
    (top,) = [each for each in subjects if each.record.parent is None]
    assert told(top) == set()
    (end,) = [each for each in top.entries if each.kind == "end"]
    failed = ended_as(top, state=S.FAILED, outcome=b"[")
    assert ("I2", f"an end {end.name!r} of another outcome") in told(failed)
    entries = [replace(each, name="failed") if each is end else each for each in top.entries]
    unreadable = failed._replace(entries=entries)
    assert ("I2", "an end 'failed' of another outcome") in told(unreadable)


def test_who_was_cancelled_before_anybody_began_it_has_no_end(subjects: list[Subject]) -> None:
    (top,) = [each for each in subjects if each.record.parent is None]
    bare = Subject(replace(top.record, head=0, state=S.CANCELLED, outcome=None), [], [])
    assert told(bare) == set()
    begun = ended_as(top, state=S.CANCELLED, outcome=None)
    assert any(invariant == "I2" for invariant, _ in told(begun))


def test_entries_that_cannot_be_read_are_told_by_their_seals_alone(
    subjects: list[Subject],
) -> None:
    (top,) = [each for each in subjects if each.record.parent is None]
    entries = [
        replace(each, body=b"[") if each.kind in ("memo", "start") else each for each in top.entries
    ]
    damaged = Subject(top.record, entries, [])
    assert [each.invariant for each in broken(damaged)] == ["I19"]
    report = audit(Shown(damaged))  # type: ignore[arg-type]
    assert [each.invariant for each in report.violations] == ["I19"]


def test_limits_of_keys_are_counted_by_key() -> None:
    limits = {"q": QueueLimits(key_concurrency=1)}
    slots = [Slots("app", "q", "a", "one", 1), Slots("app", "q", "b", "one", 2)]
    found = list(over_limits(lambda: slots, "app", limits, lambda _: False))
    assert [(each.key, each.found) for each in found] == [("queue q, key b", "2 live leases")]


# --- baselines -----------------------------------------------------------------------------------


def compare(path: Path, *subjects: Subject) -> list[tuple[str, str]]:
    """What is told; the file is then of these."""
    with Baseline(path, STORE) as baseline:
        found = [
            each
            for number, subject in enumerate(subjects, 1)
            for each in baseline.changed(number, subject)
        ]
        assert baseline.gone() == []
        baseline.keep()
    return found


def test_what_is_acknowledged_does_not_change(subjects: list[Subject], tmp_path: Path) -> None:
    (top,) = [each for each in subjects if each.record.parent is None]
    path = tmp_path / "baseline"
    assert compare(path, top) == []
    assert compare(path, top) == []
    shorter = Subject(top.record, top.entries[:-1], top.children)
    assert compare(path, shorter) == [
        (f"{len(top.entries) - 1} entries", f"{len(top.entries)} or more")
    ]
    assert compare(path, top) == []
    another = ended_as(top, outcome=b"2")
    assert compare(path, another) == [("an end that changed", "the end that was acknowledged")]


@pytest.mark.parametrize("place", ["folder", "nowhere", "half", "store"])
def test_a_file_that_is_no_baseline(subjects: list[Subject], tmp_path: Path, place: str) -> None:
    path = tmp_path / "baseline"
    expected = "cannot be used"
    if place == "folder":
        path.mkdir()
    elif place == "nowhere":
        path = tmp_path / "no folder" / "baseline"
    elif place == "half":
        assert compare(path, subjects[0]) == []
        path.write_bytes(path.read_bytes()[:-10] + b"\n")
        expected = "cannot be read"
    else:
        with Baseline(path, b"another store...") as baseline:
            baseline.keep()
        expected = "it is of the store"
    with pytest.raises(ConfigurationError, match=expected), Baseline(path, STORE):
        raise AssertionError("it was opened")
    assert not list(tmp_path.glob("baseline.*")), "nothing is left behind"


def test_a_line_says_who_it_is(subjects: list[Subject]) -> None:
    record: InvocationRecord = subjects[0].record
    line = line_of(7, subjects[0])
    assert (line.number, line.key, line.epoch) == (7, "w#1", record.epoch)
