"""What becomes of a branch that loses while the body of its task runs."""

from __future__ import annotations

import threading

import pytest

from perdure import Perdure, wf
from tests.support.stores import LONG


@pytest.mark.parametrize("fails", [False, True])
def test_the_body_of_a_loser_runs_to_its_end_and_its_outcome_is_dropped(
    app: Perdure, fails: bool
) -> None:
    begun, over = threading.Event(), threading.Event()
    ended = threading.Event()

    @app.task(name="slow")
    def slow() -> str:
        begun.set()
        over.wait(LONG)
        ended.set()
        if fails:
            raise ValueError("too late")
        return "too late"

    @app.task(name="quick")
    def quick() -> str:
        begun.wait(LONG)
        return "in time"

    @app.workflow(name="main")
    def main() -> list[str]:
        first = wf.select(slow, quick)
        return [str(first.key), first.value]

    app.start_worker()
    handle = main.options(id="w").start()
    try:
        assert handle.result(LONG)[1] == "in time"
        assert not ended.is_set()
    finally:
        over.set()
    assert ended.wait(LONG)
    assert handle.result(LONG)[1] == "in time"
    assert app.verify("w").finished
