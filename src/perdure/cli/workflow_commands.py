"""`perdure workflow ...`: names, options and help texts."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from perdure.backends.base import InvocationQuery
from perdure.cli import reads
from perdure.cli.failures import Exit
from perdure.cli.locate import locate
from perdure.cli.options import APP, CHILDREN, WHERE, Act, Id, Read, Where, source_of
from perdure.cli.output import Output
from perdure.core.lifecycle import InvocationState

LIST_LIMIT = 20
LIST_LIMIT_MAX = 10_000


def add_workflow(app: App, out: Output, place: int) -> None:
    """Add the group and its commands."""
    workflow = App(name="workflow", help="Look at workflows, and mend them.", sort_key=place)
    app.command(workflow)
    for number, add in enumerate(_IN_WORKFLOW):
        add(workflow, out, number)


def _add_list(workflow: App, out: Output, place: int) -> None:
    @workflow.command(name="list", sort_key=place)
    def list_(
        *,
        status: tuple[InvocationState, ...] = (),
        name: str | None = None,
        tasks: Annotated[bool, Parameter(negative="")] = False,
        limit: Annotated[
            int, Parameter(validator=Number(gte=1, lte=LIST_LIMIT_MAX), show_default=True)
        ] = LIST_LIMIT,
        after: str | None = None,
        where: Where | None = None,
        common: Read | None = None,
    ) -> Exit:
        """List workflows, newest first.

        Args:
            status: only those in this state; give it several times for several states.
            name: only those of this registered name, such as shop.orders.order.
            tasks: started tasks instead, such as those on queues.
            limit: at most so many.
            after: the next page: the last id of the page before.
        """
        where = where or Where()
        source = locate(where.app, where.url, where.app_name)
        query = InvocationQuery(
            app=source.settings.name,
            kind="task" if tasks else "workflow",
            name=name,
            states=status,
            limit=limit,
        )
        return reads.list_workflows(
            out, source, query=query, after=after, as_json=(common or Read()).json
        )


def _add_show(workflow: App, out: Output, place: int) -> None:
    @workflow.command(sort_key=place)
    def show(id: Id, /, *, where: Where | None = None, common: Read | None = None) -> Exit:
        """Show one workflow: where it stands, why, and the timeline of its journal."""
        where = where or Where()
        source = locate(where.app, where.url, where.app_name)
        return reads.show(out, source, id, as_json=(common or Read()).json)


def _add_result(workflow: App, out: Output, place: int) -> None:
    @workflow.command(sort_key=place)
    def result(
        id: Id,
        /,
        *,
        wait: bool = False,
        timeout: Annotated[float | None, Parameter(validator=Number(gte=0))] = None,
        where: Where | None = None,
        common: Read | None = None,
    ) -> Exit:
        """Print the result of a workflow as JSON.

        Exit code 1: it failed, and the error is told. 3: there is no such workflow. 124: it has not
        ended (in time).

        Args:
            wait: wait until it ends. Nothing is run here; a worker must be running elsewhere.
            timeout: seconds to wait at most.
        """
        where, common = where or Where(), common or Read()
        source = locate(where.app, where.url, where.app_name)
        return reads.result(
            out,
            source,
            id,
            wait=wait,
            timeout=timeout,
            as_json=common.json,
            debug=common.debug,
        )


def _add_resume(workflow: App, out: Output, place: int) -> None:
    @workflow.command(name="revive", help="The same as resume.", sort_key=place)
    @workflow.command(name="resume", sort_key=place)
    def resume(id: Id, /, *, where: Where | None = None, common: Act | None = None) -> Exit:
        """Let a paused workflow go on, or a parked or dead one after its cause is mended.

        Parked: something only a person can decide, such as code that does not fit the journal.
        Dead: it crashed its process too often. Its journal stays as it is.
        """
        from perdure.cli.run import resume as resume_workflow  # noqa: PLC0415 - only this needs it

        del common
        where = where or Where()
        return resume_workflow(out, locate(where.app, where.url, where.app_name), id)


def _add_cancel(workflow: App, out: Output, place: int) -> None:
    @workflow.command(sort_key=place)
    def cancel(
        id: Id,
        /,
        *,
        reason: Annotated[str, Parameter(help="Text for people.")] = "",
        children: Annotated[bool, Parameter(negative="--no-children", help=CHILDREN)] = True,
        where: Where | None = None,
        common: Act | None = None,
    ) -> Exit:
        """Ask a workflow to end: it may clean up. A task ends at once."""
        from perdure.cli.control import cancel as cancel_it  # noqa: PLC0415 - only this needs it

        del common
        return cancel_it(out, source_of(where), id, reason, children=children)

    @workflow.command(sort_key=place)
    def terminate(
        id: Id,
        /,
        *,
        reason: Annotated[str, Parameter(help="Text for people.")] = "",
        children: Annotated[bool, Parameter(negative="--no-children", help=CHILDREN)] = True,
        where: Where | None = None,
        common: Act | None = None,
    ) -> Exit:
        """End a workflow here and now; its code learns nothing of it and cleans nothing up."""
        from perdure.cli.control import terminate as end_it  # noqa: PLC0415 - only this needs it

        del common
        return end_it(out, source_of(where), id, reason, children=children)


def _add_pause(workflow: App, out: Output, place: int) -> None:
    @workflow.command(sort_key=place)
    def pause(id: Id, /, *, where: Where | None = None, common: Act | None = None) -> Exit:
        """Put a workflow aside until it is resumed; what is sent to it is kept."""
        from perdure.cli.control import pause as pause_it  # noqa: PLC0415 - only this needs it

        del common
        return pause_it(out, source_of(where), id)


def _add_verify(workflow: App, out: Output, place: int) -> None:
    @workflow.command(sort_key=place)
    def verify(
        id: Id,
        /,
        *,
        app: Annotated[str | None, Parameter(name=["--app", "-A"], group=WHERE, help=APP)] = None,
        common: Read | None = None,
    ) -> Exit:
        """Run the present code of a workflow on its journal: does it replay? Exit code 4: no.

        Nothing is called and nothing recorded; a divergence is told with both sides.
        """
        from perdure.cli.run import verify as verify_workflow  # noqa: PLC0415 - only this needs it

        return verify_workflow(out, app, id, as_json=(common or Read()).json)


def _add_export(workflow: App, out: Output, place: int) -> None:
    @workflow.command(sort_key=place)
    def export(id: Id, /, *, where: Where | None = None, common: Act | None = None) -> Exit:
        """Print the history of a workflow as JSON, for `perdure.testing.replay_history`.

        With it a test checks on any machine that today's code replays what was recorded:
        perdure workflow export ID -A MODULE:APP > ID.json. Arguments and results are in it.
        """
        from perdure.cli.export import export as export_it  # noqa: PLC0415 - only this needs it

        del common
        return export_it(out, source_of(where), id)


_IN_WORKFLOW = (
    _add_list,
    _add_show,
    _add_result,
    _add_resume,
    _add_cancel,
    _add_pause,
    _add_verify,
    _add_export,
)
