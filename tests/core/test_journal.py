"""Entries in, decisions out: what replay finds, what it stages, and what it calls a difference."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from perdure.core.divergence import describe_arguments
from perdure.core.entries import Entry, EntryKind, checksum, genesis, verify_chain
from perdure.core.identity import InvocationKey
from perdure.core.journal import (
    HELD_BYTES_MAX,
    HELD_MAX,
    Draft,
    Journal,
    find_counter,
    find_value,
)
from perdure.errors import Divergence, JournalCorrupted

KEY = InvocationKey("order-1", 1)
SEED = bytes(range(32))
CLOCK = 1_000_000


def line():
    return "flow.py:7"


def never():
    raise AssertionError("the line is asked for only where it is needed")


class Run:
    """One attempt on a journal: its root scope and the commands that the code asks for."""

    def __init__(self, entries=(), head=None):
        self.journal = Journal(KEY, SEED, entries, len(entries) if head is None else head)
        self.root = self.journal.open_scope("", CLOCK)

    def begin(self, kind=EntryKind.TASK, name="pay", prefix="task", scope=None, at=line):
        return self.journal.begin(scope or self.root, kind, prefix, name, at)

    def do(self, kind=EntryKind.TASK, name="pay", prefix="task", scope=None, **how):
        command = self.begin(kind, name, prefix, scope)
        self.stage(command, **how)
        return command

    def stage(self, command, **how):
        draft = Draft(
            command.kind,
            command.scope.path,
            command.ordinal,
            command.key,
            command.name,
            b"d",
            b'{"result":1}',
            command.meta,
            CLOCK,
        )
        self.journal.stage(draft, **how)

    def commit(self):
        entries = self.journal.seal_pending(3, b"t" * 16, lambda: CLOCK)
        self.journal.acknowledge(entries)
        return list(entries)


def recorded():
    """A journal of some draws, two tasks, a branch and a memo, and its entries."""
    run = Run()
    run.root.random()
    run.root.uuid()
    entries = []
    run.do()
    entries += run.commit()
    branch = run.journal.open_scope(run.root.next_branch(), run.root.clock)
    branch.random()
    run.do(EntryKind.RECORD, "seen", "seen", branch)
    run.journal.stage(
        Draft(
            EntryKind.MEMO, "", 0, "task_invocation:pay:00", "pay", b"d", b'"child"', b"{}", CLOCK
        )
    )
    run.journal.end_scope(branch, "returned", b"null", CLOCK)
    entries += run.commit()
    run.root.random()
    run.do(name="pack")
    entries += run.commit()
    run.journal.end_scope(run.root, "completed", b'"x"', CLOCK)
    entries += run.commit()
    return entries


def test_keys_of_the_root_are_plain_and_of_branches_carry_their_path():
    assert [(e.kind, e.scope, e.ordinal, e.key) for e in recorded()] == [
        ("draws", "", 0, "draws"),
        ("task", "", 1, "task:1"),
        ("draws", "/1", 0, "draws"),
        ("record", "/1", 1, "/1:seen:1"),
        ("memo", "", 0, "task_invocation:pay:00"),
        ("end", "/1", 0, "end"),
        ("draws", "", 0, "draws"),
        ("task", "", 2, "task:2"),
        ("end", "", 0, "end"),
    ]


def test_positions_are_dense_and_every_entry_is_sealed_to_the_one_before():
    entries = recorded()
    assert [entry.position for entry in entries] == list(range(9))
    seal = genesis(KEY, SEED)
    for entry in entries:
        seal = checksum(seal, entry)
        assert entry.checksum == seal
    assert verify_chain(KEY, SEED, entries, 9) == seal


def test_a_replay_finds_everything_and_stages_nothing():
    run = Run(entries := recorded())
    first = Run()
    assert run.root.random() == first.root.random()
    assert run.root.uuid() == first.root.uuid()
    command = run.begin(at=never)
    assert command.recorded == entries[1]
    assert run.journal.line_of(entries[1]) == "flow.py:7"
    branch = run.journal.open_scope(run.root.next_branch(), CLOCK)
    branch.random()
    assert run.begin(EntryKind.RECORD, "seen", "seen", branch).recorded == entries[3]
    assert run.journal.end_scope(branch, "returned", b"null", CLOCK) is False
    run.root.random()
    assert run.journal.ahead(run.root) is entries[7]
    assert run.begin(name="pack", at=never).recorded == entries[7]
    assert run.journal.ahead(run.root) is None
    assert run.journal.end_scope(run.root, "completed", b'"x"', CLOCK) is False
    assert not run.journal.dirty
    assert run.journal.seal_pending(4, b"u" * 16, lambda: CLOCK) == ()
    assert [entry.key for entry in run.journal.deliveries] == ["task:1", "task:2"]
    assert run.journal.end == entries[8]
    assert run.journal.memos == {"task_invocation:pay:00": "child"}
    assert run.journal.ordinal(run.root, "task") == 2
    assert run.journal.scope("") is run.root
    assert run.journal.ordinal(run.root, "seen") == 0


def test_past_the_end_a_command_is_new():
    run = Run(recorded()[:2])
    run.root.random()
    run.root.uuid()
    assert run.begin().recorded is not None
    command = run.begin()
    assert command.recorded is None
    assert command.place == ("", 2)
    assert command.key == "task:2"
    assert b'"random":1' in command.meta
    assert b"flow.py:7" in command.meta


DIFFERENCES: dict[str, dict[str, Any]] = {
    "kind": {"kind": EntryKind.START},
    "name": {"name": "other"},
    "key": {"prefix": "start"},
}


@pytest.mark.parametrize("what", DIFFERENCES)
def test_another_command_at_a_recorded_place(what):
    run = Run(recorded())
    run.root.random()
    run.root.uuid()
    with pytest.raises(Divergence, match="position 1") as caught:
        run.begin(**DIFFERENCES[what])
    text = str(caught.value)
    assert "recorded: task 'pay' as 'task:1', after 1 random, 1 uuid, at flow.py:7" in text
    assert "now:" in text
    cause = "its place in its own sequence" if what == "key" else "another operation"
    assert cause in text


@pytest.mark.parametrize("draws", [0, 1, 3])
def test_another_number_of_draws(draws):
    run = Run(recorded())
    for _ in range(draws):
        run.root.random()
    with pytest.raises(Divergence, match="another number of draws"):
        run.begin()


@pytest.mark.parametrize("asked_at", ["flow.py:7", '{"draws":{}}.py:7'])
def test_a_draw_where_none_was(asked_at):
    run = Run()
    run.stage(run.begin(at=lambda: asked_at))
    entries = run.commit()
    assert Run(entries).begin(at=never).recorded == entries[0]
    other = Run(entries)
    other.root.random()
    with pytest.raises(Divergence, match="another number of draws") as caught:
        other.begin()
    assert f"after no draws, at {asked_at}" in str(caught.value)


def test_a_delivery_is_taken_only_when_it_is_the_next_one():
    entries = recorded()
    run = Run(entries)
    assert not run.journal.take(entries[7])
    assert run.journal.take(entries[1])
    assert not run.journal.take(entries[1])
    assert run.journal.take(entries[7])
    assert not run.journal.take(entries[7])
    assert not run.journal.deliveries


def test_more_commands_than_an_ended_scope_has():
    run = Run(recorded())
    branch = run.journal.open_scope("/1", CLOCK)
    branch.random()
    run.begin(EntryKind.RECORD, "seen", "seen", branch)
    with pytest.raises(Divergence, match="'/1'") as caught:
        run.begin(EntryKind.RECORD, "seen", "seen", branch)
    assert "more operations" in str(caught.value)


def test_fewer_commands_than_recorded():
    run = Run(recorded())
    run.root.random()
    run.root.uuid()
    run.begin()
    run.root.random()
    with pytest.raises(Divergence, match="fewer operations") as caught:
        run.journal.end_scope(run.root, "completed", b'"x"', CLOCK)
    assert "'pack'" in str(caught.value)


@pytest.mark.parametrize(
    ("draws", "name", "body"),
    [(1, "completed", b'"x"'), (2, "failed", b'"x"'), (2, "completed", b'"y"')],
)
def test_another_end(draws, name, body):
    run = Run(recorded())
    run.root.random()
    run.root.uuid()
    run.begin()
    if draws == 2:
        run.root.random()
        run.begin(name="pack")
        with pytest.raises(Divergence, match="not deterministic"):
            run.journal.end_scope(run.root, name, body, CLOCK)
    else:
        with pytest.raises(Divergence):
            run.begin(name="pack")


def test_a_dropped_call_stands_for_its_task():
    run = Run()
    command = run.begin()
    command.kind = EntryKind.DROPPED
    run.stage(command)
    entries = run.commit()
    assert not run.journal.deliveries
    again = Run(entries)
    assert again.begin().recorded == entries[0]
    with pytest.raises(Divergence):
        Run(entries).begin(EntryKind.START, prefix="task")


def test_notes_belong_to_their_command():
    run = Run()
    command = run.begin()
    for kind in (EntryKind.BEGAN, EntryKind.ATTEMPT, EntryKind.BEGAN):
        run.journal.stage(
            Draft(kind, "", command.ordinal, command.key, "pay", b"", b"{}", b"{}", 5)
        )
    entries = run.commit()
    again = Run(entries)
    assert again.journal.unfinished_body() == "the body of task 'pay' (as 'task:1')"
    command = again.begin()
    assert [note.kind for note in command.notes] == ["began", "attempt", "began"]
    assert command.recorded is None
    again.stage(command)
    done = Run([*entries, *again.commit()])
    assert done.journal.unfinished_body() == ""
    assert Run().journal.unfinished_body() == ""
    assert Run(entries[:2]).journal.unfinished_body() == ""


def test_what_is_observed_must_be_durable_before_a_body():
    run = Run()
    run.do(EntryKind.RECORD, "x", "x")
    assert not run.journal.observed
    run.do(EntryKind.RECORD, "x", "x", observed=True)
    assert run.journal.observed
    run.commit()
    assert not run.journal.observed


def test_what_is_held_back_is_delivered_first_and_appended_later_as_if_it_had_been_appended():
    def steps(after_each):
        run = Run()
        for number in range(3):
            run.root.random()
            run.do(held=True)
            if number:  # and once several together
                after_each(run)
        branch = run.journal.open_scope(run.root.next_branch(), run.root.clock)
        branch.uuid()
        run.journal.end_scope(branch, "returned", b"null", CLOCK)
        after_each(run)
        run.root.random()
        run.do(EntryKind.RECORD, "x", "x")
        return run

    plain: list[Entry] = []
    run = steps(lambda run: plain.extend(run.commit()))
    plain += run.commit()
    seen = list(run.journal.deliveries)
    held = steps(lambda run: run.journal.hold(lambda: CLOCK))
    early = list(held.journal.deliveries)
    assert [(e.position, e.key, e.body, e.at) for e in early] == [
        (e.position, e.key, e.body, e.at) for e in seen
    ]
    assert {(e.epoch, e.token, e.checksum) for e in early} == {(0, b"", b"")}, "not sealed yet"
    assert held.journal.head == 0
    assert held.commit() == plain
    assert list(held.journal.deliveries) == early, "each is delivered once"
    assert not held.journal.dirty
    assert (held.journal.head, held.journal.seal) == (run.journal.head, run.journal.seal)


def test_what_may_be_held_back_and_what_may_not():
    run = Run()
    run.root.random()
    assert not run.journal.firm
    run.do(held=True)
    assert (run.journal.firm, run.journal.deferred) == (False, True)
    run.journal.hold(lambda: CLOCK)
    assert (run.journal.dirty, run.journal.deferred) == (True, True)
    run.do(EntryKind.SLEEP, prefix="sleep")
    assert run.journal.firm
    run.commit()
    assert (run.journal.firm, run.journal.deferred, run.journal.dirty) == (False, False, False)


def test_the_end_of_a_branch_may_be_held_back_and_that_of_the_root_not():
    run = Run()
    branch = run.journal.open_scope(run.root.next_branch(), run.root.clock)
    assert run.journal.end_scope(branch, "returned", b"null", CLOCK)
    assert run.journal.dirty
    assert not run.journal.firm
    run.commit()
    assert run.journal.end_scope(run.root, "completed", b"null", CLOCK)
    assert run.journal.firm


def test_what_is_held_back_is_bounded_in_count_and_bytes():
    run = Run()
    for _ in range(HELD_MAX - 1):
        run.do(held=True)
        run.journal.hold(lambda: CLOCK)
    assert not run.journal.full
    run.do(held=True)
    assert run.journal.full
    assert len(run.commit()) == HELD_MAX
    assert not run.journal.full
    large = Draft(EntryKind.TASK, "", 0, "", "pay", b"", b"x" * HELD_BYTES_MAX, b"{}", CLOCK)
    run.journal.stage(large, held=True)
    assert run.journal.full


def test_a_start_that_did_not_happen_is_taken_back():
    run = Run()
    run.do(EntryKind.START, prefix="start")
    assert run.journal.dirty
    run.journal.unstage()
    assert not run.journal.dirty


def test_draws_are_buffered_and_flushed_when_they_are_many():
    run = Run()
    for _ in range(HELD_MAX - 1):
        run.root.random()
    assert not run.journal.full
    run.root.random()
    assert run.journal.full
    (block,) = run.commit()
    assert (block.kind, block.scope, block.ordinal, block.key) == (EntryKind.DRAWS, "", 0, "draws")
    assert (block.name, block.digest, block.meta, block.at) == ("", b"", b"{}", CLOCK)
    assert not run.journal.full
    assert not run.journal.dirty
    run.root.random()
    (rest,) = run.commit()
    again = Run([block, rest])
    assert [again.root.random() for _ in range(HELD_MAX + 1)] == [
        run.root.source.random(n + 1) for n in range(HELD_MAX + 1)
    ]
    assert not again.journal.dirty
    again.root.random()
    assert again.journal.dirty


def test_values_are_found_by_key():
    entries = recorded()
    run = Run()
    values = [run.root.random(), run.root.uuid(), run.root.random()]
    assert find_value(entries, "random:1") == values[0]
    assert find_value(entries, "uuid:1") == values[1]
    assert find_value(entries, "random:2") == values[2]
    assert find_value(entries, "random:3") is None
    assert find_value(entries, "time:1") is None
    assert find_value(entries, "task:1") == entries[1]
    assert find_value(entries, "/1:seen:1") == entries[3]
    branch = run.journal.open_scope(run.root.next_branch(), run.root.clock)
    assert find_value(entries, "/1:random:1") == branch.random() != values[0]
    assert find_value(entries, "task_invocation:pay:00") == entries[4]
    assert find_value(entries, "seen:1") is None
    assert find_value(entries, "random:x") is None
    assert find_value(entries, "/9:random:1") is None
    assert find_counter(entries, "random") == 2
    assert find_counter(entries, "task") == 2
    assert find_counter(entries, "seen") == 0
    assert find_counter(entries, "uuid") == 1
    assert find_counter(entries, "bits") == 0


# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field", [f for f in Entry.__struct_fields__ if f not in ("token", "checksum")]
)
def test_every_field_but_the_token_is_sealed(field):
    entries = recorded()
    value = getattr(entries[1], field)
    more: object = {int: 1, bytes: b"x"}.get(type(value), "x")
    changed = str(value) + "x" if more == "x" else value + more
    entries[1] = msgspec.structs.replace(entries[1], **{field: changed})
    with pytest.raises(JournalCorrupted, match=r"order-1.*backup"):
        Journal(KEY, SEED, entries, len(entries))


@pytest.mark.parametrize(
    "damage",
    [
        lambda e: e[1:],
        lambda e: e[:-1],
        lambda e: [*e[:2], *e[3:]],
        lambda e: [e[1], e[0], *e[2:]],
        lambda e: [*e, e[-1]],
        lambda e: [],
    ],
)
def test_missing_doubled_and_swapped_entries(damage):
    entries = recorded()
    with pytest.raises(JournalCorrupted):
        Journal(KEY, SEED, damage(entries), len(entries))


def test_a_journal_belongs_to_one_life_of_one_workflow():
    entries = recorded()
    for key, seed in (
        (InvocationKey("order-2", 1), SEED),
        (InvocationKey("order-1", 2), SEED),
        (KEY, bytes(32)),
    ):
        with pytest.raises(JournalCorrupted, match="checksum"):
            Journal(key, seed, entries, len(entries))


def test_an_entry_of_a_newer_kind():
    run = Run()
    run.journal.stage(Draft("novel", "", 0, "k", "n", b"", b"{}", b"{}", 5))
    with pytest.raises(JournalCorrupted, match=r"unknown kind 'novel'.*newer perdure"):
        Run(run.commit())


def test_a_hole_in_the_commands_of_a_scope():
    run = Run()
    run.journal.stage(Draft(EntryKind.TASK, "", 2, "task:2", "pay", b"", b"{}", b"{}", 5))
    with pytest.raises(JournalCorrupted, match=r"command 2.*expected 1"):
        Run(run.commit())


def test_long_arguments_are_cut_in_a_report():
    (entry,) = [entry for entry in recorded() if entry.key == "task:1"]
    text = describe_arguments(KEY, entry, "", b"a" * 1000, b"b", "")
    assert "a" * 300 + "..." in text
    assert "a" * 301 not in text
    assert "an unknown line" in text
