"""Where state lives in a benchmark: the port of the places, and memory. Each place is used once."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal, NamedTuple

from benchmarks.program import NAME, Program
from perdure import Perdure
from perdure.core.draws import derive_seed

CONCURRENCY = 64
"""Attempts at a time in one process, everywhere: perdure's default."""
Rows = Literal["finished", "waiting", "delayed"]


class Delay(NamedTuple):
    """When rows become due.

    Attributes:
        lead: microseconds from now to the first one, in which the rows must be made.
        step: microseconds from one to the next.
    """

    lead: int = 0
    step: int = 0


AT_ONCE = Delay()


class Place(ABC):
    """One fresh store, its files and processes, and the raw limits of the same disk.

    Attributes:
        has_processes: whether other processes can see it.
        folder: for files; gone after `close`.
    """

    has_processes = True

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="perdure-bench-")
        self.folder = Path(self._folder.name)
        self._programs: list[Program] = []
        self._hurries = False

    @property
    @abstractmethod
    def url(self) -> str:
        """For an app, or a worker process."""

    def settings(self) -> dict[str, Any]:
        """Settings of an app beside the URL, which workers get through their environment."""
        return {}

    def hurry(self) -> None:
        """From now on nothing here waits for the disk: for what is made ready and not timed."""
        self._hurries = True

    def program(self, **settings: Any) -> Program:
        """The workflows on a new app."""
        chosen: dict[str, Any] = (
            {"name": NAME, "concurrency": CONCURRENCY} | self.settings() | settings
        )
        program = Program(Perdure(self.url, **chosen))
        self._programs.append(program)
        return program

    def environment(self, **settings: object) -> dict[str, str]:
        """The same for a worker process."""
        chosen: dict[str, object] = {"database_url": self.url, "concurrency": CONCURRENCY}
        chosen |= self.settings() | settings
        return {f"PERDURE_{key.upper()}": str(value) for key, value in chosen.items()}

    @abstractmethod
    def raw_commits(self, seconds: float) -> float | None:
        """Commits of one row of about 250 bytes per second, one after the other."""

    @abstractmethod
    def raw_rows(self, seconds: float) -> float | None:
        """Rows per second in transactions of 100."""

    def stored_bytes(self) -> int | None:
        """What the state takes on disk now, after what the database tidies up by itself."""
        return None

    def is_held(self) -> bool:
        """Whether some process is in the middle of a transaction that nobody can pass."""
        return False

    def log_bytes(self) -> int | None:
        """What the server has written to its write-ahead log so far; None without one."""
        return None

    def server_cpu_seconds(self) -> float | None:
        """What the server has used so far; None without one, or where it cannot be seen."""
        return None

    def copy_rows(self, kind: Rows, count: int, delay: Delay = AT_ONCE) -> int:
        """Make `count` invocations like the one that is there, by SQL and without journals.

        Args:
            delay: for "delayed" ones: how they become due, one after the other.

        Returns:
            When the first of the delayed ones is due, in microseconds since 1970.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no SQL for {count} {kind} rows, {delay}."
        )

    def own_calls(self, kind: Rows, count: int, after: int) -> list[dict[str, object]]:
        """What was asked of each copy behind `after`, so that a worker may run it.

        A seed follows from an id: with that of the first one a copy is taken for damaged.
        """
        one, store = self._programs[0].one.name, self._programs[0].app.runtime.store_id
        ids = (f"{kind}-{n}" for n in range(1, count + 1))
        return [
            {"id": id_, "seq": after + n, "seed": derive_seed(store, NAME, one, id_, 1)}
            for n, id_ in enumerate(ids, 1)
        ]

    def close(self) -> None:
        """Everything is gone."""
        for program in self._programs:
            program.app.close()
        self._folder.cleanup()


class MemoryPlace(Place):
    """State that ends with the process: what perdure costs without any database."""

    has_processes = False

    @property
    def url(self) -> str:
        return "memory://"

    def raw_commits(self, seconds: float) -> float | None:
        del seconds
        return None

    def raw_rows(self, seconds: float) -> float | None:
        del seconds
        return None
