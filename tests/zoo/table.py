"""`python -m tests.zoo.table` writes docs/proof/zoo.md: what was planted, and what found it."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from tests.zoo import Bug, Find, bugs, finds

PAGE = Path(__file__).parents[2] / "docs" / "proof" / "zoo.md"
_HEAD = """# Planted bugs, and what found them

A test that never failed proves little. So {total} bugs were planted, one at a time, each of which
breaks one rule of the real code (`tests/zoo/bugs`), and each had to be found: {simulated} by
simulated schedules, {elsewhere} by the test that is named, where the rule is about real files,
servers or calendars, which a simulation does not have.

A simulated schedule is known by its seed; the number says how many schedules were played, one seed
after the other from the first one on, until a check failed. The median is {median}, the most
{most}. The seeds are kept in `tests/zoo/found.json` and played again by the tests, with the bug and
without it; `python -m tests.zoo.hunt` looks for the bugs anew. They were chosen after they had
found something, so `python -m tests.zoo.fresh` goes through all of the bugs with seeds of which
nobody knows anything, and fails if one of them stays hidden.

The classes are those of failures that are known from systems of this kind: A ownership, B work that
is lost, C what happens twice, D journals that are not true, E crashes and storms, F storage,
G running, H time.

| Class | Planted bug | Found by | After |
|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    found = finds()
    simulated = {name: each for name, each in bugs().items() if not each.test}
    counts = [found[name].schedules for name in simulated if name in found]
    head = _HEAD.format(
        total=len(bugs()),
        simulated=len(simulated),
        elsewhere=len(bugs()) - len(simulated),
        median=int(median(counts)),
        most=f"{max(counts):,}",
    )
    ordered = sorted(bugs().values(), key=lambda each: (_rank(each.cls), each.text))
    return head + "\n".join(_line(each, found.get(each.name)) for each in ordered) + "\n"


def _rank(cls: str) -> tuple[str, int]:
    return cls[0], int(cls[1:])


def _line(bug: Bug, find: Find | None) -> str:
    if bug.test:
        path, _, rest = bug.test.partition("::")
        return f"| {bug.cls} | {bug.text} | `{rest.split('::')[-1]}` in `{path}` | |"
    assert find is not None, bug.name
    by = "simulation of a given program" if bug.plan else "simulation"
    schedules = f"{find.schedules:,} schedule{'s' if find.schedules > 1 else ''}"
    return f"| {bug.cls} | {bug.text} | {by}, {find.broken} | {schedules} |"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), "utf-8")
