"""The runs of task bodies in all processes of a crash test, and which of them may be.

What a transaction has undone did not happen, so its bodies are not counted here: whoever tests them
looks at what was committed.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from perdure.api.definition import Definition
from perdure.app import Perdure
from perdure.engine.context import TaskContext, current
from perdure.testing.faults import MortalEnv
from perdure.testing.survivors import Survivors


class Execution(NamedTuple):
    """One run of a task body.

    Attributes:
        process: number of the process it ran in, from 0.
        body: id of the task invocation, the same on every attempt.
        seen: its arguments and its idempotency key, as text.
        pure: its task is pure, so that it may run on values which were then lost.
        once, outside: its task is at-most-once, or may be completed from outside.
        undoable: it runs in a transaction, so that what counts is what that has committed.
    """

    process: int
    body: str
    name: str
    seen: str
    pure: bool = False
    once: bool = False
    outside: bool = False
    undoable: bool = False


class Executions:
    """Every run of a task body, in all processes of one scenario. Thread-safe.

    Attributes:
        once: names of the at-most-once tasks.
    """

    def __init__(self) -> None:
        self.all: list[Execution] = []
        self.once: set[str] = set()
        self._lock = threading.Lock()

    def watch(self, app: Perdure, env: MortalEnv, process: int) -> None:
        """Note what the tasks of `app` do from now on; a dead process runs no further bodies."""
        for definition in set(app.registry.values()):
            if definition.kind == "task":
                if definition.once:
                    self.once.add(definition.name)
                self._wrap(definition, env, process)

    def _wrap(self, definition: Definition, env: MortalEnv, process: int) -> None:
        function = definition.function

        def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            env.check()
            context = current()
            # A task that is called inside a task is just a function, part of the outer body.
            if isinstance(context, TaskContext) and context.template.name == definition.name:
                seen = f"{args} {kwargs} {context.idempotency_key()}"
                body = context.invocation.invocation_id
                self.note(
                    Execution(
                        process,
                        body,
                        definition.name,
                        seen,
                        pure=definition.pure,
                        once=definition.once,
                        outside=definition.completes_outside,
                        undoable=definition.around is not None,
                    )
                )

        @functools.wraps(function)
        def body(*args: Any, **kwargs: Any) -> Any:
            begin(args, kwargs)
            return function(*args, **kwargs)

        @functools.wraps(function)
        async def async_body(*args: Any, **kwargs: Any) -> Any:
            begin(args, kwargs)
            return await function(*args, **kwargs)

        definition.function = async_body if definition.is_async else body

    def note(self, run: Execution) -> None:
        """A body begins. Called on its own thread."""
        with self._lock:
            self.all.append(run)


def misrun(
    moments: Sequence[Survivors],
    final: Survivors,
    runs: Sequence[Execution],
    once_names: Collection[str] = (),
) -> Iterator[str]:
    """Which bodies ran another number of times, or on other things, than they may.

    After a crash each body runs as often as outcomes of it are recorded from then on; what ran
    between the last record and a later crash ran in vain. So what was recorded never runs again.
    What a body is run on is on record before, so that it is asked for again, with the same. Bodies
    of pure tasks are excepted from that. One outcome may come from outside, with no run to it.
    None of an at-most-once task ever runs in vain: that nobody knows its outcome is one, too.
    What runs in a transaction may run as often as it likes, for it can be undone.

    Args:
        moments: what there was before process 0, process 1, ...; the first is usually `NOTHING`.
        runs: every execution in all of these processes.
        once_names: the at-most-once tasks: one that was started may have been asked about only.
    """
    recorded, dropped, unknown = final.attempts(), final.dropped(), final.unknown()
    names, outside = {run.body: run.name for run in runs}, {r.body for r in runs if r.outside}
    undoable = {run.body for run in runs if run.undoable}
    once = {run.body for run in runs if run.once}
    once |= {key.invocation_id for key, row in final.rows.items() if row.name in once_names}
    for number, moment in enumerate(moments):
        ran = Counter(run.body for run in runs if run.process >= number)
        then, ended = moment.attempts(), moment.ended()
        for body in {*ran, *recorded} - dropped - undoable:
            wanted = recorded[body] - then[body]
            vain = 0 if body in ended or body in once else len(moments) - 1 - number
            # An outcome that nobody knows is on record too, and no run from then on belongs to it.
            lost = len(moments) > 1 and (body in once or body in unknown)
            if not (0 if lost else wanted - (body in outside)) <= ran[body] <= wanted + vain:
                yield (
                    f"task {names.get(body, '?')!r} ({body}) ran {ran[body]} times from process "
                    f"{number} on, in which {wanted} outcomes of it were recorded"
                )
    for body in once & dropped:
        if (count := sum(run.body == body for run in runs)) > recorded[body] + 1:
            yield f"at-most-once task {names[body]!r} ({body}) ran {count} times and was dropped"
    for body in names.keys() - recorded.keys() - dropped - {run.body for run in runs if run.pure}:
        yield f"task {names[body]!r} ({body}) ran, and nobody asks for it any more"
    for body, name in names.items():
        seen = {run.seen for run in runs if run.body == body and not run.pure}
        if len(seen) > 1:
            yield f"task {name!r} ({body}) saw other things when it ran again: {seen}"
