"""Bodies of tasks: none runs after its outcome was recorded, each sees the same (I7, I9)."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from perdure.backends.base import InvocationRecord
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.testing.simulation.checks.broken import Broken

BY_ITSELF = frozenset({InvocationState.COMPLETED, InvocationState.FAILED})
"""Ends that a body or a workflow came to."""


class Lease(NamedTuple):
    """Under which a body begins.

    Attributes:
        owner: whose it is.
        who: the process that believes that it has it.
        claims: how often that process was granted one.
        failed: how many failures of the body are on record.
        over: it is, and nobody could know: the outcome of the body is on record, and the code of
            the workflow, which is another one now, is run on what was there before.
    """

    owner: InvocationKey
    who: str
    claims: int
    failed: int
    over: bool = False


class Bodies:
    """Notes every run of a body.

    Attributes:
        gave: who gave each value: the body that returned or raised it.
    """

    def __init__(self) -> None:
        """None has run."""
        self.runs: Counter[str] = Counter()
        self._tries: Counter[tuple[str, str, int]] = Counter()
        self.gave: dict[str, str] = {}
        self._seen: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._owners: dict[str, InvocationKey] = {}

    def begins(self, body: str, name: str, seen: str, lease: Lease, *, ended: bool) -> None:
        """A body begins.

        Args:
            lease: under which it runs.
            ended: its outcome is recorded already.
        """
        self._owners[body] = lease.owner
        if ended:
            raise Broken("I9", f"the body of {name} ({body}) ran after its outcome was recorded")
        run = (body, lease.who, lease.failed)
        self._tries[run] += 1
        if self._tries[run] > lease.claims:
            text = f"{self._tries[run]} times in {lease.who}, which had {lease.claims} claims"
            raise Broken("I9", f"the body of {name} ({body}) ran {text}")
        self.runs[body] += 1
        self._names[body] = name
        if name != "pure" and not lease.over and self._seen.setdefault(body, seen) != seen:
            then = self._seen[body]
            raise Broken("I7", f"the body of {name} ({body}) saw {then}, and then {seen}")
        if name == "once" and self.runs[body] > 1:
            raise Broken("I9", f"at-most-once body {body} ran {self.runs[body]} times")

    def ends(self, body: str, value: str) -> None:
        """It gives this value, which no other run gives."""
        self.gave[value] = body

    def complete(
        self,
        outcomes: dict[str, int],
        dropped: set[str],
        rows: dict[InvocationKey, InvocationRecord],
    ) -> None:
        """No body ran more often than its outcomes and the claims of its owner explain.

        Args:
            outcomes: recorded ones, by body, of direct calls.
            dropped: bodies of direct calls that their workflow gave up.
        """
        for body, runs in self.runs.items():
            row = rows[self._owners[body]]
            recorded = outcomes.get(body, 0)
            if row.key.invocation_id == body:
                recorded = row.attempts + (row.state in BY_ITSELF)
            in_vain = row.epoch - (row.state in BY_ITSELF) + (body in dropped)
            if runs > recorded + in_vain:
                name = self._names[body]
                text = f"{name} ({body}) ran {runs} times, {recorded} of them on record"
                raise Broken("I9", f"{text}, in {row.epoch} claims")
