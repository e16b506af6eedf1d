"""The backends that can be measured, each with its durability."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks.bench import Bench
from benchmarks.places import MemoryPlace
from benchmarks.sizes import Sizes
from benchmarks.sqlite_place import SQLitePlace

CHOICES = ("memory", "sqlite", "sqlite-normal", "postgres")
"""`sqlite` is synchronous=FULL, perdure's default: commits survive a loss of power."""


@dataclass
class Server:
    """The PostgreSQL server if one is measured.

    Attributes:
        settings: by the name of the backend.
    """

    url: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def opened(chosen: Sequence[str], sizes: Sizes) -> Generator[tuple[list[Bench], Server]]:
    """A bench per backend, and the server if one is measured."""
    server = Server()
    with contextlib.ExitStack() as stack:
        benches = []
        for name in dict.fromkeys(chosen):
            if name == "memory":
                bench = Bench("memory", MemoryPlace, sizes)
            elif name == "postgres":
                from benchmarks import postgres_place  # its driver is an extra

                url = stack.enter_context(postgres_place.server())
                facts = postgres_place.facts(url)
                server = Server(url, {"postgres": facts})
                label = f"postgres synchronous_commit={facts['synchronous_commit']}"
                bench = Bench(label, partial(postgres_place.PostgresPlace, url), sizes)
            elif name == "sqlite":
                bench = Bench("sqlite full", lambda: SQLitePlace("full"), sizes)
            else:
                bench = Bench("sqlite normal", lambda: SQLitePlace("normal"), sizes)
            stack.callback(bench.close)
            benches.append(bench)
        yield benches, server
