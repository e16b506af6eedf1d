"""What is made for whatever starts from an invocation, and for a task that it calls directly."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from perdure.backends.base import InvocationRecord, NewInvocation
from perdure.core.draws import derive_id, derive_seed
from perdure.core.identity import InvocationKey
from perdure.engine.context import Origin, TaskContext
from perdure.engine.effects import RunBody
from perdure.engine.pulse import Pulse
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
    runtime: Runtime,
    record: InvocationRecord,
    template: NewInvocation,
    effect: RunBody,
    pulses: Callable[[TaskContext], Pulse],
) -> TaskContext:
    """The context of one direct task call; the same on every attempt and replay."""

    def origin() -> Origin:
        scope, ordinal = effect.place
        about = derive_id(record.seed, "task", *map(str, effect.about)) if effect.about else ""
        # Without the task's name: a rename (with an alias) must not change the key of an
        # effect that may have happened under the old one.
        invocation_id = derive_id(record.seed, "task", scope, str(ordinal))
        seed = derive_seed(runtime.store_id, record.app, "task", invocation_id, 1)
        named = msgspec.structs.replace(template, name=effect.call.function.name)
        effect_seed = seed
        if about:
            effect_seed = derive_seed(runtime.store_id, record.app, "task", about, 1)
        return Origin(InvocationKey(invocation_id, 1), seed, named, effect_seed)

    return TaskContext(
        origin,
        effect.clock,
        workflow=record.key,
        owner=runtime.owner,
        attempt=effect.attempt,
        place=effect.place,
        pulses=pulses,
    )
