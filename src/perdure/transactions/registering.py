"""`@app.transaction`: a task whose function has the transaction as its first parameter."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from perdure.api.definition import Definition, is_async_function
from perdure.api.functions import AsyncTask, SyncTask
from perdure.errors import OperationRefused, RegistrationError
from perdure.transactions.around import given

P = ParamSpec("P")
R = TypeVar("R")

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

inside: ContextVar[str] = ContextVar("perdure_inside_transaction", default="")
"""The transaction task whose body runs here."""


class TransactionDecorator(Protocol):
    """What `@app.transaction(...)` gives: takes sync and async functions."""

    @overload  # a coroutine function is a function too, so the order of the two is what counts
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> SyncTask[P, R]: ...


class Begins(Protocol):
    """A database, as far as a function needs it that is called outside of a workflow."""

    def transaction(self) -> AbstractContextManager[Any]:
        """A transaction of its own."""
        ...

    def transaction_async(self) -> AbstractAsyncContextManager[Any]:
        """The same in async code."""
        ...


class TransactionDefinition(Definition):
    """The definition of a task whose function does not show its first parameter."""

    @functools.cached_property
    def _hints(self) -> dict[str, Any]:
        hints = dict(super()._hints)
        first = next(iter(inspect.signature(inspect.unwrap(self.function)).parameters))
        hints.pop(first, None)
        return hints


def without_first(function: Callable[..., Any], database: Begins) -> Callable[..., Any]:
    """The function as it is called: without the transaction, which it gets from where it runs.

    In a transaction task it is the one that is given; anywhere else it is one of its own.

    Raises:
        RegistrationError: it has no first parameter that could be one.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise RegistrationError(
            f"The signature of {function!r} cannot be read ({error}). Wrap it in a function with "
            "a def of its own."
        ) from error
    parameters = list(signature.parameters.values())
    name = getattr(function, "__qualname__", repr(function))
    if not parameters or parameters[0].kind not in _POSITIONAL:
        raise RegistrationError(
            f"{name}{signature} is to run in a transaction and has no parameter for it. Let the "
            f"first one be the transaction: def {getattr(function, '__name__', 'f')}(tx, ...)."
        )
    wrapper = (_async_wrapper if is_async_function(function) else _wrapper)(function, database)
    wrapper.__signature__ = signature.replace(parameters=parameters[1:])  # type: ignore[attr-defined]  # what inspect looks at
    return wrapper


def _wrapper(function: Callable[..., Any], database: Begins) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        tx = given.get()
        given.set(None)
        if tx is None:
            refuse_nested(function.__qualname__)
            with database.transaction() as tx, _inside(function):
                return function(tx, *args, **kwargs)
        with _inside(function):
            return function(tx, *args, **kwargs)

    return call


def _async_wrapper(function: Callable[..., Any], database: Begins) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        tx = given.get()
        given.set(None)
        if tx is None:
            refuse_nested(function.__qualname__)
            async with database.transaction_async() as tx:
                with _inside(function):
                    return await function(tx, *args, **kwargs)
        with _inside(function):
            return await function(tx, *args, **kwargs)

    return call


@contextmanager
def _inside(function: Callable[..., Any]) -> Generator[None, None, None]:
    token = inside.set(function.__qualname__)
    try:
        yield
    finally:
        inside.reset(token)


def refuse_nested(name: str) -> None:
    """Whether a transaction of its own may begin here.

    Raises:
        OperationRefused: in the body of another one, which it would not be part of.
    """
    outer = inside.get()
    if outer:
        raise OperationRefused(
            f"{name} would begin a transaction of its own inside the transaction of {outer}: it "
            "would be committed by itself, also if that one is rolled back. Let both call a plain "
            "function that takes tx."
        )
