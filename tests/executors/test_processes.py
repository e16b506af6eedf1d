"""`executor="process"`: the same as on a thread, and what only a process can do: die, be killed."""
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import asyncio
import functools
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from perdure import InvocationState, Perdure
from perdure.backends.memory import MemoryBackend
from perdure.core.identity import InvocationKey
from perdure.engine import pulse
from perdure.errors import (
    ConfigurationError,
    HeartbeatTimeout,
    InvocationCancelled,
    InvocationDead,
    OperationRefused,
    OutcomeUnknown,
    RegistrationError,
    ResultTimeout,
    SerializationError,
    TaskError,
    TaskTimeout,
)
from tests.executors import tasks
from tests.executors.tasks import LONG, OutOfStock, Receipt
from tests.support.stores import VirtualEnv


def run(app: Perdure, body: Any) -> Any:
    main = app.workflow(name="main")(body)
    return main.options(id="m").start().result(LONG)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def gone(pid: int) -> bool:
    deadline = time.monotonic() + LONG
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_running(pid)


@pytest.mark.parametrize("way", ["call", "start"])
def test_a_body_runs_in_another_process_that_is_used_again_and_ends_with_the_app(made, way):
    app, task = made("process")

    def main() -> list[Any]:
        one = task["where"]
        return [(one(n) if way == "call" else one.start(n).result())[0] for n in range(3)]

    pids = run(app, main)
    assert len(set(pids)) == 1
    assert pids[0] != os.getpid()
    assert is_running(pids[0])
    app.close()
    assert not is_running(pids[0])
    assert task["where"](1)[0] == os.getpid()  # outside of a workflow it is just the function


def test_draws_and_keys_are_those_of_a_thread(made):
    seen = []
    for executor in ("thread", "process", ThreadPoolExecutor):
        app, task = made(executor, env=VirtualEnv())

        def main(one: Any) -> list[Any]:
            return [one(), one.start().result()]

        seen.append(run(app, functools.partial(main, task["draws"])))
    assert seen[0] == seen[1] == seen[2]
    called, started = seen[0]
    assert all(
        a != b for n, (a, b) in enumerate(zip(called, started, strict=True)) if n not in (3, 4, 6)
    )
    assert called[6] == started[6] == "m"


def test_the_journal_is_that_of_a_thread_to_the_byte(made):
    journals = []
    for executor in ("thread", "process"):
        app, task = made(executor, env=VirtualEnv())

        def main(task: Any) -> None:
            task["draws"]()
            task["draws"].start().result()
            for kind in ("registered", "unregistered", "builtin", "exit", "unrecordable"):
                with pytest.raises((Exception, SystemExit)):
                    task["fail"](kind)

        run(app, functools.partial(main, task))
        entries = app.runtime.backend.read_journal(InvocationKey("m", 1))
        journals.append([(e.kind, e.key, e.name, e.digest, e.body) for e in entries])
    assert len(journals[0]) == 10
    assert journals[0] == journals[1]


def test_values_are_rebuilt_on_both_sides(made):
    app, task = made("process")
    given = Receipt("1", [1])
    back = run(app, lambda: task["receipt"](given))
    assert type(back) is Receipt
    assert given.cents == [1]
    assert back.cents[0] == 1
    assert back.cents[1] != os.getpid()
    assert app.verify("m").finished


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("registered", OutOfStock),
        ("unregistered", TaskError),
        ("builtin", ValueError),
        ("exit", SystemExit),
        ("unrecordable", SerializationError),
    ],
)
def test_what_a_body_raises_is_its_outcome(made, kind, error):
    app, task = made("process")
    texts = []

    def main() -> str:
        with pytest.raises(error) as caught:
            task["fail"](kind)
        texts.append("".join(getattr(caught.value, "__notes__", ())))
        with pytest.raises(error):
            task["fail"].start(kind).result()
        return type(caught.value).__name__

    assert run(app, main) == error.__name__
    assert app.verify("m").finished


@pytest.mark.parametrize("way", ["call", "start"])
def test_the_policy_decides_by_the_class_that_was_raised_there(made, way, tmp_path):
    app, task = made("process")  # it retries on Unregistered, which arrives here as TaskError

    def main() -> int:
        one = task["flaky"]
        return one(tmp_path) if way == "call" else one.start(tmp_path).result()

    assert run(app, main) == 2


