"""What operations do to others than their own workflow: letters, control, topics."""

from __future__ import annotations

from perdure.engine import letters, topics
from perdure.engine.control import CONTROLS
from perdure.engine.effects import ControlNow, EmitNow, OpenEmit, Outward, SendNow
from perdure.engine.runtime import Runtime
from perdure.errors import InvocationEnded, InvocationNotFound, StartConflict


def affect(runtime: Runtime, effect: Outward) -> object:
    """Do what an operation asks for; gives what it wants to know of it, or the error."""
    if isinstance(effect, SendNow):
        return letters.send(runtime, effect.key, effect.letter)
    try:
        if isinstance(effect, ControlNow):
            CONTROLS[effect.what](runtime, effect.key, effect.asked)
            return None
        if isinstance(effect, EmitNow):
            return topics.emit(runtime, effect)
        if isinstance(effect, OpenEmit):
            return topics.open_emit(runtime, effect.topic, effect.number)
        return topics.count(runtime, effect.topic)
    except (InvocationEnded, InvocationNotFound, StartConflict) as error:
        return error
