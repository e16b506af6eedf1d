"""One small program for each fault that a reader or a user found; each failed before its mend."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Any

import msgspec
import pytest

from perdure import Perdure, wf
from perdure.backends.base import Holding
from perdure.backends.memory import MemoryBackend
from perdure.errors import (
    BackendUnavailable,
    Divergence,
    InvocationNotFound,
    InvocationParked,
    JournalCorrupted,
    OperationRefused,
    RegistrationError,
    StartConflict,
    Suspended,
    TaskError,
    WrongColour,
)
from tests.support.stores import run_until_idle

LONG = 30.0


def test_a_second_worker_leaves_the_leases_of_the_first_alone() -> None:
    """It renewed under a name of its own what the first one held, and so declared it lost."""
    backend = MemoryBackend()
    with Perdure(backend=backend, lease=LONG) as app:
        begun, go_on = threading.Event(), threading.Event()

        @app.task
        def body() -> str:
            begun.set()
            assert go_on.wait(LONG)
            return "done"

        @app.workflow
        def main() -> str:
            return body()

        invocation = main.start()
        waiting = threading.Thread(target=lambda: invocation.result(LONG))
        waiting.start()
        assert begun.wait(LONG)
        record = backend.read(*invocation.key)
        assert record is not None
        held = [Holding(record.key, record.epoch)]
        assert backend.renew(app.runtime.claimer, held, 600_000) == frozenset(held)
        go_on.set()
        waiting.join(LONG)
        assert invocation.result(LONG) == "done"


def test_a_queued_body_does_not_start_after_it_was_cancelled() -> None:
    with Perdure(backend=MemoryBackend(), concurrency=1) as app:
        started: list[int] = []
        ended = threading.Event()

        @app.task
        def body(number: int) -> int:
            started.append(number)
            if number == 0:
                raise ValueError("the first one fails")
            assert ended.wait(LONG)  # it has the only thread until the workflow is over
            return number

        @app.workflow
        async def main() -> str:
            try:
                async with asyncio.TaskGroup() as group:
                    for number in range(6):
                        group.create_task(body.acall(number))
            except ExceptionGroup:
                return "failed"
            return "done"

        invocation = main.start()
        assert invocation.result(LONG) == "failed"
        ended.set()
        app.close()
        assert max(started) <= 1
        assert app.verify(invocation.invocation_id).finished


def test_a_timeout_counts_from_the_start_of_the_body_not_of_the_queue() -> None:
    with Perdure(backend=MemoryBackend(), concurrency=1) as app:

        @app.task(timeout=LONG)
        def body(number: int) -> int:
            return number

        @app.workflow
        async def main() -> list[int]:
            return await asyncio.gather(*[body.acall(number) for number in range(5)])

        assert main.start().result(LONG) == [0, 1, 2, 3, 4]


def test_a_rename_keeps_the_idempotency_key_of_a_task_in_flight() -> None:
    keys: list[str] = []
    backend = MemoryBackend()

    def app_with(name: str, *aliases: str, stop: bool) -> Perdure:
        app = Perdure(backend=backend, lease=0.5)

        @app.task(name=name, aliases=aliases)
        def charge() -> str:
            keys.append(wf.idempotency_key())
            if stop:
                app.runtime.stopping.set()
            return "charged"

        @app.workflow(name="main")
        def main() -> str:
            wf.sleep(0)
            return charge()

        return app

    calls: Any = backend.commit

    def losing(transitions: Any) -> Any:
        if any(entry.kind == "task" for entry in transitions[0].entries):
            raise BackendUnavailable("the record of the first charge is lost")
        return calls(transitions)

    backend.commit = losing  # type: ignore[method-assign]
    first = app_with("shop.charge", stop=False)
    invocation = first.named("main").options(id="one").start()
    with pytest.raises(BackendUnavailable):
        invocation.result(LONG)
    first.close()
    backend.commit = calls  # type: ignore[method-assign]
    with app_with("shop.charge_card", "shop.charge", stop=False) as second:
        assert second.named("main").get("one").result(LONG) == "charged"
    assert len(keys) >= 2
    assert len(set(keys)) == 1


def test_a_damaged_journal_fails_nobody_else() -> None:
    backend = MemoryBackend()
    with Perdure(backend=backend) as app:
        gate = threading.Event()

        @app.task
        def body() -> str:
            assert gate.wait(LONG)
            return "done"

        @app.workflow(name="good")
        def good() -> str:
            return body()

        @app.workflow(name="bad")
        def bad() -> None:
            wf.sleep(3600)

        damaged = bad.start()
        row = backend._rows[damaged.key]
        backend._rows[damaged.key] = msgspec.structs.replace(row, draw_algorithm=99)
        results: list[str] = []
        healthy = good.start()
        waiting = threading.Thread(target=lambda: results.append(healthy.result(LONG)))
        waiting.start()
        with pytest.raises(InvocationParked, match="draws by algorithm 99"):
            damaged.result(LONG)
        gate.set()
        waiting.join(LONG)
        assert results == ["done"]


def test_progress_without_direct_tasks_forgets_the_crashes() -> None:
    backend = MemoryBackend()
    with Perdure(backend=backend) as app:

        @app.task
        def child() -> str:
            return "done"

        @app.workflow
        def main() -> str:
            return child.start().result()

        invocation = main.start()
        row = backend._rows[invocation.key]
        backend._rows[invocation.key] = msgspec.structs.replace(row, crashes=9)
        assert invocation.result(LONG) == "done"
        ended = backend.read(*invocation.key)
        assert ended is not None
        assert ended.crashes == 0


def test_the_end_of_a_failed_workflow_does_not_hang_on_its_lines() -> None:
    with Perdure(backend=MemoryBackend()) as app:

        @app.task
        async def slow() -> None:
            await asyncio.Event().wait()

        @app.workflow
        async def main() -> None:
            async with asyncio.timeout(0.01):
                await slow()

        invocation = main.start()
        with pytest.raises(TimeoutError):
            invocation.result(LONG)
        assert app.verify(invocation.invocation_id).finished


def test_a_changed_outcome_is_an_error_and_never_a_value() -> None:
    backend = MemoryBackend()
    with Perdure(backend=backend) as app:

        @app.workflow
        def child() -> str:
            return "paid-0001"

        @app.workflow
        def parent() -> str:
            return child.options(id="child").start().result()

        invocation = child.options(id="child").start()
        assert invocation.result(LONG) == "paid-0001"
        row = backend._rows[invocation.key]
        backend._rows[invocation.key] = msgspec.structs.replace(row, outcome=b'"paid-9999"')
        with pytest.raises(JournalCorrupted, match="outcome"):
            invocation.result(LONG)
        with pytest.raises(InvocationParked, match="outcome"):
            parent.start().result(LONG)


def test_a_workflow_that_nothing_can_wake_is_parked() -> None:
    with Perdure(backend=MemoryBackend()) as app:

        @app.workflow
        async def main() -> None:
            lock = asyncio.Lock()
            await lock.acquire()
            await lock.acquire()

        with pytest.raises(InvocationParked, match="nothing can bring"):
            main.start().result(LONG)


def test_a_workflow_cannot_wait_for_itself() -> None:
    with Perdure(backend=MemoryBackend()) as app:

        @app.workflow(name="main")
        def main() -> str:
            handle = main.options(id="one").start()
            return str(handle.result())

        with pytest.raises(OperationRefused, match="its own result"):
            main.options(id="one").start().result(LONG)


def test_closing_from_inside_is_refused_and_a_close_outside_ends_waits() -> None:
    with Perdure(backend=MemoryBackend()) as app:

        @app.workflow
        def main() -> None:
            app.close()

        @app.workflow
        def waiting() -> None:
            wf.sleep(3600)

        with pytest.raises(OperationRefused, match="Close the app where it was made"):
            main.start().result(LONG)
        invocation = waiting.start()
        told: list[BaseException] = []

        def wait() -> None:
            try:
                invocation.result(LONG)
            except OperationRefused as error:
                told.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        while not app.runtime.hub._by_key:
            threading.Event().wait(0.001)
        app.close()
        thread.join(LONG)
        assert "closed" in str(told[0])


def test_a_plain_call_of_an_async_workflow_in_a_sync_one_is_an_error() -> None:
    with Perdure(backend=MemoryBackend()) as app:

        @app.workflow
        async def child() -> int:
            return 1

        @app.workflow
        def main() -> None:
            child()  # type: ignore[unused-coroutine]

        with pytest.raises(WrongColour, match=r"child\.call"):
            main.start().result(LONG)


def test_a_call_that_does_not_fit_parks_an_async_workflow() -> None:
    with Perdure(backend=MemoryBackend()) as app:

        @app.workflow(name="main")
        async def main(a: str) -> str:
            return a

        other = Perdure(backend=app._backend)
        key = other.start("main", "a", b=3).invocation_id
        with pytest.raises(InvocationParked, match="'b'"):
            app.invocation(key).result(LONG)


def test_what_a_decorator_raises_fails_an_async_workflow() -> None:
    with Perdure(backend=MemoryBackend()) as app:

        async def code() -> None: ...

        @functools.wraps(code)
        def refusing() -> None:
            raise ValueError("not today")

        with pytest.raises(ValueError, match="not today"):
            app.workflow(name="main")(refusing).start().result(LONG)


def test_verify_leaves_the_callers_loop_alone() -> None:
    with Perdure(backend=MemoryBackend()) as app:

        @app.workflow
        async def main() -> int:
            return 1

        async def outside() -> None:
            invocation = main.options(id="one").start()
            assert await invocation == 1
            assert app.verify("one").finished
            assert asyncio.get_running_loop() is asyncio.get_event_loop()
            await asyncio.sleep(0)

        asyncio.run(outside())


def test_a_body_that_raises_our_own_signal_is_a_failure_like_others() -> None:
    with Perdure(backend=MemoryBackend()) as app:

        @app.task
        def body() -> None:
            raise Suspended("not ours to raise")

        @app.workflow
        async def main() -> None:
            await body.acall()

        with pytest.raises(BaseException, match="not ours") as raised:
            main.start().result(LONG)
        assert not isinstance(raised.value, Divergence)


@pytest.mark.parametrize("what", ["exception()", "get_data('x', None)", "resume()"])
def test_what_changes_with_time_is_refused_in_workflow_code(what: str) -> None:
    with Perdure(backend=MemoryBackend()) as app:

        @app.task
        def child() -> None: ...

        @app.workflow
        def main() -> None:
            handle = child.start()
            eval(f"handle.{what}", {"handle": handle})

        with pytest.raises(OperationRefused, match="changes with time"):
            main.start().result(LONG)


def test_functions_that_a_call_does_not_run_are_refused() -> None:
    app = Perdure(backend=MemoryBackend())
    with pytest.raises(RegistrationError, match="generator"):

        @app.workflow
        def generator() -> Any:
            yield 1

    with pytest.raises(RegistrationError, match="method"):

        class Shop:
            @app.task
            def charge(self, cents: int) -> int:
                return cents

        Shop()


def test_wide_draws_are_flushed_by_their_size() -> None:
    """A thousand of them once made one entry of 200 MB."""
    backend = MemoryBackend()
    with Perdure(backend=backend) as app:

        @app.workflow
        def main() -> int:
            return sum(len(wf.random.randbytes(50_000)) for _ in range(40))

        invocation = main.start()
        assert invocation.result(LONG) == 2_000_000
        bodies = [len(entry.body) for entry in backend.read_journal(invocation.key)]
        assert max(bodies) < 512 * 1024
        assert app.verify(invocation.invocation_id).finished


def test_a_conflict_names_the_argument_that_differs() -> None:
    with Perdure(backend=MemoryBackend()) as app:

        @app.workflow
        def main(days: int, name: str = "x") -> int:
            return days

        main.options(id="one").start(3)
        with pytest.raises(StartConflict, match=r"\(days: 3 recorded, 7 now\)"):
            main.options(id="one").start(7)


def test_an_exit_inside_a_task_does_not_end_the_process_that_asks() -> None:
    with Perdure(backend=MemoryBackend()) as app:

        @app.task
        def body() -> None:
            raise SystemExit(3)

        @app.workflow
        def main() -> None:
            body()

        with pytest.raises(TaskError, match="SystemExit: 3"):
            main.start().result(LONG)


def test_a_watch_of_what_was_not_there_yet_does_not_say_how_it_ended() -> None:
    """It was there by the time it was looked at, and was said to have ended while it was ready."""
    backend = MemoryBackend()
    with Perdure(backend=backend, local_worker=False) as app:

        @app.workflow
        def child() -> None: ...

        @app.workflow
        def main() -> str:
            try:
                child.options(delay=3600).start().result()
            except InvocationNotFound as error:
                return str(error)
            return ""

        invocation = main.options(id="main").start()
        run_until_idle(app)
        (watched,) = backend._watchers
        backend._deliver(invocation.key, watched)
        run_until_idle(app)
        assert "does not exist" in invocation.result(LONG)
