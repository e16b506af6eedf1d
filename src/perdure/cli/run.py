"""The commands that run user code: `run`, and `workflow resume` and `verify`."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
from rich.text import Text

from perdure.api.functions import Registered
from perdure.api.invocation import DistributedInvocation
from perdure.backends.base import Backend, InvocationQuery, OnExisting
from perdure.cli.failures import CommandError, Exit, Terminated, usage
from perdure.cli.locate import Source, find_record, key_text, load_app, load_workflow, open_reader
from perdure.cli.output import Output
from perdure.cli.reads import notes_of_end, report_outcome
from perdure.cli.text import clean, shorten
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.errors import (
    DeserializationError,
    InvocationNotFound,
    PerdureError,
    StartConflict,
)

PROGRESS_SECONDS = 0.2
"""How often the progress line looks at the state backend."""
NAMES_SHOWN = 3
"""Running tasks named in the progress line."""

Workflow = Registered[..., Any]

# --- input --------------------------------------------------------------------------------------


_decode_input: Callable[[bytes], dict[str, msgspec.Raw] | list[msgspec.Raw]] = msgspec.json.Decoder(
    dict[str, msgspec.Raw] | list[msgspec.Raw]
).decode


def read_input(text: str | None) -> bytes | None:
    """The JSON that `--input` names: itself, or a file's behind `@` (`@-` is stdin)."""
    if text is None or not text.startswith("@"):
        return None if text is None else text.encode()
    try:
        return sys.stdin.buffer.read() if text == "@-" else Path(text[1:]).read_bytes()
    except OSError as error:
        raise usage(f"--input {text}: {error.strerror}.") from error


def bind_input(workflow: Workflow, body: bytes) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a JSON object (by name) or array (by position), typed by annotation."""
    try:
        given = _decode_input(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise usage(
            f"--input is no JSON object and no JSON array ({error}). Write arguments by name, "
            """as in --input '{"order_id": "42"}', or by position, as in --input '["42"]'."""
        ) from error
    definition = workflow.definition
    positional = [
        name
        for name, parameter in definition.binder.signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if isinstance(given, dict):
        return [], {name: _decode_one(workflow, name, body) for name, body in given.items()}
    names = [*positional, *(f"number {n}" for n in range(len(positional) + 1, len(given) + 1))]
    return [_decode_one(workflow, *pair) for pair in zip(names, given, strict=False)], {}


def _decode_one(workflow: Workflow, name: str, body: msgspec.Raw) -> object:
    definition = workflow.definition
    try:
        return definition.parameters.get(name, definition.untyped).decode(bytes(body), "--input")
    except DeserializationError as error:
        raise usage(
            f"--input: argument {name!r} does not fit {_signature(workflow)}: "
            f"{error.__cause__ or error}"
        ) from error


def _signature(workflow: Workflow) -> str:
    return f"{workflow.name}{workflow.definition.binder.signature}"


# --- run ----------------------------------------------------------------------------------------


def run(
    out: Output,
    target: str,
    *,
    input_text: str | None,
    id: str | None,
    restart_failed: bool,
    debug: bool,
) -> Exit:
    """Start a workflow, or go on with it, to its end in this process; print its result."""
    body = read_input(input_text)
    # What the user's code prints must not get between the reader of stdout and the result.
    with contextlib.redirect_stdout(sys.stderr):
        workflow = load_workflow(target)
        handle = _start(workflow, body, id, restart_failed=restart_failed)
        out.message(f"workflow {workflow.name} ({handle.invocation_id})", "dim")
        if not workflow.client.runs_here and handle.status not in _TOLD_BY_RECORD:
            out.message(
                "This app has local_worker=False, so a worker is to run it: perdure worker "
                "-A MODULE:APP",
                "yellow",
            )
        try:
            with _sigterm_raises(), _progress(out, workflow.client.runtime.backend, handle.key):
                _wait(handle)
        except (KeyboardInterrupt, Terminated) as stopped:
            workflow.client.runtime.stopping.set()  # no task begins after what is told next
            out.message(_how_to_go_on(target, handle.invocation_id), "yellow")
            interrupted = isinstance(stopped, KeyboardInterrupt)
            return Exit.INTERRUPTED if interrupted else Exit.TERMINATED
        record = workflow.client.read(handle.key)
        notes = notes_of_end(record, workflow.client.runtime.backend)
    return report_outcome(out, record, notes, waited=None, print_result=True, debug=debug)


def _wait(handle: DistributedInvocation[Any]) -> None:
    """Wait for the end, whatever it is; the record tells it.

    What was recorded may be any exception, SystemExit and KeyboardInterrupt among them.
    """
    try:
        handle.result()
    except BaseException:
        if handle.status not in _TOLD_BY_RECORD:
            raise


_TOLD_BY_RECORD = frozenset(InvocationState) - {
    InvocationState.READY,
    InvocationState.RUNNING,
    InvocationState.WAITING,
    InvocationState.PAUSED,
}


def _start(
    workflow: Workflow, body: bytes | None, id: str | None, *, restart_failed: bool
) -> DistributedInvocation[Any]:
    """The invocation to run: a new one, or what has this id."""
    if id is not None and body is None and not restart_failed:
        with contextlib.suppress(InvocationNotFound):
            return _existing(workflow, id)
    args, kwargs = ([], {}) if body is None else bind_input(workflow, body)
    try:
        workflow.definition.binder.bind(tuple(args), kwargs)
    except TypeError as error:
        raise usage(f"The arguments do not fit {error} Give them with --input.") from error
    existing: OnExisting = "new_generation_if_failed" if restart_failed else "return"
    return workflow.options(id=id, on_existing=existing).start(*args, **kwargs)


def _existing(workflow: Workflow, id: str) -> DistributedInvocation[Any]:
    """What has this id, without asking for its input again.

    Raises:
        InvocationNotFound: there is none.
        StartConflict: it is something else.
    """
    record = workflow.client.latest(id)
    if workflow.client.definition_of(record) is not workflow.definition:
        raise StartConflict(
            f"Invocation {id!r} is of {record.name!r}, not of {workflow.name!r}. Use another --id."
        )
    return workflow.get(id)


def _how_to_go_on(target: str, invocation_id: str) -> str:
    command = f"perdure run {shlex.quote(target)} --id {shlex.quote(invocation_id)}"
    return f"\nStopped. Nothing recorded is lost; go on with:\n  {command}"


@contextlib.contextmanager
def _sigterm_raises() -> Generator[None]:
    """Let SIGTERM unwind as Ctrl-C does, so that leases are given back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# --- progress -----------------------------------------------------------------------------------


