"""An app that can live on another state backend for a while. For tests."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Self

import msgspec

from perdure.api.settings import Settings
from perdure.backends.base import Backend
from perdure.engine.env import Env


class Movable:
    """What an app has to be moved by."""

    settings: Settings

    @contextlib.contextmanager
    def moved(
        self, backend: Backend, env: Env, *, grace: float = 0.0, concurrency: int | None = None
    ) -> Generator[Self]:
        """Live on another state backend and env until the end of the block; for tests.

        What is open stays as it is, unused, and is back afterwards. Handles and functions of the
        app mean the other state backend in the block. Not for two threads at a time.

        Args:
            backend: closed by whoever made it.
            grace, concurrency: see `Perdure`.
        """
        kept = dict(self.__dict__)
        settings = msgspec.structs.replace(
            self.settings,
            grace=grace,
            local_worker=True,
            concurrency=concurrency or self.settings.concurrency,
        )
        nothing_open: dict[str, object] = {
            "_runtime": None,
            "_local": None,
            "_standing": [],
            "_schedulers": [],
            "_relays": [],
        }
        self.__dict__.update(nothing_open, _env=env, _backend=backend, settings=settings)
        try:
            yield self
        finally:
            self.__dict__.update(kept)
