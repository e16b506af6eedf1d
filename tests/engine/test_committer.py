"""Commits of many threads: gathered, led by one of them, settled when a thread is interrupted."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from perdure.backends.base import CommitResult, Committed, InvocationRecord, Refusal, Transition
from perdure.backends.memory import MemoryBackend
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.engine.committer import Committer
from perdure.engine.env import SystemEnv
from perdure.engine.hub import Hub
from tests.support.stores import LONG


class Held(MemoryBackend):
    """Keeps its first commit open until it is let go. Notes what was committed in which batch."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.begun, self.let_go = threading.Event(), threading.Event()
        self.interrupted: str = ""

    def commit(self, transitions: Sequence[Transition]) -> list[CommitResult]:
        ids = [transition.key.invocation_id for transition in transitions]
        self.batches.append(ids)
        self.begun.set()
        assert self.let_go.wait(LONG)
        if self.interrupted in ids:
            raise KeyboardInterrupt
        return [Committed(InvocationState.RUNNING, ()) for _ in ids]

    def read(
        self, invocation_id: str, generation: int | None = None, *, locked: bool = False
    ) -> InvocationRecord | None:
        assert locked
        return None


def transition(name: str) -> Transition:
    return Transition(
        key=InvocationKey(name, 1), epoch=1, head=0, token=name.encode(), head_hash=b""
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def backend() -> Held:
    return Held()


@pytest.fixture
def committer(backend: Held, monkeypatch: pytest.MonkeyPatch) -> Committer:
    """One whose waiting threads are woken or fail: none gets on because it looks by itself."""
    monkeypatch.setattr("perdure.engine.committer.LOOK_AGAIN", 2 * LONG)
    return Committer(SystemEnv(), backend, Hub())


def waiting(committer: Committer) -> list[str]:
    """Ids in the queue, oldest first."""
    queue = committer._groups[0].queue
    return [request.transition.key.invocation_id for request in list(queue)]


def test_who_comes_during_a_commit_goes_together_with_the_next(
    backend: Held, committer: Committer
) -> None:
    names = [f"w{number}" for number in range(5)]
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(committer.submit, transition("first"))
        assert backend.begun.wait(LONG)
        others = [pool.submit(committer.submit, transition(name)) for name in names]
        wait_until(lambda: len(waiting(committer)) == len(names))
        backend.let_go.set()
        results = [each.result(LONG) for each in (first, *others)]
    assert all(isinstance(result, Committed) for result in results)
    assert [sorted(batch) for batch in backend.batches] == [["first"], names]


def test_an_interrupted_leader_leaves_nobody_behind(backend: Held, committer: Committer) -> None:
    backend.interrupted = "a"
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(committer.submit, transition("first"))
        assert backend.begun.wait(LONG)
        both = [pool.submit(committer.submit, transition(name)) for name in ("a", "b")]
        wait_until(lambda: len(waiting(committer)) == len(both))
        backend.let_go.set()
        assert isinstance(first.result(LONG), Committed)
        # Whichever led is interrupted. The other asks and learns that the store has no such row.
        errors = [each.exception(LONG) for each in both]
        assert sorted(type(error) is KeyboardInterrupt for error in errors) == [False, True]
        assert both[errors.index(None)].result() is Refusal.STALE
    assert isinstance(committer.submit(transition("later")), Committed)


def test_what_an_interrupted_thread_waited_for_does_not_happen_any_more(
    backend: Held, committer: Committer
) -> None:
    main = threading.main_thread().ident
    assert main is not None
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(committer.submit, transition("first"))
        assert backend.begun.wait(LONG)

        def interrupt() -> None:
            wait_until(lambda: waiting(committer) == ["mine"])
            signal.pthread_kill(main, signal.SIGINT)

        told = pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            committer.submit(transition("mine"))
        told.result(LONG)
        other = pool.submit(committer.submit, transition("other"))
        wait_until(lambda: waiting(committer) == ["other"])
        backend.let_go.set()
        assert isinstance(first.result(LONG), Committed)
        assert isinstance(other.result(LONG), Committed)
    assert backend.batches == [["first"], ["other"]]
