"""What crash tests found in the engine, each in its smallest form."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest

from perdure import Perdure, wf
from perdure.backends.memory import MemoryBackend
from perdure.engine.context import current_workflow
from perdure.engine.env import SystemEnv
from perdure.errors import BackendUnavailable
from perdure.testing.faults import Fault, FaultyBackend, Mode, MortalEnv
from tests.support.stores import LONG, Store


class SlowClear(threading.Event):
    """A signal. With `looking` set, it is raised just before it is lowered: while one looks."""

    looking: threading.Event | None = None

    def clear(self) -> None:
        looking, self.looking = self.looking, None
        if looking is not None:
            looking.set()
            assert self.wait(LONG)
        super().clear()


class SlowEnv(SystemEnv):
    def signal(self) -> SlowClear:
        return SlowClear()


def test_a_body_that_ends_while_its_workflow_looks_for_it_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its signal was lowered after it was raised and before anybody looked: it waited for ever."""
    monkeypatch.setattr("perdure.engine.waiting.POLL_SECONDS", 10 * LONG)  # else found by polling
    looking = threading.Event()
    with Perdure(backend=MemoryBackend(), env=SlowEnv()) as app:

        @app.task
        async def body() -> str:
            await asyncio.to_thread(looking.wait, LONG)
            return "done"

        @app.workflow
        async def main() -> str:
            attempt: Any = current_workflow("this test").attempt
            attempt.signal.looking = looking  # no other signal is slow, such as those of pools
            return await body()

        assert main.start().result(LONG) == "done"
    assert looking.is_set()


@pytest.mark.keeps_frames("it is about what a frame does as it ends")
def test_a_failing_commit_ends_the_frames_of_an_async_workflow_at_once() -> None:
    """They were left to the garbage collector, which runs `finally` anywhere, at any time."""
    backend: Any = MemoryBackend()
    commit, failures = backend.commit, ["one"]

    def failing(transitions: Any) -> Any:
        if failures and any(entry.kind == "sleep" for entry in transitions[0].entries):
            raise BackendUnavailable(failures.pop())
        return commit(transitions)

    backend.commit = failing
    seen: list[str] = []
    with Perdure(backend=backend) as app:

        @app.workflow
        async def main() -> str:
            seen.append("begin")
            try:
                await asyncio.sleep(0.001)
                return "done"
            except BaseException as error:
                seen.append(type(error).__name__)
                raise
            finally:
                seen.append("end")

        handle = main.start()
        with contextlib.suppress(BackendUnavailable):  # it may have ended before the first look
            handle.result(LONG)
        assert handle.result(LONG) == "done"
    assert failures == []
    assert seen == ["begin", "Suspended", "end", "begin", "end"]


def test_a_claim_whose_outcome_is_open_is_found_at_once() -> None:
    """Its rows were nobody's until their lease was over."""
    env = MortalEnv()
    backend = FaultyBackend(MemoryBackend(), env, Fault(2, Mode.UNKNOWN))
    with Perdure(backend=backend, env=env, lease=10 * LONG) as app:

        @app.workflow
        def main() -> str:
            return "done"

        assert main.start().result(LONG) == "done"
    assert backend.struck == "claim"


@pytest.mark.parametrize("mode", [Mode.UNKNOWN, Mode.UNKNOWN_LOST])
def test_a_start_whose_outcome_is_open_is_made_again(mode: Mode) -> None:
    env = MortalEnv()
    store = MemoryBackend()
    backend = FaultyBackend(store, env, Fault(1, mode))
    with Perdure(backend=backend, env=env) as app:

        @app.workflow
        def main() -> str:
            return "done"

        assert main.start().result(LONG) == "done"
        assert len(app.workflows()) == 1
    assert backend.struck == "start"


def test_a_take_over_between_claim_and_first_look_is_no_damage() -> None:
    """The journal was longer than the claimed record said; who waited was told of corruption."""
    store: Any = MemoryBackend()
    read_journal, taken = store.read_journal, threading.Event()

    def app_on(backend: Any, env: Any = None) -> Any:
        app = Perdure(backend=backend, env=env, name="same")

        @app.task(name="body")
        def body() -> str:
            return "done"

        @app.workflow(name="main")
        def main() -> str:
            return body()

        return app

    def take_over() -> None:
        env = MortalEnv()
        other = app_on(FaultyBackend(store, env, gone=store.owners()), env)
        assert other.named("main").options(id="one").start().result(LONG) == "done"
        other.close()

    def late(key: Any, start: int = 0) -> Any:
        if not taken.is_set():
            taken.set()
            thread = threading.Thread(target=take_over)
            thread.start()
            thread.join(LONG)
        return read_journal(key, start)

    store.read_journal = late
    with app_on(store) as app:
        handle = app.named("main").options(id="one").start()
        assert handle.result(LONG) == "done"
        app.close(LONG)  # until the attempt that came too late has ended
        assert list(app.client.waiting._failures) == [None]  # only that it was closed


def test_setting_a_timer_does_not_move_the_workflow_clock(memory_store: Store) -> None:
    """A body saw a time that depended on a timer not yet durable, and another one after a crash."""
    app, env = memory_store.app(virtual=True, lease=1e6), memory_store.env
    seen: list[Any] = []

    @app.task
    async def body(moment: Any) -> None:
        seen.append(moment)

    @app.workflow
    async def main() -> Any:
        start = wf.executor().get_base_time()
        env.advance(500)
        async with asyncio.timeout(3600):
            await body((wf.utc_now() - start).total_seconds())
        return None

    main.start().result(LONG)
    assert seen == [1.0]


def test_asking_for_a_result_does_not_move_the_workflow_clock(memory_store: Store) -> None:
    app, env = memory_store.app(virtual=True, lease=1e6), memory_store.env

    @app.task
    def body() -> str:
        return "done"

    @app.workflow
    def main() -> float:
        handle = body.start()
        handle.result()
        before = wf.utc_now()
        env.advance(500)
        handle.result()
        return (wf.utc_now() - before).total_seconds()

    assert main.start().result(LONG) == 1.0


def test_a_closed_app_leaves_no_thread() -> None:
    """Each app kept its pools, and the loop of its async bodies with its descriptors."""
    before = set(threading.enumerate())
    with Perdure(backend=MemoryBackend()) as app:

        @app.task
        async def body() -> str:
            return "done"

        @app.task(timeout=LONG)
        def slow() -> str:
            return "done"

        @app.workflow
        async def main() -> list[str]:
            return [await body(), await slow.acall()]

        assert main.start().result(LONG) == ["done", "done"]
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("perdure-"):
            thread.join(LONG)
            assert not thread.is_alive(), thread.name
