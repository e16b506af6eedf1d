"""What a body gave is kept through an outage of the state backend; the body runs once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from perdure import Perdure, Retry
from perdure.backends.base import CommitResult, Transition
from perdure.backends.memory import MemoryBackend
from perdure.core.identity import InvocationKey
from perdure.engine.outcomes import commit_outcome
from perdure.errors import BackendError, BackendUnavailable, CommitUnknown, SchemaMismatch
from tests.support.stores import LONG


class Away(MemoryBackend):
    """Fails `times` commits in a row, from the first one on that brings an outcome of a body."""

    def __init__(self, times: int, error: BackendError, *, made: bool) -> None:
        super().__init__()
        self.left, self.error, self.made = times, error, made

    def commit(self, transitions: Sequence[Transition]) -> list[CommitResult]:
        if not self.left or not any(map(_brings_outcome, transitions)):
            return super().commit(transitions)
        self.left -= 1
        if self.made and not self.left:
            super().commit(transitions)
        raise self.error


def _brings_outcome(transition: Transition) -> bool:
    kinds = {entry.kind for entry in transition.entries}
    is_task = not transition.head and not kinds and transition.disposition is not None
    return bool(kinds & {"task", "attempt"}) or is_task


@pytest.mark.parametrize(
    ("error", "made"),
    [
        (BackendUnavailable("away"), False),
        (CommitUnknown("open"), False),
        (CommitUnknown("open"), True),
    ],
)
@pytest.mark.parametrize("how", ["call", "acall", "start"])
def test_a_body_runs_once_through_an_outage(how: str, error: BackendError, made: bool) -> None:
    backend = Away(4, error, made=made)
    numbers = itertools.count(1)
    with Perdure(backend=backend) as app:

        @app.task
        def pay() -> int:
            return next(numbers)

        @app.workflow(name="main")
        def main() -> int:
            return pay.start().result() if how == "start" else pay()

        @app.workflow(name="amain")
        async def amain() -> int:
            return await pay.acall()

        named: Any = app.named("amain" if how == "acall" else "main")
        assert named.start().result(LONG) == 1
    assert backend.left == 0
    assert next(numbers) == 2


def test_a_failed_attempt_is_kept_too() -> None:
    backend = Away(3, BackendUnavailable("away"), made=False)
    numbers = itertools.count(1)
    with Perdure(backend=backend) as app:

        @app.task(retry=Retry(attempts=2, wait_initial=0.0))
        def pay() -> int:
            number = next(numbers)
            if number == 1:
                raise ConnectionError("once")
            return number

        @app.workflow
        def main() -> int:
            return pay()

        assert main.start().result(LONG) == 2
    assert next(numbers) == 3


def test_a_program_that_is_too_old_does_not_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time would not change that; what the body gave is not there, and it runs again elsewhere."""
    tried: list[Transition] = []

    def submit(transition: Transition) -> CommitResult:
        tried.append(transition)
        raise SchemaMismatch("has schema 99. Upgrade perdure.")

    with Perdure("memory://") as app:
        monkeypatch.setattr(app.runtime.committer, "submit", submit)
        outcome = Transition(key=InvocationKey("w", 1), epoch=1, head=0, token=bytes(16))
        with pytest.raises(SchemaMismatch, match="Upgrade perdure"):
            commit_outcome(app.runtime, outcome)
    assert tried == [outcome]
