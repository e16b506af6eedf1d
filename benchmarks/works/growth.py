"""What a longer journal costs: the next task, and the next wake-up, its frame kept or not."""

from __future__ import annotations

from benchmarks.bench import Bench, Figures, Work
from benchmarks.places import Place

NAP_SECONDS = 0.05
NAPS = 5
KEPT_SECONDS = 60.0


def _wake_ms(place: Place, length: int, grace: float) -> float:
    """How late the workflow goes on after a nap behind `length` tasks, on average."""
    program = place.program(grace=grace)
    program.naps.start(length, NAP_SECONDS, NAPS).result()
    assert program.marks.passed is not None
    late = program.marks.ended - program.marks.passed - NAPS * NAP_SECONDS
    return late / NAPS * 1_000


def run(bench: Bench) -> Figures:
    """The first and the last tenth of one attempt; naps behind a short and a long journal."""
    length = bench.sizes.growth
    short, tenth = max(1, length // 10), max(1, length // 10)
    with bench.place() as place:
        program = place.program()
        program.tasks.start(length).result()
        marks = program.marks
        first = (marks.at_tenth - marks.began) / tenth * 1e6
        last = (marks.ended - marks.at_nine_tenths) / tenth * 1e6
        return {
            "task_us_first_tenth": first,
            "task_us_last_tenth": last,
            "last_to_first": last / first,
            f"kept_wake_ms_{short}": _wake_ms(place, short, KEPT_SECONDS),
            f"kept_wake_ms_{length}": _wake_ms(place, length, KEPT_SECONDS),
            f"replayed_wake_ms_{short}": _wake_ms(place, short, 0.0),
            f"replayed_wake_ms_{length}": _wake_ms(place, length, 0.0),
        }


WORK = Work(name="growth", title="Cost beside the length of the journal", run=run)
