"""The command `queue list`: what waits and runs in each queue, and under which limits."""

from __future__ import annotations

from perdure.backends.limits import NO_LIMITS, QueueLimits, QueueStatus
from perdure.cli.failures import Exit
from perdure.cli.locate import Source, open_reader
from perdure.cli.output import Output
from perdure.cli.text import span


def list_queues(out: Output, source: Source, *, as_json: bool) -> Exit:
    """Every queue that is declared or has something to do, by name."""
    backend = open_reader(source)
    try:
        found = {status.queue: status for status in backend.queues(source.settings.name)}
    finally:
        backend.close()
    for name in source.queues:
        found.setdefault(
            name, QueueStatus(queue=name, ready=0, scheduled=0, running=0, oldest=None)
        )
    listed = [found[name] for name in sorted(found)]
    if as_json:
        out.json([_json(status, source.queues.get(status.queue)) for status in listed])
    elif listed:
        out.table(
            ("QUEUE", "READY", "SCHEDULED", "RUNNING", "OLDEST READY", "LIMITS"),
            [_row(status, source.queues.get(status.queue)) for status in listed],
        )
    else:
        out.message(
            f"Nothing of app {source.settings.name!r} is ready, scheduled or running in "
            f"{source.url} (named by {source.named_by}). Another app name: --app-name."
        )
    return Exit.OK


def _row(status: QueueStatus, limits: QueueLimits | None) -> tuple[str, ...]:
    return (
        status.queue,
        str(status.ready),
        str(status.scheduled),
        str(status.running),
        "" if status.oldest is None else span(status.oldest),
        _limits_text(limits or NO_LIMITS),
    )


def _limits_text(limits: QueueLimits) -> str:
    told: list[str] = []
    if limits.concurrency is not None:
        told.append(f"{limits.concurrency} at a time")
    if limits.worker_concurrency is not None:
        told.append(f"{limits.worker_concurrency} per worker")
    if limits.key_concurrency != NO_LIMITS.key_concurrency:
        told.append(f"{limits.key_concurrency} per key")
    if limits.rate is not None:
        told.append(f"{limits.rate.claims} in {span(limits.rate.period)}")
    return ", ".join(told)


def _json(status: QueueStatus, limits: QueueLimits | None) -> dict[str, object]:
    told: dict[str, object] = {
        "queue": status.queue,
        "ready": status.ready,
        "scheduled": status.scheduled,
        "running": status.running,
        "oldest_seconds": None if status.oldest is None else status.oldest / 1e6,
    }
    if limits is not None:
        told["limits"] = {
            "concurrency": limits.concurrency,
            "worker_concurrency": limits.worker_concurrency,
            "key_concurrency": limits.key_concurrency,
            "rate": limits.rate and [limits.rate.claims, limits.rate.period / 1e6],
        }
    return told