def test_what_the_policy_does_not_cover_is_tried_once(made, tmp_path):
    app, task = made("process")
    with pytest.raises(ValueError, match="other"):
        run(app, lambda: task["flaky"](tmp_path, "other"))
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / "0").unlink()
    with pytest.raises(ValueError, match="other"):
        task["flaky"].start(tmp_path, "other").result(LONG)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("what", ["sleep", "record", "set_data"])
def test_operations_of_workflows_are_refused(made, what):
    app, task = made("process")
    with pytest.raises(OperationRefused, match="inside the task 'refused'"):
        run(app, lambda: task["refused"](what))


def test_a_start_is_refused_where_the_store_is_another(made):
    app, task = made("process")
    with pytest.raises(OperationRefused, match="another state backend"):
        run(app, lambda: task["starting"]())


def test_bodies_run_side_by_side(made, tmp_path):
    if (os.cpu_count() or 1) < 2:
        return  # there is one process then
    app, task = made("process", concurrency=2)

    def main() -> list[str]:
        handles = [task["meet"].start(tmp_path, name, 1) for name in ("a", "b")]
        return [handle.result() for handle in handles]

    assert run(app, main) == ["a", "b"]


def test_async_workflows_await_them(made):
    app, task = made("process", concurrency=2)

    async def main() -> list[Any]:
        where = task["where"]
        return await asyncio.gather(*(where.acall(n) for n in range(6)))

    pids = {pid for pid, _ in run(app, main)}
    assert os.getpid() not in pids
    assert len(pids) <= 2
    assert app.verify("m").finished


@pytest.mark.parametrize("way", ["call", "start", "acall"])
def test_past_its_timeout_a_body_is_killed_with_what_it_started(made, way, tmp_path):
    app, task = made("process", options={"timeout": 3.0})

    def main() -> str:
        with pytest.raises(TaskTimeout, match="was killed"):
            if way == "call":
                task["hang"](tmp_path)
            else:
                task["hang"].start(tmp_path).result()
        return "gave up"

    async def amain() -> str:
        with pytest.raises(TaskTimeout, match="was killed"):
            await task["hang"].acall(tmp_path)
        return "gave up"

    assert run(app, amain if way == "acall" else main) == "gave up"
    body, program = map(int, (tmp_path / "started").read_text().split())
    assert gone(body)
    assert gone(program)


@pytest.mark.parametrize("way", ["call", "start", "acall"])
def test_an_at_most_once_body_that_ends_its_process_is_in_doubt(made, way, tmp_path):
    app, task = made("process", lease=1.0, options={"delivery": "at_most_once"})
    one = task["die"]

    def main() -> str:
        with pytest.raises(OutcomeUnknown, match="'die'"):
            one(tmp_path, 2, "kill") if way == "call" else one.start(tmp_path, 2, "kill").result()
        return "in doubt"

    async def amain() -> str:
        with pytest.raises(OutcomeUnknown, match="'die'"):
            await one.acall(tmp_path, 2, "kill")
        return "in doubt"

    assert run(app, amain if way == "acall" else main) == "in doubt"
    assert len(list(tmp_path.iterdir())) == 1, "it ran once"


@pytest.mark.parametrize("way", ["call", "start", "acall"])
@pytest.mark.parametrize("how", ["exit", "kill"])
def test_a_body_that_ends_its_process_runs_again(made, way, how, tmp_path):
    app, task = made("process", lease=1.0)

    def main() -> int:
        one = task["die"]
        return (
            one(tmp_path, 2, how) if way == "call" else one.start(tmp_path, 2, how).result()
        ) * 1

    async def amain() -> int:
        return await task["die"].acall(tmp_path, 2, how)

    assert run(app, amain if way == "acall" else main) == 2
    (info,) = app.workflows()
    assert info.status is InvocationState.COMPLETED
    assert app.verify("m").finished


