"""Undos of a workflow: registered while it runs, called if it fails."""

from __future__ import annotations

from typing import Any, ParamSpec, cast

from perdure.api.functions import Registered
from perdure.engine import flows
from perdure.engine.context import current_workflow
from perdure.errors import RegistrationError

P = ParamSpec("P")


def compensate(undo: Registered[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
    """Have this task or workflow called if the workflow fails or is cancelled from here on.

    Register before the call that it undoes, with what is known then: a call that failed may have
    had its effect, and an undo of what did not happen should do nothing. Undos are called newest
    first, one after the other, as recorded calls with the retries of their tasks, when the function
    has ended; one that fails for good does not keep the others from being called. The exception
    with which the workflow ends gets notes of what was undone and what was not. A cancellation
    that comes meanwhile changes nothing. A workflow that is terminated, parked or dead undoes
    nothing; what a terminated one leaves is told in a note of the `InvocationCancelled`.

    An undo that is a workflow is started as a child and waited for. It may have undos of its own,
    and a `timeout=`, but it inherits no deadline.

    In async workflows too this is a plain call: it waits for nothing.

    Raises:
        RegistrationError: it is neither a task nor a workflow.
        ConfigurationError: it has an option that a recorded start cannot have.
        SerializationError: an argument cannot be recorded; nothing was registered.
    """
    context = current_workflow("wf.compensate")
    if not isinstance(cast("object", undo), Registered):
        raise RegistrationError(
            f"wf.compensate got {undo!r}, which is neither a task nor a workflow. Decorate the "
            "function and pass the decorated object and its arguments: "
            "wf.compensate(refund, order)."
        )
    called = undo.as_undo(context, args, kwargs)
    context.perform(flows.compensate(context, called))
    context.attempt.undos.append(called)


def forget_compensations() -> None:
    """Undo nothing of what was registered so far: the point of no return is passed.

    For all branches of the workflow. What is registered afterwards counts again.
    """
    context = current_workflow("wf.forget_compensations")
    context.perform(flows.forget(context))
    context.attempt.undos.clear()
