"""What no type checker saw: arguments of the public API that fit nothing are refused where they are
given, with one typed error, before anything of them is durable."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from datetime import UTC, timedelta
from typing import Any

import pytest

from perdure import InvocationState, Perdure, wf
from perdure.api.settings import load_settings
from perdure.errors import (
    ConfigurationError,
    InvalidIdentifier,
    InvocationCancelled,
    InvocationNotFound,
    NotInWorkflow,
    NotPublished,
    PerdureError,
    RegistrationError,
    SerializationError,
    UnknownName,
    WrongColour,
)
from tests.support.stores import LONG, Store, run_until_idle


def plain(number: int) -> int:
    return number


REGISTERING: list[tuple[str, type[PerdureError], str, Callable[[Any], Any]]] = [
    ("retry", ConfigurationError, r"retry=3: .*Retry\(", lambda app: app.task(retry=3)(plain)),
    ("raises", ConfigurationError, r"raises=.*list", lambda app: app.task(raises=KeyError)(plain)),
    (
        "raises of a workflow",
        ConfigurationError,
        r"raises=.*list",
        lambda app: app.workflow(raises=KeyError)(plain),
    ),
    (
        "a text as aliases",
        ConfigurationError,
        r"aliases='old': expected a list",
        lambda app: app.task(aliases="old")(plain),
    ),
    (
        "a number as aliases",
        ConfigurationError,
        r"aliases=5: expected a list",
        lambda app: app.workflow(aliases=5)(plain),
    ),
    ("pure", ConfigurationError, r"pure='no': .*True", lambda app: app.task(pure="no")(plain)),
    (
        "completes_outside",
        ConfigurationError,
        r"completes_outside='no'",
        lambda app: app.task(completes_outside="no")(plain),
    ),
    (
        "workers_only",
        ConfigurationError,
        r"workers_only='no'",
        lambda app: app.queue("gpu", workers_only="no"),
    ),
    (
        "a schedule without its brackets",
        RegistrationError,
        r"in place of a cron expression\. Say when",
        lambda app: app.schedule(app.workflow(plain)),
    ),
    (
        "a validator without its brackets",
        InvalidIdentifier,
        "the name of an update must be a str, got function",
        lambda app: app.workflow(plain).update_validator(plain),
    ),
    (
        "arguments that are no mapping",
        ConfigurationError,
        "A schedule cannot call .*mapping",
        lambda app: app.schedule("* * * * *", arguments=[1])(app.workflow(plain)),
    ),
    (
        "transaction",
        ConfigurationError,
        r"retry=3: .*Retry\(",
        lambda app: app.transaction(app.database("sqlite:///x.db"), retry=3)(lambda tx: None),
    ),
    (
        "aliases of a transaction",
        ConfigurationError,
        "aliases='old'",
        lambda app: app.transaction(app.database("sqlite:///x.db"), aliases="old")(lambda tx: 1),
    ),
    (
        "raises of a transaction",
        ConfigurationError,
        "raises=.*list",
        lambda app: app.transaction(app.database("sqlite:///x.db"), raises=KeyError)(lambda tx: 1),
    ),
]


@pytest.mark.parametrize(
    ("error", "told", "register"),
    [each[1:] for each in REGISTERING],
    ids=[e[0] for e in REGISTERING],
)
def test_what_cannot_be_registered(
    error: type[PerdureError], told: str, register: Callable[[Any], Any]
) -> None:
    app = Perdure("memory://")
    with pytest.raises(error, match=told):
        register(app)


ASKING: list[tuple[str, type[PerdureError], str, Callable[[Any], Any]]] = [
    ("limit", ConfigurationError, "limit='x': .*1 to 10,000", lambda app: app.workflows(limit="x")),
    ("limit 0", ConfigurationError, "limit=0: ", lambda app: app.workflows(limit=0)),
    ("status", ConfigurationError, "status=5: .*list", lambda app: app.workflows(status=5)),
    ("after", ConfigurationError, "after='x': .*last item", lambda app: app.tasks(after="x")),
    (
        "kind",
        ConfigurationError,
        "kind='flow': .*workflow, task",
        lambda app: app.named("n", "flow"),
    ),
    (
        "a text as queues",
        ConfigurationError,
        r"queues='gpu': expected a list, such as queues=\[",
        lambda app: app.start_worker(queues="gpu"),
    ),
    ("queues", ConfigurationError, "queues=5", lambda app: app.start_worker(queues=5)),
    (
        "concurrency",
        ConfigurationError,
        "concurrency='x': expected a whole number",
        lambda app: app.start_worker(concurrency="x"),
    ),
    ("close", ConfigurationError, "timeout must be seconds", lambda app: app.close("now")),
    (
        "a schedule that is not there",
        UnknownName,
        "^There is no schedule 'daily' in this process. Declared here: none",
        lambda app: app.schedules["daily"],
    ),
]


@pytest.mark.parametrize(
    ("error", "told", "ask"), [each[1:] for each in ASKING], ids=[each[0] for each in ASKING]
)
def test_what_cannot_be_asked(
    error: type[PerdureError], told: str, ask: Callable[[Any], Any]
) -> None:
    with Perdure("memory://") as app, pytest.raises(error, match=told):
        ask(app)


def test_schedules_are_a_mapping() -> None:
    app = Perdure("memory://")
    assert app.schedules.get("daily") is None
    assert "daily" not in app.schedules


def test_what_is_no_state_backend() -> None:
    wrong: Any = "sqlite:///orders.db"
    with pytest.raises(ConfigurationError, match=r"is no state backend. A URL comes first"):
        Perdure(backend=wrong)


def test_settings_say_what_they_expect() -> None:
    wrong: Any = "off"
    with pytest.raises(ConfigurationError, match=r"synchronous='off' .*expected \"full\""):
        Perdure("memory://", synchronous=wrong)


def test_every_duration_may_be_a_timedelta() -> None:
    settings = Perdure("memory://", lease=timedelta(minutes=1), grace=timedelta(0)).settings
    assert (settings.lease, settings.grace) == (60.0, 0.0)
    assert load_settings({"lease": 60}, environ={}).lease == 60.0


REASONS: list[Any] = [404, ValueError("no ink"), None, b"no ink", "\ud800"]


@pytest.mark.parametrize("reason", REASONS, ids=repr)
@pytest.mark.parametrize("how", ["cancel", "terminate"])
def test_a_reason_that_is_no_text_harms_no_workflow(store: Store, how: str, reason: Any) -> None:
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow")
    def flow() -> None:
        wf.receive("end")

    handle = flow.start()
    run_until_idle(app)
    with pytest.raises(ConfigurationError, match=r"^reason="):
        getattr(handle, how)(reason)
    with pytest.raises(ConfigurationError, match=r"^children='no': expected True or False"):
        getattr(handle, how)("enough", children="no")
    run_until_idle(app)
    assert handle.status is InvocationState.WAITING, "nothing was sent"
    getattr(handle, how)("enough")
    run_until_idle(app)
    with pytest.raises(InvocationCancelled, match="Reason: enough"):
        handle.result(LONG)


@pytest.mark.parametrize("reason", REASONS, ids=repr)
def test_a_reason_that_is_no_text_harms_no_schedule(store: Store, reason: Any) -> None:
    app = store.app(local_worker=False)
    app.schedule("* * * * *", name="tick")(app.workflow(name="flow")(lambda: None))
    schedule = app.schedules["tick"]
    with pytest.raises(ConfigurationError, match=r"^reason="):
        schedule.pause(reason)
    assert not schedule.info().paused


def test_backfill_has_a_beginning(store: Store) -> None:
    app = store.app(local_worker=False)
    app.schedule("* * * * *", name="tick")(app.workflow(name="flow")(lambda: None))
    earliest = dt.datetime.min.replace(tzinfo=UTC)
    with pytest.raises(ConfigurationError, match="before 1970"):
        app.schedules["tick"].backfill(earliest, dt.datetime(1970, 1, 2, tzinfo=UTC))


def test_an_id_of_another_function_is_not_got(store: Store) -> None:
    app = store.app(local_worker=False)
    order = app.workflow(name="order")(lambda: 1)
    cart = app.workflow(name="cart")(lambda: 2)
    renamed = app.workflow(name="order.new", aliases=["order.old"])(lambda: 3)
    order.options(id="a").start()
    assert order.get("a") == app.named("order").get("a") == app.invocation("a")
    with pytest.raises(InvocationNotFound, match="'a' is the workflow 'order', and not 'cart'"):
        cart.get("a")
    app.named("order.old").options(id="b").start()
    assert renamed.get("b") == app.invocation("b")


def test_a_query_of_what_is_no_handle(store: Store) -> None:
    app = store.app(local_worker=False)
    flow = app.workflow(name="flow")(lambda: None)

    @flow.query
    def total(data: Mapping[str, Any]) -> int:
        return len(data)

    asked: Any = total
    handle: Any = flow.start()
    for wrong in ("a", None, 5):
        with pytest.raises(ConfigurationError, match=r"total\(.*expected the handle"):
            asked(wrong)
    others: list[Any] = [5, plain, None]
    for other in others:
        with pytest.raises(ConfigurationError, match=r"invocation\.query\(.*or its name"):
            handle.query(other)
    assert total(handle) == 0


def test_data_that_nobody_published(store: Store) -> None:
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow")
    def flow() -> str:
        try:
            wf.get_data("state")
        except KeyError as error:
            return str(error)
        return ""

    handle = flow.start()
    run_until_idle(app)
    assert handle.result(LONG).startswith("The workflow has published no 'state' with wf.set_data")
    with pytest.raises(NotPublished, match=f"^'{handle.invocation_id}' has published no 'state'"):
        handle.get_data("state")


def test_tokens_have_a_length(store: Store) -> None:
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow")
    def flow(length: Any) -> str:
        return wf.token(length)

    wrong: list[Any] = ["x", 0, -1, 10**9, 1.5]
    handles = [flow.start(each) for each in wrong]
    good = flow.start(16)
    run_until_idle(app)
    for handle in handles:
        with pytest.raises(ConfigurationError, match=r"^nbytes=.*from 1 to 65,536"):
            handle.result(LONG)
    assert len(good.result(LONG)) == 32


def test_a_forgotten_await_is_named(store: Store) -> None:
    app = store.app(virtual=True, local_worker=False)

    @app.task(name="fetch")
    async def fetch() -> int:
        return 1

    @app.workflow(name="aflow")
    async def aflow() -> Any:
        return wf.receive_async("go")

    @app.workflow(name="flow")
    def flow() -> Any:
        return wf.receive_async("go")

    @app.workflow(name="colours")
    def colours() -> Any:
        return fetch()

    told = [
        (aflow, SerializationError, "coroutine 'receive_async', which nobody awaited. Await it"),
        (flow, SerializationError, "coroutine 'receive_async', which nobody awaited. Return a"),
        (colours, WrongColour, r"must be awaited, .* sync workflow .* Write: fetch\.call\("),
    ]
    for workflow, error, text in told:
        handle: Any = workflow.start()
        run_until_idle(app)
        with pytest.raises(error, match=text):
            handle.result(LONG)


def test_operations_outside_of_a_workflow_say_which() -> None:
    app = Perdure("memory://")
    task = app.task(name="task")(plain)
    with pytest.raises(NotInWorkflow, match=r"^wf\.execute_task was called outside"):
        wf.execute_task(task, 1)
    with pytest.raises(NotInWorkflow, match=r"^wf\.executor was called outside"):
        wf.executor()


def test_an_update_is_refused_with_an_exception(store: Store) -> None:
    app = store.app()

    @app.workflow(name="flow")
    def flow(error: Any = "sold out") -> str:
        with wf.receive_update("buy", int) as update:
            try:
                update.refuse(error)
            except ConfigurationError as told:
                update.answer("an answer")
                return str(told)
        return ""

    handle = flow.start()
    assert handle.update("buy", 1, timeout=LONG) == "an answer"
    assert handle.result(LONG).startswith("update.refuse('sold out'): expected an exception object")
