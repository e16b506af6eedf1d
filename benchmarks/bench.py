"""What a work gets: the backend that it measures now, its sizes, and places on that backend."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from benchmarks.places import Place
from benchmarks.sizes import Sizes

T = TypeVar("T")

Figures = dict[str, float]
"""Figures of one run by name. The name ends in the unit."""
Limit = Literal["commits", "rows"]


class Bench:
    """One backend in one invocation of the benchmarks.

    Args:
        label: the backend and its durability, such as "sqlite full".
        make_place: gives a fresh place.
    """

    def __init__(self, label: str, make_place: Callable[[], Place], sizes: Sizes) -> None:
        self.label = label
        self.sizes = sizes
        self._make_place = make_place
        self._kept: dict[str, Any] = {}
        self._open: list[Place] = []
        self._limits: Place | None = None

    @contextlib.contextmanager
    def place(self) -> Generator[Place]:
        """A fresh place for the length of a with block."""
        place = self._make_place()
        try:
            yield place
        finally:
            place.close()

    def kept(self, name: str, prepare: Callable[[Place], T]) -> T:
        """What `prepare` made of a fresh place at the first run; it stays for all runs."""
        if name not in self._kept:
            place = self._make_place()
            self._open.append(place)
            self._kept[name] = prepare(place)
        made: T = self._kept[name]
        return made

    def limits(self) -> dict[Limit, float]:
        """Raw rates of this backend's durability on this disk, measured now; none in memory."""
        if self._limits is None:
            self._limits = self._make_place()
            self._open.append(self._limits)
        seconds = self.sizes.limit_seconds
        commits, rows = self._limits.raw_commits(seconds), self._limits.raw_rows(seconds)
        if commits is None or rows is None:
            return {}
        return {"commits": commits, "rows": rows}

    def close(self) -> None:
        """Every place is gone."""
        while self._open:
            self._open.pop().close()
        self._kept.clear()


@dataclass(frozen=True, kw_only=True)
class Work:
    """Something to measure.

    Attributes:
        name: for `--work`.
        title: what is measured, for people.
        run: measures it once.
        against: figures that are compared with a raw limit, measured right before and after.
        once: one run only, because it takes long and its figures hardly vary.
        needs_processes: other processes must see the store, so not in memory.
    """

    name: str
    title: str
    run: Callable[[Bench], Figures]
    against: Mapping[str, Limit] = field(default_factory=dict)
    once: bool = False
    needs_processes: bool = False

    def fits(self, bench: Bench) -> bool:
        """Whether it can be done there."""
        return not (self.needs_processes and bench.label == "memory")
