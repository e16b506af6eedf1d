"""The backends that can be measured, each with its durability."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

from benchmarks.bench import Bench
from benchmarks.places import MemoryPlace
from benchmarks.sizes import Sizes
from benchmarks.sqlite_place import SQLitePlace

CHOICES = ("memory", "sqlite", "sqlite-normal", "postgres")
"""`sqlite` is synchronous=FULL, perdure's default: commits survive a loss of power."""


@contextlib.contextmanager
def opened(chosen: Sequence[str], sizes: Sizes) -> Generator[tuple[list[Bench], dict[str, Any]]]:
    """A bench per backend, and the settings of a server if one is measured."""
    settings: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        benches = []
        for name in dict.fromkeys(chosen):
            if name == "memory":
                bench = Bench("memory", MemoryPlace, sizes)
            elif name == "postgres":
                from benchmarks import postgres_place  # its driver is an extra

                url = stack.enter_context(postgres_place.server())
                settings["postgres"] = postgres_place.facts(url)
                label = f"postgres synchronous_commit={settings['postgres']['synchronous_commit']}"
                bench = Bench(label, partial(postgres_place.PostgresPlace, url), sizes)
            elif name == "sqlite":
                bench = Bench("sqlite full", lambda: SQLitePlace("full"), sizes)
            else:
                bench = Bench("sqlite normal", lambda: SQLitePlace("normal"), sizes)
            stack.callback(bench.close)
            benches.append(bench)
        yield benches, settings
