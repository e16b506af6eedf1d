"""What a task asks for when nobody knows whether its body ran, and what is refused there."""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import Any, Literal, get_args

from perdure.api.definition import Definition
from perdure.api.functions import Task
from perdure.core.retry import seconds
from perdure.engine.executors import ExecutorChoice
from perdure.errors import ConfigurationError, RegistrationError

Delivery = Literal["at_least_once", "at_most_once"]


def check_delivery(
    delivery: object, on_uncertain: object, executor: ExecutorChoice, *, pure: bool
) -> bool:
    """Whether its bodies run at most once.

    Raises:
        ConfigurationError: no such delivery.
        RegistrationError: what does not go together.
    """
    if delivery not in get_args(Delivery):
        raise ConfigurationError(
            f"delivery={delivery!r}: expected one of {', '.join(get_args(Delivery))}."
        )
    if delivery == "at_least_once":
        if on_uncertain is not None:
            raise RegistrationError(
                'on_uncertain= is for delivery="at_most_once": a body that runs at least once is '
                "never left uncertain, it runs again. Add the delivery, or leave on_uncertain= out."
            )
        return False
    if pure:
        raise RegistrationError(
            'delivery="at_most_once" and pure=True contradict each other: a pure body may run '
            "again at any time. Leave one of them out."
        )
    if executor not in ("thread", "process"):
        raise RegistrationError(
            f'delivery="at_most_once" with executor={executor!r}: an executor may run a body again '
            'by itself, or lose it without a word. Use "thread" or "process".'
        )
    if on_uncertain is not None and not isinstance(on_uncertain, Task):
        raise RegistrationError(
            f"on_uncertain={on_uncertain!r} is no task. Decorate the function with @app.task and "
            "pass the decorated object."
        )
    return True


def check_pace(
    heartbeat_timeout: float | timedelta | None, executor: ExecutorChoice, *, pure: bool
) -> float | None:
    """Seconds without a heartbeat after which an attempt fails.

    Raises:
        ConfigurationError: it is no time.
        RegistrationError: its bodies cannot tell heartbeats.
    """
    if heartbeat_timeout is None:
        return None
    pace = seconds(heartbeat_timeout, "heartbeat_timeout")
    if not pace:
        raise ConfigurationError(
            "heartbeat_timeout=0: no body could tell heartbeats so fast. Leave it out, or give it "
            "a few times the seconds between two heartbeats."
        )
    if executor not in ("thread", "process") or pure:
        why = "pure=True" if pure else f"executor={executor!r}"
        raise RegistrationError(
            f"heartbeat_timeout= with {why}: such bodies cannot tell heartbeats. Limit them by "
            "timeout=, or leave the other one out."
        )
    return pace


def check_asked(definition: Definition, asked: Definition | None) -> None:
    """Refuse an `on_uncertain` that could not be called with the same arguments.

    Raises:
        RegistrationError: its parameters are others, or it runs on a queue of its own.
    """
    if asked is None:
        return
    ours, theirs = (_parameters(each) for each in (definition, asked))
    if ours != theirs:
        raise RegistrationError(
            f"on_uncertain={asked.name!r} takes {theirs}, and task {definition.name!r} takes "
            f"{ours}. It is called with the same arguments, so give it the same parameters."
        )
    if not asked.is_plain:
        raise RegistrationError(
            f"on_uncertain={asked.name!r} has a queue or a key. It is called where the body of "
            f"{definition.name!r} would run; leave queue= and key= out."
        )


def _parameters(definition: Definition) -> list[str]:
    parameters: list[Any] = list(inspect.signature(definition.function).parameters.values())
    return [f"{each.kind.description} {each.name}" for each in parameters]
