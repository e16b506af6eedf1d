"""`perdure workflow export`: a recorded workflow as a file for tests. It reads and prints."""

from __future__ import annotations

import msgspec

from perdure.cli.failures import CommandError, Exit
from perdure.cli.locate import Source, find_record, open_reader
from perdure.cli.output import Output
from perdure.errors import RegistrationError, SerializationError
from perdure.testing.histories import make_history


def export(out: Output, source: Source, wanted: str) -> Exit:
    """The history of one workflow, as JSON."""
    backend = open_reader(source)
    try:
        record = find_record(backend, wanted)
        # Two reads: the journal only grows, so what was appended in between is left out.
        entries = backend.read_journal(record.key)[: record.head]
    finally:
        backend.close()
    try:
        history = make_history(record, entries)
    except (RegistrationError, SerializationError) as error:
        raise CommandError(str(error), Exit.FAILED) from error
    out.json(msgspec.to_builtins(history))
    return Exit.OK
