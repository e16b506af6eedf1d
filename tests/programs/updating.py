"""Programs that answer updates of their own tasks, in both colours.

No task waits for an answer, for the workflow waits for the task: it asks again with the same id.
"""

from __future__ import annotations

from typing import Any

from perdure import DistributedInvocation, Perdure, wf
from perdure.errors import UpdateTimeout
from tests.programs import differs, program


def asked(cart: DistributedInvocation[Any], item: str) -> str:
    try:
        return str(cart.update("add", item, id=item, timeout=0) is not None)
    except UpdateTimeout:
        return "accepted"
    except ValueError as error:
        return str(error)


@program(twin="aupdated")
def updated(app: Perdure) -> None:
    """One update is answered after a task, one is answered by what leaves its block."""

    @app.task(name="note")
    def note(text: str) -> str:
        return differs(text)

    @app.task(name="ask")
    def ask(cart: DistributedInvocation[Any], item: str) -> str:
        return asked(cart, item)

    @app.workflow(name="main")
    def main() -> list[Any]:
        me = wf.invocation()
        seen: list[Any] = [ask(me, "pen")]
        with wf.receive_update("add", str) as first:
            first.answer({"noted": note(first.value)})
            wf.set_data("items", [first.value])
        seen += [ask(me, "pen"), ask(me, "ink")]
        try:
            with wf.receive_update("add", str) as second:
                raise ValueError(f"no more {second.value}")
        except ValueError as error:
            seen.append(str(error))
        return [*seen, ask(me, "ink")]


@program(twin="updated")
def aupdated(app: Perdure) -> None:
    @app.task(name="note")
    def note(text: str) -> str:
        return differs(text)

    @app.task(name="ask")
    def ask(cart: DistributedInvocation[Any], item: str) -> str:
        return asked(cart, item)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        me = wf.invocation()
        seen: list[Any] = [await ask.acall(me, "pen")]
        async with wf.receive_update_async("add", str) as first:
            first.answer({"noted": await note.acall(first.value)})
            wf.set_data("items", [first.value])
        seen += [await ask.acall(me, "pen"), await ask.acall(me, "ink")]
        try:
            async with wf.receive_update_async("add", str) as second:
                raise ValueError(f"no more {second.value}")
        except ValueError as error:
            seen.append(str(error))
        return [*seen, await ask.acall(me, "ink")]
