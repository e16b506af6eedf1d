"""Random programs that mix pure tasks with all that may leave, killed at every durable boundary.

Tasks give something else on every call. Whatever the world outside got to see (the body of a task
that is not pure, a function of `wf.record`, a child) must agree with how the workflow ended.

More of them: PERDURE_TEST_CRASH_PROGRAMS=50 pytest tests/crash/test_pure.py
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest

from perdure import Perdure, wf
from perdure.backends.base import Backend
from perdure.backends.memory import MemoryBackend
from perdure.core.identity import InvocationKey
from perdure.engine.env import Env
from perdure.testing.crash import crash_everywhere
from tests.programs import differs
from tests.support.stores import LONG, VirtualEnv, run_until_idle

COUNT = int(os.environ.get("PERDURE_TEST_CRASH_PROGRAMS", "3"))
LENGTH = 9
STEPS = ("pure", "pure", "pure", "act", "draw", "record", "now", "data", "sleep", "start", "fork")


class Sight(NamedTuple):
    """What left the workflow: the values of one branch up to some moment.

    A function of `wf.record` runs again together with the observed values before it, so what it
    saw of these counts for nothing (`plainly`).
    """

    branch: str
    seen: list[Any]
    plainly: bool = False

    def agrees(self, final: list[Any]) -> bool:
        return self._known(self.seen) == self._known(final[: len(self.seen)])

    def _known(self, values: list[Any]) -> list[Any]:
        return [None if self.plainly and isinstance(v, dict) else v for v in values]


def steps_of(chance: random.Random, *, count: int = LENGTH, without: str = "") -> list[str]:
    known = [step for step in STEPS if step != without]
    return [chance.choice(known) for _ in range(count)]


class Functions:
    """The tasks of a program in one app, and what they let out."""

    def __init__(self, app: Perdure, sights: Callable[[Sight], None], *, pure: bool) -> None:
        @app.task(name="look", pure=pure)
        def look(seen: list[Any]) -> str:
            return differs(len(seen), wf.random())

        @app.task(name="act")
        def act(branch: str, seen: list[Any]) -> str:
            sights(Sight(branch, seen))
            return differs(len(seen))

        @app.workflow(name="child")
        def child(branch: str, seen: list[Any]) -> list[Any]:
            return [act(branch, seen), look(seen)]

        self.look, self.act, self.child, self.sights = look, act, child, sights

    def record(self, branch: str, seen: list[Any]) -> Any:
        def outside() -> str:
            self.sights(Sight(branch, list(seen), plainly=True))
            return differs()

        return {"observed": wf.record("seen", outside)}

    def plain(self, step: str, branch: str, seen: list[Any]) -> Any:
        """A step that neither calls nor waits."""
        if step == "draw":
            return [wf.random(), wf.uuid(), wf.utc_now()]
        if step == "record":
            return self.record(branch, seen)
        if step == "now":
            return {"observed": [wf.now(), wf.token(4)]}
        assert step == "data", step
        wf.set_data("state", seen)
        return None


def is_odd(value: Any) -> bool:
    """Something that is another one at each call decides where the workflow goes."""
    return int(str(value).partition(":")[0]) % 2 == 1


def blocking(app: Perdure, functions: Functions, steps: list[str]) -> None:
    look, act, child = functions.look, functions.act, functions.child

    def one(step: str, seen: list[Any]) -> Any:
        if step == "pure":
            return look(seen)
        if step == "act":
            return act("", seen)
        if step == "sleep":
            wf.sleep(0)
            return None
        if step == "start":
            return child.start("", seen).result()
        if step == "fork":
            way = look(seen)
            return [way, act("", seen), look(seen)] if is_odd(way) else [way, look(seen)]
        return functions.plain(step, "", seen)

    @app.workflow(name="main")
    def main() -> list[Any]:
        seen: list[Any] = []
        for step in steps:
            seen.append(one(step, seen))
        act("", seen)
        return seen


def awaiting(app: Perdure, functions: Functions, branches: dict[str, list[str]]) -> None:
    look, act, child = functions.look, functions.act, functions.child

    async def one(step: str, branch: str, seen: list[Any]) -> Any:
        if step == "pure":
            return await look.acall(seen)
        if step == "act":
            return await act.acall(branch, seen)
        if step == "sleep":
            await wf.sleep(0)
            return None
        if step == "start":
            return await child.start(branch, seen)
        if step == "fork":
            way = await look.acall(seen)
            more = [await act.acall(branch, seen)] if is_odd(way) else []
            return [way, *more, await look.acall(seen)]
        return functions.plain(step, branch, seen)

    async def walk(branch: str, steps: list[str]) -> None:
        seen: list[Any] = []
        for step in steps:
            seen.append(await one(step, branch, seen))
        await act.acall(branch, seen)

    @app.workflow(name="main")
    async def main() -> None:
        await asyncio.gather(*(walk(branch, steps) for branch, steps in branches.items()))


def disagreement(sights: list[Sight]) -> str:
    """What somebody saw that did not stay so; the longest view of a branch is its last one."""
    for branch in {sight.branch for sight in sights}:
        views = [sight for sight in sights if sight.branch == branch]
        final = max((sight.seen for sight in views), key=len)
        for sight in views:
            if not sight.agrees(final):
                return f"{branch!r}: somebody saw\n  {sight.seen}\nand in the end it was\n  {final}"
    return ""


def strike(build: Callable[[Perdure, Functions], None], seed: int, grace: float) -> None:
    scenarios: list[list[Sight]] = []

    def make_store() -> Backend:
        scenarios.append([])
        return MemoryBackend()

    def make_app(backend: Backend, env: Env) -> Perdure:
        app = Perdure(backend=backend, env=env, name="crash", grace=grace)
        build(app, Functions(app, scenarios[-1].append, pure=True))
        return app

    report = crash_everywhere(make_app, "main", make_store=make_store, pairs=5, seed=seed)
    report.raise_problems()
    assert len(scenarios) == report.runs
    assert all(scenarios), "each lets something out"
    for sights in scenarios:
        assert disagreement(sights) == ""


@pytest.mark.parametrize("seed", range(COUNT))
def test_a_sync_program_agrees_with_what_was_seen_of_it(seed: int) -> None:
    steps = steps_of(random.Random(seed))
    strike(lambda app, functions: blocking(app, functions, steps), seed, 0.0)


@pytest.mark.parametrize("seed", range(COUNT))
def test_an_async_program_agrees_with_what_was_seen_of_it(seed: int) -> None:
    chance = random.Random(1_000 + seed)
    branches = {name: steps_of(chance, count=LENGTH // 3) for name in ("a", "b", "c")}
    strike(lambda app, functions: awaiting(app, functions, branches), seed, 0.05 * (seed % 2))


# --- the journal is that of ordinary tasks ------------------------------------------------------


def journal(steps: list[str], monkeypatch: pytest.MonkeyPatch, *, colour: str, pure: bool) -> Any:
    env, calls = VirtualEnv(), iter(range(1, 10_000))
    monkeypatch.setattr(f"{__name__}.differs", lambda *seen: f"{next(calls)}:{seen!r}")
    made: dict[int, Any] = defaultdict(itertools.count)  # by size: tokens of commits are longer
    monkeypatch.setattr(env, "entropy", lambda size: next(made[size]).to_bytes(size, "big"))
    backend = MemoryBackend(env.now, store_id=bytes(16))
    with Perdure(backend=backend, env=env, name="golden", grace=0.0) as app:
        functions = Functions(app, lambda _: None, pure=pure)
        if colour == "sync":
            blocking(app, functions, steps)
        else:
            awaiting(app, functions, {"": steps})
        handle = app.named("main").options(id="golden").start()
        run_until_idle(app)
        handle.result(LONG)
        return backend.read_journal(InvocationKey("golden", 1))


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("seed", range(4 * COUNT))
def test_the_journal_is_the_same_to_the_byte(
    seed: int, colour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(Before a record function there is a commit, which can cut draws into other blocks.)"""
    steps = steps_of(random.Random(2_000 + seed), without="record")
    held, plain = (journal(steps, monkeypatch, colour=colour, pure=pure) for pure in (True, False))
    assert len(held) > LENGTH
    for mine, theirs in zip(held, plain, strict=True):
        assert msgspec.structs.replace(mine, token=theirs.token) == theirs
