"""The code changed between two runs: parked with both sides, journal untouched, resumable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from perdure import InvocationState, wf
from perdure.errors import Divergence, InvocationParked
from tests.support.stores import Store, run_until_idle, step


class Changing:
    """A workflow whose code a test swaps, with tasks that count how often they ran."""

    def __init__(self, store: Store) -> None:
        self.app = app = store.app(virtual=True, local_worker=False)
        self.env = store.env
        self.code: Callable[..., Any] = lambda: None
        self.ran: list[str] = []

        @app.task(name="first")
        def first(n: int = 1) -> str:
            self.ran.append("first")
            return f"first {len(self.ran)}"

        @app.task(name="second")
        def second(n: int = 1) -> str:
            self.ran.append("second")
            return f"second {len(self.ran)}"

        @app.workflow(name="flow")
        def flow() -> object:
            return self.code()

        self.first, self.second, self.flow = first, second, flow

    def journal(self, handle):
        return self.app.runtime.backend.read_journal(handle.key)

    def begin(self, code):
        """Run `code` up to its `wf.sleep`, where its frame is dropped."""
        self.code = code
        handle = self.flow.start()
        run_until_idle(self.app)
        assert handle.status is InvocationState.WAITING
        return handle

    def replay_with(self, handle, code):
        """Wake it with other code, which must park it, and give the reason."""
        before = self.journal(handle)
        ran = list(self.ran)
        self.code = code
        self.env.advance(100)
        (attempt,) = step(self.app)
        assert isinstance(attempt.error, Divergence), attempt.error
        assert self.journal(handle) == before
        assert self.ran == ran
        assert handle.status is InvocationState.PARKED
        with pytest.raises(InvocationParked, match="does not replay") as caught:
            handle.result(1)
        assert not step(self.app)  # it stays where it is
        return str(caught.value)

    def restore(self, handle, code):
        """Bring the old code back and let it go on; gives the result."""
        self.code = code
        assert handle.resume()
        run_until_idle(self.app)
        self.env.advance(100)
        run_until_idle(self.app)
        return handle.result(1)


@pytest.fixture
def changing(store):
    return Changing(store)


def old(it):
    def code():
        wf.random()
        name = it.first(1)
        seen = wf.record("seen", lambda: 7)
        wf.sleep(50)
        return [name, seen, it.second(2)]

    return code


def other_order(it):
    wf.random()
    wf.record("seen", lambda: 7)
    it.first(1)
    wf.sleep(50)


def other_operation(it):
    wf.random()
    it.second(1)
    wf.record("seen", lambda: 7)
    wf.sleep(50)


def other_arguments(it):
    wf.random()
    it.first(3)
    wf.record("seen", lambda: 7)
    wf.sleep(50)


def fewer_operations(it):
    wf.random()
    it.first(1)
    return "early"


def more_operations(it):
    wf.random()
    it.first(1)
    it.first(1)
    wf.record("seen", lambda: 7)
    wf.sleep(50)


def fewer_draws(it):
    it.first(1)
    wf.record("seen", lambda: 7)
    wf.sleep(50)


def more_draws(it):
    wf.random()
    wf.uuid()
    it.first(1)
    wf.record("seen", lambda: 7)
    wf.sleep(50)


def another_duration(it):
    wf.random()
    it.first(1)
    wf.record("seen", lambda: 7)
    wf.sleep(51)


def an_exception_first(it):
    wf.random()
    raise ValueError("not what it was")


CHANGES = [
    (other_order, ["first", "seen"], "another operation stands here now"),
    (other_operation, ["first", "second"], "another operation stands here now"),
    (other_arguments, ['"n":1', '"n":3'], "other arguments are given now"),
    (fewer_operations, ["seen"], "fewer operations"),
    (more_operations, ["seen", "first"], "another operation stands here now"),
    (fewer_draws, ["1 random", "no draws"], "another number of draws"),
    (more_draws, ["1 random", "1 uuid"], "another number of draws"),
    (another_duration, ["50", "51"], "other arguments are given now"),
    (an_exception_first, ["first"], "fewer operations"),
]


@pytest.mark.parametrize(
    ("change", "sides", "cause"), CHANGES, ids=lambda x: getattr(x, "__name__", "")
)
def test_changed_code_is_parked_and_goes_on_when_it_is_restored(changing, change, sides, cause):
    code = old(changing)
    handle = changing.begin(code)
    reason = changing.replay_with(handle, lambda: change(changing))
    recorded = reason.partition("now:")[0]
    assert "recorded:" in recorded
    assert sides[0] in recorded
    assert all(side in reason for side in sides)
    assert cause in reason
    assert "test_divergence.py:" in reason
    assert f"perdure workflow resume {handle.invocation_id}" in reason
    result = changing.restore(handle, code)
    assert result == ["first 1", 7, "second 2"]
    assert changing.ran == ["first", "second"]


def test_a_difference_in_the_last_draws_is_found_by_verification(changing):
    changing.code = lambda: [wf.random(), wf.random()]
    handle = changing.flow.start()
    run_until_idle(changing.app)
    changing.code = lambda: [wf.random()]
    with pytest.raises(Divergence, match="not deterministic"):
        changing.app.verify(handle.invocation_id)
    changing.code = lambda: "another outcome" + str([wf.random(), wf.random()])
    with pytest.raises(Divergence):
        changing.app.verify(handle.invocation_id)
    changing.code = lambda: [wf.random(), wf.random()]
    assert changing.app.verify(handle.invocation_id).finished


def test_more_operations_than_a_finished_journal_has_are_found_by_verification(changing):
    changing.code = lambda: changing.first(1)
    handle = changing.flow.start()
    run_until_idle(changing.app)
    changing.code = lambda: [changing.first(1), changing.second(1)]
    with pytest.raises(Divergence, match="more operations") as caught:
        changing.app.verify(handle.invocation_id)
    assert "test_divergence.py:" in str(caught.value)
    assert changing.ran == ["first"]


def test_other_draws_before_an_execute_task_do_not_matter_to_the_memo(changing):
    """Its key carries no scope and its entry no draw counts: any branch may ask first."""
    it = changing

    def with_memo():
        handle = wf.execute_task(it.first, 1)
        wf.sleep(50)
        return handle.invocation_id

    handle = it.begin(with_memo)
    it.env.advance(100)
    run_until_idle(it.app)
    assert handle.result(1) == it.app.tasks(name="first")[0].invocation_id
    assert len(it.app.tasks(name="first")) == 1


def test_a_new_parameter_at_its_default_is_no_difference(store):
    def declare(app, signature):
        if signature == "old":

            @app.task(name="pay")
            def pay(cents: int) -> int:
                return cents
        else:

            @app.task(name="pay")
            def pay(cents: int, currency: str = "EUR") -> int:
                return cents

        @app.workflow(name="flow")
        def flow() -> list[object]:
            ids = [wf.execute_task(pay, n).invocation_id for n in (3, 7)]
            ids.append(pay.start(4).invocation_id)
            got = [pay(5), *ids]
            wf.sleep(50)
            assert [wf.execute_task(pay, n).invocation_id for n in (7, 3)] == ids[1::-1]
            return got

        return flow

    before = store.app(virtual=True, local_worker=False)
    handle = declare(before, "old").options(id="f").start()
    run_until_idle(before)
    after = store.app(virtual=True, local_worker=False)
    flow = declare(after, "new")
    store.env.advance(100)
    run_until_idle(after)
    got = flow.get("f").result(1)
    assert got[0] == 5
    assert len(after.tasks(name="pay")) == 3
    assert handle.status is InvocationState.COMPLETED
    assert after.verify("f").finished
