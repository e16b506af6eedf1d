"""A task that nobody completes, killed at every boundary. (Its timeout makes it a slow one.)"""

from __future__ import annotations

from perdure import Perdure, wf
from perdure.backends.base import Backend
from perdure.backends.memory import MemoryBackend
from perdure.engine.env import Env
from perdure.errors import TaskTimeout
from perdure.testing.crash import crash_everywhere
from perdure.testing.faults import Mode


def make_app(backend: Backend, env: Env) -> Perdure:
    app = Perdure(backend=backend, env=env, name="crash", grace=0.0)

    @app.task(completes_outside=True, timeout=0.001)
    def in_vain() -> str:
        return wf.complete_later()

    @app.workflow(name="main")
    def main() -> str:
        try:
            in_vain()
        except TaskTimeout as error:
            return type(error).__name__
        return "completed"

    return app


def test_nobody_completes_it() -> None:
    report = crash_everywhere(
        make_app,
        "main",
        make_store=MemoryBackend,
        modes=(Mode.AFTER, Mode.UNKNOWN, Mode.STOLEN),
        pairs=0,
    )
    report.raise_problems()
    assert report.boundaries > 8
