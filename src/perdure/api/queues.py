"""Queues as an app declares them, and where the starts of a function go. It claims nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from perdure.backends.base import DEFAULT_QUEUE
from perdure.backends.limits import QueueLimits, Rate
from perdure.core.identity import validate_identifier
from perdure.core.retry import seconds
from perdure.errors import ConfigurationError, InvalidIdentifier

KEY_MAX = 255
"""Characters of a limit key; a longer one is stored as its digest."""

PRIORITY_MAX = 2**31 - 1
"""The highest priority, and with a minus sign the lowest."""

Key = Callable[..., object] | str | Sequence[str]
"""What calls share a limit: a function of the arguments, or the names of some of them."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A declared queue. Use it, or its name, as `queue=` of tasks and workflows.

    Attributes:
        workers_only: True if a process that only waits for a result leaves this queue alone.
    """

    name: str
    limits: QueueLimits
    workers_only: bool = False


class Queues(Mapping[str, Queue]):
    """The declared queues of an app, by name. Filled while modules are imported."""

    def __init__(self) -> None:
        """Start with none; a queue that is not declared has no limits of its own."""
        self._by_name: dict[str, Queue] = {}

    def declare(
        self,
        name: str,
        *,
        concurrency: int | None,
        worker_concurrency: int | None,
        key_concurrency: int,
        rate: tuple[int, float | timedelta] | None,
        workers_only: bool,
    ) -> Queue:
        """Add a queue. See `Perdure.queue`."""
        _check_name(name)
        numbers = {
            "concurrency": concurrency,
            "worker_concurrency": worker_concurrency,
            "key_concurrency": key_concurrency,
        }
        for what, number in numbers.items():
            if number is not None and not _is_count(number):
                raise ConfigurationError(
                    f"Queue {name!r}: {what}={number!r}, expected a whole number from 1 on. "
                    "Leave it out for no limit; to hold a queue back, start no worker for it."
                )
        limits = QueueLimits(
            concurrency=concurrency,
            worker_concurrency=worker_concurrency,
            key_concurrency=key_concurrency,
            rate=None if rate is None else _rate(name, rate),
        )
        queue = Queue(name, limits, workers_only)
        if self._by_name.setdefault(name, queue) != queue:
            raise ConfigurationError(
                f"Queue {name!r} is declared twice, with different limits: "
                f"{self._by_name[name]} and {queue}. Declare it once and use its name elsewhere."
            )
        return queue

    def limits(self) -> dict[str, QueueLimits]:
        """What a worker claims by."""
        return {name: queue.limits for name, queue in self._by_name.items()}

    def limits_of_a_script(self) -> dict[str, QueueLimits]:
        """The same for a process that only runs what it waits for."""
        nothing = QueueLimits(worker_concurrency=0)
        return {
            name: nothing if queue.workers_only else queue.limits
            for name, queue in self._by_name.items()
        }

    def __getitem__(self, name: str) -> Queue:
        """The queue of this name; KeyError if it is not declared."""
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        """All names."""
        return iter(self._by_name)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_name)


def queue_name(queue: str | Queue | None) -> str:
    """The name behind a `queue=` argument.

    Raises:
        InvalidIdentifier: empty, too long, with control characters, or with a comma.
    """
    if queue is None:
        return DEFAULT_QUEUE
    return queue.name if isinstance(queue, Queue) else _check_name(queue)


def _check_name(name: str) -> str:
    if "," in validate_identifier(name, "queue"):
        raise InvalidIdentifier(
            f"queue {name!r} has a comma, which separates names in: perdure worker --queues a,b. "
            "Use another character."
        )
    return name


def _is_count(given: object) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and given >= 1


_encode = msgspec.json.Encoder(order="deterministic").encode
"""Equal sets and mappings have equal texts, in every process."""


def key_text(value: object) -> str:
    """A limit key as it is stored: text as it is, anything else as JSON; a long one as a digest.

    Raises:
        ConfigurationError: None, an empty text, or something that JSON has no words for.
    """
    try:
        text = value if isinstance(value, str) else _encode(value).decode()
    except (TypeError, UnicodeError) as error:
        raise ConfigurationError(
            f"key= gave {value!r}, which is not text, a number or a list of these: {error}. Two "
            "calls share a limit if their keys are equal; give something that can be compared."
        ) from error
    if value is None or not text:
        raise ConfigurationError(
            f"key= gave {value!r}. Every call needs a key; give one fixed text to those that shall "
            "share one limit."
        )
    if len(text) > KEY_MAX or not text.isprintable():
        octets = text.encode("utf-8", "surrogatepass")
        return "blake2b:" + hashlib.blake2b(octets, digest_size=16).hexdigest()
    return text


def check_priority(given: object) -> None:
    """Refuse what a state backend could not store, or not in order.

    Raises:
        ConfigurationError: it is no whole number, or too large.
    """
    if (
        not isinstance(given, int)
        or isinstance(given, bool)
        or not -PRIORITY_MAX <= given <= PRIORITY_MAX
    ):
        raise ConfigurationError(
            f"priority={given!r}: expected a whole number of at most {PRIORITY_MAX:,}, such as 5. "
            "Higher ones are claimed first; 0 is the default."
        )


def _rate(name: str, rate: tuple[int, float | timedelta]) -> Rate:
    try:
        claims, period = rate
        period_us = int(seconds(period, "rate") * 1e6)
    except (TypeError, ValueError, ConfigurationError):
        claims, period_us = 0, 0
    if not _is_count(claims) or period_us < 1:
        raise ConfigurationError(
            f"Queue {name!r}: rate={rate!r}, expected (starts, seconds), both above 0, such as "
            "(100, 60.0) for at most 100 in any 60 seconds."
        )
    return Rate(claims, period_us)