@contextlib.contextmanager
def _progress(out: Output, backend: Backend, key: InvocationKey) -> Generator[None]:
    """A line on stderr that tells what is recorded; only where a person sees it."""
    if not out.err.is_terminal:
        yield
        return
    stop = threading.Event()
    with out.err.status(Text("starting")) as status:

        def look() -> None:
            while not stop.wait(PROGRESS_SECONDS):
                with contextlib.suppress(PerdureError):
                    status.update(Text(progress_text(backend, key)))

        watcher = threading.Thread(target=look, name="perdure-progress", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()


def progress_text(backend: Backend, key: InvocationKey) -> str:
    """`waiting, 12 entries recorded, running: pack, pack`."""
    record = backend.read(*key)
    if record is None:
        return "gone"
    running = backend.query(
        InvocationQuery(
            app=record.app,
            parent=key,
            states=(InvocationState.RUNNING,),
            limit=NAMES_SHOWN + 1,
        )
    )
    names = [clean(shorten(child.name.rpartition(".")[2], 30)) for child in running[:NAMES_SHOWN]]
    if len(running) > NAMES_SHOWN:
        names.append("...")
    told = f"{record.state}, {record.head} entries recorded"
    return f"{told}, running: {', '.join(names)}" if names else told


# --- resume, verify -----------------------------------------------------------------------------


def resume(out: Output, source: Source, wanted: str) -> Exit:
    """Let a parked or dead invocation be claimed again."""
    reader = open_reader(source)  # which also sees to it that no database is made here
    try:
        record = find_record(reader, wanted)
    finally:
        reader.close()
    backend = source.open_writer()
    try:
        resumed = backend.resume(record.key)
    finally:
        backend.close()
    if not resumed:
        raise CommandError(
            f"{record.kind} {record.name!r} ({key_text(record)}) is {record.state}; only "
            "paused, parked and dead ones can go on anew. Nothing was changed.",
            Exit.FAILED,
        )
    here = f", or: perdure run MODULE:WORKFLOW --id {shlex.quote(record.key.invocation_id)}"
    out.message(
        f"{record.kind} {record.name!r} ({key_text(record)}) was {record.state} and is ready "
        f"again. A worker goes on with it{here if record.kind == 'workflow' else '.'}"
    )
    return Exit.OK


def verify(out: Output, app: str | None, wanted: str, *, as_json: bool) -> Exit:
    """Run the code of a workflow on its journal; nothing is called or recorded."""
    with contextlib.redirect_stdout(sys.stderr):
        loaded = load_app(app)
        if loaded is None:
            raise usage(
                "verify runs the workflow's code, so it needs the app: -A MODULE:ATTR, "
                "PERDURE_APP, or app = 'MODULE:ATTR' under [tool.perdure] in pyproject.toml."
            )
        found, named_by = loaded
        reader = open_reader(Source(found.settings, named_by))
        try:
            record = find_record(reader, wanted)
            latest = reader.read(record.key.invocation_id)
        finally:
            reader.close()
        if latest is not None and latest.key != record.key:
            raise usage(f"{wanted!r} was started again since; only the latest life is verified.")
        verification = found.verify(record.key.invocation_id)
    if as_json:
        out.json(
            {
                "id": record.key.invocation_id,
                "generation": record.key.generation,
                "entries": verification.entries,
                "finished": verification.finished,
            }
        )
    else:
        end = "to its recorded end" if verification.finished else "as far as it is recorded"
        out.line(f"{key_text(record)}: {verification.entries} entries replay {end}.", "green")
    return Exit.OK
