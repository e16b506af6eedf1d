"""Workflows of a simulation: made from the seed as plain data, and run by one interpreter.

A program is data so that it can be made smaller when it fails. What it does depends on nothing but
itself and on what its operations give, so each attempt of it does the same.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec

Block = tuple["Op", ...]


class Op(msgspec.Struct, frozen=True):
    """One operation of a program.

    Attributes:
        kind: what it is; see `KINDS`.
        amount: seconds, or how often, or how many; what it means is up to the kind.
        blocks: what is run in it, such as branches or children.
        number: where it stands; the name of the child that it starts, and shown to people.
        awaits: the child that it starts is an async workflow.
    """

    kind: str
    amount: float = 0.0
    blocks: tuple[Block, ...] = ()
    number: int = 0
    awaits: bool = False

    def __str__(self) -> str:
        """As it is shown in a failure."""
        inner = ", ".join(f"[{shown(block)}]" for block in self.blocks)
        amount = f" {self.amount:g}" if self.amount else ""
        return f"{self.kind}{amount}{f'({inner})' if inner else ''}"


def shown(block: Block) -> str:
    """A program as text."""
    return "; ".join(map(str, block))


SIMPLE = {
    "task": 6,
    "flaky": 2,
    "pure": 2,
    "once": 1,
    "record": 1,
    "draw": 2,
    "sleep": 3,
    "receive": 3,
    "answer": 2,
    "publish": 2,
    "data": 1,
    "queued": 1,
    "memo": 1,
    "undo": 1,
    "tell": 1,
    "empty": 1,
    "narrow": 1,
    "twins": 1,
    "mutable": 1,
    "number": 1,
    "hostile": 1,
    "poison": 1,
}
NESTED = {
    "gather": 3,
    "select": 1,
    "loop": 1,
    "child": 2,
    "begin": 2,
    "cancelled": 1,
    "deadline": 1,
    "attempt": 1,
    "cleanup": 1,
}
KINDS = SIMPLE | NESTED
"""Kinds of operations, with how often they are chosen.

task, flaky, pure, once: a call of a task that runs here; flaky ones fail at times.
queued, memo: a task that any worker may run; memo by `execute_task`.
empty: a task that gives nothing: None, "", 0, False or [].
narrow: a task on a queue that runs one at a time. twins: two equal calls, one after the other.
mutable: a task that changes the list that it is given.
number: a task that gives a whole number where a fraction is asked for.
hostile: a task that raises what cannot even be shown. poison: a task that kills its process.
record, draw, data: `wf.record`, draws of chance and time, `wf.set_data`.
sleep; receive: a message, for so long at most; tell: a message to itself.
answer: an update, for so long at most. publish: a value of the output stream.
undo: registers a task to be called if the workflow fails.
gather, select: branches. loop: so many rounds. child: started and waited for.
begin: a child that is waited for at the end. cancelled: a child that is started and cancelled.
deadline: a block with a time limit. attempt: a block that fails at its end, and is caught.
cleanup: a block with a task in its `finally`.
"""


_COMMANDS = frozenset(
    {"task", "flaky", "sleep", "record", "receive", "answer", "publish", "data", "tell", "undo"}
)


class Maker:
    """Makes programs.

    Args:
        size: operations of one program, about.
        poison: whether bodies may kill their processes.
    """

    def __init__(self, chance: random.Random, size: int, *, poison: bool = False) -> None:
        """Choose the mixture of this schedule: some kinds do not occur in it."""
        self._chance = chance
        self._left = 0
        self._size = size
        self._number = 0
        missing = chance.choice((0.0, 0.2, 0.5))
        kinds = [kind for kind in KINDS if kind == "task" or chance.random() >= missing]
        self._simple = [kind for kind in kinds if kind in SIMPLE]
        if not poison:
            self._simple = [kind for kind in self._simple if kind != "poison"]
        self._nested = [kind for kind in kinds if kind in NESTED]

    def program(self, size: int | None = None) -> Block:
        """One program, of about so many operations."""
        self._left = size or self._size
        block = self._block(0)
        if self._chance.random() < 0.2:
            block = (*block, self._op("fail", 0))
        return block

    def _block(self, depth: int) -> Block:
        length = self._chance.randint(1, 6 if depth == 0 else 3)
        return tuple(self._some(depth) for _ in range(length) if self._left > 0)

    def _some(self, depth: int) -> Op:
        nested = (
            self._nested if depth < 3 and self._left > 2 and self._chance.random() < 0.4 else []
        )
        table = nested or self._simple
        weights = [KINDS[kind] for kind in table]
        return self._op(self._chance.choices(table, weights)[0], depth)

    def _op(self, kind: str, depth: int) -> Op:
        self._left -= 1
        self._number += 1
        number, chance = self._number, self._chance
        match kind:
            case "gather" | "select":
                blocks = tuple(self._block(depth + 1) for _ in range(chance.randint(2, 3)))
                return Op(kind, 0.0, blocks, number)
            case "loop":
                return Op(kind, chance.randint(2, 4), (self._block(depth + 1),), number)
            case "child" | "begin" | "cancelled" | "deadline" | "attempt" | "cleanup":
                awaits = chance.random() < 0.5
                return Op(kind, self._seconds(), (self._block(depth + 1),), number, awaits)
            case "sleep" | "receive" | "answer":
                return Op(kind, self._seconds(), (), number)
            case _:
                return Op(kind, 0.0, (), number)

    def _seconds(self) -> float:
        return self._chance.choice((0.001, 0.05, 0.3, 1.0, 3.0))


def changed(block: Block) -> Block:
    """The same program after somebody changed its first operation, without a thought of replay."""
    if not block or block[0].kind not in _COMMANDS:
        return block
    other = {"sleep": "record", "task": "flaky", "flaky": "task"}.get(block[0].kind, "sleep")
    return (Op(other, 0.001, (), block[0].number), *block[1:])


def smaller(block: Block) -> Iterator[Block]:
    """Programs with one operation less, or with what is in one in its place."""
    for index, op in enumerate(block):
        before, after = block[:index], block[index + 1 :]
        yield before + after
        for inner in op.blocks:
            yield before + inner + after
        for place, inner in enumerate(op.blocks):
            for less in smaller(inner):
                blocks = (*op.blocks[:place], less, *op.blocks[place + 1 :])
                yield (*before, msgspec.structs.replace(op, blocks=blocks), *after)
