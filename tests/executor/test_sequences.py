"""Values of a standalone executor: kinds, keys, counters, and what a second executor sees."""
# mypy: disable-error-code="comparison-overlap"

from __future__ import annotations

import uuid
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from perdure import DeterministicExecutor, WorkflowIdentity
from perdure.errors import InvalidIdentifier, OperationRefused, RegisterConflict, SerializationError

ONE = WorkflowIdentity("order-1", "shop.order")
EMPTY: list[object] = [None, 0, "", [], False]


def stored(app, key, identity=ONE, **default):
    return app.state_backend.get_workflow_deterministic_value(identity, key, **default)


def test_an_identity_is_frozen_and_knows_its_parent():
    child = WorkflowIdentity("a", "t", parent_workflow_id="p")
    assert child.is_subworkflow
    assert not ONE.is_subworkflow
    assert ONE.parent_workflow_id is None
    with pytest.raises(FrozenInstanceError):
        ONE.workflow_id = "other"  # type: ignore[misc]


def test_random_is_a_float_below_one(store):
    executor = DeterministicExecutor(ONE, store.app())
    values = [executor.random() for _ in range(50)]
    assert all(type(value) is float and 0 <= value < 1 for value in values)
    assert len(set(values)) == 50


def test_uuid_is_text_in_version_4_layout(store):
    executor = DeterministicExecutor(ONE, store.app())
    values = [executor.uuid() for _ in range(20)]
    for value in values:
        assert type(value) is str
        parsed = uuid.UUID(value)
        assert str(parsed) == value
        assert parsed.version == 4
        assert parsed.variant == uuid.RFC_4122
    assert len(set(values)) == 20


def test_utc_now_is_the_base_time_and_n_seconds(store):
    app = store.app(virtual=True)
    executor = DeterministicExecutor(ONE, app)
    first = executor.utc_now()
    store.env.advance(1_000)
    base = executor.get_base_time()
    readings = [first, *(executor.utc_now() for _ in range(3))]
    assert readings == [base + timedelta(seconds=n) for n in (1, 2, 3, 4)]
    assert all(reading.utcoffset() == timedelta(0) for reading in readings)
    assert base.tzinfo is UTC


