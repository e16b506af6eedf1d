"""Queries: plain functions of what a workflow published with `wf.set_data`. Nothing is replayed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from perdure.api.client import Client
from perdure.api.definition import Definition, is_async_function
from perdure.api.outside import refuse_undurable
from perdure.api.registry import is_redefinition
from perdure.backends.base import InvocationRecord
from perdure.core.identity import InvocationKey, validate_identifier
from perdure.engine.context import enter, leave
from perdure.engine.letters import OWN_IDS
from perdure.errors import ConfigurationError, OperationRefused, RegistrationError, UnknownName

P = ParamSpec("P")
R = TypeVar("R")


class Handle(Protocol):
    """The handle of an invocation, as a query needs it."""

    @property
    def key(self) -> InvocationKey:
        """Which invocation."""
        ...


class Query(Generic[P, R]):
    """A query of one workflow; `query(invocation)` answers it."""

    def __init__(self, definition: Definition, function: Callable[..., R], client: Client) -> None:
        """Made by `@checkout.query`, not by users."""
        self.definition = definition
        self.function = function
        self.name = function.__name__
        self._client = client
        self.__doc__ = function.__doc__

    def __call__(self, invocation: Handle, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """What it makes of this workflow's data; see `DistributedInvocation.query`."""
        key: object = getattr(invocation, "key", None)
        if not isinstance(key, InvocationKey):
            raise ConfigurationError(
                f"{self.name}({invocation!r}): expected the handle of a workflow. By its id: "
                f"{self.name}(app.invocation({invocation!r}))"
            )
        answer: R = ask(self._client, key, self, args, kwargs)
        return answer

    def __repr__(self) -> str:
        """Its name and that of the workflow."""
        return f"<query {self.name!r} of {self.definition.name!r}>"


def add_query(definition: Definition, function: Callable[..., R], client: Client) -> Query[..., R]:
    """Register a query of a workflow under the name of its function.

    Raises:
        RegistrationError: it is no plain function, or the workflow has another one of this name.
    """
    name = check_reader(definition, function, "query")
    older = definition.queries.get(name)
    if older is not None and not is_redefinition(older, function):
        raise RegistrationError(
            f"Workflow {definition.name!r} has a query {name!r} already. Give the function another "
            "name."
        )
    definition.queries[name] = function
    return Query(definition, function, client)


def check_reader(definition: Definition, function: Any, what: str) -> str:
    """The name of a function that may look at the data of a workflow.

    Raises:
        RegistrationError: it is not callable, async, a generator, or takes no argument.
    """
    name = getattr(function, "__name__", "")
    where = f"@{definition.name.rpartition('.')[2]}.{what}"
    if not callable(function) or not name:
        raise RegistrationError(
            f"{where} got {function!r}, which is no function. Write a def below it that takes the "
            "workflow's data."
        )
    if is_async_function(function) or inspect.isgeneratorfunction(function):
        raise RegistrationError(
            f"{where} got {name!r}, which is async or a generator. It only looks at data that is "
            "there already: make it a plain def."
        )
    try:
        inspect.signature(function).bind_partial({})
    except TypeError:
        raise RegistrationError(
            f"{where} got {name!r}, which takes no argument. Its first one is the workflow's data, "
            "a mapping from names to values."
        ) from None
    return validate_identifier(name, f"the name of a {what}")


def ask(
    client: Client,
    key: InvocationKey,
    query: Query[..., Any] | str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """Answer a query here and now, by what is committed.

    Raises:
        UnknownName: the workflow is not registered here, or has no such query.
        OperationRefused: a query of another workflow; or a workflow asks.
    """
    if not isinstance(query, (str, Query)):  # pyright: ignore[reportUnnecessaryIsInstance] - not every caller has a type checker
        raise ConfigurationError(
            f"invocation.query({query!r}): expected what @the_workflow.query gave, or its name."
        )
    name = query if isinstance(query, str) else query.name
    refuse_undurable(f"invocation.query({name})")
    record = client.read(key)
    if isinstance(query, Query):
        if record.name not in query.definition.names:
            raise OperationRefused(
                f"Query {name!r} is one of workflow {query.definition.name!r}, and invocation "
                f"{key.invocation_id!r} is the {record.kind} {record.name!r}. Nothing was asked."
            )
        function = query.function
    else:
        function = _named(client.registry.require(record.name), record, name)
    return look(function, read_data(client, key), args, kwargs)


def _named(definition: Definition, record: InvocationRecord, name: str) -> Callable[..., Any]:
    found = definition.queries.get(name)
    if found is None:
        raise UnknownName(
            f"The {record.kind} {record.name!r} has no query {name!r}. "
            f"Queries of it here: {listed(definition.queries)}. Write one with "
            f"@{record.name.rpartition('.')[2]}.query, in a module that is imported here."
        )
    return found


def listed(names: Iterable[str]) -> str:
    """Names for people."""
    return ", ".join(sorted(names)) or "none"


def read_data(client: Client, key: InvocationKey) -> Mapping[str, Any]:
    """The data of a workflow as last committed: fresh values, in a mapping that is read-only."""
    bodies = client.runtime.backend.read_data(key)
    return MappingProxyType(
        {
            name: client.untyped.decode(body, f"data {name!r}")
            for name, body in bodies.items()
            if not name.startswith(OWN_IDS)
        }
    )


def look(
    function: Callable[..., R],
    data: Mapping[str, Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> R:
    """Let a function look at data; operations of a workflow or task are not there for it."""
    outer = enter(None)
    try:
        return function(data, *args, **kwargs)
    finally:
        leave(outer)
