"""`execute_task`, `Arguments`, `Call`: one invocation per call, however the call is spelled."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import (
    Arguments,
    Call,
    DeterministicExecutor,
    DistributedInvocation,
    Perdure,
    WorkflowIdentity,
)
from perdure.errors import RegistrationError, SerializationError

ONE = WorkflowIdentity("order-1", "shop.order")
RAN: list[tuple[object, ...]] = []


def declare(app: Perdure):
    @app.task(name="pay")
    def pay(order: str, cents: int = 5, *, currency: str = "EUR") -> str:
        RAN.append((order, cents, currency))
        return f"{order}/{cents}/{currency}/{len(RAN)}"

    return pay


SPELLINGS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("o",), {}),
    (("o", 5), {}),
    ((), {"order": "o"}),
    (("o",), {"cents": 5}),
    (("o", 5), {"currency": "EUR"}),
    ((), {"currency": "EUR", "cents": 5, "order": "o"}),
]
OTHERS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("p",), {}),
    (("o", 6), {}),
    (("o",), {"currency": "USD"}),
]


def test_every_spelling_of_equal_arguments_is_one_call(store):
    app = store.app()
    pay = declare(app)
    executor = DeterministicExecutor(ONE, app)
    handles = {executor.execute_task(pay, *args, **kwargs) for args, kwargs in SPELLINGS}
    assert len(handles) == 1
    others = {executor.execute_task(pay, *args, **kwargs) for args, kwargs in OTHERS}
    assert len(others | handles) == 4
    assert len(app.tasks(name="pay")) == 4


def test_a_call_is_found_again_by_every_later_executor(store):
    app = store.app()
    pay = declare(app)
    before = len(RAN)
    handle = DeterministicExecutor(ONE, app).execute_task(pay, "o")
    assert isinstance(handle, DistributedInvocation)
    result = handle.result(60)
    assert len(RAN) == before + 1
    later = store.app()
    again = DeterministicExecutor(ONE, later).execute_task(declare(later), order="o", cents=5)
    assert again.invocation_id == handle.invocation_id
    assert again.result(60) == result
    assert len(RAN) == before + 1


def test_only_the_invocation_id_is_stored(store):
    app = store.app()
    pay = declare(app)
    executor = DeterministicExecutor(ONE, app)
    handle = executor.execute_task(pay, "o")
    call = Call(pay, Arguments.from_call(pay, "o"))
    backend = app.state_backend
    key = f"task_invocation:{call.call_id}"
    assert backend.get_workflow_deterministic_value(ONE, key) == handle.invocation_id
    found = backend.get_invocation(handle.invocation_id)
    assert found == handle
    assert found.call.call_id == call.call_id
    assert found.call.arguments == call.arguments
    assert executor.get_operation_count("task_invocation") == 0  # it has no sequence
    assert backend.get_workflow_deterministic_value(ONE, "counter:task_invocation") is None


def test_other_identities_have_other_invocations_of_an_equal_call(store):
    app = store.app()
    pay = declare(app)
    two = WorkflowIdentity("order-2", "shop.order")
    first = DeterministicExecutor(ONE, app).execute_task(pay, "o")
    assert DeterministicExecutor(two, app).execute_task(pay, "o") != first


def test_a_workflow_can_be_executed_too(store):
    app = store.app()

    @app.workflow(name="twice")
    def twice(n: int) -> int:
        return 2 * n

    executor = DeterministicExecutor(ONE, app)
    assert executor.execute_task(twice, 4).result(60) == 8
    assert executor.execute_task(twice, n=4) == executor.execute_task(twice, 4)


def test_what_is_no_task_is_refused(store):
    executor = DeterministicExecutor(ONE, store.app())
    for wrong in ("pay", lambda: 1, None):
        with pytest.raises(RegistrationError, match="decorated object"):
            executor.execute_task(wrong)  # type: ignore[arg-type]


def test_wrong_arguments_start_nothing(store):
    app = store.app()
    pay = declare(app)
    executor = DeterministicExecutor(ONE, app)
    with pytest.raises(TypeError):
        executor.execute_task(pay, "o", 1, 2, 3)
    with pytest.raises(SerializationError, match="cents"):
        executor.execute_task(pay, "o", cents=iter(()))
    assert app.tasks() == []
    assert executor.get_operation_count("task_invocation") == 0


def test_arguments_are_bound_with_defaults_filled_in():
    def plain(a, b=2, *rest, c, d=4, **more): ...

    values = Arguments.from_call(plain, 1, c=3).values
    assert values == {"a": 1, "b": 2, "*rest": (), "c": 3, "d": 4, "**more": {}}
    values = Arguments.from_call(plain, 1, 9, 8, 7, c=3, e=5).values
    assert values == {"a": 1, "b": 9, "*rest": (8, 7), "c": 3, "d": 4, "**more": {"e": 5}}


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, 2, 3), {}), ((1,), {"a": 1}), ((1,), {"other": 1})],
)
def test_arguments_that_do_not_fit_are_a_type_error(args, kwargs):
    def plain(a, b=2): ...

    with pytest.raises(TypeError):
        Arguments.from_call(plain, *args, **kwargs)


def test_arguments_of_positional_only_parameters():
    def plain(a, /, b, *, c=1): ...

    assert Arguments.from_call(plain, 1, b=2) == Arguments.from_call(plain, 1, 2, c=1)
    with pytest.raises(TypeError):
        Arguments.from_call(plain, a=1, b=2)


def test_equal_calls_have_one_id_and_others_another(memory_store):
    app = memory_store.app()
    pay = declare(app)
    ids = {
        Call(pay, Arguments.from_call(pay, *args, **kwargs)).call_id for args, kwargs in SPELLINGS
    }
    others = {
        Call(pay, Arguments.from_call(pay, *args, **kwargs)).call_id for args, kwargs in OTHERS
    }
    assert len(ids) == 1
    assert len(ids | others) == 4


def test_numbers_that_are_equal_but_not_the_same_are_other_calls(memory_store):
    app = memory_store.app()

    @app.task(name="any")
    def anything(value): ...

    ids = {
        Call(anything, Arguments.from_call(anything, value)).call_id
        for value in (1, 1.0, True, "1", [1], (1,), None, 0, False, "")
    }
    assert len(ids) == 10


def test_a_call_of_what_is_no_task_is_refused():
    with pytest.raises(RegistrationError, match=r"@app\.task"):
        Call(print, Arguments({}))
