"""How often who waits looks, and what it takes for the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from perdure import Perdure, wf
from perdure.api import waiting as waiting_module
from perdure.backends.base import InvocationRecord, Transition
from perdure.backends.memory import MemoryBackend
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.engine.hub import Hub
from perdure.errors import InvocationCancelled
from tests.support.stores import LONG


class Reading(MemoryBackend):
    """Remembers what was read, and in what state it was."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[str, InvocationState]] = []

    def read(
        self, invocation_id: str, generation: int | None = None, *, locked: bool = False
    ) -> InvocationRecord | None:
        record = super().read(invocation_id, generation, locked=locked)
        if record is not None:
            self.reads.append((invocation_id, record.state))
        return record


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Reading:
    monkeypatch.setattr(waiting_module, "POLL_FIRST_SECONDS", LONG)
    return Reading()


@pytest.fixture
def app(backend: Reading) -> Iterator[Perdure]:
    with Perdure(backend=backend) as app:
        yield app


def test_an_end_of_this_process_is_not_read_again(app: Perdure, backend: Reading) -> None:
    @app.workflow
    def tell(number: int) -> int:
        return number

    for number in range(3):
        backend.reads.clear()
        invocation = tell.start(number)
        assert invocation.result(timeout=LONG) == number
        assert [id_ for id_, _ in backend.reads] == [invocation.invocation_id]

    async def ask() -> int:
        return await tell.start(42)

    backend.reads.clear()
    assert asyncio.run(ask()) == 42
    assert len(backend.reads) == 1


def test_what_has_ended_is_read_once_and_run_by_nobody(app: Perdure, backend: Reading) -> None:
    @app.workflow
    def tell() -> int:
        return 42

    invocation = tell.start()
    assert invocation.result(timeout=LONG) == 42
    backend.reads.clear()
    assert invocation.result(timeout=0.0) == 42
    assert backend.reads == [(invocation.invocation_id, InvocationState.COMPLETED)]


def test_each_kind_of_end_comes_from_its_commit_as_it_is_stored(
    app: Perdure, backend: Reading
) -> None:
    @app.workflow
    def fail() -> None:
        raise ValueError("no")

    @app.workflow
    def wait() -> None:
        wf.publish("here", 1)
        wf.receive("never")

    failing, waiting = fail.start(), wait.start()
    with pytest.raises(ValueError, match="no"):
        failing.result(timeout=LONG)
    assert InvocationState.FAILED not in [state for _, state in backend.reads]
    with pytest.raises(ValueError, match="no"):
        failing.result(timeout=LONG)  # as it is read
    next(iter(waiting.stream("here", int, timeout=LONG)))
    waiting.cancel("enough")
    for _ in range(2):
        with pytest.raises(InvocationCancelled):
            waiting.result(timeout=LONG)


def test_the_hub_keeps_an_end_for_those_who_listen() -> None:
    hub, key = Hub(), InvocationKey("a", 1)
    end = Transition(key=key, epoch=1, head=0, token=b"")
    hub.ended(key, end)
    assert hub.end_of(key) is None, "nobody listens"
    with hub.listening(key, lambda: None):
        with hub.listening(key, lambda: None):
            hub.ended(key)
            assert hub.end_of(key) is None, "it only stopped"
            hub.ended(key, end)
        assert hub.end_of(key) is end
    assert hub.end_of(key) is None
