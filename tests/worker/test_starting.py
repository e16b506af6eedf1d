"""Starts that a worker beside them claims in the same transaction, and those that it may not."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from perdure import Perdure, wf
from perdure.backends.base import NewInvocation, OnExisting, StartClaim, Started
from perdure.backends.memory import MemoryBackend
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.errors import CommitUnknown
from perdure.worker import worker as worker_module
from perdure.worker.worker import Worker
from tests.support.stores import LONG, in_threads
from tests.worker.fleet import until

NOTHING: Callable[[], None] = lambda: None  # noqa: E731


class Watched(MemoryBackend):
    """Notes the starts and the claims that got something; hooks run around a start."""

    def __init__(self) -> None:
        super().__init__()
        self.claims: list[StartClaim | None] = []
        self.taken: list[InvocationKey] = []
        self.before: Callable[[], None] = NOTHING
        self.after: Callable[[], None] = NOTHING

    def start(
        self, new: NewInvocation, on_existing: OnExisting, claim: StartClaim | None = None
    ) -> Started:
        self.claims.append(claim)
        self.before()
        started = super().start(new, on_existing, claim)
        self.after()
        return started

    def claim(self, request: Any) -> Any:
        batch = super().claim(request)
        self.taken += [record.key for record in batch.records]
        return batch


class Shop:
    """An app with a worker in its process, and a task that differs on each call."""

    def __init__(self, backend: MemoryBackend, **settings: Any) -> None:
        self.backend = backend
        self.app = Perdure(backend=backend, local_worker=False, **settings)
        self.numbers = itertools.count(1)
        self.bodies: list[int] = []
        self.may_go = threading.Event()
        self.may_go.set()
        self.app.queue("gpu", concurrency=5)

        @self.app.task
        def number() -> int:
            self.bodies.append(next(self.numbers))
            assert self.may_go.wait(LONG)
            return self.bodies[-1]

        @self.app.workflow
        def main() -> int:
            return number()

        self.number, self.main = number, main

    @property
    def worker(self) -> Worker:
        (standing,) = self.app._standing
        return standing._worker

    def start_worker(self, **asked: Any) -> None:
        self.app.start_worker(**asked)
        self.catch_up()

    def catch_up(self) -> None:
        """Wait until a look has found nothing and nothing was poked since."""
        worker = self.worker
        until(lambda: not worker._behind and not worker._wake.is_set(), "the worker has looked")

    def record(self, id_: str) -> Any:
        found = self.backend.read(id_)
        assert found is not None
        return found


@pytest.fixture
def backend() -> Watched:
    return Watched()


@pytest.fixture
def shop(backend: Watched) -> Iterator[Shop]:
    made = Shop(backend)
    yield made
    made.may_go.set()
    made.app.close()


@pytest.mark.keeps_frames("it counts claims")
def test_a_start_beside_a_free_worker_is_claimed_at_once(shop: Shop, backend: Watched) -> None:
    shop.start_worker()
    assert shop.main.options(id="a").start().result(LONG) == 1
    assert shop.number.options(id="b").start().result(LONG) == 2
    assert [claim.owner for claim in backend.claims if claim] == [shop.app.runtime.claimer] * 2
    assert backend.taken == []
    record = shop.record("a")
    assert (record.epoch, record.crashes, record.state) == (1, 0, InvocationState.COMPLETED)
    assert record.base_time == record.created_at
    assert shop.app.verify("a").value == 1


def test_its_lease_is_kept_from_before_the_body_until_the_end(shop: Shop) -> None:
    shop.may_go.clear()
    shop.start_worker()
    handle = shop.main.start()
    until(lambda: shop.bodies, "the body runs")
    (held,) = shop.app.runtime.leases.held()
    assert (held.key, held.epoch) == (handle.key, 1)
    shop.may_go.set()
    assert handle.result(LONG) == 1
    until(lambda: not shop.app.runtime.leases.held(), "the lease is let go")


@pytest.mark.parametrize(
    "options", [{"delay": 0.001}, {"queue": "gpu"}, {"key": "card 1"}, {"queue": "elsewhere"}]
)
def test_what_the_worker_may_not_take_is_left_to_claims(
    shop: Shop, backend: Watched, options: dict[str, Any]
) -> None:
    shop.start_worker(queues=["default", "gpu"])
    shop.main.options(id="a", **options).start()
    assert backend.claims == [None]


def test_without_a_worker_nothing_is_claimed(shop: Shop, backend: Watched) -> None:
    shop.main.options(id="a").start()
    assert backend.claims == [None]
    assert shop.record("a").state is InvocationState.READY


def test_what_waits_for_a_slot_is_not_overtaken(backend: Watched) -> None:
    shop = Shop(backend, concurrency=1)
    shop.may_go.clear()
    shop.start_worker()
    handles = [shop.main.options(id=id_).start() for id_ in ("first", "second", "third")]
    assert [claim is None for claim in backend.claims] == [False, True, True]
    shop.may_go.set()
    assert [handle.result(LONG) for handle in handles] == [1, 2, 3]
    shop.app.close()


def test_while_a_look_is_under_way_nothing_is_claimed_beside_it(
    shop: Shop, backend: Watched
) -> None:
    shop.start_worker()
    shop.worker._behind = True
    shop.main.options(id="a").start()
    assert backend.claims == [None]


def test_an_id_that_exists_is_found_and_not_claimed(shop: Shop, backend: Watched) -> None:
    shop.main.options(id="a", queue="elsewhere").start()
    shop.start_worker(queues=["default"])
    again = shop.main.options(id="a").start()
    assert backend.claims[-1] is not None
    assert (shop.record("a").state, again.key) == (InvocationState.READY, InvocationKey("a", 1))
    until(lambda: shop.worker._idle.is_set(), "the slot is free again")
    assert shop.app.runtime.leases.known() == set()


@pytest.mark.keeps_frames("it counts claims")
def test_many_that_start_one_id_run_it_once(shop: Shop, backend: Watched) -> None:
    shop.start_worker()
    handles = in_threads(8, lambda _: shop.main.options(id="a").start())
    assert {handle.result(LONG) for handle in handles} == {1}
    assert shop.bodies == [1]
    assert shop.record("a").epoch == 1


@pytest.mark.parametrize("happens", [True, False])
@pytest.mark.keeps_frames("it counts claims")
def test_an_open_outcome_is_settled_by_the_token(
    shop: Shop, backend: Watched, happens: bool
) -> None:
    shop.start_worker()

    def unknown() -> None:
        backend.before = backend.after = NOTHING
        raise CommitUnknown("lost in COMMIT")

    if happens:
        backend.after = unknown
    else:
        backend.before = unknown
    assert shop.main.options(id="a").start().result(LONG) == 1
    first, second = backend.claims
    assert first == second
    assert shop.bodies == [1]
    assert (shop.record("a").epoch, backend.taken) == (1, [])


@pytest.mark.parametrize("error", [CommitUnknown("lost in COMMIT"), KeyboardInterrupt()])
@pytest.mark.keeps_frames("it counts claims")
def test_what_an_interrupted_start_claimed_is_found_and_run(
    shop: Shop, backend: Watched, error: BaseException
) -> None:
    shop.start_worker()

    def fail() -> None:
        raise error

    backend.after = fail
    with pytest.raises(type(error)):
        shop.main.options(id="a", on_existing="raise").start()
    backend.after = NOTHING
    assert shop.app.invocation("a").result(LONG) == 1
    record = shop.record("a")
    assert (record.epoch, record.crashes, shop.bodies) == (1, 0, [1])


@pytest.mark.keeps_frames("it counts claims")
def test_a_look_for_the_unseen_leaves_a_start_that_is_under_way_alone(
    shop: Shop, backend: Watched
) -> None:
    shop.start_worker()

    def look() -> None:
        worker = shop.worker
        worker.look_for_unseen()
        until(lambda: worker._open_claims_seen == worker._open_claims, "the worker has looked")

    backend.after = look
    assert shop.main.options(id="a").start().result(LONG) == 1
    assert (shop.record("a").epoch, shop.bodies) == (1, [1])


@pytest.mark.keeps_frames("it counts claims")
def test_started_again_after_an_open_outcome_it_is_still_run_once(
    shop: Shop, backend: Watched
) -> None:
    shop.start_worker()

    def fail() -> None:
        backend.after = NOTHING
        raise CommitUnknown("lost in COMMIT")

    backend.after = fail
    with pytest.raises(CommitUnknown):
        shop.main.options(id="a", on_existing="raise").start()
    assert shop.main.options(id="a").start().result(LONG) == 1
    record = shop.record("a")
    assert (record.epoch, record.crashes, shop.bodies) == (1, 0, [1])


def test_a_stop_waits_for_a_start_and_lets_its_lease_go(shop: Shop, backend: Watched) -> None:
    shop.start_worker()
    started, goes_on = threading.Event(), threading.Event()

    def hold() -> None:
        started.set()
        assert goes_on.wait(LONG)

    backend.after = hold
    starting = threading.Thread(target=shop.main.options(id="a").start)
    starting.start()
    assert started.wait(LONG)
    stopping = shop.app.runtime.stopping
    closing = threading.Thread(target=shop.app.close)
    closing.start()
    assert stopping.wait(LONG)
    goes_on.set()
    closing.join(LONG)
    starting.join(LONG)
    record = shop.record("a")
    assert (record.state, record.crashes, shop.bodies) == (InvocationState.READY, 0, [])


def test_a_stopping_worker_takes_no_start(shop: Shop, backend: Watched) -> None:
    shop.start_worker()
    shop.app.runtime.stopping.set()
    shop.main.options(id="a").start()
    assert backend.claims == [None]


@pytest.mark.keeps_frames("it counts claims")
def test_without_a_thread_for_it_the_lease_is_given_back(
    shop: Shop, backend: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.start_worker()

    def refuse(job: Any) -> None:
        monkeypatch.undo()
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(shop.worker._pool, "submit", refuse)
    assert shop.main.options(id="a").start().result(LONG) == 1
    record = shop.record("a")
    assert (record.epoch, record.crashes, backend.taken) == (2, 0, [record.key])


def test_a_lease_that_was_lost_meanwhile_is_not_taken_for_ours(
    shop: Shop, backend: Watched
) -> None:
    """The token stays in the row when somebody else claims it: only the first epoch is ours."""
    shop.start_worker()

    def lose() -> None:
        backend.after = NOTHING
        record = shop.record("a")
        backend._rows[record.key] = type(record)(
            **{name: getattr(record, name) for name in record.__struct_fields__}
            | {"epoch": 2, "owner": "somebody else"}
        )
        raise CommitUnknown("lost in COMMIT")

    backend.after = lose
    shop.main.options(id="a").start()
    until(lambda: shop.worker._idle.is_set(), "the slot is free again")
    record = shop.record("a")
    assert (record.epoch, record.owner, shop.bodies) == (2, "somebody else", [])
    assert shop.app.runtime.leases.known() == set()


def test_a_task_that_starts_tasks_has_them_run_here(shop: Shop, backend: Watched) -> None:
    @shop.app.task
    def inner() -> int:
        return next(shop.numbers)

    @shop.app.task
    def outer() -> str:
        return inner.start().invocation_id

    @shop.app.workflow
    def nested() -> int:
        id_ = outer()
        return int(wf.record("id", lambda: id_) == id_)

    shop.start_worker()
    assert nested.start().result(LONG) == 1
    assert all(backend.claims)
    assert len(backend.claims) == 2


def test_a_call_in_a_script_is_claimed_as_it_starts(
    backend: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody waits for it already, unlike for what is started."""
    monkeypatch.setattr(worker_module, "POLL_SECONDS", 2 * LONG)
    numbers = itertools.count(1)
    with Perdure(backend=backend) as app:

        @app.task
        def pay() -> int:
            return next(numbers)

        @app.workflow
        def once() -> int:
            return pay() + pay()

        @app.workflow
        async def twice() -> int:
            handle = await pay.acall(), await pay.acall()
            return sum(handle)

        @app.workflow
        def parent() -> int:
            return pay.start().result() + once.options(id="child").start().result()

        assert once() == 3  # there is a worker from here on
        (starter,) = app.runtime.starters
        for call, result in ((once, 7), (twice.call, 11), (parent, 24)):
            until(lambda: starter.is_ready, "its worker has looked")
            backend.claims.clear()
            backend.taken.clear()
            assert call() == result
            assert backend.claims[0] is not None
        assert len(backend.taken) >= 2, "what the last one started was claimed by a look"

        until(lambda: starter.is_ready, "its worker has looked")
        backend.claims.clear()
        again = once.options(id="found")
        assert again() == again() == 21
        assert again.start().result(LONG) == 21


def test_a_call_that_finds_its_id_goes_on_with_what_is_there(
    backend: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "POLL_SECONDS", 2 * LONG)
    with Perdure(backend=backend) as app:

        @app.workflow
        def tell(number: int) -> int:
            return number

        assert tell(1) == 1
        (starter,) = app.runtime.starters
        tell.options(id="left").start(2)
        until(lambda: starter.is_ready, "its worker has looked")
        assert tell.options(id="left")(2) == 2
        assert asyncio.run(tell.options(id="left").acall(2)) == 2
