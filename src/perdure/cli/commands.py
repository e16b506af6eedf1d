"""The command line: names, options and help texts. What commands do is in the modules beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from perdure._version import __version__
from perdure.cli import reads
from perdure.cli.failures import Exit, usage
from perdure.cli.locate import locate
from perdure.cli.options import (
    APP,
    WHERE,
    Act,
    Read,
    Where,
)
from perdure.cli.output import Output
from perdure.cli.schedules import add_schedule
from perdure.cli.workflow_commands import add_workflow

GRACE_SECONDS = 30.0

HELP = """Durable workflows in plain Python: look at them, run them, mend them."""

EPILOGUE = """Data goes to stdout, messages to stderr. NO_COLOR is honoured.

Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 divergence, 5 database or schema, 124 timeout,
130 Ctrl-C, 143 SIGTERM.
"""


def build(out: Output) -> App:
    """The command line that writes to `out`. Commands give their exit code."""
    app = App(
        name="perdure",
        help=HELP,
        help_epilogue=EPILOGUE,
        version=f"perdure {__version__}",
        console=out.help,
        error_console=out.err,
        default_parameter=Parameter(negative=(), show_default=False),
        help_format="plaintext",
        help_formatter="default" if out.out.is_terminal else "plain",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    for number, add in enumerate(_COMMANDS):
        add(app, out, number)
    return app


_Add = Callable[[App, Output, int], None]


def _add_demo(app: App, out: Output, place: int) -> None:
    @app.command(sort_key=place)
    def demo(*, keep: bool = False, common: Read | None = None) -> Exit:
        """Kill a workflow half-way with SIGKILL, resume it, and see what was replayed.

        Takes a few seconds and leaves nothing behind.

        Args:
            keep: keep the directory with the database, and say where it is.
        """
        from perdure.cli.demo import demo as run_demo  # noqa: PLC0415 - only the demo needs it

        return run_demo(out, as_json=(common or Read()).json, keep=keep)


def _add_run(app: App, out: Output, place: int) -> None:
    @app.command(sort_key=place)
    def run(
        target: Annotated[str, Parameter(name="MODULE:WORKFLOW")],
        /,
        *,
        input_: Annotated[str | None, Parameter(name=["--input", "-i"])] = None,
        id: str | None = None,
        restart_failed: bool = False,
        common: Act | None = None,
    ) -> Exit:
        """Run a workflow durably to its end, in this process, and print its result as JSON.

        If it is stopped (Ctrl-C, a crash, kill -9), the same command with its --id goes on where it
        was: nothing that is recorded runs again. Run on a finished id it prints the same result.

        What the code prints goes to stderr, so that stdout is the result alone.

        Args:
            target: the workflow, as module:name or path/to/file.py:name.
            input_: its arguments as JSON: an object (by name) or an array (by position); @file
                reads them from a file, @- from stdin. Not needed again for an --id that exists.
            id: the workflow id, the idempotency key of the run. Default: a fresh one; it is told.
            restart_failed: if this id failed or was cancelled, start it again as a new generation.
        """
        from perdure.cli.run import run as run_workflow  # noqa: PLC0415 - only this needs it

        return run_workflow(
            out,
            target,
            input_text=input_,
            id=id,
            restart_failed=restart_failed,
            debug=(common or Act()).debug,
        )


def _add_worker(app: App, _out: Output, place: int) -> None:
    @app.command(sort_key=place)
    def worker(
        *,
        app: Annotated[str | None, Parameter(name=["--app", "-A"], group=WHERE, help=APP)] = None,
        queues: str | None = None,
        concurrency: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
        processes: Annotated[int, Parameter(validator=Number(gte=1), show_default=True)] = 1,
        grace_period: Annotated[
            float, Parameter(validator=Number(gte=0), show_default=True)
        ] = GRACE_SECONDS,
        log_level: Annotated[str, Parameter(show_default=True)] = "info",
        common: Act | None = None,
    ) -> int:
        """Run whatever is ready, until it is stopped. Start as many as you like, on any machine.

        SIGTERM or Ctrl-C: nothing new is claimed, bodies may end, leases are given back. A second
        one leaves at once. What a worker that died held is taken over by the others.

        Args:
            queues: only these queues, separated by commas. Default: all.
            concurrency: attempts at a time in each process. Default: the app's setting.
            processes: so many worker processes under a supervisor that starts anew what dies.
            grace_period: seconds that bodies have to end when it is stopped.
            log_level: debug, info, warning or error.
        """
        level = "debug" if (common or Act()).debug else log_level
        if processes > 1:
            from perdure.cli.supervisor import Supervisor  # noqa: PLC0415 - only this needs it

            options = {
                "--app": app,
                "--queues": queues,
                "--concurrency": concurrency,
                "--grace-period": grace_period,
                "--log-level": level,
            }
            given = [(name, str(value)) for name, value in options.items() if value is not None]
            arguments = ["worker", *(word for pair in given for word in pair)]
            return Supervisor(arguments, processes).run(level)
        from perdure.cli.worker import work  # noqa: PLC0415 - only this needs it

        return work(
            app,
            queues=None if queues is None else [each.strip() for each in queues.split(",")],
            concurrency=concurrency,
            grace_period=grace_period,
            log_level=level,
        )


def _add_queue(app: App, out: Output, place: int) -> None:
    queue = App(name="queue", help="Look at queues.", sort_key=place)
    app.command(queue)

    @queue.command(name="list")
    def list_(*, where: Where | None = None, common: Read | None = None) -> Exit:
        """List queues: what is ready, scheduled and running, and the limits that the app declares.

        Ready: a worker may take it now, if the limits allow. Scheduled: delayed starts and timers.
        Running: held by a worker under a live lease.
        """
        from perdure.cli.queues import list_queues  # noqa: PLC0415 - only this needs it

        where = where or Where()
        source = locate(where.app, where.url, where.app_name)
        return list_queues(out, source, as_json=(common or Read()).json)


def _add_db(app: App, out: Output, place: int) -> None:
    db = App(name="db", help="Look at the schema of a database, and upgrade it.", sort_key=place)
    app.command(db)

    @db.command(sort_key=0)
    def status(*, where: Where | None = None, common: Read | None = None) -> Exit:
        """Tell which schema a database has, and whether this perdure can use it.

        Exit code 0: it can. 1: the schema is missing or old; the first use, or `db upgrade`, makes
        it. 5: it is too new for this perdure, or the database cannot be read.
        """
        from perdure.cli.database import status as tell  # noqa: PLC0415 - only this needs it

        where = where or Where()
        source = locate(where.app, where.url, where.app_name)
        return tell(out, source, as_json=(common or Read()).json)

    @db.command(sort_key=1)
    def upgrade(*, where: Where | None = None, common: Act | None = None) -> Exit:
        """Make the schema, or bring an old one up to date; nothing to do is no error.

        It is one transaction, and of several processes one does it. Forward only: make a backup
        first. Workers of the version before may go on where the new schema says so.
        """
        from perdure.cli.database import upgrade as bring_up  # noqa: PLC0415 - only this needs it

        del common
        where = where or Where()
        return bring_up(out, locate(where.app, where.url, where.app_name))

    @db.command(sort_key=2)
    def sql(*, where: Where | None = None, common: Act | None = None) -> Exit:
        """Print the SQL that `db upgrade` would run, for those who run it themselves.

        Nothing is printed where nothing is missing.
        """
        from perdure.cli.database import sql as print_sql  # noqa: PLC0415 - only this needs it

        del common
        where = where or Where()
        return print_sql(out, locate(where.app, where.url, where.app_name))


def _add_doctor(app: App, out: Output, place: int) -> None:
    @app.command(sort_key=place)
    def doctor(
        *,
        verify: bool = False,
        baseline: Path | None = None,
        where: Where | None = None,
        common: Read | None = None,
    ) -> Exit:
        """Check settings, versions and the database; name problems and what to do.

        Reads every page and every journal. Exit code 0: no problem. 1: problems. 5: the database
        cannot be read, or its schema does not fit.

        Args:
            verify: audit every invariant of the stored data; workers may go on meanwhile. With -A,
                the limits of its queues too.
            baseline: a file that keeps what the audit saw. The next audit with it tells of any
                journal entry or end that has changed since. It is renewed when nothing is wrong.
        """
        where = where or Where()
        source = locate(where.app, where.url, where.app_name)
        as_json = (common or Read()).json
        if baseline is not None and not verify:
            raise usage("--baseline belongs to --verify. Give both.")
        if not verify:
            return reads.doctor(out, source, as_json=as_json)
        from perdure.cli.verify import verify as run_audit  # noqa: PLC0415 - only the audit needs it

        return run_audit(out, source, baseline=baseline, as_json=as_json)


def _add_version(app: App, out: Output, place: int) -> None:
    @app.command(sort_key=place)
    def version() -> Exit:
        """Print the version."""
        out.line(f"perdure {__version__}")
        return Exit.OK


_COMMANDS: tuple[_Add, ...] = (
    _add_demo,
    _add_run,
    _add_worker,
    add_workflow,
    _add_queue,
    add_schedule,
    _add_db,
    _add_doctor,
    _add_version,
)
