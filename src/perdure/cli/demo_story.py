"""What happened in the demo, told from two readings of the journal and the file of effects. Pure.

Nothing here knows what should have happened: each claim is computed from what was read, and one
that does not hold is told as such.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from perdure.backends.base import InvocationRecord
from perdure.cli.text import raw
from perdure.cli.timeline import Line, timeline
from perdure.core.entries import COMMANDS, Entry, EntryKind
from perdure.core.journal import find_value
from perdure.core.lifecycle import InvocationState
from perdure.engine.outcome import read_body

RAN, REPLAYED, CUT_OFF, NOT_REACHED = "ran", "replayed", "cut off", ""


class Effect(msgspec.Struct):
    """One line that a task wrote to the outside."""

    pid: int
    task: str
    event: str
    key: str
    result: str = ""
    order_number: str = ""


class Reading(msgspec.Struct):
    """The workflow as the database had it at one time."""

    record: InvocationRecord
    entries: list[Entry]

    @property
    def task_results(self) -> list[str]:
        """Recorded results of tasks, in order."""
        return [
            msgspec.json.decode(read_body(entry.body).result, type=str)
            for entry in self.entries
            if entry.kind == EntryKind.TASK
        ]


class Operation(msgspec.Struct):
    """One operation, and what each process did with it."""

    key: str
    what: str
    value: str
    first: str
    second: str


class Claim(msgspec.Struct):
    """Something the demo says, and whether what was read shows it."""

    text: str
    holds: bool


class Story(msgspec.Struct, kw_only=True):
    """The whole story as data.

    Attributes:
        pids: of the killed process and of the one that went on.
        killed: the journal after the kill. ended: the journal at the end.
    """

    pids: tuple[int, int]
    killed: Reading
    ended: Reading
    effects: list[Effect]

    @property
    def runs(self) -> dict[str, list[Effect]]:
        """The beginnings of each task's body, by idempotency key."""
        found: dict[str, list[Effect]] = {}
        for effect in self.effects:
            if effect.event == "began":
                found.setdefault(effect.key, []).append(effect)
        return found

    @property
    def cut_off(self) -> list[Effect]:
        """Bodies that began in the killed process and were never done there."""
        done = {effect.key for effect in self.effects if effect.event == "done"}
        done_first = {e.key for e in self.effects if e.event == "done" and e.pid == self.pids[0]}
        began = [e for runs in self.runs.values() for e in runs if e.pid == self.pids[0]]
        return [effect for effect in began if effect.key not in done_first and effect.key in done]

    def key_of(self, result: str) -> str:
        """The idempotency key of the run that gave this result."""
        return next((e.key for e in self.effects if e.event == "done" and e.result == result), "")

    def operations(self) -> Iterator[Operation]:
        """Draws and commands in the order of the journal."""
        known = len(self.killed.entries)
        shown = {*COMMANDS, EntryKind.DRAWS}
        for line in timeline(self.ended.entries):
            if line.kind in shown:
                before = line.position < known
                first = RAN if before else self._reached(line)
                second = REPLAYED if before else RAN
                yield Operation(line.key, line.what, line.value, first, second)

    def _reached(self, line: Line) -> str:
        """What the killed process did with something that it did not record."""
        entry = self.ended.entries[line.position]
        if entry.kind != EntryKind.TASK:
            return NOT_REACHED
        result = msgspec.json.decode(read_body(entry.body).result, type=str)
        key = self.key_of(result)
        return CUT_OFF if key in {effect.key for effect in self.cut_off} else NOT_REACHED

    def claims(self) -> list[Claim]:
        """What the demo shows, each with whether it holds."""
        return [
            self._finished(),
            self._nothing_changed(),
            self._nothing_twice(),
            self._same_uuid(),
            *self._cut_off_again(),
        ]

    def _finished(self) -> Claim:
        holds = (
            self.killed.record.state is not InvocationState.COMPLETED
            and self.ended.record.state is InvocationState.COMPLETED
        )
        return Claim("The order was under way at the kill, and is completed now.", holds)

    def _nothing_changed(self) -> Claim:
        count = len(self.killed.entries)
        return Claim(
            f"The {count} journal entries of process 1 are unchanged, byte for byte.",
            count > 0 and self.ended.entries[:count] == self.killed.entries,
        )

    def _nothing_twice(self) -> Claim:
        results = self.killed.task_results
        runs = self.runs
        holds = all(
            [effect.pid for effect in runs.get(self.key_of(result), [])] == [self.pids[0]]
            for result in results
        )
        return Claim(
            f"{len(results)} task results were recorded before the kill. Each of these tasks ran "
            "once, in process 1, never again.",
            bool(results) and holds,
        )

    def _same_uuid(self) -> Claim:
        recorded = {find_value(reading.entries, "uuid:1") for reading in (self.killed, self.ended)}
        seen = {
            pid: {effect.order_number for effect in self.effects if effect.pid == pid} - {""}
            for pid in self.pids
        }
        first, second = (seen[pid] for pid in self.pids)
        return Claim(
            f"wf.uuid() gave {', '.join(sorted(first | second))} in both processes.",
            len(recorded) == 1 and first == second == recorded,
        )

    def _cut_off_again(self) -> Iterator[Claim]:
        for effect in self.cut_off:
            again = [run.pid for run in self.runs[effect.key] if run.pid == self.pids[1]]
            yield Claim(
                f"{effect.task!r} was at work when the kill came and had recorded nothing, so it "
                "ran again, with the same idempotency key.",
                len(again) == 1,
            )

    def as_json(self) -> dict[str, Any]:
        """The story for a program."""
        return {
            "workflow": {
                "id": self.ended.record.key.invocation_id,
                "name": self.ended.record.name,
                "status": self.ended.record.state.value,
                "result": raw(self.ended.record.outcome or b"null"),
            },
            "processes": [
                {
                    "pid": pid,
                    "ended_by": ended_by,
                    "journal_entries": len(reading.entries),
                    "task_results": reading.task_results,
                }
                for pid, ended_by, reading in zip(
                    self.pids, ("SIGKILL", "itself"), (self.killed, self.ended), strict=True
                )
            ],
            "operations": list(self.operations()),
            "effects": self.effects,
            "claims": self.claims(),
        }


def read_effects(text: str) -> list[Effect]:
    """The lines of the file of effects; an unfinished last line is left out."""
    lines: Sequence[str] = text.split("\n")[:-1]
    return [msgspec.json.decode(line, type=Effect) for line in lines]
