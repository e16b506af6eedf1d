"""Doubles: other functions in the place of tasks, until a block ends, with the calls they got."""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, ParamSpec, TypeVar, cast

from perdure.api.definition import Definition, is_async_function
from perdure.api.functions import AsyncTask, SyncTask, Task
from perdure.api.loose import fitting
from perdure.errors import ConfigurationError, DeserializationError, RegistrationError

P = ParamSpec("P")
R = TypeVar("R")


class Double(Generic[R]):
    """What stands in the place of a task.

    Attributes:
        calls: what its bodies were called with, by parameter, in order; defaults filled in. A body
            that runs again after a failure or a crash is there again.
    """

    def __init__(self, task: str) -> None:
        self.calls: list[dict[str, Any]] = []
        self._task = task
        self._lock = threading.Lock()

    def note(self, arguments: dict[str, Any]) -> int:
        """A call begins: its number, from 0."""
        with self._lock:
            self.calls.append(arguments)
            return len(self.calls) - 1

    def __repr__(self) -> str:
        """Its task and how often it was called."""
        return f"<Double of {self._task!r}, called {len(self.calls)} times>"


@contextlib.contextmanager
def replace(
    task: SyncTask[P, R] | AsyncTask[P, R], function: Callable[..., Any]
) -> Generator[Double[R]]:
    """Run `function` wherever the body of `task` would run, until the block ends.

        with replace(charge, lambda cents, key: f"charge-{cents}") as charges:
            assert order.start(1999).result()
        assert [call["cents"] for call in charges.calls] == [1999]

    What it returns is recorded like a result of the task, so it must fit; what it raises is
    retried like a failure of it. It runs on threads, whatever executor the task has.

    Args:
        task: decorated with `@app.task`.
        function: takes what the task takes; may be sync for an async task.

    Raises:
        RegistrationError: `task` is no task.
        ConfigurationError: `function` cannot be called as the task is.
    """
    definition = _definition_of(task)
    _check(definition, function)
    double: Double[R] = Double(definition.name)
    kept, executor = definition.function, definition.executor
    # What is read of the signature is that of the task, and read before it is replaced.
    _ = definition.parameters, definition.result_type
    definition.function = _standing_in(definition, double, function)
    definition.executor = "thread"
    try:
        yield double
    finally:
        definition.function, definition.executor = kept, executor


def double(
    task: SyncTask[P, R] | AsyncTask[P, R],
    *,
    returns: object = None,
    raises: Sequence[BaseException | None] = (),
) -> contextlib.AbstractContextManager[Double[R]]:
    """As `replace`, with a function that returns always the same.

    Args:
        returns: what each call returns.
        raises: what the first calls raise instead, one each; None for a call that returns.

    Raises:
        RegistrationError: `task` is no task.
        ConfigurationError: `raises` holds something that cannot be raised.
    """
    if not isinstance(cast("object", raises), Sequence):
        raise ConfigurationError(
            f"double(..., raises={raises!r}): expected a list of exceptions, one for each call."
        )
    for each in raises:
        if each is not None and not isinstance(cast("object", each), BaseException):
            raise ConfigurationError(
                f"double(..., raises=[{each!r}]): expected exceptions, such as "
                "[ConnectionError('away'), None]."
            )
    left = list(raises)
    lock = threading.Lock()

    def stand_in(*_args: Any, **_kwargs: Any) -> Any:
        with lock:
            error = left.pop(0) if left else None
        if error is not None:
            raise error
        return returns

    return replace(task, stand_in)


def _definition_of(given: object) -> Definition:
    if not isinstance(given, Task):
        raise RegistrationError(
            f"{given!r} is no task, so nothing can stand in its place. Give what @app.task made: "
            "replace(charge, ...), not its name and not the function inside."
        )
    return cast("Task[..., Any]", given).definition


def _check(definition: Definition, function: Callable[..., Any]) -> None:
    if not callable(function):
        raise ConfigurationError(
            f"The double of task {definition.name!r} is {function!r}, no function."
        )
    if is_async_function(function) and not definition.is_async:
        raise ConfigurationError(
            f"The double of task {definition.name!r} is an async function, and the task is not. "
            "Give a plain one."
        )
    try:
        wanted = inspect.signature(function)
    except (TypeError, ValueError):
        return  # something built in that tells no signature
    task = inspect.signature(inspect.unwrap(definition.function))
    args, kwargs = _all_arguments(task)
    try:
        wanted.bind(*args, **kwargs)
    except TypeError as error:
        raise ConfigurationError(
            f"The double of task {definition.name!r} cannot be called as the task is: {error}. The "
            f"task takes {task}, its double {wanted}."
        ) from error


def _all_arguments(signature: inspect.Signature) -> tuple[list[object], dict[str, object]]:
    """One call with every parameter, as bodies are called."""
    args: list[object] = []
    kwargs: dict[str, object] = {}
    for name, parameter in signature.parameters.items():
        match parameter.kind:
            case inspect.Parameter.POSITIONAL_ONLY:
                args.append(None)
            case inspect.Parameter.POSITIONAL_OR_KEYWORD | inspect.Parameter.KEYWORD_ONLY:
                kwargs[name] = None
            case _:
                pass  # *args and **kwargs may be empty
    return args, kwargs


def _standing_in(
    definition: Definition, double: Double[Any], function: Callable[..., Any]
) -> Callable[..., Any]:
    bind = inspect.signature(inspect.unwrap(definition.function)).bind

    def fitted(given: Any) -> Any:
        if definition.completes_outside:
            return given  # perhaps what says that it is completed later
        try:
            fitting(given, definition.result_type, f"The double of task {definition.name!r}")
        except DeserializationError as error:
            raise ConfigurationError(
                f"{error}: it gave {given!r:.300}, which the task, as it is annotated, could not "
                "return. Let the double return what the task would: double(..., returns=...)."
            ) from error
        return given

    def note(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        bound = bind(*args, **kwargs)
        bound.apply_defaults()
        double.note(dict(bound.arguments))

    @functools.wraps(definition.function)
    def body(*args: Any, **kwargs: Any) -> Any:
        note(args, kwargs)
        return fitted(function(*args, **kwargs))

    @functools.wraps(definition.function)
    async def async_body(*args: Any, **kwargs: Any) -> Any:
        note(args, kwargs)
        given = function(*args, **kwargs)
        return fitted(await given if inspect.isawaitable(given) else given)

    return async_body if definition.is_async else body
