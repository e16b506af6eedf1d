"""What goes along with one commit of an attempt, how, and what is kept back for a while."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import Perdure
from perdure.backends.base import Release, Transition
from perdure.backends.memory import MemoryBackend
from perdure.core.entries import EntryKind
from perdure.core.journal import Draft
from perdure.engine import ledger as ledgers
from perdure.engine import outcomes
from perdure.engine.ledger import Ledger
from perdure.errors import LeaseLost
from tests.engine.test_small_parts import claimed


class Written:
    """A ledger of a claimed workflow, and the commits that it makes.

    Attributes:
        carefully: those that go through outages, as they bring what bodies gave.
        told: whose readers were told that there is something new.
    """

    def __init__(self, app: Perdure, patch: pytest.MonkeyPatch) -> None:
        self.runtime, self.record = app.runtime, claimed(app)
        self.ledger = Ledger(app.runtime, self.record, [])
        self.sent: list[Transition] = []
        self.carefully: list[Transition] = []
        self.told: list[Any] = []
        submit, careful = app.runtime.committer.submit, outcomes.commit_outcome

        def noted(transition: Transition) -> Any:
            self.sent.append(transition)
            return submit(transition)

        def noted_carefully(runtime: Any, transition: Transition) -> Any:
            self.carefully.append(transition)
            return careful(runtime, transition)

        patch.setattr(app.runtime.committer, "submit", noted)
        patch.setattr(ledgers, "commit_outcome", noted_carefully)
        patch.setattr(app.runtime.hub, "told", self.told.append)

    def stage(self, kind: EntryKind, *, held: bool = False) -> None:
        ordinal = self.ledger.journal.head + 1
        draft = Draft(kind, "", ordinal, f"k:{ordinal}", "n", b"", b"null", b"{}", 5)
        self.ledger.journal.stage(draft, held=held)

    def commit(self) -> Transition:
        assert self.ledger.commit(None)
        return self.sent[-1]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Any:
    with Perdure(backend=MemoryBackend(), local_worker=False) as app:
        yield Written(app, monkeypatch)


def test_all_that_is_staged_goes_along_once(written: Written) -> None:
    ledger, key = written.ledger, written.record.key
    assert not ledger.dirty
    ledger.add_data("name", b"1")
    assert ledger.dirty
    first = written.commit()
    assert (first.key, first.epoch, first.head, len(first.token)) == (key, 1, 0, 16)
    assert first.data == (("name", b"1"),)
    assert not ledger.dirty
    ledger.add_watch(key)
    ledger.add_consumed(7)
    second = written.commit()
    assert (second.data, second.watches, second.consumed) == ((), (key,), (7,))
    assert second.head_hash == ledger.journal.seal
    assert written.commit().watches == ()
    assert written.told == written.carefully == []


def test_crashes_are_forgotten_with_the_commit_that_says_so_and_no_other(written: Written) -> None:
    ledger = written.ledger
    ledger.reset_crashes = True
    assert written.commit().reset_crashes is True
    assert written.commit().reset_crashes is False
    ledger.progress_resets = True
    written.stage(EntryKind.BEGAN)
    assert written.commit().reset_crashes is False, "no progress"
    written.stage(EntryKind.RECORD)
    assert written.commit().reset_crashes is True
    ledger.progress_resets = False
    written.stage(EntryKind.RECORD)
    assert written.commit().reset_crashes is False


@pytest.mark.parametrize("kind", list(EntryKind))
def test_what_bodies_gave_goes_through_outages_and_readers_are_told(
    written: Written, kind: EntryKind
) -> None:
    written.stage(kind)
    written.commit()
    assert bool(written.carefully) == (kind in {"task", "attempt"})
    assert written.told == ([written.record.key] if kind in {"publish", "answer"} else [])


def test_what_pure_tasks_give_is_kept_back_for_a_while(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, moment = written.ledger, [0.0]
    monkeypatch.setattr(written.runtime.env, "monotonic", lambda: moment[0])
    monkeypatch.setattr(written.runtime.leases, "is_live", lambda _: True)
    written.commit()
    ledger.journal.open_scope("", 5).random()
    written.stage(EntryKind.TASK, held=True)
    moment[0] = 1.0
    assert ledger.hold()
    assert [entry.kind for entry in ledger.journal.deliveries] == ["task"]
    moment[0] = 1.01
    assert not ledger.hold()
    entries = written.commit().entries
    assert [entry.kind for entry in entries] == ["draws", "task"]
    assert entries[0].at > 1_600_000_000_000_000, "by the clock of the store"
    written.stage(EntryKind.TASK, held=True)
    assert ledger.hold(), "a new while begins with a commit"
    written.stage(EntryKind.RECORD)
    assert not ledger.hold(), "what came from outside is not kept back"


def test_without_a_lease_nothing_is_sent(written: Written) -> None:
    written.runtime.leases.forget(written.ledger._holding)
    with pytest.raises(LeaseLost):
        written.ledger.commit(Release())
    assert written.sent == []
