"""Starting: ids, conflicts, `on_existing`, defaults, handles, listings, starts by name."""
# mypy: disable-error-code="comparison-overlap"

from __future__ import annotations

from datetime import timedelta

import pytest

from perdure import InvocationState, wf
from perdure.errors import (
    CommitUnknown,
    ConfigurationError,
    InvalidIdentifier,
    InvocationNotFound,
    InvocationParked,
    ResultTimeout,
    StartConflict,
    Superseded,
    UnknownName,
)
from tests.support.stores import LONG, in_threads, run_until_idle


def declare(app, fail=()):
    @app.workflow(name="order")
    def order(item: str, count: int = 1) -> str:
        if item in fail:
            raise ValueError(item)
        return f"{count} {item}"

    return order


def test_the_same_id_twice_is_the_same_invocation(store):
    app = store.app()
    order = declare(app)
    first = order.options(id="order-1").start("pen")
    assert order.options(id="order-1").start(item="pen", count=1) == first
    assert first.result(LONG) == "1 pen"
    again = order.options(id="order-1").start("pen")
    assert again == first
    assert hash(again) == hash(first)
    assert again.result(LONG) == "1 pen"
    assert len(app.workflows()) == 1


def test_the_same_id_with_other_input_is_a_conflict(store):
    app = store.app()
    order = declare(app)

    @app.workflow(name="another")
    def another(item: str, count: int = 1) -> str:
        return item

    first = order.options(id="order-1").start("pen")
    with pytest.raises(StartConflict, match=r"'order-1'.*other input"):
        order.options(id="order-1").start("ink")
    with pytest.raises(StartConflict, match=r"'order'.*'another'"):
        another.options(id="order-1").start("pen")
    assert first.result(LONG) == "1 pen"
    assert len(app.workflows()) == 1


def test_many_threads_that_start_one_id_get_one_invocation(store):
    apps = [store.app() for _ in range(8)]
    workflows = [declare(app) for app in apps]
    handles = in_threads(8, lambda n: workflows[n].options(id="one").start("pen"))
    assert len(set(handles)) == 1
    assert len(apps[0].workflows()) == 1


def test_without_an_id_each_start_is_its_own(store):
    app = store.app()
    order = declare(app)
    assert order.start("pen") != order.start("pen")


def test_on_existing_raise(store):
    app = store.app()
    order = declare(app)
    strict = order.options(id="order-1", on_existing="raise")
    strict.start("pen")
    with pytest.raises(StartConflict, match="exists already"):
        strict.start("pen")


def test_on_existing_new_generation_if_failed(store):
    app = store.app()
    fail = {"pen"}
    order = declare(app, fail)
    again = order.options(id="order-1", on_existing="new_generation_if_failed")
    first = again.start("pen")
    with pytest.raises(ValueError, match="pen"):
        first.result(LONG)
    fail.clear()
    assert order.options(id="order-1").start("pen") == first  # "return" gives the failed one
    with pytest.raises(StartConflict):
        again.start("ink")
    second = again.start("pen")
    assert (second.generation, second.invocation_id) == (2, "order-1")
    assert second.result(LONG) == "1 pen"
    assert again.start("pen") == second  # completed: it stays
    with pytest.raises(Superseded, match="generation 1"):
        first.result(LONG)
    assert order.get("order-1") == second


@pytest.mark.parametrize("happened", [True, False])
def test_a_start_after_a_failure_makes_one_generation_whatever_its_outcome(
    store, monkeypatch, happened
):
    """It made another one if its outcome was open and the first one had failed by then."""
    app = store.app(local_worker=False)
    order = declare(app, {"pen"})
    again = order.options(id="order-1", on_existing="new_generation_if_failed")
    again.start("pen")
    run_until_idle(app)
    backend = app.runtime.backend
    real = backend.start

    def is_left_open(*asked):
        monkeypatch.setattr(backend, "start", real)
        if happened:
            real(*asked)
            run_until_idle(app)
        raise CommitUnknown("by a test")

    monkeypatch.setattr(backend, "start", is_left_open)
    assert again.start("pen").generation == 2
    run_until_idle(app)
    assert backend.read("order-1").key.generation == 2


def test_an_unknown_on_existing_is_refused(memory_store):
    order = declare(memory_store.app())
    with pytest.raises(ConfigurationError, match="new_generation_if_failed"):
        order.options(on_existing="replace")


def test_on_existing_is_not_for_workflows(store):
    app = store.app()
    order = declare(app)

    @app.workflow(name="parent")
    def parent() -> str:
        try:
            order.options(id="x", on_existing="raise").start("pen")
        except ConfigurationError as error:
            return str(error)
        return "started"

    assert "not available inside a workflow" in parent()


