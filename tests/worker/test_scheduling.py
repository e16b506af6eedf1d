"""The scheduler of a worker: it decides ticks on its own thread, and outlives what fails."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from perdure import Perdure
from perdure.api.moments import from_datetime
from perdure.backends.base import RegisterPut, RegisterResult
from perdure.backends.memory import MemoryBackend
from perdure.errors import BackendUnavailable
from perdure.worker import scheduling
from perdure.worker.scheduling import Scheduler
from tests.support.stores import Store, VirtualEnv
from tests.worker.fleet import until

START = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)


def scheduled(app: Perdure, ran: list[str]) -> None:
    @app.schedule("* * * * *", name="tick")
    @app.workflow(name="flow")
    def flow() -> None:
        ran.append("ran")


def test_a_worker_starts_and_runs_what_is_due(store: Store, monkeypatch: Any) -> None:
    monkeypatch.setattr(scheduling, "LOOK_SECONDS", 0.005)
    store.env.moment = from_datetime(START)
    ran: list[str] = []
    app = store.app(virtual=True)
    scheduled(app, ran)
    app.schedules.run_due()
    app.start_worker()
    store.env.advance(60)
    until(lambda: ran == ["ran"], "it ran")
    assert app.close(10)


def test_a_scheduler_without_a_worker_runs_nothing(memory_store: Store, monkeypatch: Any) -> None:
    monkeypatch.setattr(scheduling, "LOOK_SECONDS", 0.005)
    memory_store.env.moment = from_datetime(START)
    ran: list[str] = []
    app = memory_store.app(virtual=True)
    scheduled(app, ran)
    app.schedules.run_due()
    app.start_scheduler()
    memory_store.env.advance(60)
    until(lambda: len(app.workflows()) == 1, "it is started")
    assert ran == []
    assert app.close(10)


def test_it_waits_for_the_next_tick_of_all(memory_store: Store) -> None:
    memory_store.env.moment = from_datetime(START)
    app = memory_store.app(virtual=True)
    scheduled(app, [])
    app.schedule(every=timedelta(seconds=8), name="often")(app.named("flow"))
    scheduler = Scheduler(app.runtime, app.schedules)
    assert scheduler.look() == 2.0
    memory_store.env.advance(2)
    assert scheduler.look() == 8.0
    app.schedules["often"].pause()
    assert scheduler.look() == 8.0, "somebody may resume it by then"


class Failing(MemoryBackend):
    """Puts of one schedule fail."""

    failing = True

    def register_put(self, put: RegisterPut) -> RegisterResult:
        if self.failing and put.workflow_id == "broken":
            raise BackendUnavailable("gone")
        return super().register_put(put)


def test_one_that_fails_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    env = VirtualEnv()
    env.moment = from_datetime(START)
    backend = Failing(env.now)
    with Perdure(backend=backend, env=env) as app:

        @app.schedule("* * * * *", name="broken")
        @app.schedule("* * * * *", name="tick")
        @app.workflow(name="flow")
        def flow() -> None:
            return

        app.schedules["tick"].run_due()
        app.schedules["tick"].resume()
        scheduler = Scheduler(app.runtime, app.schedules)
        env.advance(60)
        assert [scheduler.look() for _ in range(7)] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
        assert "'broken' could not go on. It is tried again within 16 s." in caplog.text
        assert [info.invocation_id for info in app.workflows()] == ["tick@2026-03-02T12:01:00Z"]
        backend.failing = False
        scheduler.look()
        env.advance(60)
        assert scheduler.look() == 30.0
        backend.failing = True
        env.advance(60)
        assert scheduler.look() == 1.0, "it went well meanwhile"
        assert len(app.workflows()) == 4
