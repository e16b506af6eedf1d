"""Looks for one order of the calls of a history that a sequential model agrees with.

The search is that of Wing and Gong with the memory of Lowe: of the calls that may come next (those
that began before any open one had its answer) each is tried, and no pair of what is done and the
state it led to is looked at twice. It is exponential in how many calls overlap, so histories are
kept short: one invocation each. (Calls to different invocations need no common order: if each
history has one, all together have one.)
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

from perdure.testing.linearizability.history import Call

S = TypeVar("S", bound=Hashable)

LOOKS_MAX = 1_000_000
"""States that are looked at before a history is given up as undecided: a minute or so."""


class Model(Protocol[S]):
    """What one thing does when it is asked one call after the other. States are values."""

    def first(self) -> S:
        """Before any call."""
        ...

    def after(self, state: S, call: Call) -> Iterable[S]:
        """States after this call gave this answer; none if it would not give it in `state`.

        For a call without an answer: what it may have done, whatever it would have answered.
        """
        ...

    def by_itself(self, state: S) -> Iterable[S]:
        """States that may follow without any call."""
        ...


class Verdict(NamedTuple):
    """What came of it.

    Attributes:
        kind: "undecided" when the search was given up.
        order: of the calls, the longest that was found; all that were answered, if it holds.
        left: answered calls that no order could place after it.
        looks: states that were looked at.
    """

    kind: Literal["holds", "broken", "undecided"]
    order: tuple[Call, ...]
    left: tuple[Call, ...]
    looks: int

    @property
    def holds(self) -> bool:
        """Whether there is such an order."""
        return self.kind == "holds"

    def __str__(self) -> str:
        """For people."""
        lines = [f"{self.kind} after {self.looks} states. In this order so far:"]
        lines += [f"  {call}" for call in self.order]
        lines += ["and none of these can come next:"] if self.left else []
        lines += [f"  {call}" for call in self.left]
        return "\n".join(lines)


class _Place(NamedTuple, Generic[S]):
    """What is done (a bit for each call) and the state after it."""

    done: int
    state: S


def check(calls: Sequence[Call], model: Model[S], looks_max: int = LOOKS_MAX) -> Verdict:
    """Look for an order. Calls without an answer may be anywhere after they began, or nowhere."""
    return _Search(calls, model).run(looks_max)


class _Search(Generic[S]):
    """One history. Depth first; how a place was reached is kept, to tell of the best one."""

    def __init__(self, calls: Sequence[Call], model: Model[S]) -> None:
        self._calls = sorted(calls, key=lambda call: call.begun)
        self._model = model
        self._answered = sum(
            1 << number for number, call in enumerate(self._calls) if call.ended is not None
        )
        self._came_from: dict[_Place[S], tuple[_Place[S], int | None] | None] = {}

    def run(self, looks_max: int) -> Verdict:
        first = _Place(0, self._model.first())
        self._came_from[first] = None
        ahead, best, looks = [first], first, 0
        while ahead:
            if looks == looks_max:
                return self._verdict("undecided", best, looks)
            looks += 1
            place = ahead.pop()
            if place.done & self._answered == self._answered:
                return self._verdict("holds", place, looks)
            if self._count(place) > self._count(best):
                best = place
            for following, number in self._next(place):
                if following not in self._came_from:
                    self._came_from[following] = (place, number)
                    ahead.append(following)
        return self._verdict("broken", best, looks)

    def _count(self, place: _Place[S]) -> int:
        return (place.done & self._answered).bit_count()

    def _next(self, place: _Place[S]) -> Iterator[tuple[_Place[S], int | None]]:
        done, state = place
        for number in self._may_be_next(done):
            for after in self._model.after(state, self._calls[number]):
                yield _Place(done | 1 << number, after), number
        for after in self._model.by_itself(state):
            yield _Place(done, after), None

    def _may_be_next(self, done: int) -> Iterator[int]:
        """What began before any other open call had its answer."""
        opened = [n for n in range(len(self._calls)) if not done & 1 << n]
        ends = [ended for n in opened if (ended := self._calls[n].ended) is not None]
        last = min(ends)
        return (n for n in opened if self._calls[n].begun <= last)

    def _verdict(
        self, kind: Literal["holds", "broken", "undecided"], place: _Place[S], looks: int
    ) -> Verdict:
        order: list[Call] = []
        at = place
        while (came := self._came_from[at]) is not None:
            at, number = came
            if number is not None:
                order.append(self._calls[number])
        left = tuple(
            call
            for n, call in enumerate(self._calls)
            if call.ended is not None and not place.done & 1 << n
        )
        return Verdict(kind, tuple(reversed(order)), left, looks)
