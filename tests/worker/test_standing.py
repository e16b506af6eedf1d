"""The standing worker inside one process: what it outlives, and what it needs for its work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from perdure import Perdure, Retry, wf
from perdure.backends.base import ClaimRequest
from perdure.backends.memory import MemoryBackend
from perdure.core.lifecycle import InvocationState
from perdure.engine.env import SystemEnv
from perdure.errors import BackendUnavailable, CommitUnknown
from perdure.worker import standing, worker
from tests.support.stores import LONG, Store, VirtualEnv, run_until_idle, step
from tests.worker.fleet import until

FAILURES = 20
HOUR = 3600 * 1_000_000


class Failing(MemoryBackend):
    """The next claims and renewals raise what they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[Exception] = []
        self.renewals: list[Exception] = []
        self.commits: list[Exception] = []
        self.renewed = threading.Event()

    def claim(self, request: ClaimRequest) -> Any:
        if self.failures:
            raise self.failures.pop()
        return super().claim(request)

    def commit(self, *args: Any) -> Any:
        if self.commits:
            raise self.commits.pop()
        return super().commit(*args)

    def renew(self, *args: Any) -> Any:
        if self.renewals:
            raise self.renewals.pop()
        kept = super().renew(*args)
        self.renewed.set()
        return kept