def test_the_base_time_is_fixed_at_its_first_use_and_stored(store):
    app = store.app(virtual=True)
    base = DeterministicExecutor(ONE, app).get_base_time()
    assert base == datetime.fromtimestamp(store.env.moment // 1_000_000, UTC)
    store.env.advance(86_400)
    assert DeterministicExecutor(ONE, app).get_base_time() == base
    assert DeterministicExecutor(ONE, store.app(virtual=True)).get_base_time() == base
    other = DeterministicExecutor(WorkflowIdentity("order-2", "shop.order"), app)
    assert other.get_base_time() == base + timedelta(days=1)


def test_base_time_of_a_utc_now_is_the_stored_one(store):
    app = store.app(virtual=True)
    reading = DeterministicExecutor(ONE, app).utc_now()
    store.env.advance(500)
    assert DeterministicExecutor(ONE, app).get_base_time() == reading - timedelta(seconds=1)


def test_values_stand_under_their_keys_with_their_types(store):
    app = store.app()
    executor = DeterministicExecutor(ONE, app)
    given = {
        "random:1": executor.random(),
        "random:2": executor.random(),
        "uuid:1": executor.uuid(),
        "time:1": executor.utc_now(),
        "my_operation:1": executor.record("my_operation", lambda: {"a": (1, 2)}),
        "workflow:base_time": executor.get_base_time(),
        "counter:random": 2,
        "counter:uuid": 1,
        "counter:time": 1,
        "counter:my_operation": 1,
    }
    for key, value in given.items():
        found = stored(app, key)
        assert found == value, key
        assert type(found) is type(value), key
    assert isinstance(stored(app, "time:1"), datetime)
    for absent in ("random:3", "uuid:2", "time:2", "my_operation:2", "random:0", "counter:other"):
        assert stored(app, absent) is None, absent
        assert stored(app, absent, default="none") == "none"


def test_counters_keep_the_highest_sequence_ever_reached(store):
    app = store.app()
    first = DeterministicExecutor(ONE, app)
    for _ in range(3):
        first.random()
    DeterministicExecutor(ONE, app).random()
    assert stored(app, "counter:random") == 3
    assert first.get_operation_count("random") == 3


def test_counts_are_those_of_the_executor_itself(store):
    app = store.app()
    kinds = {
        "random": lambda e: e.random(),
        "uuid": lambda e: e.uuid(),
        "time": lambda e: e.utc_now(),
        "thing": lambda e: e.record("thing", lambda: 1),
    }
    for _ in range(2):  # the second one replays
        executor = DeterministicExecutor(ONE, app)
        for kind, use in kinds.items():
            assert executor.get_operation_count(kind) == 0
            use(executor)
            use(executor)
            assert executor.get_operation_count(kind) == 2
        assert executor.get_operation_count("never_heard_of") == 0


def test_a_second_executor_gets_the_same_values_and_then_new_ones(store):
    def values(executor, count):
        return [
            (
                executor.random(),
                executor.uuid(),
                executor.utc_now(),
                executor.record("pick", lambda: DRAWN.pop()),
            )
            for _ in range(count)
        ]

    DRAWN = list(range(100))
    first = values(DeterministicExecutor(ONE, store.app()), 3)
    second = values(DeterministicExecutor(ONE, store.app()), 5)
    third = values(DeterministicExecutor(ONE, store.app()), 5)
    assert second[:3] == first
    assert third == second
    assert len({row[0] for row in second}) == len({row[3] for row in second}) == 5
    assert len(DRAWN) == 95


def test_kinds_do_not_disturb_each_other(store):
    app = store.app()
    first = DeterministicExecutor(ONE, app)
    randoms = [first.random() for _ in range(4)]
    uuids = [first.uuid() for _ in range(4)]
    times = [first.utc_now() for _ in range(4)]
    records = [first.record("a", lambda: "a"), first.record("b", lambda: "b")]
    second = DeterministicExecutor(ONE, app)
    mixed = [(second.utc_now(), second.uuid(), second.random()) for _ in range(4)]
    assert [row[0] for row in mixed] == times
    assert [row[1] for row in mixed] == uuids
    assert [row[2] for row in mixed] == randoms
    assert [second.record("b", str), second.record("a", str)] == records[::-1]


@pytest.mark.parametrize(
    "other",
    [
        WorkflowIdentity("order-2", "shop.order"),
        WorkflowIdentity("order-1", "shop.refund"),
    ],
)
def test_other_identities_get_other_values(store, other):
    app = store.app()
    mine, theirs = DeterministicExecutor(ONE, app), DeterministicExecutor(other, app)
    assert mine.random() != theirs.random()
    assert mine.uuid() != theirs.uuid()
    assert mine.record("x", lambda: 1) == 1
    assert theirs.record("x", lambda: 2) == 2
    assert stored(app, "x:1") == 1
    assert stored(app, "x:1", other) == 2


def test_apps_of_other_names_get_other_values(store):
    mine = DeterministicExecutor(ONE, store.app(name="mine"))
    theirs = DeterministicExecutor(ONE, store.app(name="theirs"))
    assert mine.random() != theirs.random()
    assert mine.record("x", lambda: 1) == 1
    assert theirs.record("x", lambda: 2) == 2


@pytest.mark.parametrize("value", EMPTY, ids=repr)
def test_empty_values_are_values(store, value):
    app = store.app()
    calls = []

    def generator():
        calls.append(1)
        return value

    for _ in range(3):
        executor = DeterministicExecutor(ONE, app)
        for _ in range(2):
            got = executor.record("nothing", generator)
            assert got == value
            assert type(got) is type(value)
    assert len(calls) == 2
    absent = object()
    assert stored(app, "nothing:1", default=absent) == value
    assert stored(app, "nothing:3", default=absent) is absent


def test_a_generator_that_raises_stores_nothing_and_keeps_its_number(store):
    app = store.app()
    executor = DeterministicExecutor(ONE, app)

    def broken():
        raise OSError("not now")

    with pytest.raises(OSError, match="not now"):
        executor.record("x", broken)
    assert stored(app, "x:1") is None
    assert executor.get_operation_count("x") == 0
    assert executor.record("x", lambda: "later") == "later"
    assert stored(app, "x:1") == "later"


def test_what_cannot_be_recorded_is_refused_and_loses_nothing(store):
    app = store.app()
    executor = DeterministicExecutor(ONE, app)
    with pytest.raises(SerializationError, match=r"x:1.*type"):
        executor.record("x", lambda: iter([1]))
    assert stored(app, "x:1") is None
    assert executor.record("x", lambda: 7) == 7


def test_the_recorded_value_is_the_decoded_round_trip(store):
    app = store.app()
    original: dict[str, Any] = {"list": [1], "tuple": (1, [2])}
    got = DeterministicExecutor(ONE, app).record("x", lambda: original)
    assert got == original
    assert got is not original
    got["list"].append(2)
    assert DeterministicExecutor(ONE, app).record("x", dict) == {"list": [1], "tuple": (1, [2])}


@pytest.mark.parametrize("name", ["", "1st", "a b", "a:b", "é", "-x", "x" * 256, "a\n"])
def test_names_of_records_are_plain_words(store, name):
    executor = DeterministicExecutor(ONE, store.app())
    with pytest.raises(InvalidIdentifier):
        executor.record(name, lambda: 1)


@pytest.mark.parametrize(
    "name", ["random", "uuid", "time", "counter", "workflow", "task_invocation"]
)
def test_names_of_our_own_sequences_are_refused(store, name):
    executor = DeterministicExecutor(ONE, store.app())
    with pytest.raises(InvalidIdentifier, match=f"my_{name}"):
        executor.record(name, lambda: 1)


@pytest.mark.parametrize("name", ["x", "_x", "a.b-c", "A1", "x" * 255])
def test_other_names_are_fine(store, name):
    app = store.app()
    assert DeterministicExecutor(ONE, app).record(name, lambda: 1) == 1
    assert stored(app, f"{name}:1") == 1


@pytest.mark.parametrize(
    "inner",
    [
        lambda executor: executor.record("x", lambda: 1),
        lambda executor: executor.record("y", lambda: 1),
        lambda executor: executor.random(),
        lambda executor: executor.utc_now(),
    ],
)
def test_nothing_is_asked_for_inside_a_generator(store, inner):
    """On replay it does not run, so what it asked for would shift everything after it."""
    executor = DeterministicExecutor(ONE, store.app())
    with pytest.raises(OperationRefused, match="inside a generator"):
        executor.record("x", lambda: inner(executor))
    assert executor.record("x", lambda: 2) == 2
    again = DeterministicExecutor(ONE, store.app())
    assert again.record("x", lambda: 3) == 2


def test_a_stored_value_can_be_set_once(store):
    app = store.app()
    backend = app.state_backend
    moment = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    for key, value in {"mine:1": moment, "mine:2": None, "time:1": moment}.items():
        backend.set_workflow_deterministic_value(ONE, key, value)
        backend.set_workflow_deterministic_value(ONE, key, value)
        assert stored(app, key, default="absent") == value
        with pytest.raises(RegisterConflict, match="never changes"):
            backend.set_workflow_deterministic_value(ONE, key, "another")
        assert stored(app, key, default="absent") == value
    executor = DeterministicExecutor(ONE, app)
    assert executor.record("mine", lambda: "never") == moment
    assert executor.record("mine", lambda: "never") is None
    assert executor.utc_now() == moment
