"""A dispatcher that fails tells whoever waits; silence would be a wait for ever."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import Perdure
from perdure.backends.memory import MemoryBackend
from perdure.errors import BackendUnavailable, InternalError

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
