"""Commits whose outcome is open or whose batch failed: who waits is told what became of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from perdure.backends.base import (
    ClaimRequest,
    CommitResult,
    Committed,
    InvocationRecord,
    NewInvocation,
    Refusal,
    Transition,
)
from perdure.backends.memory import MemoryBackend
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.engine.committer import SETTLE_TRIES_MAX, Committer, _Request, until_known
from perdure.engine.env import SystemEnv
from perdure.engine.hub import Hub
from perdure.errors import BackendUnavailable, CommitUnknown
from perdure.values import fingerprint
from tests.engine.test_committer import wait_until
from tests.support.stores import LONG

Step = Callable[[Sequence[Transition]], list[CommitResult]]


class Scripted(MemoryBackend):
    """Its commits go as the script says, the first ones first; then as always.

    Attributes:
        reads: how the next looks fail, if they do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.script: list[Step] = []
        self.batches: list[list[str]] = []
        self.reads: list[Exception | None] = []
        self.looks = 0

    def really(self, transitions: Sequence[Transition]) -> list[CommitResult]:
        return super().commit(transitions)

    def commit(self, transitions: Sequence[Transition]) -> list[CommitResult]:
        self.batches.append([transition.key.invocation_id for transition in transitions])
        return self.script.pop(0)(transitions) if self.script else self.really(transitions)

    def read(
        self, invocation_id: str, generation: int | None = None, *, locked: bool = False
    ) -> InvocationRecord | None:
        self.looks += 1
        failure = self.reads.pop(0) if self.reads else None
        if failure is not None:
            raise failure
        return super().read(invocation_id, generation, locked=locked)


def lost(transitions: Sequence[Transition]) -> list[CommitResult]:
    raise CommitUnknown("open, and nothing happened")


def away(transitions: Sequence[Transition]) -> list[CommitResult]:
    raise BackendUnavailable("away")


@pytest.fixture
def backend() -> Scripted:
    return Scripted()


@pytest.fixture
def committer(backend: Scripted) -> Committer:
    return Committer(SystemEnv(), backend, Hub())


def claimed(backend: Scripted, name: str) -> Transition:
    """A commit that the store takes once."""
    arguments = b"{}"
    digest = fingerprint(arguments)
    new = NewInvocation(
        invocation_id=name,
        app="app",
        kind="workflow",
        name="main",
        arguments=arguments,
        fingerprint=digest,
        call_id=f"main:{digest.hex()}",
    )
    backend.start(new, "return")
    names = frozenset({"main"})
    request = ClaimRequest(app="app", owner="me", names=names, limit=1, lease=60_000_000)
    (record,) = backend.claim(request).records
    token = name.encode().rjust(16, b"-")
    return Transition(key=record.key, epoch=record.epoch, head=0, token=token, head_hash=b"")


def together(
    backend: Scripted, committer: Committer, transitions: Sequence[Transition]
) -> list[CommitResult | BaseException]:
    """Submit all in one batch, behind a commit that holds them up; what each of them is told."""
    begun, go_on = threading.Event(), threading.Event()

    def hold(batch: Sequence[Transition]) -> list[CommitResult]:
        begun.set()
        assert go_on.wait(LONG)
        return backend.really(batch)

    backend.script.insert(0, hold)
    first = claimed(backend, "first")
    with ThreadPoolExecutor(len(transitions) + 1) as pool:
        ahead = pool.submit(committer.submit, first)
        assert begun.wait(LONG)
        waiting = []
        queue = committer._group(first).queue
        for each in transitions:
            waiting.append(pool.submit(committer.submit, each))
            wait_until(lambda: len(queue) == len(waiting))
        go_on.set()
        assert isinstance(ahead.result(LONG), Committed)
        told = [each.exception(LONG) or each.result() for each in waiting]
    assert backend.batches[1] == [each.key.invocation_id for each in transitions]
    return told


def test_a_batch_of_open_outcome_is_looked_for_one_by_one(
    backend: Scripted, committer: Committer
) -> None:
    both = [claimed(backend, "a"), claimed(backend, "b")]

    def half(batch: Sequence[Transition]) -> list[CommitResult]:
        """(No store does that. But each is settled by what is found of itself.)"""
        backend.really(batch[:1])
        raise CommitUnknown("open")

    backend.script = [half]
    results = together(backend, committer, both)
    assert all(isinstance(result, Committed) for result in results)
    assert backend.batches[2:] == [["b"]], "what had happened was not sent again"


def test_one_bad_transition_fails_alone(backend: Scripted, committer: Committer) -> None:
    """The batch is one transaction, so one of them takes the others along; then each goes alone."""
    both = [claimed(backend, "a"), claimed(backend, "b")]
    backend.script = [away, away]
    bad, good = together(backend, committer, both)
    assert isinstance(bad, BackendUnavailable)
    assert isinstance(good, Committed)
    assert backend.batches[2:] == [["a"], ["b"]]
    assert backend.looks == 0, "what is known is not looked for"


