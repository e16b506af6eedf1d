"""One process of fuzzing: one target, one seed, so many inputs or so many seconds.

    python -m tests.fuzz.run TARGET SEED COUNT SECONDS PROGRESS [ONLY]

PROGRESS is a file in which the number of the present input stands: a process that died in it did
not die unseen. ONLY is the number of one input: nothing else is run, and its error is raised.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from tests.fuzz.guard import RESIDENT_BYTES, Guard, limit_memory, most_resident
from tests.fuzz.mutate import Mutator
from tests.fuzz.targets import Target, find_target

FAILURES_MAX = 5
"""One mistake shows in many inputs."""
SLOW_SECONDS = 5.0
"""Of processor time, for one input. The slowest takes a hundredth of it here."""


@dataclass
class Report:
    """What was done and found.

    Attributes:
        accepted, refused: inputs that were read, and those that gave a typed error.
        resident: bytes by which the process has grown at most.
    """

    target: str
    seed: str
    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    slowest: float = 0.0
    resident: int = 0
    failures: list[str] = field(default_factory=list)


def inputs_of(target: Target, seed: str) -> Iterator[bytes]:
    """The examples and bombs, as they stand, and then whatever is made of the examples."""
    yield from target.examples
    yield from target.bombs
    mutator = Mutator(f"{target.name}:{seed}", target.examples, target.words)
    while True:
        yield mutator.next()


def feed(target: Target, body: bytes, guard: Guard) -> bool:
    """Whether it was read; False if it was refused as it should be. Anything else is raised."""
    given = target.prepare(body)
    try:
        with guard.armed():
            target.read(given)
    except target.typed:
        return False
    return True


def warm_up(target: Target) -> None:
    """What is imported at the first use is imported now, and is not news later."""
    for body in target.examples:
        given = target.prepare(body)
        try:
            target.read(given)
        except target.typed as error:
            str(error)


def campaign(target: Target, seed: str, count: int, seconds: float, progress: int) -> Report:
    """Feed until enough were fed, or the time is over."""
    report = Report(target.name, seed)
    warm_up(target)
    guard, before = Guard(), most_resident()
    limit_memory()
    until = time.monotonic() + seconds
    for number, body in enumerate(inputs_of(target, seed)):
        if number >= count or time.monotonic() > until or len(report.failures) >= FAILURES_MAX:
            break
        os.pwrite(progress, number.to_bytes(8, "big"), 0)
        report.inputs += 1
        begun = time.process_time()
        try:
            accepted = feed(target, body, guard)
        except BaseException as error:  # also `Forbidden`, and what would end this process
            text = f"{type(error).__name__}: {error!s:.500}"
            report.failures.append(f"input {number}: {body[:300]!r}: {text}")
            continue
        report.accepted += accepted
        report.refused += not accepted
        took = time.process_time() - begun
        report.slowest = max(report.slowest, took)
        if took > SLOW_SECONDS:
            report.failures.append(f"input {number}: {body[:300]!r}: it took {took:.1f} s")
    report.resident = most_resident() - before
    if report.resident > RESIDENT_BYTES:
        report.failures.append(f"the process has grown by {report.resident:,} bytes")
    return report


def main(name: str, seed: str, count: str, seconds: str, progress: str, only: str = "") -> None:
    target = find_target(name)
    if only:
        warm_up(target)
        body = next(itertools.islice(inputs_of(target, seed), int(only), None))
        print(body)
        print("read" if feed(target, body, Guard()) else "refused")
        return
    file = os.open(progress, os.O_WRONLY | os.O_CREAT, 0o600)
    report = campaign(target, seed, int(count), float(seconds), file)
    print(json.dumps(asdict(report)))


if __name__ == "__main__":
    main(*sys.argv[1:])
