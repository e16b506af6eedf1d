"""An executor on the identity of a recorded workflow: it reads the journal and adds nothing."""
# mypy: disable-error-code="comparison-overlap"

from __future__ import annotations

from datetime import datetime

import pytest

from perdure import DeterministicExecutor, Perdure, WorkflowIdentity, wf
from perdure.errors import LeaseRequired


def declare(app: Perdure):
    @app.task(name="pay")
    def pay(order: str) -> str:
        return "paid " + order

    @app.workflow(name="order")
    def order(name: str) -> dict[str, object]:
        memo = wf.execute_task(pay, name)
        return {
            "random": [wf.random(), wf.random()],
            "uuid": wf.uuid(),
            "time": [wf.utc_now(), wf.utc_now()],
            "pick": [wf.record("pick", lambda: None), wf.record("pick", lambda: (1, 2))],
            "bits": wf.random.getrandbits(70),
            "key": wf.idempotency_key(),
            "base": wf.executor().get_base_time(),
            "memo": memo.invocation_id,
            "paid": pay(name),
            "counts": [wf.executor().get_operation_count(k) for k in ("random", "pick", "uuid")],
        }

    return order, pay


def test_it_reads_what_the_workflow_got_and_stops_at_the_end(store):
    app = store.app()
    order, _ = declare(app)
    handle = order.options(id="order-1").start("o")
    got = handle.result(60)
    assert handle.identity == WorkflowIdentity("order-1", "order")
    assert got["counts"] == [2, 2, 1]
    other = store.app()
    _, pay_there = declare(other)
    executor = DeterministicExecutor(handle.identity, other)
    assert executor.get_operation_count("random") == 0
    assert [executor.random(), executor.random()] == got["random"]
    assert executor.uuid() == got["uuid"]
    assert [executor.utc_now(), executor.utc_now()] == got["time"]
    assert executor.record("pick", lambda: "never run") is None
    assert executor.record("pick", lambda: "never run") == (1, 2)
    assert executor.bits(70) == got["bits"]
    assert executor.idempotency_key() == got["key"]
    assert executor.get_base_time() == got["base"]
    assert executor.execute_task(pay_there, order="o").invocation_id == got["memo"]
    past = [
        executor.random,
        executor.uuid,
        executor.utc_now,
        executor.idempotency_key,
        lambda: executor.bits(1),
        lambda: executor.record("pick", lambda: 1),
        lambda: executor.record("another", lambda: 1),
        lambda: executor.execute_task(pay_there, "other"),
    ]
    for operation in past:
        with pytest.raises(LeaseRequired, match="order-1"):
            operation()
    assert executor.get_operation_count("random") == 2
    assert executor.get_operation_count("pick") == 2


def test_keys_of_a_journal_are_read_with_real_values(store):
    app = store.app()
    order, _ = declare(app)
    handle = order.options(id="order-1").start("o")
    got = handle.result(60)
    expected = {
        "random:1": got["random"][0],
        "random:2": got["random"][1],
        "uuid:1": got["uuid"],
        "time:2": got["time"][1],
        "pick:1": None,
        "pick:2": (1, 2),
        "task:1": "paid o",
        "bits:1": got["bits"],
        "key:1": got["key"],
        "workflow:base_time": got["base"],
        "counter:random": 2,
        "counter:time": 2,
        "counter:pick": 2,
        "counter:task": 1,
    }
    for key, value in expected.items():
        found = app.state_backend.get_workflow_deterministic_value(
            handle.identity, key, default="absent"
        )
        assert found == value, key
        assert type(found) is type(value), key
    assert isinstance(expected["time:2"], datetime)
    for absent in ("random:3", "pick:3", "nothing:1", "counter:nothing", "task:2"):
        read = app.state_backend.get_workflow_deterministic_value
        assert read(handle.identity, absent, default="absent") == "absent", absent
        assert read(handle.identity, absent) is None


def test_nothing_can_be_set_in_a_journal(store):
    app = store.app()
    order, _ = declare(app)
    handle = order.options(id="order-1").start("o")
    handle.result(60)
    with pytest.raises(LeaseRequired, match="lease"):
        app.state_backend.set_workflow_deterministic_value(handle.identity, "mine:1", 1)
    with pytest.raises(LeaseRequired):
        app.state_backend.set_workflow_deterministic_value(handle.identity, "random:1", 0.5)


def test_a_workflow_that_has_not_begun_has_no_base_time(store):
    app = store.app()
    order, _ = declare(app)
    handle = order.options(id="order-1").start("o")
    executor = DeterministicExecutor(handle.identity, app)
    with pytest.raises(LeaseRequired):
        executor.get_base_time()
    with pytest.raises(LeaseRequired):
        executor.random()


def test_an_identity_of_another_type_is_another_identity(store):
    app = store.app()
    order, _ = declare(app)
    got = order.options(id="order-1").start("o").result(60)
    executor = DeterministicExecutor(WorkflowIdentity("order-1", "another"), app)
    assert executor.random() not in got["random"]
