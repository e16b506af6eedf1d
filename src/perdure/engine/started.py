"""What is made for whatever starts from an invocation, and for a task that it calls directly."""

from __future__ import annotations

import msgspec

from perdure.backends.base import InvocationRecord, NewInvocation
from perdure.core.draws import derive_seed
from perdure.core.identity import InvocationKey
from perdure.engine.context import TaskContext
from perdure.engine.effects import RunBody
from perdure.engine.runtime import Runtime


def template_of(record: InvocationRecord, workflow: InvocationKey | None) -> NewInvocation:
    """What every invocation started from this one has in common."""
    return NewInvocation(
        invocation_id="",
        app=record.app,
        kind="task",
        name=record.name,
        arguments=b"",
        fingerprint=b"",
        call_id="",
        parent=record.key,
        root=record.root,
        workflow=workflow,
    )


def call_context(
    runtime: Runtime, record: InvocationRecord, template: NewInvocation, effect: RunBody
) -> TaskContext:
    """The context of one direct task call; the same on every attempt and replay."""
    invocation_id, name = effect.invocation_id, effect.call.function.name

    def seed() -> bytes:
        # Without the task's name: a rename (with an alias) must not change the key of an
        # effect that may have happened under the old one.
        return derive_seed(runtime.store_id, record.app, "task", invocation_id, 1)

    return TaskContext(
        InvocationKey(invocation_id, 1),
        seed,
        effect.clock,
        workflow=record.key,
        template=msgspec.structs.replace(template, name=name),
        owner=runtime.owner,
    )
