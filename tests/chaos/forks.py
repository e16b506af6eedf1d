"""A process that forks while its app is open and its worker busy; its children use that app."""

from __future__ import annotations

from tests.chaos.fleet import ROOT, Fleet, until
from tests.chaos.forker import HOW
from tests.support.processes import SOURCES, start_python

SECONDS_EACH = 10.0
"""At most, on average; a child that hangs takes longer."""


def fork(fleet: Fleet, count: int) -> None:
    """So many forks of one process; each child did what it was to do, and all comes to its end."""
    fleet.gate.touch()
    parent = start_python(
        *("-m", "tests.chaos.forker", fleet.url, fleet.log.path, fleet.gate),
        *(str(count), str(fleet.seed)),
        folder=fleet.folder,
        PYTHONPATH=f"{SOURCES}:{ROOT}",
    )
    fleet.children.append(parent)

    def over() -> bool:
        assert parent.poll() is None, parent.stderr and parent.stderr.read()
        return len(fleet.events("fork ended")) == count

    until(over, f"{count} forks", 60.0 + count * SECONDS_EACH)
    for _, _, how, code in fleet.events("fork ended"):
        assert code == (-9 if how == "killed" else 0), fleet.events("fork ended", "fork refused")
        fleet.counters[f"fork {how}"] += 1
    fleet.counters["fork refused"] += len(fleet.events("fork refused"))
    fleet.started += [line[2] for line in fleet.events("forked start")]
    until(lambda: not fleet.unended(), "everything that was started")


EXPECTED = tuple(f"fork {how}" for how in HOW)
