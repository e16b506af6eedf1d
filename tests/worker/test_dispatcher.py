"""A dispatcher that fails tells whoever waits; silence would be a wait for ever."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import Perdure, Retry, wf
from perdure.backends.memory import MemoryBackend
from perdure.errors import BackendUnavailable, InternalError
from perdure.worker import worker

LONG = 30.0


class Failing(MemoryBackend):
    """Claims raise as told; everything else works."""

    error: Exception | None = None

    def claim(self, request: Any) -> Any:
        if self.error is not None:
            raise self.error
        return super().claim(request)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InternalError("a broken rule"), InternalError),
        (ValueError("a bug"), InternalError),
        (BackendUnavailable("gone"), BackendUnavailable),
    ],
)
def test_whoever_waits_is_told_and_the_next_wait_goes_on(
    error: Exception, told: type[Exception]
) -> None:
    backend = Failing()
    with Perdure(backend=backend) as app:

        @app.workflow
        def main() -> str:
            return "done"

        backend.error = error
        invocation = main.start()
        with pytest.raises(told, match=str(error)):
            invocation.result(LONG)
        backend.error = None
        assert invocation.result(LONG) == "done"


@pytest.mark.parametrize("waits", ["timer", "retry"])
def test_what_goes_on_soon_is_not_left_to_the_next_poll(
    waits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dispatcher was asleep until its next look, which does not come in this test."""
    monkeypatch.setattr(worker, "POLL_SECONDS", 3600.0)
    with Perdure(backend=MemoryBackend(), grace=0.0, local_worker=False) as app:
        tries: list[int] = []

        @app.task(retry=Retry(attempts=2, wait_initial=0.3, jitter=0.0))
        def flaky() -> str:
            tries.append(1)
            if len(tries) == 1:
                raise ValueError
            return "done"

        @app.workflow
        def sleeps() -> str:
            wf.sleep(0.3)
            return "done"

        app.start_worker()
        handle = sleeps.start() if waits == "timer" else flaky.start()
        assert handle.result(LONG) == "done"
