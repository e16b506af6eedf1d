"""One run of one sync task body, here on this thread: from encoded arguments to an outcome.

The same code in the process that holds the lease and in any other, so that a body cannot see which.
"""

from __future__ import annotations

from perdure.engine import strays
from perdure.engine.context import TaskContext, enter, leave
from perdure.engine.effects import Function
from perdure.engine.outcome import LATER, Outcome, Raised, Returned
from perdure.errors import OperationRefused, SerializationError
from perdure.values import TypeRegistry, encode_exception


def run_body(
    function: Function, arguments: bytes, context: TaskContext, types: TypeRegistry
) -> Outcome:
    """Call the function in its context; whatever it does is the outcome, nothing gets past."""
    home = strays.process
    token = enter(context)
    try:
        value = function.bind(arguments)()
    except BaseException as error:  # noqa: BLE001 - whatever a body raises is its outcome
        if strays.process != home:
            strays.end_child(f"task {function.name!r}", error)
        return raised_by_body(function, error, types)
    finally:
        leave(token)
    if strays.process != home:
        strays.end_child(f"task {function.name!r}", None)
    return returned_by_body(function, value, context, types)


def returned_by_body(
    function: Function, value: object, context: TaskContext, types: TypeRegistry
) -> Outcome:
    """The outcome of a body that returned; a value that cannot be recorded is a final failure."""
    if value is LATER and function.completes_outside:
        return Returned(b"", LATER)
    if context.asked_for_later:
        refusal = OperationRefused(
            f"Task {function.name!r} called wf.complete_later() and returned {value!r:.200}. It "
            "leaves the task open only as what is returned: return wf.complete_later()."
        )
        return Raised(encode_exception(refusal, types), refusal, final=True)
    try:
        return Returned(*function.encode_result(value))
    except SerializationError as error:
        return Raised(encode_exception(error, types), error, final=True)


def raised_by_body(function: Function, error: BaseException, types: TypeRegistry) -> Raised:
    """The outcome of a body that raised. Its policy decides by the original, here and only here."""
    return Raised(encode_exception(error, types), error, final=not function.retry.covers(error))
