"""Plants faults in the code and tells which of them no test sees.

python -m tests.mutation                              # everything, an hour and more
python -m tests.mutation --group core --file core/journal.py
python -m tests.mutation --changed --seconds 90       # a sample of what was changed last

It fails if a mutant survives that `explained.toml` does not explain, or if an explanation is not
needed any more.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.mutation.explained import Explanations
from tests.mutation.groups import GROUPS
from tests.mutation.mutants import SOURCE, Mutant
from tests.mutation.run import Judge, Verdict
from tests.support.ledger import commit

ROOT = SOURCE.parents[1]


def _git(*words: str) -> list[str] | None:
    """The lines that it prints; None if it fails."""
    told = subprocess.run(["git", *words], capture_output=True, text=True, check=False, cwd=ROOT)
    return None if told.returncode else told.stdout.splitlines()


def changed() -> set[str] | None:
    """The files that the newest commit to anything of the groups changed, and the work after it.

    None if that is not to be found out, as in a clone of one commit.
    """
    files = {str(SOURCE / file) for group in GROUPS.values() for file, _ in group.paths()}
    last = _git("log", "-1", "--format=%H", "--", *files)
    lines = _git("diff", "--name-only", f"{last[0]}~1", "--", *files) if last else None
    if lines is None:
        return None
    return {str((ROOT / line).relative_to(SOURCE)) for line in lines}


def until(end: float, mutants: Iterable[Mutant]) -> Iterator[Mutant]:
    """No new ones when the time is over."""
    for mutant in mutants:
        if time.monotonic() >= end:
            return
        yield mutant


def run(name: str, asked: argparse.Namespace, only: set[str] | None, seconds: float) -> bool:
    """Judge one group; True if all is well."""
    group, begun = GROUPS[name], time.monotonic()
    all_ = list(group.mutants(only))
    chosen = all_
    if seconds < float("inf"):
        chosen = random.Random(asked.seed).sample(all_, len(all_))
    explanations = Explanations()
    counts: Counter[str] = Counter()
    bad = 0
    for mutant, verdict in Judge(group.tests, asked.workers).judge(until(begun + seconds, chosen)):
        explained = explanations.take(mutant)
        fine = (verdict is Verdict.SURVIVED) == explained
        counts["explained" if fine and explained else verdict.value] += 1
        if not fine:
            bad += 1
            word = "killed, and explained as harmless" if explained else "SURVIVED"
            print(f"{word}: {mutant}", flush=True)
    if only is None and len(chosen) == sum(counts.values()):
        for stale in explanations.untaken(group):
            bad += 1
            print(f"explained, and there is no such mutant: {stale}")
    line = {
        "what": "mutation",
        "group": name,
        "files": sorted(only) if only is not None else "all",
        "commit": commit(),
        "seconds": round(time.monotonic() - begun),
        "mutants": len(all_),
        **counts,
    }
    print(json.dumps(line), flush=True)
    if asked.ledger is not None:
        with asked.ledger.open("a", encoding="utf-8") as ledger:
            ledger.write(json.dumps(line) + "\n")
    return not bad


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--group", action="append", choices=sorted(GROUPS))
    parser.add_argument("--file", action="append", help="below src/perdure")
    parser.add_argument("--changed", action="store_true", help="files that were changed last")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="a sample, in all")
    parser.add_argument("--seed", default=commit(), help="of the sample; default: the commit")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ledger", type=Path, help="append a line of JSON for each group")
    asked = parser.parse_args()
    only = set(asked.file) if asked.file else None
    if asked.changed:
        only = changed()
        print("changed:", "unknown, so a sample of all" if only is None else sorted(only))
    names = [
        name
        for name in asked.group or GROUPS
        if only is None or not only.isdisjoint(file for file, _ in GROUPS[name].paths())
    ]
    results = [run(name, asked, only, asked.seconds / len(names)) for name in names]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
