"""Answers of several servers as one. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain

from perdure.backends.base import ClaimBatch, InvocationRecord
from perdure.backends.health import Health
from perdure.backends.limits import QueueStatus

COUNTED = "invocations "
"""How the names of facts begin that are counts of rows."""


def merge_batches(batches: Sequence[ClaimBatch]) -> ClaimBatch:
    """One batch by the clock of the first: times are moved by how far two clocks are apart."""
    now = batches[0].now
    due = [batch.next_due - batch.now for batch in batches if batch.next_due is not None]
    records = tuple(chain.from_iterable(batch.records for batch in batches))
    return ClaimBatch(records, now, now + min(due) if due and not records else None)


def merge_pages(pages: Iterable[Sequence[InvocationRecord]], limit: int) -> list[InvocationRecord]:
    """The newest of all pages, each by the clock of its server."""
    rows = sorted(chain.from_iterable(pages), key=lambda row: (row.created_at, *row.key))
    return rows[::-1][: max(0, limit)]


def merge_queues(answers: Iterable[Sequence[QueueStatus]]) -> list[QueueStatus]:
    """Sums by queue; `oldest` is that of the server where it is longest."""
    by_name: defaultdict[str, list[QueueStatus]] = defaultdict(list)
    for status in chain.from_iterable(answers):
        by_name[status.queue].append(status)
    return [
        QueueStatus(
            queue=queue,
            ready=sum(each.ready for each in found),
            scheduled=sum(each.scheduled for each in found),
            running=sum(each.running for each in found),
            oldest=max((each.oldest for each in found if each.oldest is not None), default=None),
        )
        for queue, found in sorted(by_name.items())
    ]


def merge_health(answers: Sequence[tuple[str, Health]], down: Sequence[str]) -> Health:
    """Sums of what is counted; other facts and problems each with their server in front."""
    counts: Counter[str] = Counter()
    facts: dict[str, str] = {}
    for name, health in answers:
        for fact, value in {"backend": health.backend, **health.facts}.items():
            if fact.startswith(COUNTED):
                counts[fact] += int(value)
            else:
                facts[f"{name}: {fact}"] = value
    return Health(
        backend=f"{len(answers) + len(down)} servers",
        facts={fact: str(count) for fact, count in sorted(counts.items())} | facts,
        problems=(
            *(f"{name}: {text}" for name, health in answers for text in health.problems),
            *down,
        ),
    )
