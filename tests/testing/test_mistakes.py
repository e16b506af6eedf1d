"""Mistakes of users in their tests and workflows: each is told, at its line, and nothing hangs."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure import DistributedInvocation, Perdure, wf
from perdure.errors import ConfigurationError, InvocationCancelled
from perdure.testing import Kind, crash_everywhere

pytestmark = pytest.mark.timeout(60)


def marked(mark: str) -> str:
    """`file:line` of the line of this file with this mark."""
    lines = Path(__file__).read_text("utf-8").splitlines()
    return next(f"{__file__}:{n}" for n, line in enumerate(lines, 1) if line.endswith(f"# {mark}"))


@pytest.fixture
def app() -> Perdure:
    return Perdure("memory://", name="mine")


# --- workflows that fail at once --------------------------------------------------------------


def test_a_workflow_that_fails_unmeant_is_found_at_its_line(app: Perdure) -> None:
    @app.workflow
    def order(items: list[str]) -> int:
        wf.sleep(3600)
        return len(items) // 0  # FAILS

    report = crash_everywhere.report(order, ["pen"])
    [found] = report.findings
    assert (found.kind, found.where) == (Kind.FAILED, marked("FAILS"))
    assert "ZeroDivisionError" in found.message
    assert ".options(raises=ZeroDivisionError)" in found.message


def test_a_failure_that_is_meant_is_said_and_held_to(app: Perdure) -> None:
    @app.workflow
    def fails() -> None:
        raise LookupError("nobody")

    @app.workflow
    def returns() -> str:
        return "all is well"

    @app.workflow
    def waits() -> str:
        return wf.receive("answer", str, timeout=3600, default="none")

    def cancel(handle: DistributedInvocation[str]) -> None:
        handle.cancel()

    assert not crash_everywhere.options(raises=(LookupError, KeyError)).report(fails).findings
    report = crash_everywhere.options(raises=ValueError).report(fails)
    [found] = report.of(Kind.FAILED)
    assert "to raise ValueError" in found.message
    [found] = crash_everywhere.options(raises=LookupError).report(returns).findings
    assert "returned 'all is well' and was to raise LookupError" in found.message
    cancelled = crash_everywhere.options(drive=cancel, raises=InvocationCancelled)
    assert not cancelled.report(waits).findings
    with pytest.raises(ConfigurationError, match="a class of exceptions"):
        crash_everywhere.options(raises="LookupError")  # type: ignore[arg-type]


# --- sets -------------------------------------------------------------------------------------


def test_only_the_set_whose_order_matters_is_blamed(app: Perdure) -> None:
    @app.task(pure=True)
    def use(text: str) -> str:
        return text

    @app.workflow
    def order(parts: list[str]) -> str:
        total = 0
        for part in set(parts):
            total += len(part)
        for part in set(parts):  # GUILTY
            use(part)
        return str(total)

    report = crash_everywhere.report(order, ["paper", "ink", "pen", "glue"])
    assert [each.where for each in report.of(Kind.SET_ORDER)] == [marked("GUILTY")]
