"""What workflows saw: every attempt sees the same, in the same order (I8)."""

from __future__ import annotations

from perdure.core.identity import InvocationKey
from perdure.testing.simulation.checks.broken import Broken


class Sights:
    """Everything that each workflow got from its operations, in order over all its branches.

    What was seen while all of it was durable is firm: every later attempt must see it again. What
    was seen before that may be seen otherwise after a crash.
    """

    def __init__(self) -> None:
        """Nothing was seen."""
        self._seen: dict[InvocationKey, list[tuple[str, str]]] = {}
        self._firm: dict[InvocationKey, int] = {}

    def saw(
        self, key: InvocationKey, number: int, where: str, value: str, *, durable: bool
    ) -> None:
        """An attempt saw its sight of this number (from 0)."""
        seen = self._seen.setdefault(key, [])
        firm = self._firm.get(key, 0)
        if number > len(seen):
            raise AssertionError("sights come one after the other")
        if number < firm:
            if seen[number] != (where, value):
                then = " in scope ".join(reversed(seen[number]))
                text = f"{key} saw, as number {number}, {then}, and then {value} in scope {where}"
                raise Broken("I8", text)
            return
        del seen[number:]
        seen.append((where, value))
        if durable:
            self._firm[key] = number + 1

    def of(self, key: InvocationKey) -> list[str]:
        """The values that were seen last."""
        return [value for _, value in self._seen.get(key, ())]
