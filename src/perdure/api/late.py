"""What is told to whoever waited too long for a result, and may be waiting for nobody."""

from __future__ import annotations

from perdure.backends.base import InvocationRecord
from perdure.core.identity import InvocationKey
from perdure.errors import ResultTimeout


def result_timeout(
    key: InvocationKey, record: InvocationRecord, timeout: float | None, *, is_registered: bool
) -> ResultTimeout:
    """The error, with what the record tells of why.

    Args:
        record: as it is now.
        is_registered: whether this process has its code.
    """
    known = ""
    if record.crashes:
        known = (
            f" Its process has ended under it {record.crashes} time(s) since it last got on; "
            f"the logs of what runs it (logger 'perdure') and perdure workflow show {key} tell."
        )
    elif is_registered and not record.epoch:
        known = (
            " No worker has taken it yet; if it is not to be later, see that one serves its "
            f"queue: perdure worker -A MODULE:APP --queues {record.queue}"
        )
    elif not is_registered:
        known = (
            f" {record.name!r} is not registered in this process, so only another one can run "
            "it: import the module that defines it, or see to it that a worker has it."
        )
    return ResultTimeout(
        f"Invocation {key.invocation_id!r} did not end within {timeout} seconds. It goes on; "
        f"ask again, or give it more time.{known}"
    )
