"""Workflow code that swallows the suspension signal: parked with its line, and others go on."""
# ruff: noqa: SIM105 - users write these mistakes out

from __future__ import annotations

import asyncio
import threading

import pytest

from perdure import InvocationState, wf
from perdure.errors import InvocationParked
from tests.support.processes import run_code
from tests.support.stores import LONG, run_until_idle


def parked_reason(handle):
    with pytest.raises(InvocationParked, match="SuspensionSwallowed") as caught:
        handle.result(LONG)
    return str(caught.value)


@pytest.fixture
def leash():
    """Ends the loops that swallow signals when their test is over, so that no thread is left."""
    over = threading.Event()
    yield over
    over.set()


def sync_loop(over):
    def code():
        while not over.is_set():
            try:
                wf.sleep(3600)
            except:  # noqa: E722 - the mistake under test
                pass

    return code


def sync_draws(over):
    def code():
        try:
            wf.sleep(3600)
        except BaseException:
            while not over.is_set():
                try:
                    wf.random()
                except BaseException:
                    pass

    return code


def async_loop(over):
    async def code():
        while not over.is_set():
            try:
                await wf.sleep(3600)
            except:  # noqa: E722 - the mistake under test
                pass

    return code


def async_future(over):
    async def code():
        while not over.is_set():
            try:
                await asyncio.Event().wait()
            except BaseException:
                pass

    return code


def async_branch(over):
    async def branch():
        while not over.is_set():
            try:
                await wf.sleep(3600)
            except BaseException:
                pass

    async def code():
        await asyncio.gather(branch(), asyncio.sleep(3600))

    return code


LOOPS = [sync_loop, sync_draws, async_loop, async_future, async_branch]


@pytest.mark.parametrize("loop", LOOPS, ids=lambda f: f.__name__)
def test_it_is_parked_with_its_line_and_others_go_on(store, leash, loop):
    app = store.app(concurrency=2)
    flow = app.workflow(name="flow")(loop(leash))

    @app.workflow(name="other")
    def other() -> float:
        wf.sleep(0)
        return wf.random()

    handle = flow.options(id="order-42").start()
    reason = parked_reason(handle)
    assert "test_swallowed.py:" in reason
    assert "except BaseException" in reason
    assert handle.status is InvocationState.PARKED
    assert 0 <= other() < 1
    kinds = [entry.kind for entry in app.runtime.backend.read_journal(handle.key)]
    assert kinds.count("sleep") <= 2  # nothing was recorded after the signal


def test_a_script_with_a_frame_that_swallows_everything_comes_to_its_end(tmp_path):
    """Collected, here or at exit, it would get a GeneratorExit, swallow it too, and never end."""
    source = """
        import asyncio, gc, json
        from perdure import Perdure
        from perdure.errors import InvocationParked

        app = Perdure("memory://", grace=0.0)

        @app.workflow
        async def flow():
            while True:
                try:
                    await asyncio.Event().wait()
                except BaseException:
                    pass

        try:
            flow.start().result(60)
        except InvocationParked:
            app.close()
            del flow
            gc.collect()
            print(json.dumps("parked"))
    """
    assert run_code(source, tmp_path) == "parked"


def test_mended_code_goes_on_after_a_resume(store, leash):
    app = store.app(virtual=True, local_worker=False)
    bad = [True]

    @app.workflow(name="flow")
    def flow() -> str:
        for _ in range(200):
            try:
                wf.sleep(3600)
                break
            except BaseException:
                if not bad:
                    raise
        return "done"

    handle = flow.start()
    # The loop ends by itself after 200 rounds, so the attempt comes back to this thread.
    over_100 = threading.Thread(target=run_until_idle, args=(app,), daemon=True)
    over_100.start()
    parked_reason(handle)
    bad.clear()
    assert handle.resume()
    run_until_idle(app)
    store.env.advance(4000)
    run_until_idle(app)
    assert handle.result(1) == "done"
    over_100.join(LONG)  # or it would take what the next test starts
    assert not over_100.is_alive()


def test_a_signal_swallowed_once_is_harmless(store):
    """What leaves the function after the signal is discarded; the engine's flag decides."""
    app = store.app(virtual=True, local_worker=False)
    seen = []

    @app.workflow(name="flow")
    def flow() -> str:
        try:
            wf.sleep(3600)
        except BaseException:
            seen.append("swallowed")
            return "wrong"
        return "right"

    handle = flow.start()
    run_until_idle(app)
    assert seen == ["swallowed"]
    assert handle.status is InvocationState.WAITING
    store.env.advance(4000)
    run_until_idle(app)
    assert handle.result(1) == "right"


def test_an_error_raised_in_place_of_the_signal_is_discarded(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow")
    async def flow() -> str:
        try:
            await wf.sleep(3600)
        except BaseException as signal:
            raise ValueError("in its place") from signal
        return "right"

    handle = flow.start()
    run_until_idle(app)
    assert handle.status is InvocationState.WAITING
    store.env.advance(4000)
    run_until_idle(app)
    assert handle.result(1) == "right"


def test_except_exception_does_not_catch_the_signal(store):
    app = store.app(virtual=True, local_worker=False)
    seen = []

    @app.workflow(name="flow")
    def flow() -> str:
        try:
            wf.sleep(3600)
        except Exception:
            seen.append("caught")
        return "right"

    handle = flow.start()
    run_until_idle(app)
    store.env.advance(4000)
    run_until_idle(app)
    assert handle.result(1) == "right"
    assert seen == []
