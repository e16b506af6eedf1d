"""The decorators of an app: from a plain function to a registered task or workflow."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar, cast, overload
from zoneinfo import ZoneInfo

from perdure.api.checks import flag, policy, several
from perdure.api.client import Client
from perdure.api.definition import Definition, Policy, default_name, refuse_unusable, unwrap_static
from perdure.api.delivery import Delivery, check_asked, check_delivery, check_pace
from perdure.api.endings import Deadline, read_ends
from perdure.api.functions import (
    AsyncTask,
    AsyncWorkflow,
    Registered,
    SyncTask,
    SyncWorkflow,
    TaskDecorator,
    WorkflowDecorator,
)
from perdure.api.queues import Key, Queue, Queues, queue_name
from perdure.api.registry import Registry
from perdure.api.schedules import (
    CATCH_UP_LIMIT,
    CatchUp,
    Overlap,
    ScheduleArguments,
    Schedules,
    make_policy,
)
from perdure.backends.base import InvocationKind
from perdure.core.identity import validate_identifier
from perdure.core.retry import NO_RETRY, Retry, seconds
from perdure.engine.executors import ExecutorChoice, check_choice
from perdure.engine.shipping import publish
from perdure.errors import ConfigurationError, RegistrationError
from perdure.values import TypeRegistry

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Registered[..., Any])


class Decorators:
    """What an app registers, and how. `Perdure` adds settings, a state backend and a life."""

    registry: Registry
    declared_queues: Queues
    schedules: Schedules
    client: Client
    _types: TypeRegistry

    @overload
    def task(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> SyncTask[P, R]: ...
    @overload
    def task(
        self,
        /,
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        retry: Retry | None = None,
        timeout: float | timedelta | None = None,
        queue: str | Queue | None = None,
        key: Key | None = None,
        raises: Iterable[type[BaseException]] = (),
        executor: ExecutorChoice = "thread",
        pure: bool = False,
        delivery: Delivery = "at_least_once",
        on_uncertain: Registered[..., Any] | None = None,
        completes_outside: bool = False,
        heartbeat_timeout: float | timedelta | None = None,
    ) -> TaskDecorator: ...
    def task(  # noqa: PLR0913 - the policy of a task, all by keyword
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        retry: Retry | None = None,
        timeout: float | timedelta | None = None,
        queue: str | Queue | None = None,
        key: Key | None = None,
        raises: Iterable[type[BaseException]] = (),
        executor: ExecutorChoice = "thread",
        pure: bool = False,
        delivery: Delivery = "at_least_once",
        on_uncertain: Registered[..., Any] | None = None,
        completes_outside: bool = False,
        heartbeat_timeout: float | timedelta | None = None,
    ) -> Any:
        """Register a function as a task: its result is recorded, it may do side effects.

        A body runs at least once: after a crash between its effect and its record it runs again,
        with the same `wf.idempotency_key()`. With `delivery="at_most_once"` it does not.

        Args:
            name: registered name; default `module.qualname`.
            aliases: older names under which recorded work may still be found.
            retry: policy for failed attempts; default: none.
            timeout: seconds or timedelta for one attempt. A sync body past it runs on unseen; in a
                process it is killed.
            queue: where it runs, also when a workflow calls it directly: on any worker that serves
                this queue, within its limits. Default: a direct call runs in the workflow's worker.
            key: calls with equal keys run one after the other (see `queue(key_concurrency=)`): a
                function of the arguments, such as `lambda order_id, *_: order_id`, or the name of
                an argument, or several names. Such a call goes through its queue.
            raises: exception classes to give back as themselves instead of as `TaskError`.
            executor: where bodies run: "thread" (default); "process", for work that keeps a
                processor busy or must be killed when it is out of time; a
                `concurrent.futures.Executor`; or a function without arguments that makes one at
                the first use in a process, which is then closed with the app. For sync tasks that
                are defined at the top level of a module.
            pure: True if running it again does no harm, even with other arguments and another
                result: a calculation, a look at something. What a direct call gives may then be
                committed later than the workflow gets it: before the body of a task that is not
                pure starts, before a function of `wf.record` runs, before or together with
                whatever else leaves the workflow (a start, a message, a wait, its data, its end),
                and at once if the last commit is more than a second ago. After a crash before
                that it runs again and may give another value; the first one was seen by nothing
                but pure tasks and the workflow's own code. Such a body can neither start nor send
                anything. The option is not recorded and may be changed at any time.
            delivery: "at_most_once" for an effect that must not happen twice and that nothing
                outside can recognise by its key. The start of each body is durable before it runs.
                A body that may have run and has no recorded outcome (its process died, its lease
                was lost, its time was over) does not run again: the call raises `OutcomeUnknown`,
                or calls `on_uncertain`. Only failures on record are retried.
            on_uncertain: a task with the same parameters that finds out what became of the body.
                It is called in its place, recorded and retried as any task; what it gives is what
                the call gives, and its `wf.idempotency_key()` is that of the body.
            completes_outside: True if a body may `return wf.complete_later()`: the task waits then,
                holding nothing, until `app.complete(token, value)` or `app.fail(token, error)` ends
                it, and `timeout` is how long it waits (the body itself has no limit). Each call is
                an invocation of its own, as with a queue.
            heartbeat_timeout: seconds or timedelta without a `wf.heartbeat(...)` after which an
                attempt fails with a `HeartbeatTimeout`, which counts from when its body begins. A
                sync body past it runs on unseen until its next heartbeat, as one past `timeout`;
                in a process it is killed.

        Raises:
            RegistrationError: not callable, a name that is taken, or no readable signature; or an
                executor for an async or a local function; or pure with a queue, a key or
                completes_outside, whose calls are invocations of their own; or at_most_once with
                pure, completes_outside or an executor of the user; or an on_uncertain that does
                not fit.
        """
        check_choice(executor)
        errors = several(raises, "raises", "[CardDeclined]")
        flag(completes_outside, "completes_outside")
        once = check_delivery(delivery, on_uncertain, executor, pure=flag(pure, "pure"))
        pace = check_pace(heartbeat_timeout, executor, pure=pure)

        def register(target: Callable[..., Any]) -> Any:
            limit = None if timeout is None else seconds(timeout, "timeout")
            if limit == 0:
                raise ConfigurationError("timeout=0: no body could end in time. Leave it out.")
            asked = Policy(
                retry=policy(retry) or NO_RETRY,
                timeout=limit,
                heartbeat_timeout=pace,
                queue=queue_name(queue),
                key=key,
                executor=executor,
                pure=pure,
                once=once,
                on_uncertain=None if on_uncertain is None else on_uncertain.definition,
                completes_outside=completes_outside,
            )
            definition = self._define(target, "task", name, aliases, asked)
            self.register(*errors)
            kind = AsyncTask if definition.is_async else SyncTask
            return cast("Any", kind)(definition, self.client)

        return register if function is None else register(function)

    @overload
    def workflow(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncWorkflow[P, R]: ...
    @overload
    def workflow(self, function: Callable[P, R], /) -> SyncWorkflow[P, R]: ...
    @overload
    def workflow(
        self,
        /,
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        queue: str | Queue | None = None,
        key: Key | None = None,
        raises: Iterable[type[BaseException]] = (),
        timeout: float | timedelta | None = None,
        deadline: Deadline | None = None,
    ) -> WorkflowDecorator: ...
    def workflow(  # noqa: PLR0913 - policies of a workflow, by keyword
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        queue: str | Queue | None = None,
        key: Key | None = None,
        raises: Iterable[type[BaseException]] = (),
        timeout: float | timedelta | None = None,
        deadline: Deadline | None = None,
    ) -> Any:
        """Register a function as a workflow: it is replayed, and must be deterministic.

        Args:
            name: registered name; default `module.qualname`.
            aliases: older names under which recorded work may still be found.
            queue: only workers that serve this queue run it, within its limits. A workflow that
                waits does not run, so it holds no place.
            key: workflows with equal keys do not run at the same time; as for `task`.
            raises: exception classes to give back as themselves instead of as `TaskError`.
            timeout: seconds or timedelta, from its start, after which a workflow is cancelled.
            deadline: when it is; see `options`, which these are the defaults of.

        Raises:
            RegistrationError: not callable, a name that is taken, or no readable signature.
            ConfigurationError: a limit of time that cannot be used.
        """
        errors = several(raises, "raises", "[CardDeclined]")
        ends = read_ends(timeout, deadline, "workflow")

        def register(target: Callable[..., Any]) -> Any:
            asked = Policy(queue=queue_name(queue), key=key, ends=ends)
            definition = self._define(target, "workflow", name, aliases, asked)
            self.register(*errors)
            kind = AsyncWorkflow if definition.is_async else SyncWorkflow
            return cast("Any", kind)(definition, self.client)

        return register if function is None else register(function)

    def _define(
        self,
        target: Callable[..., Any],
        kind: InvocationKind,
        name: str | None,
        aliases: Sequence[str],
        asked: Policy,
    ) -> Definition:
        if isinstance(target, Registered):
            raise RegistrationError(
                f"{target!r} is registered already. Decorate the plain function, once."
            )
        function = unwrap_static(target)
        refuse_unusable(function)
        chosen = default_name(function) if name is None else validate_identifier(name, "name")
        for alias in several(aliases, "aliases", '["its.older.name"]'):
            validate_identifier(alias, "alias")
        definition = Definition(function, kind=kind, name=chosen, types=self._types, policy=asked)
        if asked.executor != "thread":
            if definition.is_async:
                raise RegistrationError(
                    f"Task {chosen!r} is async, so its body runs on the event loop of the worker "
                    "and not on an executor. Make it a plain def, or leave executor= out."
                )
            publish(definition, function, self._types, self.client)
        if asked.pure and not definition.is_plain:
            raise RegistrationError(
                f"Task {chosen!r} is pure=True and has a queue or a key, or is completed from "
                "outside. Each call of it is an invocation of its own, whose start and end are "
                "commits for which others wait, so nothing of it could be held back. Leave pure= "
                "out, or queue=, key= and completes_outside=."
            )
        if asked.once and asked.completes_outside:
            raise RegistrationError(
                f"Task {chosen!r} is at_most_once and completes_outside: after a crash nobody "
                "could tell whether its token was handed out. Leave delivery= out: the body runs "
                "again with the same token, by which whoever gets it twice can know it."
            )
        check_asked(definition, asked.on_uncertain)
        self.registry.add(definition, aliases)
        return definition

    def queue(
        self,
        name: str,
        *,
        concurrency: int | None = None,
        worker_concurrency: int | None = None,
        key_concurrency: int = 1,
        rate: tuple[int, float | timedelta] | None = None,
        workers_only: bool = False,
    ) -> Queue:
        """Declare a queue with limits, for `queue=` of tasks and workflows.

        What counts against a limit is what runs under a live lease, so a crash never keeps a place
        for longer than its lease, and what waits keeps none. A worker goes by what its own code
        declares. A queue that is not declared can be used too; it has no limits.

        Args:
            name: its name; "default" is the queue of everything that names none.
            concurrency: how many of it run at a time, over all workers.
            worker_concurrency: how many of it run at a time in one worker process.
            key_concurrency: how many with one and the same key (`key=`) run at a time.
            rate: (starts, seconds or timedelta): so many may begin in any such span of time, over
                all workers. A retry begins anew; so does a workflow that goes on after a wait.
            workers_only: True if only `perdure worker` runs it, never a script that waits for it.

        Raises:
            ConfigurationError: a limit below 1, or the name is declared with other limits.
        """
        return self.declared_queues.declare(
            name,
            concurrency=concurrency,
            worker_concurrency=worker_concurrency,
            key_concurrency=key_concurrency,
            rate=rate,
            workers_only=flag(workers_only, "workers_only"),
        )

    def schedule(  # noqa: PLR0913 - when, what and the policy, all by keyword
        self,
        cron: str | None = None,
        /,
        *,
        every: timedelta | None = None,
        timezone: str | ZoneInfo = "UTC",
        name: str | None = None,
        arguments: ScheduleArguments | None = None,
        catch_up: CatchUp = "last",
        catch_up_limit: int = CATCH_UP_LIMIT,
        overlap: Overlap = "allow",
        jitter: float | timedelta = 0.0,
    ) -> Callable[[F], F]:
        """Start a workflow (or a task) at certain times. Write it above `@app.workflow`.

        Workers start the runs (`perdure worker`, `app.start_worker`), and so do processes with
        `app.start_scheduler()`. However many there are, each tick has one run, whose id is
        `<name>@<tick in UTC>`, such as `report@2026-03-29T01:00:00Z`. The first tick is the first
        one after a process has seen the schedule.

        Args:
            cron: minute, hour, day of month, month, day of week: "*/5 * * * *". Also with seconds
                as the first of six fields.
            every: instead of cron: each whole multiple of this span since 1970-01-01T00:00Z.
            timezone: whose clock cron goes by, as an IANA name or a `ZoneInfo`. A time that the
                clock skips fires right after the gap, one that it shows twice fires once; where
                minute or hour begins with a star, real time counts.
            name: of the schedule; default: the function's. It must not change, for it is part of
                the runs' ids and names what is durable of the schedule.
            arguments: of each run, by name; or a function that gives them, of the tick as an aware
                datetime in `timezone`.
            catch_up: what becomes of missed ticks (those that no process decided for a minute):
                "last" starts the newest, unless a later tick is just due; "all" starts them all;
                "none" starts none. What was before the schedule was seen first is not missed.
            catch_up_limit: so many missed ticks are started at most, the newest ones.
            overlap: "skip" starts nothing while another run of the schedule has not ended (a
                parked or paused one has not); "allow" starts it anyway.
            jitter: seconds or timedelta; each run begins so much later at most. How much follows
                from its id.

        Raises:
            ConfigurationError: it never fires, or an argument cannot be used.
            RegistrationError: no workflow or task, or the name is taken.
        """
        if callable(cron):
            raise RegistrationError(
                f"@app.schedule got {cron!r} in place of a cron expression. Say when it fires: "
                '@app.schedule("0 3 * * *") above @app.workflow.'
            )
        asked = make_policy(catch_up, catch_up_limit, overlap, jitter)
        rule = cron if every is None else every
        if rule is None or (cron is not None and every is not None):
            raise ConfigurationError(
                "@app.schedule needs either a cron expression or every=, such as "
                '@app.schedule("0 3 * * *") or @app.schedule(every=timedelta(minutes=15)).'
            )

        def declare(target: F) -> F:
            self.schedules.declare(target, rule, timezone, name, arguments or {}, asked)
            return target

        return declare

    def register(self, *classes: type) -> None:
        """Let values and exceptions of these classes be recorded and given back as themselves.

        Classes in the annotations of tasks and workflows are registered already.
        """
        for cls in classes:
            self._types.register(cls)
