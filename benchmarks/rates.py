"""Small sums on samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence


def rate(step: Callable[[int], object], seconds: float) -> float:
    """Call `step(number)` for so long, at least once; calls per second."""
    count, start = 0, time.perf_counter()
    while True:
        step(count)
        count += 1
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return count / elapsed


def percentile(samples: Sequence[float], share: float) -> float:
    """The sample below which this share of them lies (nearest rank)."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def spread(name: str, seconds: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile of latencies, in milliseconds."""
    p50, p99 = percentile(seconds, 0.5), percentile(seconds, 0.99)
    return {
        f"{name}_p50_ms": p50 * 1_000,
        f"{name}_p99_ms": p99 * 1_000,
        f"{name}_p99_to_p50": p99 / p50,
    }
