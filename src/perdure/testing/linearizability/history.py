"""What clients asked, and when which answer came. It knows nothing of what they ask for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec

from perdure.errors import BackendError


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call of one client.

    Attributes:
        name: of the operation; `given` is its argument, as text.
        answer: as text; None if none came, so that the call may or may not have had its effect.
        begun, ended: by one clock for all clients, in nanoseconds. Without an answer there is no
            `ended`: what was sent may have its effect at any later time.
    """

    client: str
    name: str
    given: str = ""
    answer: str | None = None
    begun: int
    ended: int | None = None

    def __str__(self) -> str:
        """For people, one line."""
        answer = "no answer" if self.ended is None else f"{self.answer!r} at {self.ended}"
        return f"{self.client} at {self.begun}: {self.name}({self.given!r}) -> {answer}"


class ClientHistory:
    """The calls of any number of threads. `clock` gives nanoseconds, the same for all of them.

    `time.monotonic_ns` is one clock for all processes of a machine, so calls of several processes
    may be put into one list.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._calls: list[Call] = []

    def call(self, client: str, name: str, given: str, run: Callable[[], str]) -> str | None:
        """Make a call and write it down; None if its outcome is unknown (a `BackendError`).

        Any other exception leaves it written down without an answer, and goes on.
        """
        begun = self._clock()
        answer: str | None = None
        ended: int | None = None
        try:
            answer = run()
            ended = self._clock()
        except BackendError:
            return None
        finally:
            call = Call(
                client=client, name=name, given=given, answer=answer, begun=begun, ended=ended
            )
            with self._lock:
                self._calls.append(call)
        return answer

    def calls(self) -> list[Call]:
        """All that were made so far, in order of their beginning."""
        with self._lock:
            return sorted(self._calls, key=lambda call: call.begun)
