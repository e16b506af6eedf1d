"""Why an invocation is dead, as text for people."""

from __future__ import annotations

from perdure.backends.base import InvocationRecord


def cause_of_death(record: InvocationRecord, where: str) -> str:
    """The reason of a dead letter.

    Args:
        where: what the process ran when it crashed.
    """
    return (
        f"The process crashed {record.crashes} times in a row while it ran {where}. Find out why "
        "it dies (memory, a native library, a signal), then let it go on with: "
        f"perdure workflow resume {record.key.invocation_id}"
    )
