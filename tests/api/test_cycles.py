"""Workflows that wait for one another are told, and whoever can go on does, on every backend."""

import asyncio

import msgspec

from perdure import InvocationState, wf
from perdure.errors import ResultTimeout, WaitCycle
from tests.support.stores import LONG, run_until_idle, step

S = InvocationState


def test_a_cycle_of_children(store):
    app = store.app(virtual=True, local_worker=False)
    app.register(WaitCycle)

    @app.workflow(name="first")
    def first() -> object:
        return second.options(id="second")()

    @app.workflow(name="second")
    def second() -> object:
        return third.options(id="third").call()

    @app.workflow(name="third")
    async def third() -> object:
        try:
            return await first.options(id="first").acall()
        except WaitCycle as error:
            return str(error)

    handle = first.options(id="first").start()
    run_until_idle(app)
    assert handle.result(LONG) == (
        "Workflow 'third' waits for the end of 'first', which waits for 'second', which waits for "
        "'third'. None of them could ever end, so this wait was given up. Let one of them go on "
        "without the result of the other, or wait with a timeout=."
    )
    for name in ("first", "second", "third"):
        assert app.verify(name).finished


def test_it_is_found_out_in_the_commit_of_the_last_one(store, monkeypatch):
    """No letter: a crash after the first suspensions loses nothing, for a replay looks again."""
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="first")
    def first() -> object:
        return second.options(id="second")()

    @app.workflow(name="second")
    def second() -> object:
        try:
            return first.options(id="first")()
        except WaitCycle:
            return "told"

    handle = first.options(id="first").start()
    assert step(app)
    sent = []
    monkeypatch.setattr(app.runtime.backend, "send", lambda *given: sent.append(given))
    run_until_idle(app)
    assert handle.result(LONG) == "told"
    assert sent == []


def test_damage_in_another_journal_parks_nobody_who_looks(store, monkeypatch):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="parent")
    def parent() -> object:
        return child.options(id="child")()

    @app.workflow(name="child")
    def child() -> object:
        other = waits.options(id="waits").start()
        return other.result()

    @app.workflow(name="waits")
    def waits() -> str:
        return wf.receive("go", str)

    for flow in (waits, child):
        flow.options(id=flow.name).start()
        run_until_idle(app)
    read = app.runtime.backend.read_journal

    def damaged(key, start=0):
        entries = read(key, start)
        if key.invocation_id != "child":
            return entries
        return [msgspec.structs.replace(entry, body=entry.body[:-1] + b"|") for entry in entries]

    monkeypatch.setattr(app.runtime.backend, "read_journal", damaged)
    handle = parent.options(id="parent").start()
    run_until_idle(app)
    assert handle.status is S.WAITING
    monkeypatch.undo()
    app.invocation("waits").send("go", "on")
    run_until_idle(app)
    assert handle.result(LONG) == "on"


def test_who_tries_again_is_told_again(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="first")
    def first() -> object:
        return second.options(id="second")()

    @app.workflow(name="second")
    def second() -> object:
        first_one = first.options(id="first").start()
        for number in range(3):
            try:
                return first_one.result()
            except WaitCycle as error:
                wf.set_data(f"told-{number}", str(error))
        wf.receive("go", str)
        return "second gave in"

    handle = first.options(id="first").start()
    run_until_idle(app)
    other = app.invocation("second")
    for number in range(3):
        assert "'second' waits for the end of 'first', which" in other.get_data(f"told-{number}")
    assert other.status is S.WAITING
    other.send("go", "on")
    run_until_idle(app)
    assert (handle.result(LONG), other.result(LONG)) == ("second gave in", "second gave in")
    assert app.verify("first").finished
    assert app.verify("second").finished


def test_nobody_is_told_who_could_be_woken(store):
    """A time limit, a message or work under way anywhere in the circle can end it."""
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="limited")
    def limited() -> str:
        try:
            patient.options(id="patient").start().result(timeout=60)
        except ResultTimeout:
            return "gave up"
        return "?"

    @app.workflow(name="patient")
    def patient() -> object:
        return limited.options(id="limited").start().result()

    @app.workflow(name="told")
    async def told() -> str:
        ended = asyncio.create_task(asks.options(id="asks").acall())
        heard = asyncio.create_task(wf.receive_async("go", str))
        done, _ = await asyncio.wait([ended, heard], return_when=asyncio.FIRST_COMPLETED)
        return "heard" if heard in done else "ended"

    @app.workflow(name="asks")
    def asks() -> object:
        return told.options(id="told").call()

    handles = [flow.options(id=flow.name).start() for flow in (limited, patient, told, asks)]
    run_until_idle(app)
    assert {handle.status for handle in handles} == {S.WAITING}
    store.env.advance(61)
    app.invocation("told").send("go", "now")
    run_until_idle(app)
    assert [handle.result(LONG) for handle in handles] == ["gave up", "gave up", "heard", "heard"]


def test_a_wait_that_was_given_up_is_no_part_of_a_circle(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="parent")
    def parent() -> object:
        waits = [lambda: child.options(id="child")(), lambda: wf.sleep(10)]
        wf.select(*waits)
        return busy.options(id="busy")()

    @app.workflow(name="child")
    def child() -> object:
        return parent.options(id="parent")()

    @app.workflow(name="busy")
    def busy() -> str:
        return wf.receive("go", str)

    for flow in (busy, child, parent):
        flow.options(id=flow.name).start()
    run_until_idle(app)
    store.env.advance(11)
    run_until_idle(app)
    app.invocation("busy").send("go", "on")
    run_until_idle(app)
    assert app.invocation("child").result(LONG) == "on"
