"""Where the time of each work goes, so that anyone can explain a goal that is missed.

By py-spy where it is installed: samples of all threads that hold the interpreter, and of worker
processes. Else by cProfile: exact calls of this process's threads, whose times it distorts.
"""

from __future__ import annotations

import contextlib
import cProfile
import io
import os
import pstats
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.bench import Bench, Work

LINES = 60
"""Functions that a profile names."""
SAMPLES_PER_S = 200
PATIENCE_SECONDS = 60.0
_BEGINS, _ENDED = "Sampling process", "Wrote"


def run_profiled(benches: Sequence[Bench], works: Sequence[Work], folder: Path) -> None:
    """Run each work once more on each backend; its figures are dropped, its profile is a file."""
    folder.mkdir(parents=True, exist_ok=True)
    spy = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    for bench in benches:
        for work in works:
            if work.fits(bench):
                file = folder / f"{work.name}-{bench.label.replace(' ', '-')}.txt"
                with sampled(spy, file) if spy else traced(file):
                    work.run(bench)
                print(f"profile of {work.name} on {bench.label}: {file}", file=sys.stderr)


@contextlib.contextmanager
def sampled(spy: str, file: Path) -> Generator[None]:
    """By py-spy. The stacks are kept beside the summary, in the form that flame graphs are made of.

    Raises:
        RuntimeError: py-spy could not look into this process, or ended early.
    """
    stacks = file.with_suffix(".stacks")
    command = [spy, "record", "--gil", "--subprocesses", "--function", "--format", "raw"]
    command += ["--rate", str(SAMPLES_PER_S), "--output", str(stacks), "--pid", str(os.getpid())]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        told = process.stdout.readline()
        if _BEGINS not in told:
            process.kill()
            raise RuntimeError(f"py-spy should sample this process, and said: {told}")
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            told, _ = process.communicate(timeout=PATIENCE_SECONDS)
    if _ENDED not in told:
        raise RuntimeError(f"py-spy should have written {stacks}, and said: {told}")
    file.write_text(summary(stacks.read_text("utf-8").splitlines()), "utf-8")


def summary(stacks: Iterable[str]) -> str:
    """Shares of the samples by function, of lines like "outer (a.py);inner (b.py) 17"."""
    within: Counter[str] = Counter()
    itself: Counter[str] = Counter()
    samples = 0
    for line in stacks:
        frames, _, count = line.rpartition(" ")
        names = frames.split(";")
        samples += int(count)
        itself[names[-1]] += int(count)
        for name in set(names):
            within[name] += int(count)
    if not samples:
        return "No samples: the work was too short.\n"
    lines = [f"{samples} samples", "with calls   itself"]
    lines += [
        f"{count / samples:10.1%}{itself[name] / samples:9.1%}  {name}"
        for name, count in within.most_common(LINES)
    ]
    return "\n".join(lines) + "\n"


class _Stats(cProfile.Profile):
    """What `pstats` takes, of another profiler, whose thread may still run."""

    def __init__(self, profiler: cProfile.Profile) -> None:
        super().__init__()
        profiler.snapshot_stats()
        self.stats: Any = getattr(profiler, "stats")  # noqa: B009 - not in its type

    def create_stats(self) -> None:
        """They are there."""


@contextlib.contextmanager
def traced(file: Path) -> Generator[None]:
    """By cProfile, on this thread and on those that start meanwhile."""
    mine = cProfile.Profile()
    profilers = [mine]

    def first_event(frame: FrameType, event: str, argument: object) -> None:
        profiler = cProfile.Profile()
        profilers.append(profiler)
        profiler.enable()  # in the place of this function

    threading.setprofile(first_event)
    mine.enable()
    try:
        yield
    finally:
        mine.disable()
        threading.setprofile(None)
    text = io.StringIO()
    stats = pstats.Stats(*[_Stats(each) for each in profilers], stream=text)
    stats.sort_stats("cumulative").print_stats(LINES)
    file.write_text(text.getvalue(), "utf-8")