@pytest.mark.parametrize("way", ["call", "start"])
def test_a_body_that_always_ends_its_process_is_dead_by_name_and_others_go_on(made, way, tmp_path):
    app, task = made("process", lease=1.0, crash_limit=2, concurrency=2)

    @app.workflow(name="poisoned")
    def poisoned() -> int:
        return task["die"](tmp_path, 99, "kill")

    bad = poisoned.start() if way == "call" else task["die"].start(tmp_path, 99, "kill")
    with ThreadPoolExecutor(1) as pool:
        dead = pool.submit(bad.result, LONG)
        others = run(app, lambda: [task["where"](n)[0] != os.getpid() for n in range(20)])
        assert others == [True] * 20
        with pytest.raises(InvocationDead, match="'die'"):
            dead.result(LONG)
    assert 1 <= len(list(tmp_path.iterdir())) <= 3
    assert task["where"].start(0).result(LONG)[0] != os.getpid()


def test_a_pure_body_that_always_ends_its_process_is_dead_by_name(tmp_path):
    """What others gave before is held back when it dies, and they must not be blamed for it."""
    with Perdure(backend=MemoryBackend(), lease=1.0, crash_limit=3) as app:
        where = app.task(name="where", executor="process", pure=True)(tasks.where)
        die = app.task(name="die", executor="process", pure=True)(tasks.die)

        @app.workflow(name="poisoned")
        def poisoned() -> int:
            assert os.getpid() not in {where(1)[0], where(2)[0]}
            return die(tmp_path, 99, "kill")

        with pytest.raises(InvocationDead, match="'die'"):
            poisoned.start().result(LONG)
    assert 3 <= len(list(tmp_path.iterdir())) <= 5


def test_who_waits_is_told_that_its_process_keeps_ending(made, tmp_path):
    _, task = made("process", lease=1.0, crash_limit=20)
    bad = task["die"].start(tmp_path, 99, "kill")
    deadline = time.monotonic() + LONG
    said = ""
    while "ended under it" not in said and time.monotonic() < deadline:
        with pytest.raises(ResultTimeout) as caught:
            bad.result(0.1)
        said = str(caught.value)
    assert f"perdure workflow show {bad.key}" in said


def test_what_cannot_run_on_an_executor_is_refused_at_decoration():
    app = Perdure("memory://")

    def local() -> None:
        pass

    async def awaited() -> None:
        pass

    with pytest.raises(RegistrationError, match="inside a function"):
        app.task(executor="process")(local)
    with pytest.raises(RegistrationError, match="is async"):
        app.task(executor="process")(awaited)
    wrong: Any = "processes"
    with pytest.raises(ConfigurationError, match="'processes'"):
        app.task(executor=wrong)
    assert tasks.app.settings.name == "executors"


@pytest.mark.parametrize("way", ["call", "start"])
@pytest.mark.parametrize(("how", "last"), [("fails", 2), ("hangs", 1), ("dies", 1)])
def test_another_attempt_goes_on_from_what_the_last_one_told(made, tmp_path, how, last, way):
    pace = 2.0 if how == "hangs" else LONG
    app, task = made("process", lease=1.0, options={"heartbeat_timeout": pace})

    def main() -> list[Any]:
        one = task["copying"]
        return one(tmp_path, how) if way == "call" else one.start(tmp_path, how).result()

    assert run(app, main) == [last, last + 1]
    if how != "fails":
        assert gone(int((tmp_path / "beaten").read_text()))


def test_a_silent_body_is_killed(made, tmp_path):
    app, task = made("process", options={"heartbeat_timeout": 0.5})

    def main() -> str:
        with pytest.raises(HeartbeatTimeout) as caught:
            task["hang"](tmp_path)
        return str(caught.value)

    text = run(app, main)
    assert "'hang' told no heartbeat for 0.5 seconds. Its process was killed." in text
    assert all(gone(int(pid)) for pid in (tmp_path / "started").read_text().split())


@pytest.mark.parametrize("way", ["call", "start"])
def test_a_body_is_told_that_it_counts_no_more(made, tmp_path, monkeypatch, way):
    monkeypatch.setattr(pulse, "TELL_SECONDS", 0.0)
    app, task = made("process", local_worker=False)
    app.start_worker()

    def main() -> Any:
        return task["copying"](tmp_path, "told")

    if way == "call":
        handle = app.workflow(name="main")(main).start()
    else:
        handle = task["copying"].start(tmp_path, "told")
    deadline = time.monotonic() + LONG
    while not (tmp_path / "beaten").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    handle.cancel()
    with pytest.raises(InvocationCancelled):
        handle.result(LONG)
    while not (tmp_path / "told").exists() or not (tmp_path / "told").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "counts no more" in (tmp_path / "told").read_text()
