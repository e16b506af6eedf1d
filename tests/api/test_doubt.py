"""A wait for a name that nobody has is told of once, and goes on."""

from __future__ import annotations

import asyncio
import logging

import pytest

from perdure import Perdure
from perdure.api import waiting
from perdure.errors import ResultTimeout
from tests.support.stores import Store, claim

NEVER = "Still waiting for invocation"


@pytest.fixture
def app(memory_store: Store, monkeypatch: pytest.MonkeyPatch) -> Perdure:
    monkeypatch.setattr(waiting, "DOUBT_SECONDS", 0.0)
    return memory_store.app()


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and record.getMessage().startswith(NEVER)
    ]


def test_a_sync_wait_tells_once(app: Perdure, caplog: pytest.LogCaptureFixture) -> None:
    invocation = app.start("shop.settling", 1)
    with pytest.raises(ResultTimeout):
        invocation.result(0.3)  # several looks
    (message,) = told(caplog)
    assert "'shop.settling' is not registered" in message
    assert invocation.invocation_id in message


def test_an_async_wait_tells_once(app: Perdure, caplog: pytest.LogCaptureFixture) -> None:
    invocation = app.start("shop.settling", 1)

    async def wait() -> None:
        await asyncio.wait_for(invocation.result_async(0.3), 60)

    with pytest.raises(ResultTimeout):
        asyncio.run(wait())
    assert len(told(caplog)) == 1


def test_what_may_come_is_not_doubted(
    memory_store: Store, app: Perdure, caplog: pytest.LogCaptureFixture
) -> None:
    """Delayed, taken by another process, or of code that is here and left to workers."""
    asking = memory_store.app(local_worker=False)

    @asking.workflow(name="shop.known")
    def known() -> None:
        """Nobody runs it."""

    taken = asking.start("shop.other")
    claim(app, names=frozenset({"shop.other"}))
    for invocation in (
        asking.named("shop.settling").options(delay=60).start(),
        taken,
        known.start(),
    ):
        with pytest.raises(ResultTimeout):
            invocation.result(0.1)
    assert told(caplog) == []
