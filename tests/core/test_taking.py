"""What a journal hands out and takes back: answers, memos, ends, and what it holds back."""

from __future__ import annotations

import pytest

from perdure.core.entries import Entry, EntryKind
from perdure.core.journal import HELD_BYTES_MAX, Draft, Journal
from perdure.core.reading import read_meta
from perdure.core.scope import NUMBER_BYTES
from perdure.errors import Divergence
from tests.core.test_journal import CLOCK, KEY, SEED, Run, recorded


def delivery(kind: EntryKind, scope: str = "", ordinal: int = 0) -> Entry:
    return Entry(0, kind, scope, ordinal, "k", "n", b"", b"null", b"{}", 5, 1, b"", b"")


# --- answers -------------------------------------------------------------------------------------


def test_an_answer_is_taken_by_the_command_that_asked_if_it_is_the_next_delivery() -> None:
    journal = Run().journal
    assert journal.take_answer(("", 1)) is None
    answer = delivery(EntryKind.TASK, "/1", 2)
    later = delivery(EntryKind.FIRED, "/1", 3)
    journal.deliveries.extend([answer, later])
    for other in (("/1", 1), ("/1", 3), ("", 2), ("/2", 2)):
        assert journal.take_answer(other) is None
    assert list(journal.deliveries) == [answer, later]
    assert journal.take_answer(("/1", 2)) is answer
    assert journal.take_answer(("/1", 3)) is later
    assert not journal.deliveries


def test_the_end_of_another_invocation_answers_no_command() -> None:
    """It has a place in the journal, and none in the code: whoever waits for it gets it."""
    journal = Run().journal
    journal.deliveries.append(delivery(EntryKind.DONE, "", 1))
    assert journal.take_answer(("", 1)) is None
    assert journal.take_answer(("", 0)) is None
    assert len(journal.deliveries) == 1


def test_what_comes_next_is_seen_before_it_is_asked_for() -> None:
    entries = recorded()
    run = Run(entries)
    first = run.journal.ahead(run.root)
    assert first is not None
    assert first is entries[1]
    assert run.journal.line_of(first) == "flow.py:7"
    run.root.random()
    run.root.uuid()
    assert run.begin().recorded is first
    assert run.journal.ordinal(run.root, "task") == 1
    assert run.journal.ordinal(run.root, "sleep") == 0
    second = run.journal.ahead(run.root)
    assert second is entries[7]
    run.root.random()
    run.begin(name="pack")
    assert run.journal.ahead(run.root) is None
    assert run.journal.ordinal(run.root, "task") == 2


# --- loading -------------------------------------------------------------------------------------


def test_memos_are_known_with_their_entries() -> None:
    entries = recorded()
    journal = Journal(KEY, SEED, entries, len(entries))
    assert journal.memos == {"task_invocation:pay:00": "child"}
    assert journal.unclaimed_memos == {"task_invocation:pay:00": entries[4]}
    assert journal.end is entries[8]
    assert journal.head == 9
    part = Journal(KEY, SEED, entries[:6], 6)
    assert part.end is None, "the end of a branch is not that of the workflow"
    assert Journal(KEY, SEED, [], 0).end is None


def test_a_scope_begins_at_the_clock_that_it_is_given() -> None:
    run = Run()
    scope = run.journal.open_scope("/1", 77)
    assert (scope.clock, scope.path) == (77, "/1")
    assert run.journal.scope("/1") is scope
    assert run.journal.scope("") is run.root


def test_the_body_in_flight_at_a_crash_is_the_newest_that_has_not_ended() -> None:
    def begun(scope: str, ordinal: int, kind: EntryKind = EntryKind.BEGAN) -> None:
        key = f"{scope}:task:{ordinal}"
        run.journal.stage(Draft(kind, scope, ordinal, key, "pay", b"", b"{}", b"{}", CLOCK))

    run = Run()
    assert run.journal.unfinished_body() == ""
    begun("", 1)
    run.do()
    begun("", 2)
    entries = run.commit()
    told = "the body of task 'pay' (as ':task:2')"
    assert Run(entries).journal.unfinished_body() == told
    begun("", 2, EntryKind.UNBEGUN)
    entries += run.commit()
    assert Run(entries).journal.unfinished_body() == "", "it did not start after all"
    begun("", 2)
    begun("/1", 1)
    entries += run.commit()
    assert Run(entries).journal.unfinished_body() == "the body of task 'pay' (as '/1:task:1')"
    run.do()
    entries += run.commit()
    assert Run(entries).journal.unfinished_body() == "the body of task 'pay' (as '/1:task:1')"


def test_a_new_command_has_no_notes() -> None:
    run = Run()
    run.journal.stage(Draft(EntryKind.BEGAN, "", 1, "task:1", "pay", b"", b"{}", b"{}", CLOCK))
    again = Run(run.commit())
    assert [note.kind for note in again.begin().notes] == ["began"]
    assert again.begin().notes == ()


# --- differences ---------------------------------------------------------------------------------


def test_a_difference_names_the_line_that_asks() -> None:
    entries = recorded()
    with pytest.raises(Divergence, match=r"now: .*'sleep' .* at flow\.py:7"):
        Run(entries).begin(EntryKind.SLEEP, "sleep", "sleep")
    run = Run(entries)
    branch = run.journal.open_scope("/1", CLOCK)
    branch.random()
    run.begin(EntryKind.RECORD, "seen", "seen", branch)
    with pytest.raises(Divergence, match=r"now: .*'more' .* at flow\.py:7"):
        run.begin(EntryKind.RECORD, "more", "more", branch)


# --- what is held back ---------------------------------------------------------------------------


def test_the_bytes_of_draws_are_counted_as_they_are_recorded() -> None:
    run = Run()
    size = len(f"{run.root.source.bits(1, 4_000):x}")
    for number in range(1, HELD_BYTES_MAX // size + 1):
        assert not run.journal.full, number
        run.root.bits(4_000)
    run.root.bits(4_000)
    assert run.journal.full


def test_numbers_are_counted_as_so_many_bytes_each() -> None:
    run = Run()
    body = b"x" * (HELD_BYTES_MAX - NUMBER_BYTES)
    large = Draft(EntryKind.TASK, "", 0, "", "pay", b"", body, b"", 5)
    run.journal.stage(large, held=True)
    assert not run.journal.full
    run.root.random()
    assert run.journal.full
    entries = run.commit()
    assert len(entries) == 2
    assert not run.journal.full


def test_so_many_bytes_are_held_back_and_no_more() -> None:
    run = Run()
    for size, full in ((HELD_BYTES_MAX - 1, False), (1, True)):
        body = b"x" * size
        held = Draft(EntryKind.TASK, "", 0, "", "pay", b"", body, b"", 5)
        run.journal.stage(held, held=True)
        assert run.journal.full is full


def test_the_end_of_a_scope_is_an_entry_like_others() -> None:
    run = Run()
    run.root.random()
    assert run.journal.end_scope(run.root, "completed", b'"x"', 99)
    (_, end) = run.commit()
    assert (end.kind, end.scope, end.ordinal, end.key) == ("end", "", 0, "end")
    assert (end.name, end.digest, end.body, end.at) == ("completed", b"", b'"x"', 99)
    assert read_meta(end).draws == {"random": 1}
    assert read_meta(end).line == ""
