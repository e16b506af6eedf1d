"""Threads and processes at the same keys: they agree on values, and no number is given twice."""

from __future__ import annotations

import json

import pytest

from perdure import DeterministicExecutor, WorkflowIdentity
from tests.support.processes import finish, put_away, run_code, start_python
from tests.support.stores import in_threads

ONE = WorkflowIdentity("order-1", "shop.order")

USE = """
import json, sys
from perdure import DeterministicExecutor, Perdure, WorkflowIdentity
app = Perdure(sys.argv[1])
executor = DeterministicExecutor(WorkflowIdentity("order-1", "shop.order"), app)
me = sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
rows = [
    [executor.random(), executor.uuid(), executor.utc_now().isoformat(),
     executor.record("who", lambda: [me, n])]
    for n in range(int(sys.argv[3]))
]
print(json.dumps(rows))
"""


def rows_of(executor, count, me):
    return [
        [
            executor.random(),
            executor.uuid(),
            executor.utc_now().isoformat(),
            executor.record("who", lambda n=n: [me, n]),
        ]
        for n in range(count)
    ]


def test_another_process_gets_the_same_values_and_then_new_ones(sqlite_store):
    script = sqlite_store.path.with_name("use.py")
    script.write_text(USE)
    here = rows_of(DeterministicExecutor(ONE, sqlite_store.app()), 4, "parent")

    def there(name, count):
        child = start_python(script, sqlite_store.url, name, str(count), folder=script.parent)
        try:
            out, err = child.communicate("go\n", timeout=60)
        finally:
            put_away(child)
        assert child.returncode == 0, err
        return json.loads(out.splitlines()[1])

    first = there("child", 6)
    assert first[:4] == here
    assert [row[3] for row in first[4:]] == [["child", 4], ["child", 5]]
    assert rows_of(DeterministicExecutor(ONE, sqlite_store.app()), 6, "again") == first


def test_two_processes_that_race_agree_on_every_value(sqlite_store):
    script = sqlite_store.path.with_name("use.py")
    script.write_text(USE)
    sqlite_store.app().runtime.backend.store_id()  # the file is there; the race is for its keys
    count = 40
    children = [
        start_python(script, sqlite_store.url, name, str(count), folder=script.parent)
        for name in ("left", "right")
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        left, right = (json.loads(finish(child)) for child in children)
    finally:
        for child in children:
            put_away(child)
    assert left == right
    assert len({row[0] for row in left}) == count
    assert rows_of(DeterministicExecutor(ONE, sqlite_store.app()), count, "later") == left


@pytest.mark.parametrize("shared_app", [True, False])
def test_executors_of_eight_threads_agree_on_every_value(store, shared_app):
    apps = [store.app()] * 8 if shared_app else [store.app() for _ in range(8)]
    rows = in_threads(8, lambda n: rows_of(DeterministicExecutor(ONE, apps[n]), 15, f"thread {n}"))
    assert all(row == rows[0] for row in rows)
    counter = apps[0].state_backend.get_workflow_deterministic_value(ONE, "counter:who")
    assert counter == 15


def test_one_executor_never_hands_out_a_number_twice(store):
    app = store.app()
    executor = DeterministicExecutor(ONE, app)
    serial = iter(range(10_000))  # next() of a range iterator is atomic

    def use(_):
        return [
            (
                executor.random(),
                executor.uuid(),
                executor.utc_now(),
                executor.record("n", lambda: next(serial)),
            )
            for _ in range(25)
        ]

    rows = [row for part in in_threads(8, use) for row in part]
    for column in range(4):
        assert len({row[column] for row in rows}) == 200
    for kind in ("random", "uuid", "time", "n"):
        assert executor.get_operation_count(kind) == 200
        assert app.state_backend.get_workflow_deterministic_value(ONE, f"counter:{kind}") == 200
    again = DeterministicExecutor(ONE, app)
    assert {again.random() for _ in range(200)} == {row[0] for row in rows}
    assert {again.record("n", lambda: -1) for _ in range(200)} == {row[3] for row in rows}


def test_a_race_for_the_base_time_has_one_winner(store):
    apps = [store.app() for _ in range(8)]
    assert (
        len(set(in_threads(8, lambda n: DeterministicExecutor(ONE, apps[n]).get_base_time()))) == 1
    )


def test_a_race_for_one_call_starts_one_invocation(store):
    apps = [store.app() for _ in range(8)]

    def declare(app):
        @app.task(name="pay")
        def pay(cents: int) -> int:
            return cents

        return pay

    tasks = [declare(app) for app in apps]
    handles = in_threads(
        8, lambda n: DeterministicExecutor(ONE, apps[n]).execute_task(tasks[n], 5).invocation_id
    )
    assert len(set(handles)) == 1
    assert len(apps[0].tasks(name="pay")) == 1


def test_draws_do_not_depend_on_hash_seeds(sqlite_store):
    code = """
        import json
        from perdure import Arguments, Call, DeterministicExecutor, Perdure, WorkflowIdentity
        app = Perdure("sqlite:///x.db")
        @app.task(name="t")
        def t(a, b=frozenset({"x", "y", "z"}), *, c=None): ...
        values = [
            Call(t, Arguments.from_call(t, {"p", "q", "r"}, c={"k": {1, 2}, "a": 1.0})).call_id,
            Call(t, Arguments.from_call(t, a={"r", "q", "p"}, c={"a": 1.0, "k": {2, 1}})).call_id,
            DeterministicExecutor(WorkflowIdentity("w", "t"), app).random(),
        ]
        print(json.dumps(values))
    """
    seen = [run_code(code, sqlite_store.path.parent, PYTHONHASHSEED=seed) for seed in "012"]
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][0] == seen[0][1]