def test_a_new_parameter_at_its_default_is_the_same_input(store):
    first = store.app()

    @first.workflow(name="order")
    def old(item: str) -> str:
        return item

    handle = old.options(id="order-1").start("pen")
    second = store.app()
    order = declare(second)
    assert order.options(id="order-1").start("pen").invocation_id == handle.invocation_id
    with pytest.raises(StartConflict):
        order.options(id="order-1").start("pen", 2)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("", "empty"),
        ("x" * 256, "256 characters"),
        ("a\nb", "control"),
        ("\x00", "control"),
        (7, "int"),
        ("\u202eevil", "control"),
        ("\ud800", "control"),
    ],
)
def test_ids_that_no_backend_could_hold(store, wrong, said):
    app = store.app()
    order = declare(app)
    for use in (
        lambda: order.options(id=wrong),
        lambda: order.get(wrong),
        lambda: app.invocation(wrong),
    ):
        with pytest.raises(InvalidIdentifier, match=said):
            use()
    assert app.workflows() == []
    assert order.options(id="x" * 255).start("pen").result(LONG) == "1 pen"


def test_ids_of_any_printable_text(store):
    app = store.app()
    order = declare(app)
    for identifier in ("a b", "ordine-é", "注文/42", "x'; DROP TABLE invocation; --", "%", "😀"):
        assert order.options(id=identifier).start("pen").result(LONG) == "1 pen"
        assert order.get(identifier).invocation_id == identifier


def test_get_and_invocation_find_what_was_started(store):
    app = store.app()
    order = declare(app)
    handle = order.options(id="order-1").start("pen", 3)
    for found in (
        order.get("order-1"),
        app.invocation("order-1"),
        app.state_backend.get_invocation("order-1"),
    ):
        assert found == handle
        assert found.name == "order"
        assert dict(found.call.arguments.values) == {"item": "pen", "count": 3}
        assert found.result(LONG) == "3 pen"
    with pytest.raises(InvocationNotFound, match="order-2"):
        order.get("order-2")
    with pytest.raises(InvocationNotFound, match="order-2"):
        app.invocation("order-2")


