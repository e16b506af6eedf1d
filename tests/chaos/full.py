"""An SQLite store on a file system of its own that is full, until somebody makes room.

The file system is a tmpfs in a mount namespace of the process, so nothing is left of it and no
right is needed but to make one: as root, or as a user whom the kernel lets make a user namespace.
Where neither may be, `tests.chaos.disk` has the limit to the size of files, and this is counted.
"""

from __future__ import annotations

import functools
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.chaos.disk import SECONDS, STARTS, judge, run
from tests.chaos.fleet import ROOT
from tests.chaos.program import Log
from tests.support.processes import SOURCES, environment

SIZE = 8 * 1024 * 1024
"""Bytes of the file system."""
FREE = (8 * 1024, 420 * 1024)
"""Of them, what is free in the beginning: too little to open a store, up to nearly enough."""
NAMESPACES = (("--mount",), ("--user", "--map-root-user", "--mount"))
"""Options of `unshare`: as root, and as a user."""

_SCRIPT = """
set -e
mount -t tmpfs -o size="$SIZE" perdure "$PLACE"
head -c "$BALLAST" /dev/zero > "$PLACE/ballast"
"$@"
cp -a "$PLACE"/perdure.db* "$KEPT"
"""
"""What is left of the store outlives the file system, to be looked at."""


@functools.cache
def namespace() -> tuple[str, ...] | None:
    """How a file system of its own may be had here; None if not at all."""
    if shutil.which("unshare") is None:
        return None
    for options in NAMESPACES:
        asked = ["unshare", *options, "mount", "-t", "tmpfs", "perdure", "/mnt"]
        if subprocess.run(asked, capture_output=True, check=False).returncode == 0:
            return options
    return None


def run_on_tmpfs(folder: Path, options: tuple[str, ...], free: int) -> Log:
    """One process from an empty store to the end, as `tests.chaos.disk.run`."""
    place = folder / "full"
    place.mkdir(parents=True)
    told = {"SIZE": str(SIZE), "BALLAST": str(SIZE - free), "PLACE": str(place)}
    arguments = (place / "perdure.db", folder / "log", STARTS, 0, place / "ballast")
    done = subprocess.run(
        [
            *("unshare", *options, "sh", "-c", _SCRIPT, "sh"),
            *(sys.executable, "-m", "tests.chaos.diskful", *map(str, arguments)),
        ],
        cwd=folder,
        env=environment(PYTHONPATH=f"{SOURCES}:{ROOT}", KEPT=str(folder), **told),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{free} bytes free: {done.stderr[-3000:]}"
    return Log(folder / "log")


def campaign(folder: Path, seed: int, count: int, counters: Counter[str]) -> None:
    """So many processes, each with another amount of space."""
    options = namespace()
    for number in range(count):
        chance = random.Random(f"{seed} {number}")
        place = folder / f"full-{number}"
        if options is None:
            log = run(place, [], size=chance.randint(140, 260) * 1024)
            counters["without a tmpfs"] += 1
        else:
            log = run_on_tmpfs(place, options, chance.randint(*FREE))
            counters["tmpfs"] += 1
        judge(place, log, counters)
        shutil.rmtree(place)
    if options is None:
        print("no tmpfs can be mounted here: run as root, or allow user namespaces")


def expected() -> tuple[str, ...]:
    """What must have happened: somebody was told that it is full, by whichever means there are."""
    return ("BackendFull", "without a tmpfs" if namespace() is None else "tmpfs")
