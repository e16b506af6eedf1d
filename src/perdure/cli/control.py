"""`perdure workflow cancel`, `terminate` and `pause`: what handles do, by id."""

from __future__ import annotations

from collections.abc import Callable

from perdure.api.invocation import DistributedInvocation
from perdure.app import Perdure
from perdure.cli.failures import CommandError, Exit
from perdure.cli.locate import Source, find_record, key_text, open_reader
from perdure.cli.output import Output
from perdure.errors import InvocationEnded, OperationRefused

_Act = Callable[[DistributedInvocation[object]], None]


def cancel(out: Output, source: Source, wanted: str, reason: str, *, children: bool) -> Exit:
    """Ask an invocation to end."""

    def act(handle: DistributedInvocation[object]) -> None:
        handle.cancel(reason, children=children)

    return _control(out, source, wanted, act, "is asked to end, or has ended")


def terminate(out: Output, source: Source, wanted: str, reason: str, *, children: bool) -> Exit:
    """End an invocation here and now."""

    def act(handle: DistributedInvocation[object]) -> None:
        handle.terminate(reason, children=children)

    return _control(out, source, wanted, act, "is terminated")


def pause(out: Output, source: Source, wanted: str) -> Exit:
    """Put a workflow aside until it is resumed."""
    told = "is paused, or will be at its next wait or task; perdure workflow resume lets it go on"
    return _control(out, source, wanted, lambda handle: handle.pause(), told)


def _control(out: Output, source: Source, wanted: str, act: _Act, told: str) -> Exit:
    reader = open_reader(source)  # which also sees to it that no database is made here
    try:
        record = find_record(reader, wanted)
    finally:
        reader.close()
    app = Perdure(backend=source.open_writer(), name=record.app, local_worker=False)
    shown = f"{record.kind} {record.name!r} ({key_text(record)})"
    try:
        act(app.invocation(record.key.invocation_id))
    except (InvocationEnded, OperationRefused) as error:
        raise CommandError(f"{error} Nothing was changed.", Exit.FAILED) from error
    finally:
        app.close()
    out.message(f"{shown} {told}.")
    return Exit.OK