def test_status_goes_from_ready_to_completed(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow")
    def flow() -> None:
        wf.sleep(timedelta(hours=1))

    handle = flow.start()
    assert handle.status is InvocationState.READY
    run_until_idle(app)
    assert handle.status is InvocationState.WAITING
    store.env.advance(3600)
    run_until_idle(app)
    assert handle.status is InvocationState.COMPLETED
    assert handle.result() is None


@pytest.mark.parametrize(
    "options",
    [
        {"priority": "high"},
        {"priority": 1.5},
        {"priority": True},
        {"priority": 2**40},
        {"delay": -1},
        {"delay": "soon"},
        {"delay": float("nan")},
        {"delay": 1e300},
        {"delay": timedelta.max},
    ],
)
def test_an_option_that_cannot_be_used_is_refused_by_name(memory_store, options):
    order = declare(memory_store.app())
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        order.options(**options)


def test_arguments_that_do_not_fit_are_told_with_the_function(memory_store):
    order = declare(memory_store.app())
    with pytest.raises(
        TypeError, match=r"order\(item: .*count: .*missing a required argument: 'item'"
    ):
        order.start()
    with pytest.raises(TypeError, match=r"order\(.*too many positional arguments"):
        order.start("pen", 1, 2)


def test_delay_and_priority(store):
    app = store.app(virtual=True, local_worker=False)
    seen = []

    @app.task(name="t")
    def task(name: str) -> None:
        seen.append(name)

    task.options(delay=timedelta(seconds=10)).start("late")
    task.options(priority=1).start("low")
    task.options(priority=9).start("high")
    run_until_idle(app)
    assert seen == ["high", "low"]
    store.env.advance(10)
    run_until_idle(app)
    assert seen == ["high", "low", "late"]


def test_a_result_that_does_not_come_in_time(store):
    app = store.app(local_worker=False)
    handle = declare(app).start("pen")
    with pytest.raises(ResultTimeout, match="goes on") as caught:
        handle.result(0.01)
    assert isinstance(caught.value, TimeoutError)
    assert "No worker has taken it" in str(caught.value)
    assert "--queues default" in str(caught.value)
    assert handle.status is InvocationState.READY
    assert declare(store.app()).get(handle.invocation_id).result(LONG) == "1 pen"


def test_pages_and_filters(store):
    app = store.app()
    order = declare(app, fail={"bad"})

    @app.task(name="t")
    def task() -> int:
        return 1

    for number in range(5):
        order.options(id=f"a-{number}").start("pen").result(LONG)
    with pytest.raises(ValueError, match="bad"):
        order.options(id="b-1").start("bad").result(LONG)
    task.options(id="t-1").start().result(LONG)
    everything = app.workflows()
    assert [info.invocation_id for info in everything] == ["b-1", "a-4", "a-3", "a-2", "a-1", "a-0"]
    assert everything[0].status is InvocationState.FAILED
    assert everything[0].finished_at is not None
    page, pages = app.workflows(limit=2), []
    while page:
        pages.append([info.invocation_id for info in page])
        page = app.workflows(limit=2, after=page[-1])
    assert pages == [["b-1", "a-4"], ["a-3", "a-2"], ["a-1", "a-0"]]
    ids = [info.invocation_id for info in app.workflows(id_prefix="a-")]
    assert ids == ["a-4", "a-3", "a-2", "a-1", "a-0"]
    assert [info.invocation_id for info in app.workflows(status="failed")] == ["b-1"]
    assert len(app.workflows(status=["failed", InvocationState.COMPLETED])) == 6
    assert app.workflows(name="no such") == []
    assert len(app.workflows(name="order")) == 6
    assert [info.invocation_id for info in app.tasks()] == ["t-1"]
    for wrong in (0, 10_001, -1):
        with pytest.raises(ConfigurationError, match="limit"):
            app.workflows(limit=wrong)
    with pytest.raises(ConfigurationError, match=r"finished.*completed|Known"):
        app.workflows(status="finished")


def test_a_start_by_name_without_the_code(store):
    client = store.app(local_worker=False)
    handle = client.start("order", "pen", count=2)
    by_keywords = client.named("order").options(id="order-2").start(item="ink", count=1)
    assert client.named("order").options(id="order-2").start(count=1, item="ink") == by_keywords
    with pytest.raises(StartConflict):
        client.named("order").options(id="order-2").start(item="pen", count=1)
    with pytest.raises(UnknownName, match="order"):
        _ = handle.call
    worker = store.app()
    order = declare(worker)
    assert order.get(handle.invocation_id).result(LONG) == "2 pen"
    assert order.options(id="order-2").start("ink") == by_keywords
    assert order.get("order-2").result(LONG) == "1 ink"
    assert handle.result(LONG) == "2 pen"


def test_a_start_by_name_with_wrong_arguments_is_parked_where_the_code_is(store):
    client = store.app(local_worker=False)
    handle = client.start("order", colour="red")
    order = declare(store.app())
    with pytest.raises(InvocationParked, match=r"argument: 'item', and it is .*count"):
        order.get(handle.invocation_id).result(LONG)


def test_what_older_code_cannot_take_waits_for_the_newer(store):
    """A worker of before a deployment may claim what was started after it."""
    new, old, later = (store.app(local_worker=False) for _ in range(3))

    def order(item: str, colour: str) -> str:
        return f"{colour} {item}"

    @old.workflow(name="order")
    def order_before(item: str) -> str:
        return item

    handle = new.workflow(name="order")(order).start("pen", "red")
    run_until_idle(old)
    assert handle.status is InvocationState.PARKED
    later.workflow(name="order")(order)
    handle.resume()
    run_until_idle(later)
    assert handle.result(LONG) == "red pen"


def test_a_start_by_name_with_the_code_is_the_function_itself(store):
    app = store.app()
    order = declare(app)
    assert app.named("order") is order
    assert app.start("order", "pen").result(LONG) == "1 pen"


def test_two_apps_of_other_names_share_a_database_unseen(store):
    one, two = store.app(name="one"), store.app(name="two")
    first = declare(one).start("pen")
    second = declare(two).start("pen")
    assert first.result(LONG) == second.result(LONG) == "1 pen"
    assert [info.invocation_id for info in one.workflows()] == [first.invocation_id]
    assert [info.invocation_id for info in two.workflows()] == [second.invocation_id]


def test_an_id_that_another_app_has_is_a_conflict_and_not_its_invocation(store):
    one, two = store.app(name="one"), store.app(name="two")
    declare(one).options(id="order-1").start("pen").result(LONG)
    order = declare(two)
    with pytest.raises(StartConflict, match="'one'"):
        order.options(id="order-1").start("pen")
    with pytest.raises(InvocationNotFound):
        two.invocation("order-1")
    with pytest.raises(InvocationNotFound):
        order.get("order-1")


def test_an_app_can_be_closed_and_used_again(store):
    app = store.app()
    order = declare(app)
    assert order.options(id="a").start("pen").result(LONG) == "1 pen"
    app.close()
    app.close()
    assert order.options(id="a").start("pen").result(LONG) == "1 pen"
    assert order("ink") == "1 ink"
    with app as same:
        assert same is app
        assert order("ink") == "1 ink"
    assert order.get("a").result(LONG) == "1 pen"


def test_nothing_is_touched_before_the_first_use(sqlite_store):
    app = sqlite_store.app()
    order = declare(app)
    order.options(id="x")
    app.close()
    assert not sqlite_store.path.exists()
    order.start("pen")
    assert sqlite_store.path.exists()


def test_options_that_are_not_given_stay(store):
    app = store.app(virtual=True, local_worker=False)
    flow = app.workflow(name="flow")(lambda: wf.receive("go", str))
    order = flow.options(id="order-42", queue="shop", timeout=60, message=("go", "now"))
    later = order.options(priority=5).options(delay=1, deadline="inherit")
    handle = later.start()
    record = app.client.read(handle.key)
    assert (handle.invocation_id, record.queue, record.priority) == ("order-42", "shop", 5)
    assert order.start() == handle
    with pytest.raises(StartConflict):
        later.options(on_existing="raise").options(queue="other").start()
    assert flow.options(priority=1).start().invocation_id != "order-42", "it is not changed itself"
    with pytest.raises(ConfigurationError, match="before it could begin"):
        later.options(delay=90)
    store.env.advance(2)
    run_until_idle(app)
    assert handle.result(1) == "now"
    assert handle.deadline is not None
