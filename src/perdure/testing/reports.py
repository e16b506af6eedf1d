"""What a test of a workflow found, as objects and as text for people."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from perdure.errors import PerdureError

SHOWN_MAX = 20
"""Findings that a report prints; one mistake shows in many runs, but not in so many ways."""
TEXT_MAX = 2_000
"""Characters of one message."""

_LINE = re.compile(r"\bat ((?:[A-Za-z]:)?[^\n:,]+:\d+)")


class Kind(StrEnum):
    """What is wrong with a workflow."""

    DIVERGENCE = "divergence"
    """A replay asked for another operation, or gave it other arguments."""
    UNSTABLE = "unstable"
    """Two runs that were given the same did not ask for the same, or did not end the same."""
    IMPURE_CALL = "impure call"
    """Workflow code read a clock, chance or the like, which a replay reads differently."""
    SET_ORDER = "set order"
    """Workflow code depends on the order of a set, which differs from process to process."""
    SWALLOWED = "swallowed signal"
    """Workflow code caught the signal that drops its frame, and went on."""
    REPEATED = "repeated task"
    """A task body ran twice for one call, and nothing says that this is harmless."""
    STOPPED = "stopped"
    """The workflow did not come to an end."""
    FAILED = "failed"
    """The undisturbed run did not end as it was meant to, so hardly anything was tried."""
    FOREIGN = "foreign task"
    """A task of another app is called, whose body is not watched."""
    BROKEN = "broken promise"
    """Something that perdure itself promises did not hold. Please report it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake, however often it showed.

    Attributes:
        where: `file:line` of the workflow code, or "".
        count: in how many runs it showed.
        first: what was done to the first of them, such as "crash before call 3 (commit)".
    """

    kind: Kind
    message: str
    where: str = ""
    count: int = 1
    first: str = ""

    def __str__(self) -> str:
        """For people."""
        place = f"{self.where}: " if self.where else ""
        times = f" ({self.count} runs, the first: {self.first})" if self.first else ""
        return f"{place}{self.kind}: {self.message}{times}"


@dataclass(frozen=True, slots=True)
class Repeated:
    """A task body that ran again for one call, because of a crash.

    Attributes:
        arguments: what it was called with, as text.
        protection: "pure" or "keyed" (it uses an idempotency key), "idempotent" (the test says so)
            or "" for none.
        where: `file:line` of the call.
    """

    name: str
    arguments: str
    protection: str
    where: str = ""


@dataclass(slots=True)
class Report:
    """What was tried on a workflow, and what was found.

    Attributes:
        workflow: its registered name.
        boundaries: durable calls of an undisturbed run.
        runs: how often the workflow was run, disturbed and undisturbed.
        crashes: how often each kind of call was struck, as ("commit", "before") and the like.
        orders: in how many orders its branches ended (`fuzz_schedules`).
        waits: how often its frame was dropped at a wait and replayed.
        repeated: task calls whose body ran twice, with how often that happened.
        findings: what is wrong.
    """

    workflow: str
    boundaries: int = 0
    runs: int = 0
    crashes: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    orders: int = 0
    waits: int = 0
    repeated: Counter[Repeated] = field(default_factory=Counter[Repeated])
    findings: list[Finding] = field(default_factory=list[Finding])

    def add(self, found: Finding, run: str) -> None:
        """Note a finding of one run, or count it if it is known."""
        for at, known in enumerate(self.findings):
            if (known.kind, known.where) == (found.kind, found.where) and (
                found.where or known.message == found.message
            ):
                self.findings[at] = Finding(
                    known.kind, known.message, known.where, known.count + 1, known.first
                )
                return
        self.findings.append(Finding(found.kind, found.message[:TEXT_MAX], found.where, 1, run))

    def of(self, kind: Kind) -> list[Finding]:
        """The findings of one kind."""
        return [each for each in self.findings if each.kind is kind]

    def raise_findings(self) -> None:
        """Fail a test if anything was found.

        Raises:
            UnsafeWorkflow: with all of it.
        """
        if self.findings:
            raise UnsafeWorkflow(self)

    def __str__(self) -> str:
        """For people."""
        struck = sum(self.crashes.values())
        tried = (
            f"{self.workflow}: {self.runs} runs, {self.boundaries} durable boundaries, {struck} "
            f"faults, {self.waits} waits with the frame dropped; {len(self.findings)} findings"
        )
        lines = [
            tried,
            *(f"  {each}".replace("\n", "\n    ") for each in self.findings[:SHOWN_MAX]),
        ]
        if self.repeated:
            lines.append("  task bodies that ran twice for one call:")
        lines += [
            f"    {each.name}{each.arguments} x{count}: {each.protection or 'no protection'}"
            for each, count in sorted(self.repeated.items(), key=lambda item: str(item[0]))
        ]
        return "\n".join(lines)


class UnsafeWorkflow(PerdureError, AssertionError):
    """A workflow does not survive what may happen to it: what, where and how often.

    Attributes:
        report: everything that was tried and found.
    """

    code = "PRD080"

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report

    @property
    def findings(self) -> list[Finding]:
        """What is wrong, each with its line and count."""
        return self.report.findings


def line_in(text: str) -> str:
    """The `file:line` of the code as it is now that a message of the engine names, or ""."""
    _, _, now = text.partition("now:")
    found = _LINE.search(now.partition("\n")[0]) or _LINE.search(text)
    return found[1] if found else ""
