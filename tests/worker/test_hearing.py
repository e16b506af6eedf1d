"""What another process did is heard, not found by polling: work by workers, ends by who waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perdure import Perdure, wf
from perdure.api import waiting as waiting_module
from perdure.backends.memory import MemoryBackend
from perdure.errors import BackendUnavailable
from perdure.worker import worker as worker_module
from tests.support.stores import LONG, postgres_url

__all__ = ["postgres_url"]

Open = Callable[[], Perdure]


@pytest.fixture(params=["sqlite", "postgres"])
def open_app(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Open]:
    """Apps on one store that find nothing by polling within a test."""
    for module, name in (
        (worker_module, "POLL_SECONDS"),
        (waiting_module, "POLL_FIRST_SECONDS"),
        (waiting_module, "POLL_MAX_SECONDS"),
    ):
        monkeypatch.setattr(module, name, 2 * LONG)
    url = f"sqlite:///{tmp_path}/a.db"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    opened: list[Perdure] = []

    def open_one() -> Perdure:
        opened.append(Perdure(url, local_worker=False))
        return opened[-1]

    yield open_one
    for app in opened:
        app.close(1)


def test_a_start_and_its_end_are_heard(open_app: Open) -> None:
    here, there = open_app(), open_app()

    def double(number: int) -> int:
        return 2 * number

    here.workflow(name="double")(double)
    theirs = there.workflow(name="double")(double)
    here.start_worker()
    for number in range(5):
        assert theirs.start(number).result(timeout=LONG) == 2 * number

    async def ask() -> int:
        return await theirs.start(21).result_async(timeout=LONG)

    assert asyncio.run(ask()) == 42


def test_a_message_and_what_is_published_are_heard(open_app: Open) -> None:
    here, there = open_app(), open_app()

    def echo() -> str:
        wf.publish("said", "ready")
        word = wf.receive("word", str)
        wf.publish("said", word)
        return wf.receive("word", str)

    here.workflow(name="echo")(echo)
    theirs = there.workflow(name="echo")(echo)
    here.start_worker()
    invocation = theirs.start()
    said = iter(invocation.stream("said", str, timeout=LONG))
    assert next(said) == "ready"
    invocation.send("word", "hello")
    assert next(said) == "hello"
    invocation.send("word", "bye")
    assert invocation.result(timeout=LONG) == "bye"


class Deaf(MemoryBackend):
    """It can be listened to once."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Semaphore(0)
        self.deaf = False

    def hints(self, heard: object) -> None:
        self.asked.release()
        if self.deaf:
            raise BackendUnavailable("no hints")


def test_who_waits_polls_where_nothing_can_be_heard() -> None:
    backend = Deaf()
    here, there = (Perdure(backend=backend, local_worker=False) for _ in range(2))

    def answer() -> int:
        return 42

    here.workflow(name="answer")(answer)
    theirs = there.workflow(name="answer")(answer)
    try:
        here.start_worker()
        assert backend.asked.acquire(timeout=LONG)
        backend.deaf = True
        assert theirs.start().result(timeout=LONG) == 42
        assert backend.asked.acquire(timeout=LONG)
    finally:
        here.close()
        there.close()
