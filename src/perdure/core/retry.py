"""When a failed attempt is tried again. Pure: the caller brings the chance and keeps the time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from perdure.errors import ConfigurationError

ATTEMPTS_MAX = 1_000_000
"""More attempts than this is a loop that nobody meant."""
SECONDS_MAX = 3_200_000_000
"""A hundred years. Clocks count microseconds in 64 bits, and must not run over."""


def seconds(value: float | timedelta, what: str) -> float:
    """A duration as float seconds. Every public duration is float seconds or a `timedelta`.

    Raises:
        ConfigurationError: negative, longer than a hundred years, or not a number.
    """
    result = _as_float(value)
    if result is None:
        raise ConfigurationError(
            f"{what} must be seconds (float) or a timedelta, got {type(value).__name__}."
        )
    if not 0 <= result < float("inf"):
        raise ConfigurationError(f"{what} must be finite and not negative, got {value!r}.")
    if result > SECONDS_MAX:
        raise ConfigurationError(
            f"{what} must be at most a hundred years in seconds, got {value!r}."
        )
    return result


def _as_float(given: object) -> float | None:
    """Callers without a type checker may pass anything; None for what is no duration."""
    if isinstance(given, timedelta):
        return given.total_seconds()
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        return None
    return float(given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Try a failed task again, with exponential backoff and jitter.

    The delay before attempt n+1 is `wait_initial * wait_factor ** (n - 1)`, at most `wait_max`,
    then shortened by up to `jitter` of itself (0.5 gives half to the whole delay), so that a crowd
    which failed together does not come back together. Source: "Exponential Backoff And Jitter",
    AWS Architecture Blog, 2015 ("equal jitter" at jitter=0.5, "full jitter" at 1.0).

    Args:
        attempts: tries in all, at least 1.
        wait_initial: seconds, or a timedelta, before the second attempt.
        wait_max: upper bound of one delay.
        wait_factor: growth per attempt, at least 1.
        jitter: share of the delay that is random, 0 to 1.
        on: exception classes worth another try; a failure of any other class is final.
    """

    attempts: int = 3
    wait_initial: float | timedelta = 1.0
    wait_max: float | timedelta = 300.0
    wait_factor: float = 2.0
    jitter: float = 0.5
    on: tuple[type[BaseException], ...] = (Exception,)

    def __post_init__(self) -> None:
        """Refuse a policy that could not mean anything."""
        if not (_is_number(self.attempts, int) and 1 <= self.attempts <= ATTEMPTS_MAX):
            raise ConfigurationError(
                f"Retry(attempts={self.attempts!r}): expected a whole number from 1 to "
                f"{ATTEMPTS_MAX:,}."
            )
        if not (_is_number(self.wait_factor, int, float) and self.wait_factor >= 1):
            raise ConfigurationError(
                f"Retry(wait_factor={self.wait_factor!r}): expected a number from 1 on."
            )
        if not (_is_number(self.jitter, int, float) and 0 <= self.jitter <= 1):
            raise ConfigurationError(f"Retry(jitter={self.jitter!r}): expected a number, 0 to 1.")
        on: object = self.on
        if not isinstance(on, tuple) or not all(map(_is_exception, cast("tuple[object]", on))):  # pyright: ignore[reportUnnecessaryIsInstance] - not every caller has a type checker
            raise ConfigurationError(
                f"Retry(on={on!r}): expected exception classes in a tuple, such as "
                "on=(ConnectionError,)."
            )
        seconds(self.wait_initial, "Retry(wait_initial=...)")
        seconds(self.wait_max, "Retry(wait_max=...)")

    def covers(self, error: BaseException) -> bool:
        """Whether a failure of this class is worth another try."""
        return isinstance(error, self.on)

    def delay_after(self, attempt: int, chance: float) -> float | None:
        """Seconds to wait after failed attempt number `attempt` (from 1), or None to give up.

        Args:
            attempt: the number of the attempt that failed, with an error that `covers` holds.
            chance: a number in [0, 1), fixed by the caller so that the decision can be replayed.
        """
        if attempt >= self.attempts:
            return None
        longest = seconds(self.wait_max, "wait_max")
        try:
            full = seconds(self.wait_initial, "wait_initial") * self.wait_factor ** (attempt - 1)
        except OverflowError:
            full = longest
        full = min(full, longest)
        return full * (1 - self.jitter * chance)


def _is_number(given: object, *kinds: type) -> bool:
    return isinstance(given, kinds) and not isinstance(given, bool)


def _is_exception(given: object) -> bool:
    return isinstance(given, type) and issubclass(given, BaseException)


NO_RETRY = Retry(attempts=1)
"""The default of a task: its first failure is its outcome."""
