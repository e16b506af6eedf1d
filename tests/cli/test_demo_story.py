"""The demo claims nothing that it did not read: each lie planted here is told as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from perdure import Perdure, wf
from perdure.cli.demo_story import Effect, Reading, Story, read_effects
from perdure.core.lifecycle import InvocationState


@pytest.fixture
def story(tmp_path: Path):
    """As if a kill had come after the first of two tasks."""
    app = Perdure(f"sqlite:///{tmp_path / 'story.db'}")
    effects: list[Effect] = []

    @app.task(name="work")
    def work(what: str, number: str) -> str:
        key = wf.idempotency_key()
        pid = 1 if what == "first" else 2
        if what == "second":
            effects.append(Effect(1, what, "began", key, order_number=number))
        effects.append(Effect(pid, what, "began", key, order_number=number))
        effects.append(Effect(pid, what, "done", key, result=f"{what} done"))
        return f"{what} done"

    @app.workflow(name="order")
    def order() -> None:
        number = wf.uuid()
        work("first", number)
        work("second", number)

    handle = order.options(id="o").start()
    handle.result()
    backend = app.runtime.backend
    record = backend.read("o")
    assert record is not None
    entries = backend.read_journal(record.key)
    app.close()
    live = msgspec.structs.replace(record, state=InvocationState.RUNNING)
    return Story(
        pids=(1, 2),
        killed=Reading(live, entries[:2]),
        ended=Reading(record, entries),
        effects=effects,
    )


def held(story: Story) -> list[bool]:
    return [claim.holds for claim in story.claims()]


def change(story: Story, **changes: Any) -> list[bool]:
    return held(msgspec.structs.replace(story, **changes))


def test_the_truth_holds(story: Story) -> None:
    assert held(story) == [True] * 5
    assert [(op.key, op.first, op.second) for op in story.operations()] == [
        ("uuid:1", "ran", "replayed"),
        ("task:1", "ran", "replayed"),
        ("task:2", "cut off", "ran"),
    ]


def test_an_order_that_did_not_end(story: Story) -> None:
    assert change(story, ended=Reading(story.killed.record, story.ended.entries))[0] is False


def test_a_journal_that_was_changed(story: Story) -> None:
    entries = [*story.ended.entries]
    entries[1] = msgspec.structs.replace(entries[1], body=b'{"result":"first done"}')
    assert change(story, ended=Reading(story.ended.record, entries))[1] is False


def test_a_recorded_task_that_ran_twice(story: Story) -> None:
    again = msgspec.structs.replace(story.effects[0], pid=2)
    assert change(story, effects=[*story.effects, again])[2] is False


def test_another_uuid(story: Story) -> None:
    effects = [
        msgspec.structs.replace(effect, order_number="other") if effect.pid == 2 else effect
        for effect in story.effects
    ]
    assert change(story, effects=effects)[3] is False


def test_a_cut_off_task_that_ran_under_another_key(story: Story) -> None:
    effects = [
        msgspec.structs.replace(effect, key="other")
        if effect.pid == 2 and effect.event == "began"
        else effect
        for effect in story.effects
    ]
    assert change(story, effects=effects)[4] is False


def test_an_unfinished_line_is_left_out() -> None:
    line = '{"pid": 1, "task": "t", "event": "began", "key": "k"}'
    assert len(read_effects(f"{line}\n{line[:20]}")) == 1
