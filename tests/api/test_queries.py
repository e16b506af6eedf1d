"""Queries: answered from what is committed, anywhere, whatever became of the workflow."""

from collections.abc import Mapping
from typing import Any

import pytest

from perdure import DistributedInvocation, InvocationState, wf
from perdure.core.identity import InvocationKey
from perdure.errors import (
    InvocationNotFound,
    NotInWorkflow,
    OperationRefused,
    RegistrationError,
    Superseded,
    UnknownName,
)
from tests.support.stores import LONG, run_until_idle


def checkout_on(app):
    """A cart that publishes its items, and questions about it."""

    @app.workflow(name="checkout", aliases=["cart"])
    def checkout(fails: bool = False) -> str:
        items: dict[str, int] = {}
        while (item := wf.receive("add")) is not None:
            items[item] = len(items) + 1
            wf.set_data("items", items)
        if fails:
            raise ValueError("no money")
        return "paid"

    @checkout.query
    def total(data: Mapping[str, Any], factor: int = 1) -> int:
        """The sum."""
        items: dict[str, int] = data.get("items", {})
        return sum(items.values()) * factor

    return checkout, total


def test_answers_follow_the_data(store):
    app = store.app(virtual=True, local_worker=False)
    checkout, total = checkout_on(app)
    handle = checkout.options(id="c").start()
    assert total(handle) == 0, "nobody has begun it"
    run_until_idle(app)
    for item, before, expected in (("pen", 0, 1), ("ink", 1, 3)):
        handle.send("add", item)
        assert total(handle) == before, "not taken yet"
        run_until_idle(app)
        assert total(handle) == handle.query(total) == handle.query("total") == expected
    assert total(handle, 10) == handle.query(total, factor=10) == handle.query("total", 10) == 30
    handle.send("add", None)
    run_until_idle(app)
    assert handle.status is InvocationState.COMPLETED
    assert total(checkout.get("c")) == total(app.invocation("c")) == 3
    assert total.__doc__ == "The sum."


def test_another_process_answers_without_running_anything(store):
    app = store.app(virtual=True, local_worker=False)
    checkout, _ = checkout_on(app)
    handle = checkout.options(id="c").start()
    handle.send("add", "pen")
    run_until_idle(app)
    other = store.app(virtual=True, local_worker=False)
    _, total = checkout_on(other)
    before = other.runtime.backend.read("c")
    assert total(other.invocation("c")) == total(handle) == 1
    assert other.runtime.backend.read("c") == before


def test_the_failed_the_parked_and_the_terminated(store):
    app = store.app(virtual=True, local_worker=False)
    checkout, total = checkout_on(app)
    failed, parked, killed = [checkout.start(fails=True) for _ in range(3)]
    for handle in (failed, parked, killed):
        handle.send("add", "pen")
    run_until_idle(app)

    other = store.app(virtual=True, local_worker=False)

    @other.workflow(name="checkout")
    def changed(fails: bool) -> None:
        wf.sleep(1)

    parked.send("add", "ink")
    run_until_idle(other)
    assert parked.status is InvocationState.PARKED
    killed.terminate()
    failed.send("add", None)
    run_until_idle(app)
    assert failed.status is InvocationState.FAILED
    assert [total(handle) for handle in (failed, parked, killed)] == [1, 1, 1]


def test_what_is_unknown_or_of_another_is_told(store):
    app = store.app(local_worker=False)
    checkout, total = checkout_on(app)

    @app.workflow(name="order")
    def order() -> None: ...

    @app.task(name="pay")
    def pay() -> None: ...

    with pytest.raises(UnknownName, match=r"no query 'totl'.*total"):
        checkout.start().query("totl")
    with pytest.raises(UnknownName, match="Queries of it here: none"):
        order.start().query("total")
    for handle in (order.start(), pay.start()):
        with pytest.raises(OperationRefused, match="is one of workflow 'checkout'"):
            total(handle)
    with pytest.raises(UnknownName, match="'elsewhere'"):
        app.start("elsewhere").query("total")
    with pytest.raises(TypeError):
        checkout.start().query("total", nonsense=1)


def test_one_that_lives_again(store):
    app = store.app()
    checkout, total = checkout_on(app)
    old = checkout.options(id="f").start(fails=True)
    old.send("add", None)
    with pytest.raises(ValueError, match="no money"):
        old.result(LONG)
    new = checkout.options(id="f", on_existing="new_generation_if_failed").start(fails=True)
    assert total(new) == 0
    with pytest.raises(Superseded):
        total(old)
    with pytest.raises(InvocationNotFound):
        total(DistributedInvocation(app.client, InvocationKey("nobody", 1)))


def test_a_query_only_looks(store):
    app = store.app(local_worker=False)
    checkout, _ = checkout_on(app)

    @checkout.query
    def writes(data: Any) -> None:
        data["items"] = 1

    @checkout.query
    def changes(data: Any) -> Any:
        data.get("items", {}).clear()
        return wf.uuid()

    handle = checkout.start()
    with pytest.raises(TypeError):
        writes(handle)
    with pytest.raises(NotInWorkflow):
        changes(handle)

    @checkout.query
    def broken(data: Any) -> None:
        raise ZeroDivisionError("its own error comes out")

    with pytest.raises(ZeroDivisionError):
        broken(handle)


def test_in_a_workflow_it_is_recorded_or_refused(store):
    app = store.app()
    checkout, total = checkout_on(app)

    @checkout.query
    def draws(data: Any) -> float:
        return wf.random()

    @app.task(name="ask")
    def ask(other: Any) -> tuple[int, str]:
        try:
            draws(other)
        except NotInWorkflow as error:
            return total(other), type(error).__name__
        return 0, ""

    @app.workflow(name="asking")
    def asking(other: Any) -> list[Any]:
        seen: list[Any] = [ask(other), wf.record("total", lambda: total(other))]
        try:
            total(other)
        except OperationRefused as error:
            seen.append("wf.record" in str(error))
        return seen

    other = checkout.start()
    assert asking(other) == [(0, "NotInWorkflow"), 0, True]


async def _awaited(data: Any) -> None: ...


def _yielding(data: Any) -> Any:
    yield data


@pytest.mark.parametrize("given", [7, _awaited, _yielding, lambda: 1])
def test_what_can_be_no_query(memory_store, given):
    checkout, _ = checkout_on(memory_store.app())
    with pytest.raises(RegistrationError, match=r"@checkout\.query got"):
        checkout.query(given)


def test_two_of_one_name(memory_store):
    checkout, _ = checkout_on(memory_store.app())
    with pytest.raises(RegistrationError, match="a query 'total' already"):

        @checkout.query
        def total(data: Any) -> None: ...
