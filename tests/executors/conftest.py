"""Apps with the tasks of `tests.executors.tasks`, on one store in memory each."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import Perdure
from perdure.backends.memory import MemoryBackend
from tests.executors.tasks import register

STORE = b"one store for al"


class Made:
    """Makes apps, and closes them at the end of the test."""

    def __init__(self) -> None:
        self.apps: list[Perdure] = []

    def __call__(self, executor: Any, *, options: Any = None, **settings: Any) -> Any:
        env = settings.get("env")
        backend = MemoryBackend(env and env.now, store_id=STORE)
        app = Perdure(backend=backend, name="executors", **settings)
        self.apps.append(app)
        return app, register(app, executor, **(options or {}))


@pytest.fixture
def made():
    made = Made()
    yield made
    for app in made.apps:
        app.close(5)