def test_what_did_not_happen_is_told_and_not_sent_again(
    backend: Scripted, committer: Committer
) -> None:
    mine = claimed(backend, "mine")
    backend.script = [away]
    with pytest.raises(BackendUnavailable):
        committer.submit(mine)
    assert (len(backend.batches), backend.looks) == (1, 0)


def test_what_is_found_to_have_happened_is_told_with_its_state(
    backend: Scripted, committer: Committer
) -> None:
    mine = claimed(backend, "mine")
    backend.really([mine])
    told = committer.submit_again(mine)
    assert told == Committed(InvocationState.RUNNING, (mine.key,))
    assert backend.batches == []


def test_alone_after_a_failed_batch_an_open_outcome_is_settled(
    backend: Scripted, committer: Committer
) -> None:
    both = [claimed(backend, "a"), claimed(backend, "b")]
    backend.script = [away, lost]
    assert all(isinstance(each, Committed) for each in together(backend, committer, both))
    assert backend.batches[2:] == [["a"], ["a"], ["b"]], "it had not happened, and was sent again"


def test_who_cannot_even_be_asked_about_is_told_so(backend: Scripted, committer: Committer) -> None:
    both = [claimed(backend, "a"), claimed(backend, "b")]
    backend.script = [away, lost]
    backend.reads = [BackendUnavailable("away")]
    first, second = together(backend, committer, both)
    assert isinstance(first, CommitUnknown)
    assert "cannot be read back: away" in str(first)
    assert isinstance(second, Committed)


def test_a_batch_that_cannot_be_looked_for_is_open_for_that_one_only(
    backend: Scripted, committer: Committer
) -> None:
    both = [claimed(backend, "a"), claimed(backend, "b")]
    backend.script = [lost]
    backend.reads = [BackendUnavailable("away"), BackendUnavailable("away")]
    first, second = together(backend, committer, both)
    assert isinstance(first, CommitUnknown), "it was asked about twice"
    assert isinstance(second, Committed)


def test_a_fault_in_looking_back_is_handed_to_who_waits(
    backend: Scripted, committer: Committer
) -> None:
    both = [claimed(backend, "a"), claimed(backend, "b")]
    backend.script = [lost]
    backend.reads = [ZeroDivisionError("a bug of the backend")]
    first, second = together(backend, committer, both)
    assert isinstance(first, ZeroDivisionError)
    assert isinstance(second, Committed)


def test_an_outcome_that_stays_open_is_given_to_the_caller_after_some_tries(
    backend: Scripted, committer: Committer
) -> None:
    mine = claimed(backend, "mine")
    backend.script = [lost] * 100
    with pytest.raises(CommitUnknown, match=f"left its outcome open {SETTLE_TRIES_MAX} times"):
        committer.submit_again(mine)
    assert len(backend.batches) == backend.looks == SETTLE_TRIES_MAX
    backend.script = []
    assert isinstance(committer.submit_again(mine), Committed)


def test_nothing_is_sent_again_where_others_went_on(
    backend: Scripted, committer: Committer
) -> None:
    mine = claimed(backend, "mine")
    ours = Transition(key=mine.key, epoch=mine.epoch, head=0, token=b"another-commit--")
    backend.really([ours])
    assert isinstance(committer.submit_again(mine), Committed), "the head is where it was"
    for stale in (
        Transition(key=mine.key, epoch=mine.epoch + 1, head=0, token=b"x" * 16),
        Transition(key=mine.key, epoch=mine.epoch, head=3, token=b"y" * 16),
        Transition(key=InvocationKey("nobody", 1), epoch=1, head=0, token=b"z" * 16),
    ):
        sent = len(backend.batches)
        assert committer.submit_again(stale) is Refusal.STALE
        assert len(backend.batches) == sent
    record = backend.read("mine")
    assert record is not None
    assert record.state is InvocationState.RUNNING


def test_a_request_that_is_taken_back_while_it_is_gathered_holds_up_nobody(
    backend: Scripted, committer: Committer
) -> None:
    """Whoever is interrupted takes its request out at any time, also under the leader's hands."""
    mine, other = claimed(backend, "mine"), claimed(backend, "other")
    gone = _Request(other, SystemEnv().hand_off())

    class Queue(deque[_Request]):
        def append(self, request: _Request) -> None:
            super().append(request)
            super().append(gone)

        def popleft(self) -> _Request:
            if self[0] is gone:
                self.remove(gone)  # as its own thread does, right now
            return super().popleft()

    committer._group(mine).queue = Queue()
    assert isinstance(committer.submit(mine), Committed)
    assert backend.batches == [["mine"]]


def test_what_is_asked_again_until_it_is_known() -> None:
    tries: list[int] = []

    def open_so_often(count: int) -> str:
        tries.append(1)
        if len(tries) <= count:
            raise CommitUnknown("open")
        return "known"

    assert until_known(lambda: open_so_often(SETTLE_TRIES_MAX - 1)) == "known"
    assert len(tries) == SETTLE_TRIES_MAX
    tries.clear()
    with pytest.raises(CommitUnknown):
        until_known(lambda: open_so_often(100))
    assert len(tries) == SETTLE_TRIES_MAX
