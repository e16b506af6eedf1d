"""Schedule fuzzing: what depends on the order of branches is found at its line."""

from __future__ import annotations

import asyncio
import itertools
import random
from functools import partial
from typing import Any

import pytest

from perdure import Perdure, wf
from perdure.errors import ConfigurationError, RegistrationError
from perdure.testing import Kind, UnsafeWorkflow, double, fuzz_schedules
from tests.testing.test_everywhere import marks_of

_calls = itertools.count()


@pytest.fixture
def app() -> Perdure:
    return Perdure("memory://", name="fuzzed")


def parts(app: Perdure) -> Any:
    @app.task
    def build(*seen: object) -> list[object]:
        return [*seen, wf.random()]

    return build


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_branches_that_share_nothing_pass_in_many_orders(app: Perdure, store: Any) -> None:
    build = parts(app)

    @app.workflow
    def house(words: str) -> list[Any]:
        def branch(word: str) -> list[Any]:
            return [build(word, wf.uuid()), build(word, wf.random())]

        return [wf.gather(*[partial(branch, word) for word in words]), wf.random()]

    runs = 60 if store == "memory" else 10
    report = fuzz_schedules.options(runs=runs, store=store)(house, "abcd")
    assert report.runs == runs
    assert report.orders > runs // 2


def test_async_branches_too_and_each_seed_gives_its_order_again(app: Perdure) -> None:
    build = parts(app)

    @app.task
    async def paint(word: str) -> str:
        await asyncio.sleep(0)
        return word

    @app.workflow
    async def house(words: str) -> list[Any]:
        async def branch(word: str) -> list[Any]:
            return [await build.acall(word, wf.uuid()), await paint(word)]

        return [*await asyncio.gather(*[branch(word) for word in words])]

    one = fuzz_schedules.options(runs=30, seed=7).report(house, "abcd")
    two = fuzz_schedules.options(runs=30, seed=7).report(house, "abcd")
    assert not one.findings
    assert one.orders == two.orders > 15


def test_a_list_that_branches_share_is_found(app: Perdure) -> None:
    build = parts(app)

    @app.workflow
    async def house(words: str) -> str:
        done: list[str] = []

        async def branch(word: str) -> None:
            await build.acall(word)
            done.append(word)
            await build.acall(str(done))  # HERE

        await asyncio.gather(*[branch(word) for word in words])
        return "built"

    with pytest.raises(UnsafeWorkflow, match="depends on the order in which branches end") as told:
        fuzz_schedules.options(runs=20)(house, "abc")
    [found] = told.value.findings
    assert (found.kind, found.where) == (Kind.UNSTABLE, marks_of(__file__)[0])
    assert found.first.startswith("seed ")


def test_a_result_that_tells_who_was_first_is_found(app: Perdure) -> None:
    build = parts(app)

    @app.workflow
    def house(words: str) -> str:
        done: list[str] = []

        def branch(word: str) -> None:
            build(word)
            done.append(word)

        wf.gather(*[partial(branch, word) for word in words])
        return "".join(done)

    report = fuzz_schedules.options(runs=20).report(house, "abc")
    assert "how the workflow ends depends on the order" in str(report)


def test_tasks_that_vary_need_doubles(app: Perdure) -> None:
    @app.task
    def vary(word: str) -> str:
        return f"{word} {next(_calls)} {random.random()}"

    @app.workflow
    def house() -> list[str]:
        return wf.gather(partial(vary, "a"), partial(vary, "b"))

    assert "Give the task a double" in str(fuzz_schedules.options(runs=5).report(house))
    with double(vary, returns="same"):
        assert fuzz_schedules.options(runs=5)(house).orders == 2


def test_what_cannot_be_used_is_refused(app: Perdure) -> None:
    with pytest.raises(RegistrationError, match="no workflow"):
        fuzz_schedules(print)
    with pytest.raises(ConfigurationError, match="at least 2"):
        fuzz_schedules.options(runs=1)
