"""The peers that can be measured: how each is installed, run and made durable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from benchmarks.sizes import Sizes

EVERY_WORK = ("tasks", "clients", "latency", "resume")


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One system in one configuration.

    Attributes:
        name: the system; its packages are in NAME.txt and its program is run_NAME.py.
        store: what it keeps its state in.
        durability: what is sure once a result is there, as it is shipped or set here.
        concurrency: workflows at a time, the best of a few that were tried.
        most: work -> largest count, for slow ones; rates do not depend on it much.
        on_postgres: whether it gets an empty database on the server of the benchmarks.
    """

    name: str
    store: str
    durability: str
    concurrency: int
    most: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    works: tuple[str, ...] = EVERY_WORK
    on_postgres: bool = False

    @property
    def label(self) -> str:
        """Its name in tables."""
        return f"{self.name} {self.store}"

    def count(self, work: str, sizes: Sizes) -> int:
        """How much of a work it does in one run."""
        counts = {
            "tasks": sizes.tasks,
            "clients": sizes.workflows,
            "latency": sizes.probes,
            "resume": sizes.journals[0],
        }
        return min(counts[work], self.most.get(work, counts[work]))


_DBOS_MOST = MappingProxyType({"clients": 400, "latency": 200})

PEERS = (
    Peer(
        name="dbos",
        store="sqlite",
        durability="its defaults: rollback journal, synchronous=FULL; survives a loss of power",
        concurrency=20,
        most=_DBOS_MOST,
    ),
    Peer(
        name="dbos",
        store="postgres",
        durability="the same server as perdure: fsync and synchronous_commit on",
        concurrency=20,
        most=_DBOS_MOST,
        on_postgres=True,
    ),
    Peer(
        name="pynenc",
        store="sqlite",
        durability="its defaults: WAL, synchronous=NORMAL; survives the death of a process only",
        concurrency=3,
        most=MappingProxyType({"tasks": 20, "clients": 20, "latency": 10, "resume": 20}),
    ),
    Peer(
        name="absurd",
        store="postgres",
        durability="the same server as perdure: fsync and synchronous_commit on; polls at 20 ms",
        concurrency=16,
        most=MappingProxyType({"latency": 100}),
        on_postgres=True,
    ),
    Peer(
        name="temporal",
        store="sqlite",
        durability="its development server on SQLite in a file; local activities, recorded together"
        " at the end of a workflow task",
        concurrency=100,
        most=MappingProxyType({"tasks": 500, "clients": 100, "latency": 60}),
    ),
    Peer(
        name="restate",
        store="server",
        durability="its server's defaults: a RocksDB log that is synced; on no PyPI, so"
        " RESTATE_SERVER must name the program",
        concurrency=100,
        most=MappingProxyType({"tasks": 500}),
    ),
)
NAMES = tuple(dict.fromkeys(peer.name for peer in PEERS))