@pytest.mark.parametrize("error", [BackendUnavailable("gone"), CommitUnknown("?"), ValueError("!")])
def test_it_never_gives_up_and_does_not_flood_the_log(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(worker, "BACKOFF_MAX_SECONDS", 0.004)
    backend = Failing()
    backend.failures = [error] * FAILURES
    with Perdure(backend=backend, local_worker=False) as app:

        @app.workflow
        def main() -> str:
            return "done"

        app.start_worker()
        assert main.start().result(LONG) == "done"
    lines = [each for each in caplog.messages if each.startswith("claim failed")]
    assert len(lines) == 5  # the 1st, 2nd, 4th, 8th and 16th of them


def test_pauses_grow_up_to_a_bound_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Failing()
    with Perdure(backend=backend) as app:
        made = worker.Worker(
            app.runtime,
            app.registry,
            roots=None,
            concurrency=1,
            failed=lambda *_: None,
            gives_up=False,
            serves=worker.Serving(dict),
        )
        for count, longest in ((1, 0.25), (2, 0.5), (7, 10.0), (10_000, 10.0)):
            monkeypatch.setattr(made, "_failures", count)
            pauses = {made._backoff() for _ in range(20)}
            assert len(pauses) > 1
            assert longest / 2 <= min(pauses) <= max(pauses) <= longest


class Vanishing(MemoryBackend):
    """Its first claim happens, nobody is told, and for a while nobody can ask."""

    def __init__(self, silent: int) -> None:
        super().__init__()
        self.silent = silent
        self.claims: list[int] = []
        self.after_look: Callable[[], None] = lambda: None

    def claim(self, request: ClaimRequest) -> Any:
        batch = super().claim(request)
        if batch.records:
            self.claims.append(len(batch.records))
            if len(self.claims) == 1:
                raise CommitUnknown("?")
        return batch

    def query(self, *args: Any) -> Any:
        if self.claims and self.silent:
            self.silent -= 1
            raise BackendUnavailable("gone")
        found = super().query(*args)
        self.after_look()
        return found


@pytest.mark.parametrize("silent", [0, 1, 3])
def test_what_a_claim_took_unseen_is_run_as_soon_as_the_store_answers(
    silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease has an hour to go; it is no crash, and it is claimed once."""
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.001)
    backend = Vanishing(silent)
    with Perdure(backend=backend, local_worker=False, lease=3600) as app:
        runs: list[int] = []

        @app.task
        def body(number: int) -> int:
            runs.append(number)
            return number

        invocations = [body.start(number) for number in range(3)]
        app.start_worker()
        assert [each.result(LONG) for each in invocations] == [0, 1, 2]
    assert (backend.silent, backend.claims) == (0, [3])
    assert sorted(runs) == [0, 1, 2]


def test_what_another_worker_of_the_process_holds_is_not_taken_unseen() -> None:
    """Of two claims with an open outcome each finds rows once, whichever worker finds them."""
    backend = Vanishing(1)
    with Perdure(backend=backend, local_worker=False, lease=3600) as app:

        @app.task
        def body() -> None: ...

        first, second = (
            worker.Worker(
                app.runtime,
                app.registry,
                roots=None,
                concurrency=1,
                failed=lambda *_: None,
                gives_up=False,
                serves=worker.Serving(dict),
            )
            for _ in range(2)
        )
        request = ClaimRequest(
            app=app.runtime.app_name,
            owner=app.runtime.claimer,
            names=frozenset(app.registry),
            limit=1,
            lease=HOUR,
        )
        body.options(id="left").start()
        (left,) = MemoryBackend.claim(backend, request).records
        # Its attempt is over, and its lease is let run out: as after the death of its process.
        app.runtime.leases.remove(left.key, left.epoch)
        body.options(id="one").start()
        with pytest.raises(BackendUnavailable):
            first._claim(request)
        body.options(id="two").start()
        batch = second._claim(request)
        (two,) = batch.records

        def end() -> None:
            """The other worker ends its own while this one looks."""
            app.runtime.leases.remove(two.key, two.epoch)

        backend.after_look = end
        taken = [batch.records, *(first._claim(request).records for _ in range(2))]
        ids = [[record.key.invocation_id for record in records] for records in taken]
        assert ids == [["two"], ["one"], []]


@pytest.mark.parametrize("kind", ["task", "workflow"])
def test_a_failed_attempt_is_told_of_once(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    backend = Failing()
    with Perdure(backend=backend, local_worker=False) as app:

        @app.task
        def task() -> str:
            return "done"

        @app.workflow
        def workflow() -> str:
            return "done"

        backend.commits = [BackendUnavailable("gone for once")]
        app.start_worker()
        assert (task if kind == "task" else workflow).options(id="one").start().result(LONG)
    assert [each.levelname for each in caplog.records if "gone for once" in each.message] == [
        "WARNING"
    ]
    assert "one" in caplog.text


class Deaf(MemoryBackend):
    """It cannot listen for hints."""

    def hints(self, heard: Any) -> None:
        raise BackendUnavailable("no hints")


def test_a_worker_that_cannot_even_start_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with Perdure(backend=Deaf(), local_worker=False) as app:
        app.start_worker()
        until(lambda: "the worker has stopped: no hints" in caplog.text, "it is said")


def test_leases_are_kept_after_a_renewal_met_a_bug() -> None:
    backend = Failing()
    backend.renewals = [ValueError("a bug")]
    with Perdure(backend=backend, local_worker=False, lease=2) as app:

        @app.task
        def body() -> bool:
            return backend.renewed.wait(LONG)

        app.start_worker()
        assert body.start().result(LONG) is True


def test_fifty_nested_children_need_one_slot(store: Store) -> None:
    app = store.app(local_worker=False)

    @app.workflow
    def nest(depth: int) -> int:
        return 1 + nest.start(depth - 1).result() if depth else 0

    app.start_worker(concurrency=1)
    assert nest.start(50).result(LONG) == 50


def test_one_name_is_told_once(memory_store: Store, caplog: pytest.LogCaptureFixture) -> None:
    app = memory_store.app(local_worker=False)
    for number in range(3):
        app.named("shop.other").options(id=str(number)).start()
    app.named("shop.third").options(queue="gpu").start()
    made = standing.StandingWorker(
        app.runtime,
        app.registry,
        serves=worker.Serving(dict, frozenset({"default"})),
        concurrency=1,
    )
    for _ in range(2):
        assert made.report_unknown_names() == {"shop.other": 3}
    assert len([each for each in caplog.messages if "left to other workers" in each]) == 1


def test_what_a_claim_brings_during_the_stop_is_given_back() -> None:
    backend = Failing()
    calls: list[str] = []
    app = Perdure(backend=backend, local_worker=False)

    @app.task
    def body() -> None:
        calls.append("body")

    body.options(id="one").start()
    claimed, go_on = threading.Event(), threading.Event()
    real = backend.claim

    def slow_claim(request: ClaimRequest) -> Any:
        batch = real(request)
        if batch.records:
            claimed.set()
            assert go_on.wait(LONG)
        return batch

    backend.claim = slow_claim  # type: ignore[method-assign]
    app.start_worker()
    assert claimed.wait(LONG)
    stopping, ended = app.runtime.stopping, []
    closing = threading.Thread(target=lambda: ended.append(app.close(LONG)))
    closing.start()
    assert stopping.wait(LONG)
    go_on.set()
    closing.join(LONG)
    assert ended == [True]
    record = backend.read("one")
    assert record is not None
    assert (record.state, record.owner, record.crashes) == (InvocationState.READY, "", 0)
    assert calls == []


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_body_that_runs_when_the_worker_stops_is_recorded(
    memory_store: Store, colour: str
) -> None:
    app = memory_store.app()
    let_go = threading.Event()

    @app.task
    def body() -> bool:
        app.runtime.stopping.set()
        app.runtime.hub.everyone()
        return let_go.wait(1)  # a frame that is dropped under the body is dropped by then

    @app.workflow
    def sync_main() -> bool:
        return body() or body()

    @app.workflow
    async def async_main() -> bool:
        return await body.acall() or await body.acall()

    main = sync_main if colour == "sync" else async_main
    main.options(id="one").start()
    step(app)
    let_go.set()
    record = app.runtime.backend.read("one")
    assert record is not None
    assert (record.state, record.head) == (InvocationState.READY, 1)


class SkewedEnv(VirtualEnv):
    """The store's time of day, seen by a machine whose clock is wrong."""

    def __init__(self, right: VirtualEnv, wrong_by: int) -> None:
        super().__init__()
        self._right = right
        self._wrong_by = wrong_by

    def now(self) -> int:
        return self._right.now() + self._wrong_by


@pytest.mark.parametrize("wrong_by", [-HOUR, HOUR])
@pytest.mark.keeps_frames("it counts claims")
def test_a_clock_that_is_an_hour_off_changes_nothing(store: Store, wrong_by: int) -> None:
    """Delays, timers, retries and `wf.now` go by the clock of the state backend."""
    right = store.env
    backend = store.backend(virtual=True)
    app = Perdure(backend=backend, env=SkewedEnv(right, wrong_by), grace=0.0, lease=30)
    seen: list[str] = []

    @app.task(retry=Retry(attempts=2, wait_initial=20.0, jitter=0.0))
    def flaky() -> str:
        seen.append(f"try at {(right.now() - begin) // 1_000_000}")
        if len(seen) < 2:
            raise ConnectionError
        return "ok"

    @app.workflow
    def main() -> list[Any]:
        readings = wf.now(), wf.utc_now()
        wf.sleep(10)
        answer = flaky.start().result()
        return [*(round(each.timestamp()) - begin // 1_000_000 for each in readings), answer]

    begin = right.now()
    with app:
        invocation = main.options(id="one", delay=5).start()
        for _ in range(40):
            run_until_idle(app)
            right.advance(1)
        assert seen == ["try at 15", "try at 35"]
        assert invocation.result(LONG) == [5, 6, "ok"]  # utc_now: a second after the base time
        record = backend.read("one")
        assert record is not None
        assert (record.epoch, record.crashes) == (3, 0)  # start, end of the sleep, end of the task


class Threadless(SystemEnv):
    """Cannot start a thread to run something, for some times; as where a container has no more."""

    def __init__(self, failures: int) -> None:
        self.failures = failures

    def spawn(self, name: str, run: Callable[[], None]) -> None:
        if name.startswith("perdure-run") and self.failures:
            self.failures -= 1
            raise RuntimeError("can't start new thread")
        super().spawn(name, run)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_what_finds_no_thread_is_given_back_and_run_later(
    concurrency: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without that its lease would be renewed as long as the process lives, and nobody run it."""
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.001)
    env = Threadless(2)
    with Perdure(backend=MemoryBackend(), local_worker=False, lease=3600, env=env) as app:

        @app.task
        def body(number: int) -> int:
            return number

        invocations = [body.start(number) for number in range(3)]
        app.start_worker(concurrency=concurrency)
        assert [each.result(LONG) for each in invocations] == [0, 1, 2]
        for each in invocations:
            record = app.runtime.backend.read(*each.key)
            assert record is not None
            assert record.crashes == 0
    assert env.failures == 0


@pytest.mark.parametrize("kind", ["task", "workflow"])
def test_a_body_that_finds_no_thread_is_tried_again(
    memory_store: Store, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no bug of perdure, for which a workflow is parked until somebody looks."""
    app = memory_store.app(virtual=True, local_worker=False)

    @app.task(timeout=LONG)
    def body() -> str:
        return "done"

    @app.workflow
    def main() -> str:
        return body()

    invocation = main.start() if kind == "workflow" else body.start()

    def spawn(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(memory_store.env, "spawn", spawn)
    run_until_idle(app)
    assert app.client.latest(invocation.key.invocation_id).state is InvocationState.WAITING
    monkeypatch.undo()
    memory_store.env.advance(60)
    run_until_idle(app)
    assert invocation.result(LONG) == "done"
